//! A node's side of one database: its WAL, its record, its rolling checksum. Blocking.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    Retry,
    chain::ChainIndex,
    crash::{self, CrashPoint},
    delta,
    env::{Files, files::beside},
    frame::Chain,
    limits::{FRAME_BYTES, WAL_HEADER_BYTES},
    numbering::{Lost, Mapping, Next, Record, RecordError, Resolution},
    page_index::PageIndex,
    planted::PlantedBug,
    swap,
    wal::{self, Checkpoint, Durability, Position, Reading, Wal, WalError},
};

/// Why the local side of replication failed. The database is unharmed.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The database.
    #[error("the local database failed")]
    Wal(#[from] WalError),
    /// The record beside it.
    #[error("the local replication record failed")]
    Record(#[from] RecordError),
    /// Readers or writers did not make room for a checkpoint.
    #[error("the database {path} is in use, no checkpoint now")]
    Busy {
        /// The database.
        path: PathBuf,
    },
}

impl LocalError {
    /// What the caller should do.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Wal(error) if error.is_busy() => Retry::Now,
            Self::Wal(_) | Self::Busy { .. } | Self::Record(RecordError::File { .. }) => {
                Retry::Later
            }
            Self::Record(_) => Retry::Never,
        }
    }
}

/// Result of asking for a local checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalCheckpoint {
    /// The WAL is small enough.
    NotNeeded,
    /// The hub does not have everything yet: push first.
    Unacknowledged,
    /// Somebody reads or writes; try again later.
    Busy,
    /// The WAL starts anew.
    Done,
    /// The WAL starts anew though the hub did not have all of it: the next push sends the pages that
    /// differ.
    DoneEarly,
}

/// Who writes the database on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// The node itself: an empty WAL gets a mark, so that its salt is known from the first frame on.
    Node,
    /// Only this crate, with frames from the hub.
    Replication,
}

/// See the module.
pub(crate) struct Local {
    path: PathBuf,
    files: Arc<dyn Files>,
    writer: Writer,
    /// `None` while the file is being replaced.
    wal: Option<Wal>,
    pub(crate) record: Record,
    chain: ChainIndex,
    page_index: PageIndex,
    /// Frames of the current WAL that the hub has, as far as this process knows.
    acknowledged: u64,
}

impl Local {
    /// Opens the database and completes what a crash interrupted. No other connection may be open.
    pub(crate) fn open(
        path: &Path,
        files: Arc<dyn Files>,
        writer: Writer,
    ) -> Result<Self, LocalError> {
        let mut record = match Record::load(&*files, &swap::record_path(path)) {
            Ok(record) => record.unwrap_or_default(),
            // Numbers can be had again, for one upload or download of the file.
            Err(error @ RecordError::Content { .. }) => {
                tracing::warn!(%error, "the frame numbers are lost");
                Record::default()
            }
            Err(error) => return Err(error.into()),
        };
        swap::finish(&*files, path, &mut record)?;
        let chain = ChainIndex::new(None, 0, Chain([0; 32]));
        let path = path.to_owned();
        let mut local = Self {
            path,
            files,
            writer,
            wal: None,
            record,
            chain,
            page_index: PageIndex::default(),
            acknowledged: 0,
        };
        if writer == Writer::Node {
            local.mend()?;
        }
        local.observe()?;
        if writer == Writer::Node {
            // A commit that was killed between its write and its sync is whole again, out of the
            // page cache. Before anybody is told that it exists it must be on the disk.
            local.wal()?.sync()?;
        }
        Ok(local)
    }

    /// Puts the WAL right where the disk has changed it in single words: SQLite would forget every frame
    /// behind the first such place, and what the hub does not have would be lost.
    fn mend(&mut self) -> Result<(), LocalError> {
        let frames = self.wal()?.position()?.frames;
        let path = beside(&self.path, "-wal");
        let failed = |source| RecordError::File {
            path: path.clone(),
            source,
        };
        // Looked at only when the file goes on behind what SQLite took in.
        let frame_bytes = u64::try_from(FRAME_BYTES).unwrap_or(u64::MAX);
        let next = WAL_HEADER_BYTES + frames * frame_bytes;
        let more = self.files.read_range(&path, next, FRAME_BYTES);
        if more.map_err(failed)?.len() < FRAME_BYTES {
            return Ok(());
        }
        let Some(mut bytes) = self.files.read(&path).map_err(failed)? else {
            return Ok(());
        };
        let places = wal::mend(&mut bytes);
        if places == 0 {
            return Ok(());
        }
        tracing::error!(path = %path.display(), places, "the disk had changed the WAL: put right");
        // The wal-index is made anew from the file once nobody holds it.
        self.close_wal();
        self.files.write_atomic(&path, &bytes).map_err(failed)?;
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn files(&self) -> &dyn Files {
        &*self.files
    }

    pub(crate) fn wal(&mut self) -> Result<&mut Wal, LocalError> {
        let durability = match self.writer {
            Writer::Node => Durability::Full,
            // Frames that a power cut takes away are pulled again.
            Writer::Replication => Durability::Normal,
        };
        let wal = match self.wal.take() {
            Some(wal) => wal,
            None => Wal::open(&self.path, durability)?,
        };
        Ok(self.wal.insert(wal))
    }

    pub(crate) fn close_wal(&mut self) {
        self.wal = None;
    }

    /// Finds out what the WAL is now and brings the record up to it.
    pub(crate) fn observe(&mut self) -> Result<Position, LocalError> {
        let mut position = self.wal()?.position()?;
        let before = self.record.clone();
        let resolution = self.record.resolve(position.salt, position.frames);
        if self.writer == Writer::Node && resolution == Resolution::Same {
            // Sales may follow, and somebody else's checkpoint after them would look like ours.
            self.record.next = None;
        }
        if self.writer == Writer::Node && position.frames == 0 {
            match self.wal()?.mark() {
                Ok(()) => {
                    position = self.wal()?.position()?;
                    self.record.salt = position.salt;
                    crash::pass(CrashPoint::CheckpointMarked);
                }
                // A writer is about to put the first frame there itself.
                Err(error) if error.is_busy() => {}
                Err(error) => {
                    self.record = before;
                    return Err(error.into());
                }
            }
        }
        if resolution == Resolution::Foreign {
            let path = self.path.display();
            tracing::warn!(%path, "another program made a checkpoint: the frame numbers are lost");
        }
        if resolution != Resolution::Same {
            self.acknowledged = 0;
            (self.record.since_ms, self.record.sent) = (None, None);
        }
        if self.record != before
            && let Err(error) = self
                .record
                .store(&*self.files, &swap::record_path(&self.path))
        {
            // What is not stored has not happened: the next call resolves again.
            self.record = before;
            return Err(error.into());
        }
        self.fit_chain(position);
        Ok(position)
    }

    fn fit_chain(&mut self, position: Position) {
        if let Some(mapping) = self.record.mapping
            && !self
                .chain
                .belongs_to(position.salt, mapping.from, mapping.chain)
        {
            self.chain = ChainIndex::new(position.salt, mapping.from, mapping.chain);
        }
    }

    /// Stores a changed record; the old one stays in force when that fails.
    pub(crate) fn change_record(
        &mut self,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), LocalError> {
        let mut record = self.record.clone();
        change(&mut record);
        if record != self.record {
            record.store(&*self.files, &swap::record_path(&self.path))?;
            self.record = record;
        }
        Ok(())
    }

    /// Stores the record as it is, over one whose storing failed and may have had an effect.
    pub(crate) fn store_record(&self) -> Result<(), LocalError> {
        let path = swap::record_path(&self.path);
        Ok(self.record.store(&*self.files, &path)?)
    }

    /// Rolling checksum after a local frame, by the mapping given.
    pub(crate) fn chain_at(&mut self, mapping: &Mapping, frame: u64) -> Result<Chain, LocalError> {
        self.wal()?;
        let Self {
            wal: Some(wal),
            chain,
            ..
        } = self
        else {
            return Ok(mapping.chain);
        };
        Ok(wal.read(|reading| {
            let salt = reading.position().salt;
            if !chain.belongs_to(salt, mapping.from, mapping.chain) {
                *chain = ChainIndex::new(salt, mapping.from, mapping.chain);
            }
            chain.at(reading, frame)
        })?)
    }

    /// Frames `first..=last` and the rolling checksum after them.
    pub(crate) fn frames(
        &mut self,
        mapping: &Mapping,
        first: u64,
        last: u64,
    ) -> Result<(Vec<u8>, Chain), LocalError> {
        let chain = self.chain_at(mapping, last)?;
        let mut body = Vec::new();
        self.wal()?
            .read(|reading| reading.frames_into(first, last, &mut body))?;
        Ok((body, chain))
    }

    /// Frames as the difference from what the other side holds, which has all up to `frame`; `None`
    /// when they have to be sent whole.
    pub(crate) fn delta(&mut self, frame: u64, body: &[u8]) -> Result<Option<Vec<u8>>, LocalError> {
        let wanted = |size| delta::pages_wanted(body, size);
        let known = self.on_pages(|index, reading| index.known_pages(reading, frame, wanted))?;
        match delta::encode(body, &known) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "frames are sent whole");
                Ok(None)
            }
        }
    }

    /// Reads in the WAL, with where it has which page.
    pub(crate) fn on_pages<R>(
        &mut self,
        work: impl FnOnce(&mut PageIndex, &Reading<'_>) -> Result<R, WalError>,
    ) -> Result<R, LocalError> {
        self.wal()?;
        let Self {
            wal, page_index, ..
        } = self;
        let wal = wal.as_mut().expect("it was opened above");
        Ok(wal.read(|reading| work(page_index, reading))?)
    }

    pub(crate) fn acknowledge(&mut self, frames: u64) {
        self.acknowledged = frames;
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Folds the WAL into the main file. Call it within the gate; `next` is what holds afterwards, or
    /// why nothing does.
    pub(crate) fn checkpoint(
        &mut self,
        next: Result<Mapping, Option<Lost>>,
    ) -> Result<Checkpoint, LocalError> {
        let frames = self.wal()?.position()?.frames;
        let intent = Next {
            frames,
            mapping: next.ok(),
            closes: None,
            counts_on: None,
            lost: next.err().flatten(),
        };
        if PlantedBug::CheckpointWithoutIntent.is_planted() {
            self.record.next = Some(intent);
        } else {
            self.change_record(|record| record.next = Some(intent))?;
        }
        crash::pass(CrashPoint::CheckpointIntent);
        match self.wal()?.checkpoint_truncate() {
            Ok(Checkpoint::Busy) => self.settle_checkpoint(),
            Ok(Checkpoint::Done) => {
                crash::pass(CrashPoint::CheckpointTruncated);
                self.observe()?;
                Ok(Checkpoint::Done)
            }
            Err(error) => {
                // It may have moved every frame before it failed.
                self.settle_checkpoint()?;
                Err(error.into())
            }
        }
    }

    /// Finds out what became of a checkpoint that met a reader, or failed. It may have moved every frame, and
    /// then the next writer begins the WAL anew. Within the gate that is us: a mark begins it anew
    /// now, or makes the WAL longer than what was moved.
    fn settle_checkpoint(&mut self) -> Result<Checkpoint, LocalError> {
        crash::pass(CrashPoint::CheckpointMetReader);
        let before = self.record.salt;
        if self.writer == Writer::Node
            && let Err(error) = self.wal()?.mark()
        {
            // Without knowing, the numbers had better be lost than wrong.
            self.change_record(|record| record.next = None)?;
            return if error.is_busy() {
                Ok(Checkpoint::Busy)
            } else {
                Err(error.into())
            };
        }
        self.observe()?;
        Ok(if self.record.salt == before {
            Checkpoint::Busy
        } else {
            Checkpoint::Done
        })
    }
}
