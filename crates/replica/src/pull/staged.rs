//! A downloaded catalog that waits beside the old one until every frame has arrived.
//!
//! Frames go into it through a handle of its own. Folding makes it one self-contained file whose
//! numbers go on where its frames ended; only then may the swap's intent be recorded.

use std::path::{Path, PathBuf};

use super::steps::{self, Source, Step};
use crate::{
    chain::ChainIndex,
    crash::{self, CrashPoint},
    env::Files,
    frame::Chain,
    local::LocalError,
    numbering::Mapping,
    planted::PlantedBug,
    remote::HubInfo,
    swap,
    wal::{Checkpoint, Durability, Wal},
};

/// See the module.
pub(crate) struct Staged {
    path: PathBuf,
    source: Source,
    mapping: Mapping,
    /// `None` while the file is whole, so that it can be moved.
    wal: Option<Wal>,
}

impl Staged {
    /// The hub's file, as it was downloaded to where it waits.
    pub(crate) fn begin(database: &Path, source: Source) -> Self {
        let mapping = Mapping {
            generation: source.generation,
            shift: 0,
            from: 0,
            chain: source.chain_start.unwrap_or(source.file_digest),
        };
        Self {
            path: swap::incoming_path(database),
            source,
            mapping,
            wal: None,
        }
    }

    /// Goes on where the process ended: with the frames that had arrived, by the numbers that the steps
    /// after the whole file say.
    pub(crate) fn resume(
        files: &dyn Files,
        database: &Path,
        source: Source,
        folds: &[Step],
    ) -> Result<Self, LocalError> {
        let mut staged = Self::begin(database, source);
        let mut wal = Wal::open(&staged.path, Durability::Normal)?;
        let frames = wal.position()?.frames;
        let mut begun = None;
        for step in folds {
            match step {
                Step::Folding(mapping) => begun = Some(*mapping),
                Step::Folded => staged.mapping = begun.take().unwrap_or(staged.mapping),
                Step::Began(_) | Step::Part { .. } | Step::Whole => {}
            }
        }
        // One that was begun took place if no frame is left.
        if let (Some(mapping), 0) = (begun, frames) {
            staged.mapping = mapping;
            steps::append(files, database, Step::Folded)?;
        }
        staged.wal = Some(wal);
        Ok(staged)
    }

    pub(crate) fn mapping(&self) -> Mapping {
        self.mapping
    }

    /// Whether it is one self-contained file.
    pub(crate) fn is_folded(&self) -> bool {
        self.wal.is_none()
    }

    /// The hub frame it holds, when what the hub describes now continues it.
    pub(crate) fn continues(&mut self, info: &HubInfo) -> Result<Option<u64>, LocalError> {
        let frame = self.frame()?;
        let same = self.source.is_of(info) && frame <= info.max_frame_no;
        Ok(same.then_some(frame))
    }

    /// The last hub frame it holds.
    pub(crate) fn frame(&mut self) -> Result<u64, LocalError> {
        let frames = match &mut self.wal {
            Some(wal) => wal.position()?.frames,
            None => 0,
        };
        // Never negative: the file begins with its generation.
        Ok(u64::try_from(self.mapping.hub_frame(frames)).unwrap_or_default())
    }

    /// Inserts whole transactions; false when they do not follow what it holds.
    pub(crate) fn insert(&mut self, first: u64, body: &[u8]) -> Result<bool, LocalError> {
        if self.frame()? + 1 != first {
            return Ok(false);
        }
        let Ok(local) = u64::try_from(self.mapping.local_frame(first)) else {
            return Ok(false);
        };
        let mut wal = match self.wal.take() {
            Some(wal) => wal,
            // Nothing of it counts before it is folded, and folding syncs.
            None => Wal::open(&self.path, Durability::Normal)?,
        };
        let inserted = wal.insert(local, body);
        self.wal = Some(wal);
        inserted?;
        crash::pass(CrashPoint::BootstrapInserted);
        Ok(true)
    }

    /// Whether its content at the frame that the hub described is the hub's.
    pub(crate) fn agrees(&mut self, info: &HubInfo) -> Result<bool, LocalError> {
        let frame = u64::try_from(self.mapping.local_frame(info.max_frame_no));
        match (info.chain, frame) {
            (Some(expected), Ok(frame)) => {
                let seed = self.mapping.chain;
                let chain = match &mut self.wal {
                    Some(wal) => chain_at(wal, seed, frame)?,
                    None => seed,
                };
                Ok(chain == expected || PlantedBug::DigestNotCompared.is_planted())
            }
            _ => Ok(true),
        }
    }

    /// Makes it one durable file and gives back the mapping of its next frames. After an error it is
    /// not to be used any more.
    pub(crate) fn fold(
        &mut self,
        files: &dyn Files,
        database: &Path,
    ) -> Result<Mapping, LocalError> {
        let Some(mut wal) = self.wal.take() else {
            return Ok(self.mapping);
        };
        let frames = wal.position()?.frames;
        if frames == 0 {
            drop(wal);
            swap::clear_incoming_wal(files, database)?;
            return Ok(self.mapping);
        }
        let chain = chain_at(&mut wal, self.mapping.chain, frames)?;
        let next = self.mapping.after_checkpoint(frames, chain);
        // Frames that a power cut takes away must not look as if they had been folded.
        wal.sync()?;
        steps::append(files, database, Step::Folding(next))?;
        crash::pass(CrashPoint::BootstrapFolding);
        if wal.checkpoint_truncate()? == Checkpoint::Busy {
            let path = self.path.clone();
            return Err(LocalError::Busy { path });
        }
        drop(wal);
        crash::pass(CrashPoint::BootstrapTruncated);
        steps::append(files, database, Step::Folded)?;
        swap::clear_incoming_wal(files, database)?;
        crash::pass(CrashPoint::BootstrapFolded);
        self.mapping = next;
        Ok(next)
    }
}

fn chain_at(wal: &mut Wal, seed: Chain, frame: u64) -> Result<Chain, LocalError> {
    Ok(wal.read(|reading| {
        let mut index = ChainIndex::new(reading.position().salt, 0, seed);
        index.at(reading, frame)
    })?)
}
