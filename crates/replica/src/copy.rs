//! The hub's copy of one database: takes pushed frames, gives them out, starts generations.
//!
//! Blocking, one call at a time. HTTP, authentication and compression are the hub's business. Within
//! a generation the main file never changes, and frame `i` of the WAL is frame `i` of the
//! generation.

mod aside;
mod delta;
mod export;
mod outcome;
mod past;
mod push;
mod state;
mod stock;
mod tail;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use counterfoil_protocol::wire::replication::ClosedGeneration;

pub use self::aside::SetAside;
pub use self::delta::DeltaFrames;
pub use self::outcome::{
    CopyInfo, ExportOutcome, PagesOutcome, PullOutcome, Push, PushOutcome, PushRefusal, Rotation,
};
pub use self::past::RestoreError;
use self::tail::Tail;
use crate::{
    Retry,
    chain::ChainIndex,
    crash::{self, CrashPoint},
    env::Files,
    frame::Chain,
    history::History,
    limits::{FRAME_BYTES, PAGE_BYTES, REQUEST_FRAMES_MAX, WAL_HEADER_BYTES},
    numbering::{Mapping, Next, Record, RecordError},
    page_index::PageIndex,
    pages::{self, Pages},
    swap,
    wal::{Checkpoint, Position, Wal, WalError},
};

/// Who writes the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyKind {
    /// A node, through [`Copy::push`].
    Pushed,
    /// The hub, through connections of its own.
    Written,
}

/// Why a copy cannot answer. The copy is unharmed unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The database.
    #[error("the copy's database failed")]
    Wal(#[from] WalError),
    /// The record or a file beside the database.
    #[error("the copy's record failed")]
    Record(#[from] RecordError),
    /// The held-back tail.
    #[error("cannot store the held-back frames of {path}")]
    Tail {
        /// The database.
        path: PathBuf,
        /// What the operating system reports.
        #[source]
        source: std::io::Error,
    },
    /// A checkpoint met a reader: there is no main file as of the generation's beginning until it is
    /// completed.
    #[error("a checkpoint of {path} has met a reader and is not complete yet")]
    Folding {
        /// The database.
        path: PathBuf,
    },
    /// The main file is not the one that the generation began with.
    #[error("the main file of {path} is damaged, or was replaced")]
    Damaged {
        /// The database.
        path: PathBuf,
    },
    /// There is a database, and no record of where its frames stand.
    #[error("the record of {path} is lost")]
    Lost {
        /// The database.
        path: PathBuf,
    },
    /// An fsync failed: what is on disk is unknown, and asking again would hide it.
    #[error("the copy {path} could not be synced; it must be opened again")]
    Unsynced {
        /// The database.
        path: PathBuf,
    },
}

impl CopyError {
    /// What the caller should do.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Wal(error) if error.is_busy() => Retry::Now,
            // What is there is found when the copy is opened again.
            Self::Tail { source, .. } if source.kind() == std::io::ErrorKind::UnexpectedEof => {
                Retry::Never
            }
            Self::Wal(_)
            | Self::Tail { .. }
            | Self::Folding { .. }
            | Self::Damaged { .. }
            | Self::Lost { .. } => Retry::Later,
            Self::Record(RecordError::File { .. }) => Retry::Later,
            Self::Record(_) | Self::Unsynced { .. } => Retry::Never,
        }
    }
}

impl CopyError {
    /// Whether the files are not what was written: only [`Copy::set_aside`] helps.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Wal(error) => error.is_damage(),
            Self::Record(RecordError::Content { .. })
            | Self::Damaged { .. }
            | Self::Lost { .. } => true,
            Self::Record(_) | Self::Tail { .. } | Self::Folding { .. } | Self::Unsynced { .. } => {
                false
            }
        }
    }
}

/// See the module.
pub struct Copy {
    path: PathBuf,
    kind: CopyKind,
    files: Arc<dyn Files>,
    /// `None` after a change of files that could not be completed; opened again at the next call.
    wal: Option<Wal>,
    record: Record,
    chain: ChainIndex,
    page_index: PageIndex,
    tail: Tail,
    unsynced: bool,
    history: Option<History>,
}

/// The copy's state at the beginning of a call.
#[derive(Clone, Copy, Debug)]
struct Now {
    position: Position,
    mapping: Mapping,
}

impl Now {
    fn committed(&self) -> u64 {
        self.position.frames
    }
}

impl std::fmt::Debug for Copy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Copy")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Copy {
    /// Opens the copy, an empty one at generation 1 when there is none, and completes what a crash
    /// interrupted. For [`CopyKind::Written`] open it before the first writer.
    ///
    /// # Errors
    /// [`CopyError`].
    pub fn open(path: &Path, kind: CopyKind, files: Arc<dyn Files>) -> Result<Self, CopyError> {
        let record = Record::load(&*files, &swap::record_path(path))?.unwrap_or_default();
        let tail =
            Tail::load(&*files, swap::tail_path(path)).map_err(|source| CopyError::Tail {
                path: path.to_owned(),
                source,
            })?;
        let chain = ChainIndex::new(None, 0, Chain([0; 32]));
        let path = path.to_owned();
        let (wal, unsynced) = (None, false);
        let mut copy = Self {
            path,
            kind,
            files,
            wal,
            record,
            chain,
            page_index: PageIndex::default(),
            tail,
            unsynced,
            history: None,
        };
        copy.refuse_lost()?;
        copy.observe()?;
        copy.check_size()?;
        // A crash may have left frames that were inserted and not synced; from now on they count.
        copy.sync()?;
        Ok(copy)
    }

    /// The database's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the newest frames came from a client that sends no checksum: it cannot renumber what
    /// it has not sent when a generation begins.
    #[must_use]
    pub fn has_stock_writer(&self) -> bool {
        self.record.stock_writer
    }

    /// What the copy holds.
    ///
    /// # Errors
    /// [`CopyError`].
    pub fn info(&mut self) -> Result<CopyInfo, CopyError> {
        let now = self.observe()?;
        let committed_chain = self.chain_at(now.committed())?;
        // A database with a table has two pages.
        let page_bytes = u64::try_from(PAGE_BYTES).unwrap_or(0);
        let empty = now.committed() == 0 && self.wal()?.main_bytes()? <= page_bytes;
        Ok(CopyInfo {
            generation: now.mapping.generation,
            max_frame_no: now.committed() + self.tail.count(),
            committed_frame_no: now.committed(),
            chain: self.tail_chain(committed_chain, None)?,
            committed_chain,
            empty,
            chain_start: now.mapping.chain,
            closed: self.record.closed.clone(),
            wal_bytes: wal_bytes(now.committed()),
        })
    }

    /// Gives frames `[start, end)` of a generation, fewer when fewer are committed.
    ///
    /// # Errors
    /// [`CopyError`].
    pub fn pull(
        &mut self,
        generation: u64,
        start: u64,
        end: u64,
    ) -> Result<PullOutcome, CopyError> {
        if start == 0 || end <= start {
            return Ok(PullOutcome::BadRequest);
        }
        let now = self.observe()?;
        let current = now.mapping.generation;
        if generation != current {
            let ended_here = self
                .record
                .closed
                .iter()
                .any(|closed| closed.generation == generation && closed.end_frame + 1 == start);
            if ended_here {
                return Ok(PullOutcome::Ended {
                    generation: current,
                });
            }
            let place = (current, now.committed());
            let counted = self.pull_counted((generation, start, end), place)?;
            return Ok(counted.unwrap_or(PullOutcome::Gone {
                generation: current,
            }));
        }
        if start > now.committed() + 1 {
            return Ok(PullOutcome::Gone {
                generation: current,
            });
        }
        let last = (end - 1)
            .min(now.committed())
            .min(start.saturating_add(REQUEST_FRAMES_MAX) - 1);
        if last < start {
            return Ok(PullOutcome::Ended {
                generation: current,
            });
        }
        let mut body = Vec::new();
        self.wal()?
            .read(|reading| reading.frames_into(start, last, &mut body))?;
        Ok(PullOutcome::Frames(body))
    }

    /// The digest of every page as of a frame, when that is where the copy stands.
    ///
    /// # Errors
    /// [`CopyError`].
    pub fn pages(&mut self, generation: u64, frame: u64) -> Result<PagesOutcome, CopyError> {
        let now = self.observe()?;
        let current = now.mapping.generation;
        if (generation, frame) != (current, now.committed()) {
            return Ok(PagesOutcome::Gone {
                generation: current,
            });
        }
        let digests = self.wal()?.read(|reading| {
            if reading.position().frames != frame {
                return Ok(None);
            }
            let pages = Pages::at(reading, frame)?;
            let mut digests = Vec::new();
            for page in 1..=pages.count() {
                digests.extend_from_slice(&pages::digest(&pages.read(reading, page)?));
            }
            Ok(Some(digests))
        })?;
        Ok(match digests {
            Some(digests) => PagesOutcome::Digests(digests),
            None => PagesOutcome::Gone {
                generation: current,
            },
        })
    }

    /// Starts a new generation when the WAL is larger than the limit.
    ///
    /// For [`CopyKind::Written`] no transaction may be written meanwhile: call it where the writer
    /// is idle.
    ///
    /// # Errors
    /// [`CopyError`]; the next call finds out whether the generation began.
    pub fn checkpoint_if_over(&mut self, limit_bytes: u64) -> Result<Rotation, CopyError> {
        let frames = self.observe()?.committed();
        // A stock client must have shown first that it has everything, see `checkpoint_for_stock`.
        if wal_bytes(frames) <= limit_bytes || self.record.stock_writer {
            return Ok(Rotation::NotNeeded);
        }
        let generation = self.observe()?.mapping.generation;
        self.rotate(Some(generation))
    }

    /// Begins a generation, whatever the size of the WAL and whoever writes, and ends all counting in
    /// earlier ones: a stock client must be in sync to be led over.
    ///
    /// # Errors
    /// As [`Self::checkpoint_if_over`].
    pub fn begin_generation(&mut self) -> Result<Rotation, CopyError> {
        self.rotate(None)
    }

    /// `counts_on` names the generation in which the client counts that gave the occasion.
    fn rotate(&mut self, counts_on: Option<u64>) -> Result<Rotation, CopyError> {
        let now = self.observe()?;
        let frames = now.committed();
        if frames == 0 || self.tail.count() > 0 {
            return Ok(Rotation::NotNeeded);
        }
        let chain = self.chain_at(frames)?;
        let history_kept = self.keep_generation(now, chain);
        let ended = ClosedGeneration {
            generation: now.mapping.generation,
            end_frame: frames,
        };
        let mapping = Mapping {
            generation: ended.generation + 1,
            shift: 0,
            from: 0,
            chain,
        };
        let intent = Next {
            frames,
            mapping: Some(mapping),
            closes: Some(ended),
            counts_on,
            lost: None,
        };
        self.change_record(|record| {
            record.next = Some(intent);
            (record.folding, record.main) = (true, None);
        })?;
        crash::pass(CrashPoint::GenerationIntent);
        match self.wal()?.checkpoint_truncate() {
            Ok(Checkpoint::Done) => {}
            // It may have moved every frame all the same, and then a commit begins the WAL anew.
            Ok(Checkpoint::Busy) if self.kind == CopyKind::Written => self.wal()?.mark()?,
            Ok(Checkpoint::Busy) => {
                crash::pass(CrashPoint::GenerationMetReader);
                return Ok(Rotation::Busy);
            }
            Err(error) => return Err(error.into()),
        }
        crash::pass(CrashPoint::GenerationTruncated);
        let generation = self.observe()?.mapping.generation;
        crash::pass(CrashPoint::GenerationBegun);
        if generation == ended.generation {
            return Ok(Rotation::Busy);
        }
        Ok(Rotation::Rotated {
            ended,
            generation,
            history_kept,
        })
    }
}

/// Size of a WAL file with that many frames.
pub(crate) fn wal_bytes(frames: u64) -> u64 {
    if frames == 0 {
        return 0;
    }
    WAL_HEADER_BYTES + frames * u64::try_from(FRAME_BYTES).unwrap_or_default()
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
