//! Frames of a transaction whose last frame has not arrived: held back, durable, counted.
//!
//! The file `<database>-tail` is a row of records, one for each push: magic, generation, first
//! frame, number of frames, BLAKE3 of all of that, frames. A torn last record was never answered
//! and is left out.

use std::{io, path::PathBuf};

use crate::{
    env::Files,
    frame::{Chain, Frame, frames},
    limits::FRAME_BYTES,
};

const MAGIC: [u8; 8] = *b"cftail1\0";
const HEADER_BYTES: usize = 8 + 8 + 8 + 8 + 32;

/// See the module.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    generation: u64,
    first: u64,
    body: Vec<u8>,
    /// Rolling checksum after the tail, once somebody asked.
    chain: Option<Chain>,
    /// Whether the file may hold anything.
    on_disk: bool,
}

impl Tail {
    /// Reads what the file holds.
    pub(super) fn load(files: &dyn Files, path: PathBuf) -> io::Result<Self> {
        let content = files.read(&path)?.unwrap_or_default();
        let on_disk = !content.is_empty();
        let mut tail = Self {
            path,
            generation: 0,
            first: 1,
            body: Vec::new(),
            chain: None,
            on_disk,
        };
        let mut rest = content.as_slice();
        while let Some((record, next)) = split_record(rest) {
            if tail.body.is_empty() {
                (tail.generation, tail.first) = (record.generation, record.first);
            } else if record.generation != tail.generation || record.first != tail.end() {
                break;
            }
            tail.body.extend_from_slice(record.body);
            rest = next;
        }
        Ok(tail)
    }

    /// Forgets what does not continue the WAL: it was joined already, or belongs to the past.
    pub(super) fn keep_only_after(
        &mut self,
        files: &dyn Files,
        generation: u64,
        committed: u64,
    ) -> io::Result<()> {
        if self.body.is_empty() || (self.generation, self.first) == (generation, committed + 1) {
            return Ok(());
        }
        self.clear(files)
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn count(&self) -> u64 {
        u64::try_from(frames(&self.body).len()).unwrap_or(u64::MAX)
    }

    /// One after the last frame.
    fn end(&self) -> u64 {
        self.first + self.count()
    }

    /// The held frame of that number.
    pub(super) fn frame(&self, number: u64) -> Option<Frame<'_>> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        frames(&self.body).nth(index)
    }

    /// Rolling checksum after the tail, given the one before.
    pub(super) fn chain(&mut self, before: Chain) -> Chain {
        if self.body.is_empty() {
            return before;
        }
        let body = &self.body;
        *self.chain.get_or_insert_with(|| before.after_all(body))
    }

    /// Adds frames durably; an empty tail begins at `first`.
    pub(super) fn append(
        &mut self,
        files: &dyn Files,
        generation: u64,
        first: u64,
        body: &[u8],
    ) -> io::Result<()> {
        let record = encode_record(generation, first, body);
        if self.body.is_empty() {
            // Also replaces a torn record, which nothing could be found behind.
            files.write_atomic(&self.path, &record)?;
            (self.generation, self.first) = (generation, first);
        } else {
            files.append_sync(&self.path, &record)?;
        }
        self.on_disk = true;
        self.body.extend_from_slice(body);
        self.chain = None;
        Ok(())
    }

    /// Forgets everything. A file that a crash leaves behind is told apart by its first frame.
    pub(super) fn clear(&mut self, files: &dyn Files) -> io::Result<()> {
        self.body = Vec::new();
        self.chain = None;
        if self.on_disk {
            files.remove_if_exists(&self.path)?;
            self.on_disk = false;
        }
        Ok(())
    }
}

struct RecordView<'a> {
    generation: u64,
    first: u64,
    body: &'a [u8],
}

fn encode_record(generation: u64, first: u64, body: &[u8]) -> Vec<u8> {
    let count = u64::try_from(frames(body).len()).unwrap_or(u64::MAX);
    let mut record = Vec::with_capacity(HEADER_BYTES + body.len());
    record.extend_from_slice(&MAGIC);
    for number in [generation, first, count] {
        record.extend_from_slice(&number.to_be_bytes());
    }
    let digest = digest(&record, body);
    record.extend_from_slice(&digest);
    record.extend_from_slice(body);
    record
}

fn split_record(bytes: &[u8]) -> Option<(RecordView<'_>, &[u8])> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
    let (fields, expected) = header.split_at_checked(HEADER_BYTES - 32)?;
    let number = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&fields[at..at + 8]);
        u64::from_be_bytes(number)
    };
    let length = usize::try_from(number(24)).ok()?.checked_mul(FRAME_BYTES)?;
    let (body, rest) = rest.split_at_checked(length)?;
    let intact = fields.starts_with(&MAGIC) && digest(fields, body) == expected;
    intact.then_some((
        RecordView {
            generation: number(8),
            first: number(16),
            body,
        },
        rest,
    ))
}

fn digest(fields: &[u8], body: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new()
        .update(fields)
        .update(body)
        .finalize()
        .as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::OsFiles;

    #[test]
    fn a_torn_record_is_left_out_and_the_rest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db-tail");
        let mut tail = Tail::load(&OsFiles, path.clone()).unwrap();
        tail.append(&OsFiles, 2, 10, &vec![1; FRAME_BYTES * 2])
            .unwrap();
        tail.append(&OsFiles, 2, 12, &vec![2; FRAME_BYTES]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for (length, frames) in [(whole.len(), 3), (whole.len() - 1, 2), (100, 0), (0, 0)] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let tail = Tail::load(&OsFiles, path.clone()).unwrap();
            assert_eq!(tail.count(), frames, "{length} bytes");
            assert!(frames == 0 || tail.frame(10).is_some());
        }
    }

    #[test]
    fn a_tail_that_does_not_continue_the_wal_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db-tail");
        let mut tail = Tail::load(&OsFiles, path.clone()).unwrap();
        tail.append(&OsFiles, 2, 10, &vec![1; FRAME_BYTES]).unwrap();
        tail.keep_only_after(&OsFiles, 2, 9).unwrap();
        assert_eq!(tail.count(), 1);
        tail.keep_only_after(&OsFiles, 2, 10).unwrap();
        assert_eq!(tail.count(), 0);
        assert!(!path.exists());
    }
}
