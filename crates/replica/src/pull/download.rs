//! The file that a generation began with, on its way in: part by part, each durable before the next is
//! asked for.

use std::path::Path;

use super::steps::{self, Source, Step};
use crate::{
    crash::{self, CrashPoint},
    env::Files,
    frame::Chain,
    limits::PAGE_BYTES,
    local::LocalError,
    remote::Part,
    swap::{self, BaseRefusal},
};

/// See the module.
pub(crate) struct Download {
    source: Source,
    stored: u64,
    hasher: blake3::Hasher,
}

impl Download {
    /// Begins with an empty file. What was there before must be discarded.
    pub(crate) fn begin(
        files: &dyn Files,
        database: &Path,
        source: Source,
    ) -> Result<Self, LocalError> {
        steps::append(files, database, Step::Began(source))?;
        Ok(Self {
            source,
            stored: 0,
            hasher: blake3::Hasher::new(),
        })
    }

    /// Goes on where the process ended: with the parts whose content is what was recorded.
    pub(crate) fn resume(
        files: &dyn Files,
        database: &Path,
        source: Source,
        parts: &[(u64, Chain)],
    ) -> Result<Self, LocalError> {
        let path = steps::part_path(database);
        let (mut stored, mut hasher) = (0, blake3::Hasher::new());
        let mut kept = Vec::new();
        for (bytes, digest) in parts {
            let length = usize::try_from(*bytes).unwrap_or(usize::MAX);
            let part = files
                .read_range(&path, stored, length)
                .map_err(swap::failed(&path))?;
            if part.len() != length || Chain::of_base(&part) != *digest {
                break;
            }
            hasher.update(&part);
            stored += bytes;
            kept.push((*bytes, *digest));
        }
        // A torn part, or one that was not recorded.
        files
            .truncate_sync(&path, stored)
            .map_err(swap::failed(&path))?;
        if kept.len() < parts.len() {
            steps::forget(files, database)?;
            steps::append(files, database, Step::Began(source))?;
            for (bytes, digest) in kept {
                steps::append(files, database, Step::Part { bytes, digest })?;
            }
        }
        Ok(Self {
            source,
            stored,
            hasher,
        })
    }

    pub(crate) fn source(&self) -> Source {
        self.source
    }

    /// The first page that is missing, from 1.
    pub(crate) fn next_page(&self) -> u64 {
        let page_bytes = u64::try_from(PAGE_BYTES).unwrap_or(u64::MAX);
        self.stored.div_euclid(page_bytes) + 1
    }

    /// Whether every part is stored.
    pub(crate) fn is_complete(&self) -> bool {
        self.stored >= self.source.file_bytes
    }

    /// Stores a part that follows what is there.
    pub(crate) fn store(
        &mut self,
        files: &dyn Files,
        database: &Path,
        part: &Part,
    ) -> Result<(), LocalError> {
        let path = steps::part_path(database);
        let (digest, bytes) = (part.digest, part.bytes.len());
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        files
            .append_sync(&path, &part.bytes)
            .map_err(swap::failed(&path))?;
        steps::append(files, database, Step::Part { bytes, digest })?;
        crash::pass(CrashPoint::BootstrapPart);
        self.hasher.update(&part.bytes);
        self.stored += bytes;
        Ok(())
    }

    /// Checks the whole file and puts it where it waits for its frames.
    ///
    /// The inner error says that the hub sent something else than it meant to, or no database.
    pub(crate) fn finish(
        self,
        files: &dyn Files,
        database: &Path,
    ) -> Result<Result<Source, BaseRefusal>, LocalError> {
        let path = steps::part_path(database);
        if self.stored != self.source.file_bytes
            || Chain(*self.hasher.finalize().as_bytes()) != self.source.file_digest
                && !crate::planted::PlantedBug::DigestNotCompared.is_planted()
        {
            return Ok(Err(BaseRefusal::Digest));
        }
        let head = files
            .read_range(&path, 0, PAGE_BYTES)
            .map_err(swap::failed(&path))?;
        if !swap::is_base(&head, self.stored) {
            return Ok(Err(BaseRefusal::Content));
        }
        steps::append(files, database, Step::Whole)?;
        crash::pass(CrashPoint::BootstrapWhole);
        move_in(files, database)?;
        crash::pass(CrashPoint::BootstrapStaged);
        Ok(Ok(self.source))
    }
}

/// Puts the whole file where it waits for its frames; does nothing when it is there already.
pub(crate) fn move_in(files: &dyn Files, database: &Path) -> Result<(), LocalError> {
    let path = steps::part_path(database);
    if files.exists(&path).map_err(swap::failed(&path))? {
        // Of an earlier file; it would be mistaken for this one's.
        swap::clear_incoming_wal(files, database)?;
        let incoming = swap::incoming_path(database);
        files
            .rename_durable(&path, &incoming)
            .map_err(swap::failed(&path))?;
    }
    Ok(())
}
