//! What a copy answers, and how that travels.

use counterfoil_protocol::wire::replication::{
    ClosedGeneration, EXTENSIONS, Info, PushAnswer, PushStatus,
};

use crate::{frame::Chain, limits::REQUEST_FRAMES_MAX};

/// State of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyInfo {
    /// Current generation, at least 1.
    pub generation: u64,
    /// Highest frame held, tail included.
    pub max_frame_no: u64,
    /// Highest frame that readers of the database see.
    pub committed_frame_no: u64,
    /// Rolling checksum after `max_frame_no`.
    pub chain: Chain,
    /// Rolling checksum after `committed_frame_no`.
    pub committed_chain: Chain,
    /// Whether the database holds nothing at all.
    pub empty: bool,
    /// Rolling checksum at the beginning of the generation.
    pub chain_start: Chain,
    /// Generations that can be renumbered, ascending.
    pub closed: Vec<ClosedGeneration>,
    /// Size of the WAL in bytes, tail not included.
    pub wal_bytes: u64,
}

impl CopyInfo {
    /// The answer of `GET /info`.
    #[must_use]
    pub fn to_wire(&self) -> Info {
        Info {
            current_generation: self.generation,
            max_frame_no: self.max_frame_no,
            chain: self.chain.to_string(),
            committed_frame_no: self.committed_frame_no,
            committed_chain: self.committed_chain.to_string(),
            empty: self.empty,
            chain_start: self.chain_start.to_string(),
            closed: self.closed.clone(),
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
        }
    }
}

/// Frames `[start, end)` of a generation.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// Generation the frames belong to.
    pub generation: u64,
    /// First frame, from 1.
    pub start: u64,
    /// One after the last frame.
    pub end: u64,
    /// The frames, not compressed.
    pub body: &'a [u8],
    /// Rolling checksum after the last frame, when the client knows it.
    pub chain: Option<Chain>,
    /// Rolling checksum before the first frame, when the client knows it. Then the copy must have
    /// the same there, and held-back frames that the push contradicts make way for it.
    pub before: Option<Chain>,
}

/// Why a push is not even looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushRefusal {
    /// Numbers or length make no sense.
    #[error("the body is not the frames of the range, or the range is wrong or too long")]
    Range,
    /// A frame that SQLite never writes, or of a database that is too large to be compared.
    #[error("a frame writes a page, or states a size, that no database here can have")]
    Page,
    /// Frames after which nothing could open the database any more.
    #[error(
        "a first page must be that of a SQLite database with pages of 4096 bytes, in WAL mode, not encrypted"
    )]
    NoDatabase,
    /// The transaction does not fit what the hub holds back.
    #[error("the transaction is too large")]
    TransactionTooLarge,
    /// Delta frames without the rolling checksums that prove them.
    #[error("delta frames need the rolling checksums before and after them")]
    Unproved,
    /// This database is not written by a node.
    #[error("this database is written by the hub")]
    ReadOnly,
}

/// Answer to a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushOutcome {
    /// Frames up to `max_frame_no` are durable. Lower than sent: go on from there.
    Accepted {
        /// Current generation.
        generation: u64,
        /// Highest frame held, never more than the push's last one.
        max_frame_no: u64,
    },
    /// The copy holds other frames; nothing was applied.
    Conflict {
        /// Current generation.
        generation: u64,
        /// Highest frame held.
        max_frame_no: u64,
    },
    /// The generation has ended; nothing was applied.
    Closed {
        /// Current generation.
        generation: u64,
        /// Its last frame, when that is still known.
        ended: Option<u64>,
    },
    /// The copy has not come to that generation: it lost its past. Nothing was applied.
    Unknown {
        /// Current generation.
        generation: u64,
    },
    /// The delta frames do not fit the pages here; nothing was applied. The same frames are taken
    /// whole.
    SendWhole {
        /// Current generation.
        generation: u64,
        /// Highest frame held.
        max_frame_no: u64,
    },
    /// The request makes no sense.
    BadRequest(PushRefusal),
}

impl PushOutcome {
    /// The body of a 200; `None` stands for a 400.
    #[must_use]
    pub fn to_wire(self) -> Option<PushAnswer> {
        let conflict = |generation, max_frame_no, ended| PushAnswer {
            status: PushStatus::Conflict,
            generation,
            max_frame_no,
            ended,
            send_whole: false,
        };
        match self {
            Self::Accepted {
                generation,
                max_frame_no,
            } => Some(PushAnswer {
                status: PushStatus::Ok,
                ..conflict(generation, max_frame_no, None)
            }),
            Self::Conflict {
                generation,
                max_frame_no,
            } => Some(conflict(generation, max_frame_no, None)),
            Self::Closed { generation, ended } => Some(conflict(generation, 0, ended)),
            Self::Unknown { generation } => Some(conflict(generation, 0, None)),
            Self::SendWhole {
                generation,
                max_frame_no,
            } => Some(PushAnswer {
                send_whole: true,
                ..conflict(generation, max_frame_no, None)
            }),
            Self::BadRequest(_) => None,
        }
    }
}

/// Answer to a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullOutcome {
    /// The frames from `start`, at least one, of committed transactions.
    Frames(Vec<u8>),
    /// 400 with the generation: equal to the one asked for means caught up, larger means that it
    /// ended exactly here.
    Ended {
        /// Current generation.
        generation: u64,
    },
    /// 410: the frames asked for are not to be had any more, or never were. A stock client fails,
    /// which is better than going on with a hole in its database.
    Gone {
        /// Current generation.
        generation: u64,
    },
    /// The numbers make no sense.
    BadRequest,
}

/// Answer to an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportOutcome {
    /// Pages of the main file, fewer where it ends, none only of an empty file.
    Part {
        /// The pages.
        bytes: Vec<u8>,
        /// Size of the whole file.
        file_bytes: u64,
        /// Digest of the whole file.
        file_digest: Chain,
    },
    /// 410: another generation is current.
    Gone {
        /// Current generation.
        generation: u64,
    },
    /// The numbers make no sense.
    BadRequest,
}

/// Answer to a question for the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PagesOutcome {
    /// Digests of 16 bytes, by page number from page 1.
    Digests(Vec<u8>),
    /// 410: the copy stands elsewhere by now.
    Gone {
        /// Current generation.
        generation: u64,
    },
}

/// Result of asking for a new generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The WAL is small enough, or a transaction is half here.
    NotNeeded,
    /// Somebody reads; try again later.
    Busy,
    /// A new generation began.
    Rotated {
        /// Where the old one ended.
        ended: ClosedGeneration,
        /// The new one.
        generation: u64,
        /// False when a history should have been kept and could not be.
        history_kept: bool,
    },
}

/// Whether the range is one that is looked at.
pub(super) fn is_range(start: u64, end: u64) -> bool {
    start >= 1 && end > start && end - start <= REQUEST_FRAMES_MAX
}
