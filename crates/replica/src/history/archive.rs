//! One file of the history: a row of compressed blocks between a magic and a digest.
//!
//! Magic, then for each block its compressed length (4 bytes, big-endian) and a zstd frame, then
//! length 0 and the BLAKE3 of all blocks as they were before compression. It is written under
//! another name and renamed when it is whole, so a file with the right name has its end.

use std::{
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use super::HistoryError;
use crate::{
    env::{Files, files::beside},
    limits::{HISTORY_BLOCK_BYTES, ZSTD_LEVEL},
};

const MAGIC: &[u8; 8] = b"cfhist1\0";
const LENGTH_BYTES: usize = 4;
const DIGEST_BYTES: usize = 32;

/// Longest distance at which a repeated page is recognised: a whole block.
const WINDOW_LOG: u32 = 24;

/// An archive on its way to disk.
pub(super) struct ArchiveWriter<'a> {
    files: &'a dyn Files,
    path: PathBuf,
    part: PathBuf,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<'a> ArchiveWriter<'a> {
    /// Begins the archive that will be called `path`.
    pub(super) fn begin(files: &'a dyn Files, path: &Path) -> Result<Self, HistoryError> {
        let part = beside(path, ".part");
        let mut writer = Self {
            files,
            path: path.to_owned(),
            part,
            hasher: blake3::Hasher::new(),
            bytes: 0,
        };
        let removed = writer.files.remove_if_exists(&writer.part);
        removed.map_err(|source| writer.failed(source))?;
        writer.append(MAGIC)?;
        Ok(writer)
    }

    /// Adds at most [`HISTORY_BLOCK_BYTES`].
    pub(super) fn block(&mut self, plain: &[u8]) -> Result<(), HistoryError> {
        debug_assert!(plain.len() <= HISTORY_BLOCK_BYTES, "a block has its limit");
        if plain.is_empty() {
            return Ok(());
        }
        self.hasher.update(plain);
        let packed = pack(plain).map_err(|source| self.failed(source))?;
        let length = u32::try_from(packed.len()).unwrap_or(u32::MAX);
        let record = [length.to_be_bytes().as_slice(), &packed].concat();
        self.append(&record)
    }

    /// Ends the archive, durably; its size in bytes.
    pub(super) fn finish(mut self) -> Result<u64, HistoryError> {
        let digest = *self.hasher.finalize().as_bytes();
        self.append(&[[0; LENGTH_BYTES].as_slice(), &digest].concat())?;
        let renamed = self.files.rename_durable(&self.part, &self.path);
        renamed.map_err(|source| self.failed(source))?;
        Ok(self.bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), HistoryError> {
        let appended = self.files.append_sync(&self.part, bytes);
        appended.map_err(|source| self.failed(source))?;
        self.bytes += u64::try_from(bytes.len()).unwrap_or_default();
        Ok(())
    }

    fn failed(&self, source: io::Error) -> HistoryError {
        HistoryError::File {
            path: self.path.clone(),
            source,
        }
    }
}

/// Gives the blocks of an archive to `each`, in order, and compares the digest at the end.
pub(super) fn read_archive(
    files: &dyn Files,
    path: &Path,
    mut each: impl FnMut(&[u8]) -> Result<(), HistoryError>,
) -> Result<(), HistoryError> {
    let damaged = || HistoryError::Damaged {
        path: path.to_owned(),
    };
    let mut offset = 0;
    let mut next = |length: usize| {
        let read = files.read_range(path, offset, length);
        let bytes = read.map_err(|source| HistoryError::File {
            path: path.to_owned(),
            source,
        })?;
        offset += u64::try_from(length).unwrap_or_default();
        if bytes.len() == length {
            Ok(bytes)
        } else {
            Err(damaged())
        }
    };
    if next(MAGIC.len())? != MAGIC {
        return Err(damaged());
    }
    let mut hasher = blake3::Hasher::new();
    loop {
        let length = next(LENGTH_BYTES)?
            .iter()
            .fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
        if length == 0 {
            break;
        }
        // Incompressible content grows by a few bytes.
        if length > HISTORY_BLOCK_BYTES * 2 {
            return Err(damaged());
        }
        let block = unpack(&next(length)?).map_err(|_| damaged())?;
        hasher.update(&block);
        each(&block)?;
    }
    if next(DIGEST_BYTES)? == hasher.finalize().as_bytes() {
        Ok(())
    } else {
        Err(damaged())
    }
}

fn pack(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
    encoder.window_log(WINDOW_LOG)?;
    encoder.long_distance_matching(true)?;
    encoder.write_all(plain)?;
    encoder.finish()
}

fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(HISTORY_BLOCK_BYTES).unwrap_or(u64::MAX);
    let mut plain = Vec::new();
    zstd::stream::Decoder::new(packed)?
        .take(limit + 1)
        .read_to_end(&mut plain)?;
    if plain.len() > HISTORY_BLOCK_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(plain)
}
