//! What a database at the hub was: closed generations with their frames, kept for a time.
//!
//! When a generation ends its frames would be gone; `History::keep` stores them first, and the main
//! file they begin with where no kept generation leads up to it. So every commit of that time can be
//! restored. `index.json` says what counts; everything else in the folder is named by it or left
//! over. Each database has a folder of its own. Blocking.

mod archive;
mod image;
mod index;
mod times;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(crate) use self::image::{CommitSearch, Image};
use self::{
    archive::{ArchiveWriter, read_archive},
    index::{Index, KeptBase, KeptFrames, base_name, frames_name},
    times::Note,
};
use crate::{
    env::{Files, create_folder},
    frame::Chain,
    limits::{FRAME_BYTES, HISTORY_BLOCK_BYTES},
    wal::{Wal, WalError},
};

/// Why a history cannot be kept or read. The database itself is unharmed.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A file of the history.
    #[error("cannot access {path} of the history")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system reports.
        #[source]
        source: io::Error,
    },
    /// A file of the history is not what was written.
    #[error("{path} of the history is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file that is to be restored into.
    #[error("cannot write the restored database {path}")]
    Target {
        /// The file.
        path: PathBuf,
        /// What the operating system reports.
        #[source]
        source: io::Error,
    },
    /// The database.
    #[error("the database cannot be read for its history")]
    Wal(#[from] WalError),
    /// A checkpoint is half done, so the main file is not what its generation began with.
    #[error("a checkpoint of {path} is half done, try again later")]
    Folding {
        /// The database.
        path: PathBuf,
    },
    /// Nothing is kept of that moment.
    #[error("frame {generation}/{frame} is not in the history")]
    NotKept {
        /// Generation asked for.
        generation: u64,
        /// Frame asked for.
        frame: u64,
    },
    /// Nothing is known of that time.
    #[error("the history does not reach back to that time")]
    TooEarly,
}

impl HistoryError {
    /// Whether the disk is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::File { source, .. } | Self::Target { source, .. } => {
                source.kind() == io::ErrorKind::StorageFull
            }
            _ => false,
        }
    }
}

/// A moment to go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The last commit that had arrived by then, milliseconds since the Unix epoch.
    At(i64),
    /// The last commit up to a frame of a generation.
    Frame {
        /// The generation.
        generation: u64,
        /// The frame, from 1; 0 is the generation's beginning.
        frame: u64,
    },
}

/// A commit: a generation and a frame that ends a transaction, or 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Commit {
    /// The generation.
    pub generation: u64,
    /// The frame.
    pub frame: u64,
}

/// A generation in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationRow {
    /// The generation.
    pub generation: u64,
    /// Its last frame.
    pub end_frame: u64,
    /// Size on disk in bytes, with the main file it begins with if that is kept.
    pub bytes: u64,
    /// When its first commit came, milliseconds since the Unix epoch; `None` when that was not noted.
    pub first_ms: Option<i64>,
    /// When its last commit came.
    pub last_ms: Option<i64>,
}

/// A generation that is about to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    pub(crate) generation: u64,
    pub(crate) end_frame: u64,
    pub(crate) chain_start: Chain,
    pub(crate) chain_end: Chain,
    /// Whether the main file is still what the generation began with.
    pub(crate) is_base_whole: bool,
}

/// See the module.
pub struct History {
    folder: PathBuf,
    files: Arc<dyn Files>,
    last_note: Option<(u64, Note)>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("History")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl History {
    /// The history in a folder, which is made when something is kept.
    #[must_use]
    pub fn new(folder: PathBuf, files: Arc<dyn Files>) -> Self {
        let last_note = None;
        Self {
            folder,
            files,
            last_note,
        }
    }

    /// Notes that the frames up to this one were committed by that time. Not synced.
    pub(crate) fn note(
        &mut self,
        generation: u64,
        frame: u64,
        at_ms: i64,
    ) -> Result<(), HistoryError> {
        if let Some((noted, last)) = self.last_note
            && (noted, last.frame) == (generation, frame)
        {
            return Ok(());
        }
        let note = Note { frame, at_ms };
        if !self.folder.is_dir() {
            self.make_folder()?;
        }
        times::append(&*self.files, &self.folder, generation, note)?;
        self.last_note = Some((generation, note));
        Ok(())
    }

    /// Stores a generation's frames, durably, before a checkpoint destroys them. May be repeated.
    pub(crate) fn keep(&mut self, wal: &mut Wal, closing: &Closing) -> Result<(), HistoryError> {
        self.make_folder()?;
        let mut index = self.index_or_new()?;
        let is_kept = |kept: &KeptFrames| {
            (kept.generation, kept.end_frame) == (closing.generation, closing.end_frame)
                && kept.chain_end == closing.chain_end
        };
        if index.generations.last().is_some_and(is_kept) {
            return Ok(());
        }
        index.forget_from(closing.generation);
        if self.is_base_due(&index, closing) {
            if !closing.is_base_whole {
                let path = wal.path().to_owned();
                return Err(HistoryError::Folding { path });
            }
            index.bases.push(self.keep_base(wal, closing)?);
        }
        index.generations.push(self.keep_frames(wal, closing)?);
        index.use_names_again();
        index.store(&*self.files, &self.folder)
    }

    /// A base is due where nothing leads up to the generation, and where the frames since the last
    /// one have cost as much as it did: restoring stays short, and old groups can be dropped.
    fn is_base_due(&self, index: &Index, closing: &Closing) -> bool {
        let Some(base) = index.bases.last() else {
            return true;
        };
        if (base.generation, base.chain) == (closing.generation, closing.chain_start) {
            return false;
        }
        let leads_here = index.generations.last().is_some_and(|last| {
            (last.generation + 1, last.chain_end) == (closing.generation, closing.chain_start)
        });
        let since = index
            .generations
            .iter()
            .filter(|kept| kept.generation >= base.generation);
        !leads_here || since.map(|kept| kept.bytes).sum::<u64>() >= base.bytes
    }

    fn keep_base(&self, wal: &Wal, closing: &Closing) -> Result<KeptBase, HistoryError> {
        let path = self.folder.join(base_name(closing.generation));
        let mut archive = ArchiveWriter::begin(&*self.files, &path)?;
        wal.each_main_part(HISTORY_BLOCK_BYTES, |part| archive.block(part))?;
        Ok(KeptBase {
            generation: closing.generation,
            chain: closing.chain_start,
            bytes: archive.finish()?,
        })
    }

    fn keep_frames(&self, wal: &mut Wal, closing: &Closing) -> Result<KeptFrames, HistoryError> {
        let generation = closing.generation;
        let path = self.folder.join(frames_name(generation));
        let mut archive = ArchiveWriter::begin(&*self.files, &path)?;
        each_frames(wal, closing.end_frame, |body| archive.block(body))?;
        let bytes = archive.finish()?;
        let notes = times::load(&*self.files, &self.folder, generation)?;
        Ok(KeptFrames {
            generation,
            end_frame: closing.end_frame,
            chain_start: closing.chain_start,
            chain_end: closing.chain_end,
            bytes,
            first_ms: notes.first().map(|note| note.at_ms),
            last_ms: notes.iter().map(|note| note.at_ms).max(),
        })
    }

    /// The generations that can be restored, ascending.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn generations(&self) -> Result<Vec<GenerationRow>, HistoryError> {
        let index = self.index()?;
        let reachable = index
            .generations
            .iter()
            .filter(|kept| index.way_to(kept.generation).is_some());
        let row = |kept: &KeptFrames| {
            let base = index
                .bases
                .iter()
                .find(|base| base.generation == kept.generation);
            GenerationRow {
                generation: kept.generation,
                end_frame: kept.end_frame,
                bytes: kept.bytes + base.map_or(0, |base| base.bytes),
                first_ms: kept.first_ms,
                last_ms: kept.last_ms,
            }
        };
        Ok(reachable.map(row).collect())
    }

    /// When the first and the last commit of a generation came, as far as that was noted.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn times_of(&self, generation: u64) -> Result<Option<(i64, i64)>, HistoryError> {
        let notes = times::load(&*self.files, &self.folder, generation)?;
        let first = notes.first().map(|note| note.at_ms);
        Ok(first.zip(notes.iter().map(|note| note.at_ms).max()))
    }

    /// When a commit had arrived: the first note that covers it.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn time_of(&self, commit: Commit) -> Result<Option<i64>, HistoryError> {
        let notes = times::load(&*self.files, &self.folder, commit.generation)?;
        let covers = notes.iter().find(|note| note.frame >= commit.frame);
        Ok(covers.map(|note| note.at_ms))
    }

    /// Where a moment is; `current` is the generation that has not ended.
    ///
    /// # Errors
    /// [`HistoryError::TooEarly`] and what reading reports.
    pub fn find(&self, moment: Moment, current: u64) -> Result<Commit, HistoryError> {
        let at_ms = match moment {
            Moment::Frame { generation, frame } => return Ok(Commit { generation, frame }),
            Moment::At(at_ms) => at_ms,
        };
        let kept = self.generations()?.into_iter().rev();
        for generation in [current]
            .into_iter()
            .chain(kept.map(|row| row.generation).filter(|it| *it != current))
        {
            let notes = times::load(&*self.files, &self.folder, generation)?;
            let in_time = notes.iter().filter(|note| note.at_ms <= at_ms);
            if let Some(frame) = in_time.map(|note| note.frame).max() {
                return Ok(Commit { generation, frame });
            }
        }
        Err(HistoryError::TooEarly)
    }

    /// Puts together the database as of the last commit up to `wanted`, in a generation that has
    /// ended. The file must not be there yet. Compared with the rolling checksum throughout.
    ///
    /// # Errors
    /// [`HistoryError`]; a file that was begun is removed.
    pub fn restore(&self, wanted: Commit, into: &Path) -> Result<Commit, HistoryError> {
        let index = self.index()?;
        let Some((base, way)) = index.way_to(wanted.generation) else {
            return Err(not_kept(wanted));
        };
        let mut search = CommitSearch::default();
        let last = self.folder.join(frames_name(wanted.generation));
        read_archive(&*self.files, &last, |body| {
            search.pass(body, wanted.frame);
            Ok(())
        })?;
        let found = Commit {
            generation: wanted.generation,
            frame: search.commit,
        };
        let mut image = Image::create(into, base.chain)?;
        let built = self.build(&mut image, base, way, found);
        let finished = built.and_then(|()| image.finish());
        if finished.is_err() {
            // The error says why; half a database helps nobody.
            fs::remove_file(into).ok();
        }
        finished.map(|()| found)
    }

    fn build(
        &self,
        image: &mut Image,
        base: &KeptBase,
        way: &[KeptFrames],
        until: Commit,
    ) -> Result<(), HistoryError> {
        let path = self.folder.join(base_name(base.generation));
        read_archive(&*self.files, &path, |part| image.append(part))?;
        for kept in way {
            let path = self.folder.join(frames_name(kept.generation));
            let last = if kept.generation == until.generation {
                until.frame
            } else {
                kept.end_frame
            };
            image.begin_generation();
            read_archive(&*self.files, &path, |body| image.lay(body, last))?;
            if image.chain() != kept.chain_end {
                return Err(HistoryError::Damaged { path });
            }
        }
        Ok(())
    }

    /// Forgets what is not needed to go back to a time, milliseconds since the Unix epoch, or later:
    /// whole groups from one main file to the next.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn prune(&mut self, before_ms: i64) -> Result<(), HistoryError> {
        let mut index = self.index()?;
        let before = index.clone();
        while let Some(second) = index.bases.get(1) {
            // What held at that time must still be there.
            let reaches_back = index
                .generations
                .iter()
                .filter(|kept| kept.generation >= second.generation)
                .any(|kept| kept.first_ms.is_some_and(|first_ms| first_ms <= before_ms));
            if !reaches_back {
                break;
            }
            index.forget_oldest();
        }
        if index == before && index.unused.is_empty() {
            return Ok(());
        }
        index.store(&*self.files, &self.folder)
    }

    /// Forgets the oldest group, when all histories together have become too large.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn forget_oldest(&mut self) -> Result<(), HistoryError> {
        let mut index = self.index()?;
        index.forget_oldest();
        index.store(&*self.files, &self.folder)
    }

    /// Size on disk in bytes.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn bytes(&self) -> Result<u64, HistoryError> {
        Ok(self.index()?.bytes())
    }

    fn index(&self) -> Result<Index, HistoryError> {
        Index::load(&*self.files, &self.folder)
    }

    /// A damaged index is no reason to keep nothing from now on.
    fn index_or_new(&self) -> Result<Index, HistoryError> {
        match self.index() {
            Err(error @ HistoryError::Damaged { .. }) => {
                tracing::warn!(%error, "a history begins anew");
                Ok(Index::default())
            }
            index => index,
        }
    }

    fn make_folder(&self) -> Result<(), HistoryError> {
        create_folder(&self.folder).map_err(|source| HistoryError::File {
            path: self.folder.clone(),
            source,
        })
    }
}

fn not_kept(wanted: Commit) -> HistoryError {
    let Commit { generation, frame } = wanted;
    HistoryError::NotKept { generation, frame }
}

/// Gives the frames of a WAL up to `last` in bodies of one block.
pub(crate) fn each_frames(
    wal: &mut Wal,
    last: u64,
    mut each: impl FnMut(&[u8]) -> Result<(), HistoryError>,
) -> Result<(), HistoryError> {
    let step = u64::try_from(HISTORY_BLOCK_BYTES.div_euclid(FRAME_BYTES)).unwrap_or(1);
    let (mut first, mut body) = (1, Vec::new());
    while first <= last {
        let until = last.min(first + step - 1);
        body.clear();
        wal.read(|reading| reading.frames_into(first, until, &mut body))?;
        each(&body)?;
        first = until + 1;
    }
    Ok(())
}
