//! What a copy is now: opening, completing what was interrupted, and keeping the record true.

use super::{Copy, CopyError, CopyKind, Now};
use crate::{
    chain::ChainIndex,
    frame::Chain,
    numbering::{MainFile, Mapping, Record, Resolution},
    swap,
    wal::{Durability, Wal},
};

impl Copy {
    /// Finds out what the database is now, and brings record, checksum and tail up to it.
    pub(super) fn observe(&mut self) -> Result<Now, CopyError> {
        if self.unsynced {
            return Err(CopyError::Unsynced {
                path: self.path.clone(),
            });
        }
        if self.record.swap.is_some() {
            self.wal = None;
            swap::finish(&*self.files, &self.path, &mut self.record)?;
        }
        let mut position = self.wal()?.position()?;
        let before = self.record.clone();
        let resolution = self.record.resolve(position.salt, position.frames);
        if self.kind == CopyKind::Written && position.frames == 0 {
            self.wal()?.mark()?;
            position = self.wal()?.position()?;
            self.record.salt = position.salt;
        }
        let mapping = match self.record.mapping {
            Some(mapping) => mapping,
            None => self.begin_anew(before.mapping, resolution)?,
        };
        if self.record.main.is_none() && !self.record.folding {
            self.record.main = Some(self.main_now()?);
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
        if !self.chain.belongs_to(position.salt, 0, mapping.chain) {
            self.chain = ChainIndex::new(position.salt, 0, mapping.chain);
        }
        self.tail
            .keep_only_after(&*self.files, mapping.generation, position.frames)
            .map_err(|source| self.tail_failed(source))?;
        Ok(Now { position, mapping })
    }

    /// A generation whose past is unknown: the first one, or after somebody else's checkpoint.
    pub(super) fn begin_anew(
        &mut self,
        before: Option<Mapping>,
        resolution: Resolution,
    ) -> Result<Mapping, CopyError> {
        let main = self.main_now()?;
        let chain = main.digest;
        (self.record.main, self.record.folding) = (Some(main), false);
        let generation = before.map_or(1, |mapping| mapping.generation + 1);
        if generation > 1 {
            let path = self.path.display();
            tracing::warn!(%path, generation, ?resolution, "the copy's frames are lost");
        }
        let mapping = Mapping {
            generation,
            shift: 0,
            from: 0,
            chain,
        };
        self.record.mapping = Some(mapping);
        self.record.closed.clear();
        self.record.counted_on.clear();
        Ok(mapping)
    }

    /// Size and digest of the main file as it is.
    pub(super) fn main_now(&mut self) -> Result<MainFile, CopyError> {
        let (bytes, digest) = self.wal()?.main_digest()?;
        Ok(MainFile { bytes, digest })
    }

    pub(super) fn wal(&mut self) -> Result<&mut Wal, CopyError> {
        let durability = match self.kind {
            CopyKind::Pushed => Durability::Normal,
            CopyKind::Written => Durability::Full,
        };
        let wal = match self.wal.take() {
            Some(wal) => wal,
            None => Wal::open(&self.path, durability)?,
        };
        Ok(self.wal.insert(wal))
    }

    pub(super) fn chain_at(&mut self, frame: u64) -> Result<Chain, CopyError> {
        self.wal()?;
        let Self {
            wal: Some(wal),
            chain,
            ..
        } = self
        else {
            return Ok(Chain([0; 32]));
        };
        Ok(wal.read(|reading| chain.at(reading, frame))?)
    }

    /// Rolling checksum after a held-back frame, or after all of them.
    pub(super) fn tail_chain(
        &mut self,
        committed: Chain,
        last: Option<u64>,
    ) -> Result<Chain, CopyError> {
        let chain = self.tail.chain(&*self.files, committed, last);
        chain.map_err(|source| self.tail_failed(source))
    }

    pub(super) fn sync(&mut self) -> Result<(), CopyError> {
        self.wal()?.sync().map_err(|error| {
            self.unsynced = true;
            error.into()
        })
    }

    pub(super) fn change_record(
        &mut self,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), CopyError> {
        let mut record = self.record.clone();
        change(&mut record);
        record.store(&*self.files, &swap::record_path(&self.path))?;
        self.record = record;
        Ok(())
    }

    pub(super) fn tail_failed(&self, source: std::io::Error) -> CopyError {
        CopyError::Tail {
            path: self.path.clone(),
            source,
        }
    }
}
