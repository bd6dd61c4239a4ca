//! A downloaded catalog that waits beside the old one until every frame has arrived.
//!
//! Frames go into it through a handle of its own. Folding makes it one self-contained file whose
//! numbers go on where its frames ended; only then may the swap's intent be recorded.

use std::path::{Path, PathBuf};

use crate::{
    chain::ChainIndex,
    crash::{self, CrashPoint},
    env::Files,
    frame::Chain,
    local::LocalError,
    numbering::Mapping,
    remote::HubInfo,
    swap,
    wal::{Checkpoint, Durability, Wal},
};

/// See the module.
pub(crate) struct Staged {
    path: PathBuf,
    mapping: Mapping,
    /// What the hub said its generation began with; `None` from a server that is not ours.
    chain_start: Option<Chain>,
    /// `None` while the file is whole, so that it can be moved.
    wal: Option<Wal>,
}

impl Staged {
    /// Stores the hub's export beside the database. What was staged before must be dropped.
    pub(crate) fn begin(
        files: &dyn Files,
        database: &Path,
        bytes: &[u8],
        info: &HubInfo,
    ) -> Result<Self, LocalError> {
        swap::stage(files, database, bytes)?;
        crash::pass(CrashPoint::BootstrapStaged);
        let mapping = Mapping {
            generation: info.generation,
            shift: 0,
            from: 0,
            chain: info.chain_start.unwrap_or_else(|| Chain::of_base(bytes)),
        };
        Ok(Self {
            path: swap::incoming_path(database),
            mapping,
            chain_start: info.chain_start,
            wal: None,
        })
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
        let same = self.mapping.generation == info.generation
            && self.chain_start.is_some()
            && self.chain_start == info.chain_start
            && frame <= info.max_frame_no;
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
            (Some(expected), Ok(frame)) => Ok(self.chain_at(frame)? == expected),
            _ => Ok(true),
        }
    }

    fn chain_at(&mut self, frame: u64) -> Result<Chain, LocalError> {
        let seed = self.mapping.chain;
        match &mut self.wal {
            Some(wal) => Ok(wal.read(|reading| {
                ChainIndex::new(reading.position().salt, 0, seed).at(reading, frame)
            })?),
            None => Ok(seed),
        }
    }

    /// Makes it one durable file and gives back the mapping of its next frames. After an error it is
    /// not to be used any more.
    pub(crate) fn fold(
        &mut self,
        files: &dyn Files,
        database: &Path,
    ) -> Result<Mapping, LocalError> {
        let frames = match &mut self.wal {
            Some(wal) => wal.position()?.frames,
            None => return Ok(self.mapping),
        };
        let chain = self.chain_at(frames)?;
        let next = self.mapping.after_checkpoint(frames, chain);
        if let Some(mut wal) = self.wal.take()
            && wal.checkpoint_truncate()? == Checkpoint::Busy
        {
            let path = self.path.clone();
            return Err(LocalError::Busy { path });
        }
        swap::clear_incoming_wal(files, database)?;
        crash::pass(CrashPoint::BootstrapFolded);
        self.mapping = next;
        Ok(next)
    }
}
