//! The hub's copy of one database: takes pushed frames, gives them out, starts generations.
//!
//! Blocking, one call at a time. HTTP, authentication and compression are the hub's business. Within
//! a generation the main file never changes, and frame `i` of the WAL is frame `i` of the
//! generation.

mod outcome;
mod past;
mod state;
mod tail;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use counterfoil_protocol::wire::replication::ClosedGeneration;

pub use self::outcome::{
    BaseOutcome, CopyInfo, ExportOutcome, PullOutcome, Push, PushOutcome, PushRefusal, Rotation,
};
pub use self::past::RestoreError;
use self::{outcome::is_range, tail::Tail};
use crate::{
    Retry,
    chain::ChainIndex,
    env::Files,
    frame::{Chain, frames, whole_transactions_bytes},
    history::History,
    limits::{FRAME_BYTES, REQUEST_FRAMES_MAX, TAIL_BYTES_MAX},
    numbering::{Mapping, Next, Record, RecordError, Swap},
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
            Self::Wal(_) | Self::Tail { .. } => Retry::Later,
            Self::Record(RecordError::File { .. }) => Retry::Later,
            Self::Record(_) | Self::Unsynced { .. } => Retry::Never,
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
        let chain = ChainIndex::new(None, Chain([0; 32]));
        let path = path.to_owned();
        let (wal, unsynced) = (None, false);
        let mut copy = Self {
            path,
            kind,
            files,
            wal,
            record,
            chain,
            tail,
            unsynced,
            history: None,
        };
        copy.observe()?;
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
        let committed = self.chain_at(now.committed())?;
        Ok(CopyInfo {
            generation: now.mapping.generation,
            max_frame_no: now.committed() + self.tail.count(),
            committed_frame_no: now.committed(),
            chain: self.tail.chain(committed),
            chain_start: now.mapping.chain,
            closed: self.record.closed.clone(),
            wal_bytes: wal_bytes(now.committed()),
        })
    }

    /// Takes frames. They are durable when this returns `Accepted`: one fsync of the WAL, and one of
    /// the tail when a transaction is not complete.
    ///
    /// # Errors
    /// [`CopyError`]; a part of the frames may have been taken, and the next push of the same frames
    /// finds out.
    pub fn push(&mut self, push: &Push<'_>) -> Result<PushOutcome, CopyError> {
        if let Err(refusal) = self.check_push(push) {
            return Ok(PushOutcome::BadRequest(refusal));
        }
        let now = self.observe()?;
        let generation = now.mapping.generation;
        if push.generation < generation {
            let closed = self
                .record
                .closed
                .iter()
                .find(|it| it.generation == push.generation);
            return Ok(PushOutcome::Closed {
                generation,
                ended: closed.map(|it| it.end_frame),
            });
        }
        if push.generation > generation {
            return Ok(PushOutcome::Unknown { generation });
        }
        let max_frame_no = now.committed() + self.tail.count();
        if push.start > max_frame_no + 1 {
            return Ok(PushOutcome::Accepted {
                generation,
                max_frame_no,
            });
        }
        if !self.overlap_agrees(push, max_frame_no.min(push.end - 1))? {
            return Ok(PushOutcome::Conflict {
                generation,
                max_frame_no,
            });
        }
        if push.end > max_frame_no + 1 {
            let known = to_usize(max_frame_no + 1 - push.start) * FRAME_BYTES;
            let fresh = &push.body[known..];
            if let Some(expected) = push.chain {
                let committed = self.chain_at(now.committed())?;
                if self.tail.chain(committed).after_all(fresh) != expected {
                    return Ok(PushOutcome::Conflict {
                        generation,
                        max_frame_no,
                    });
                }
            }
            if self.tail.body().len() + fresh.len() > TAIL_BYTES_MAX {
                return Ok(PushOutcome::BadRequest(PushRefusal::TransactionTooLarge));
            }
            // Noted before frames of a stock client are taken, forgotten after frames of ours are.
            if push.chain.is_none() && !self.record.stock_writer {
                self.change_record(|record| record.stock_writer = true)?;
            }
            self.append(now, fresh)?;
            if push.chain.is_some() && self.record.stock_writer {
                self.change_record(|record| record.stock_writer = false)?;
            }
        }
        Ok(PushOutcome::Accepted {
            generation,
            max_frame_no: push.end - 1,
        })
    }

    fn check_push(&self, push: &Push<'_>) -> Result<(), PushRefusal> {
        if self.kind == CopyKind::Written {
            return Err(PushRefusal::ReadOnly);
        }
        if !is_range(push.start, push.end)
            || push.body.len() != to_usize(push.end - push.start) * FRAME_BYTES
        {
            return Err(PushRefusal::Range);
        }
        if frames(push.body).any(|frame| frame.page_number() == 0) {
            return Err(PushRefusal::Page);
        }
        Ok(())
    }

    /// Whether the frames up to `last` that the copy has already are those that were sent.
    fn overlap_agrees(&mut self, push: &Push<'_>, last: u64) -> Result<bool, CopyError> {
        let committed = self.wal()?.position()?.frames.min(last);
        let mut held = Vec::new();
        if push.start <= committed {
            self.wal()?
                .read(|reading| reading.frames_into(push.start, committed, &mut held))?;
        }
        let in_tail =
            (push.start.max(committed + 1)..=last).filter_map(|number| self.tail.frame(number));
        Ok(frames(&held)
            .chain(in_tail)
            .zip(frames(push.body))
            .all(|(a, b)| a.same_content(b)))
    }

    /// Joins the frames with the tail; whole transactions go into the WAL, the rest is the new tail.
    fn append(&mut self, now: Now, fresh: &[u8]) -> Result<(), CopyError> {
        let generation = now.mapping.generation;
        let first = now.committed() + 1;
        let whole = whole_transactions_bytes(fresh);
        if whole == 0 {
            let start = first + self.tail.count();
            let result = self.tail.append(&*self.files, generation, start, fresh);
            return result.map_err(|source| self.tail_failed(source));
        }
        let joined;
        let body = if self.tail.body().is_empty() {
            &fresh[..whole]
        } else {
            joined = [self.tail.body(), &fresh[..whole]].concat();
            &joined
        };
        self.wal()?.insert(first, body)?;
        self.sync()?;
        let inserted = u64::try_from(frames(body).len()).unwrap_or(u64::MAX);
        // Binds the salt of a WAL that was empty, and forgets the tail that is in the WAL now.
        self.observe()?;
        if whole < fresh.len() {
            let start = first + inserted;
            let result = self
                .tail
                .append(&*self.files, generation, start, &fresh[whole..]);
            result.map_err(|source| self.tail_failed(source))?;
        }
        Ok(())
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
            return Ok(if ended_here {
                PullOutcome::Ended {
                    generation: current,
                }
            } else {
                PullOutcome::Gone {
                    generation: current,
                }
            });
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

    /// The main file as it was when the generation began.
    ///
    /// # Errors
    /// [`CopyError`].
    pub fn export(&mut self, generation: u64) -> Result<ExportOutcome, CopyError> {
        let now = self.observe()?;
        if generation != now.mapping.generation {
            return Ok(ExportOutcome::Gone {
                generation: now.mapping.generation,
            });
        }
        let bytes = self.wal()?.main_file()?;
        let digest = Chain::of_base(&bytes);
        Ok(ExportOutcome::File { bytes, digest })
    }

    /// Makes the bytes a new generation. The old database stays beside as
    /// `<database>.replaced-<generation>`. Other connections of the hub see the old one until they
    /// are opened again.
    ///
    /// # Errors
    /// [`CopyError`]; a change that was begun is completed by the next call.
    pub fn replace_base(&mut self, bytes: &[u8], digest: Chain) -> Result<BaseOutcome, CopyError> {
        if self.kind == CopyKind::Written {
            return Ok(BaseOutcome::BadRequest(swap::BaseRefusal::ReadOnly));
        }
        if let Err(refusal) = swap::check_base(bytes, digest) {
            return Ok(BaseOutcome::BadRequest(refusal));
        }
        let now = self.observe()?;
        let old = now.mapping.generation;
        if now.mapping.chain == digest && now.committed() == 0 && self.tail.count() == 0 {
            // The answer to the same upload was lost.
            return Ok(BaseOutcome::Replaced { generation: old });
        }
        let mapping = Mapping {
            generation: old + 1,
            shift: 0,
            chain: digest,
        };
        let keep_suffix = Some(swap::unused_suffix(&*self.files, &self.path, old)?);
        let change = Swap {
            mapping,
            keep_suffix,
        };
        swap::stage(&*self.files, &self.path, bytes)?;
        self.change_record(|record| record.swap = Some(change))?;
        self.wal = None;
        let now = self.observe()?;
        Ok(BaseOutcome::Replaced {
            generation: now.mapping.generation,
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
        // A stock client that has frames to send cannot be led over: it would report a conflict at
        // every sync, for ever. Its WAL grows instead.
        if wal_bytes(frames) <= limit_bytes || self.record.stock_writer {
            return Ok(Rotation::NotNeeded);
        }
        self.begin_generation()
    }

    /// Begins a generation, whatever the size of the WAL and whoever writes. A stock client must be in
    /// sync to be led over.
    ///
    /// # Errors
    /// As [`Self::checkpoint_if_over`].
    pub fn begin_generation(&mut self) -> Result<Rotation, CopyError> {
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
            chain,
        };
        let intent = Next {
            mapping: Some(mapping),
            closes: Some(ended),
        };
        self.change_record(|record| record.next = Some(intent))?;
        match self.wal()?.checkpoint_truncate() {
            Ok(Checkpoint::Done) => {
                let now = self.observe()?;
                Ok(Rotation::Rotated {
                    ended,
                    generation: now.mapping.generation,
                    history_kept,
                })
            }
            Ok(Checkpoint::Busy) => {
                self.change_record(|record| record.next = None)?;
                Ok(Rotation::Busy)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Size of a WAL file with that many frames.
pub(crate) fn wal_bytes(frames: u64) -> u64 {
    /// Bytes of a WAL file's header, fixed by SQLite's file format.
    const WAL_HEADER_BYTES: u64 = 32;
    if frames == 0 {
        return 0;
    }
    WAL_HEADER_BYTES + frames * u64::try_from(FRAME_BYTES).unwrap_or_default()
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
