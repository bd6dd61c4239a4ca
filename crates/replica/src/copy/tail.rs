//! Frames of a transaction whose last frame has not arrived: held back, durable, counted.
//!
//! The file `<database>-tail` is a row of records, one for each push: magic, generation, first
//! frame, number of frames, BLAKE3 of all of that, frames. A torn last record was never answered
//! and is cut off. The frames stay in the file; memory holds where they lie.

use std::{io, path::PathBuf};

use crate::{
    env::Files,
    frame::{Chain, frames},
    limits::{CHAIN_STRIDE_FRAMES, FRAME_BYTES},
};

const MAGIC: [u8; 8] = *b"cftail1\0";
const HEADER_BYTES: usize = 8 + 8 + 8 + 8 + 32;

/// See the module.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    generation: u64,
    first: u64,
    records: Vec<Held>,
    /// Whether the file may hold anything.
    on_disk: bool,
    /// Whether part of a record may stand behind the last one.
    is_torn: bool,
}

/// Where the frames of one record lie.
#[derive(Clone, Copy, Debug)]
struct Held {
    first: u64,
    count: u64,
    /// Of the first frame in the file.
    offset: u64,
    /// Rolling checksum after the last frame, once somebody asked.
    chain: Option<Chain>,
}

impl Held {
    fn end(&self) -> u64 {
        self.first + self.count
    }

    /// Where the record ends in the file.
    fn end_offset(&self) -> u64 {
        self.offset + self.count * frame_bytes()
    }
}

impl Tail {
    /// Reads what the file holds, and cuts off what does not belong to it.
    pub(super) fn load(files: &dyn Files, path: PathBuf) -> io::Result<Self> {
        let on_disk = files.exists(&path)?;
        let mut tail = Self {
            path,
            generation: 0,
            first: 1,
            records: Vec::new(),
            on_disk,
            is_torn: false,
        };
        let mut offset = 0;
        while let Some((generation, held)) = tail.record_at(files, offset)? {
            if tail.records.is_empty() {
                (tail.generation, tail.first) = (generation, held.first);
            } else if generation != tail.generation || held.first != tail.end() {
                break;
            }
            offset = held.end_offset();
            tail.records.push(held);
        }
        if on_disk && !files.read_range(&tail.path, offset, 1)?.is_empty() {
            // Nothing could be found behind it.
            files.truncate_sync(&tail.path, offset)?;
        }
        Ok(tail)
    }

    /// The record that begins there, when it is whole.
    fn record_at(&self, files: &dyn Files, offset: u64) -> io::Result<Option<(u64, Held)>> {
        let header = files.read_range(&self.path, offset, HEADER_BYTES)?;
        let Some((fields, expected)) = header.split_at_checked(HEADER_BYTES - 32) else {
            return Ok(None);
        };
        if expected.len() != 32 || !fields.starts_with(&MAGIC) {
            return Ok(None);
        }
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&fields[at..at + 8]);
            u64::from_be_bytes(number)
        };
        let held = Held {
            first: number(16),
            count: number(24),
            offset: offset + u64::try_from(HEADER_BYTES).unwrap_or(0),
            chain: None,
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(fields);
        let mut left = held.count;
        while left > 0 {
            let part = left.min(CHAIN_STRIDE_FRAMES);
            let at = held.offset + (held.count - left) * frame_bytes();
            let body = files.read_range(&self.path, at, bytes_of(part))?;
            if body.len() != bytes_of(part) {
                return Ok(None);
            }
            hasher.update(&body);
            left -= part;
        }
        let intact = held.count > 0 && *hasher.finalize().as_bytes() == *expected;
        Ok(intact.then_some((number(8), held)))
    }

    /// Forgets what does not continue the WAL: it was joined already, or belongs to the past.
    pub(super) fn keep_only_after(
        &mut self,
        files: &dyn Files,
        generation: u64,
        committed: u64,
    ) -> io::Result<()> {
        if self.records.is_empty() || (self.generation, self.first) == (generation, committed + 1) {
            return Ok(());
        }
        self.clear(files)
    }

    pub(super) fn count(&self) -> u64 {
        self.records.iter().map(|held| held.count).sum()
    }

    /// Bytes that the frames take.
    pub(super) fn bytes(&self) -> u64 {
        self.count() * frame_bytes()
    }

    /// One after the last frame.
    fn end(&self) -> u64 {
        self.first + self.count()
    }

    /// Frames from `first` to at most `last`, at least one and few enough for memory; none when the
    /// tail does not hold the first.
    pub(super) fn read(&self, files: &dyn Files, first: u64, last: u64) -> io::Result<Vec<u8>> {
        let holding = |held: &&Held| (held.first..held.end()).contains(&first);
        let Some(held) = self.records.iter().find(holding) else {
            return Ok(Vec::new());
        };
        let end = (last + 1).min(held.end()).min(first + CHAIN_STRIDE_FRAMES);
        let offset = held.offset + (first - held.first) * frame_bytes();
        let length = bytes_of(end.saturating_sub(first));
        let body = files.read_range(&self.path, offset, length)?;
        if body.len() != length {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the held-back frames are cut short",
            ));
        }
        Ok(body)
    }

    /// Rolling checksum after a held frame, or after all of them; `before` is the one before the
    /// first.
    pub(super) fn chain(
        &mut self,
        files: &dyn Files,
        before: Chain,
        last: Option<u64>,
    ) -> io::Result<Chain> {
        let last = last.unwrap_or_else(|| self.end() - 1);
        let mut chain = before;
        for index in 0..self.records.len() {
            let held = self.records[index];
            if last < held.first {
                break;
            }
            match held.chain {
                Some(known) if last + 1 >= held.end() => chain = known,
                _ => {
                    let stop = last.min(held.end() - 1);
                    let mut next = held.first;
                    while next <= stop {
                        let body = self.read(files, next, stop)?;
                        chain = chain.after_all(&body);
                        next += u64::try_from(frames(&body).len()).unwrap_or(u64::MAX);
                    }
                    if stop + 1 == held.end() {
                        self.records[index].chain = Some(chain);
                    }
                }
            }
        }
        Ok(chain)
    }

    /// Adds frames durably, whose checksum is known to be `chain`; an empty tail begins at `first`.
    pub(super) fn append(
        &mut self,
        files: &dyn Files,
        generation: u64,
        first: u64,
        body: &[u8],
        chain: Option<Chain>,
    ) -> io::Result<()> {
        let record = encode_record(generation, first, body);
        let offset = self.records.last().map_or(0, Held::end_offset);
        if self.records.is_empty() {
            // Also replaces whatever is left of an earlier one.
            files.write_atomic(&self.path, &record)?;
            (self.generation, self.first) = (generation, first);
        } else {
            if std::mem::replace(&mut self.is_torn, true) {
                // Nothing would be found behind it.
                files.truncate_sync(&self.path, offset)?;
            }
            files.append_sync(&self.path, &record)?;
            self.is_torn = false;
        }
        self.on_disk = true;
        self.records.push(Held {
            first,
            count: u64::try_from(frames(body).len()).unwrap_or(u64::MAX),
            offset: offset + u64::try_from(HEADER_BYTES).unwrap_or(0),
            chain,
        });
        Ok(())
    }

    /// Forgets the records from the one on that holds `frame`.
    pub(super) fn cut(&mut self, files: &dyn Files, frame: u64) -> io::Result<()> {
        let kept = self.records.partition_point(|held| held.end() <= frame);
        if kept == self.records.len() {
            return Ok(());
        }
        if kept == 0 {
            return self.clear(files);
        }
        files.truncate_sync(&self.path, self.records[kept - 1].end_offset())?;
        self.records.truncate(kept);
        Ok(())
    }

    /// Forgets everything. A file that a crash leaves behind is told apart by its first frame.
    pub(super) fn clear(&mut self, files: &dyn Files) -> io::Result<()> {
        self.records = Vec::new();
        if self.on_disk {
            files.remove_if_exists(&self.path)?;
            self.on_disk = false;
        }
        Ok(())
    }
}

fn encode_record(generation: u64, first: u64, body: &[u8]) -> Vec<u8> {
    let count = u64::try_from(frames(body).len()).unwrap_or(u64::MAX);
    let mut record = Vec::with_capacity(HEADER_BYTES + body.len());
    record.extend_from_slice(&MAGIC);
    for number in [generation, first, count] {
        record.extend_from_slice(&number.to_be_bytes());
    }
    let digest = blake3::Hasher::new()
        .update(&record)
        .update(body)
        .finalize();
    record.extend_from_slice(digest.as_bytes());
    record.extend_from_slice(body);
    record
}

fn frame_bytes() -> u64 {
    u64::try_from(FRAME_BYTES).unwrap_or(0)
}

fn bytes_of(frames: u64) -> usize {
    usize::try_from(frames)
        .unwrap_or(usize::MAX)
        .saturating_mul(FRAME_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{DiskSteps, OsFiles};
    use std::path::Path;
    use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

    #[test]
    fn a_torn_record_is_left_out_and_the_rest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db-tail");
        let mut tail = Tail::load(&OsFiles, path.clone()).unwrap();
        tail.append(&OsFiles, 2, 10, &vec![1; FRAME_BYTES * 2], None)
            .unwrap();
        tail.append(&OsFiles, 2, 12, &vec![2; FRAME_BYTES], None)
            .unwrap();
        let whole = std::fs::read(&path).unwrap();
        for (length, frames) in [(whole.len(), 3), (whole.len() - 1, 2), (100, 0), (0, 0)] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let mut tail = Tail::load(&OsFiles, path.clone()).unwrap();
            assert_eq!(tail.count(), frames, "{length} bytes");
            let held = tail.read(&OsFiles, 10, 10).unwrap();
            assert_eq!(held.is_empty(), frames == 0);
            // What is added now is found again.
            let next = 10 + frames;
            tail.append(&OsFiles, 2, next, &vec![3; FRAME_BYTES], None)
                .unwrap();
            let tail = Tail::load(&OsFiles, path.clone()).unwrap();
            assert_eq!(tail.count(), frames + 1, "{length} bytes");
        }
    }

    /// A disk on which an append fails half-way, and then a cut.
    struct TearsOnce(AtomicU8);

    impl TearsOnce {
        fn fails_at(&self, step: u8) -> bool {
            let next = self.0.compare_exchange(step, step + 1, SeqCst, SeqCst);
            next.is_ok()
        }
    }

    impl DiskSteps for TearsOnce {
        fn append_synced(&self, path: &Path, content: &[u8]) -> io::Result<()> {
            if self.fails_at(0) {
                OsFiles.append_synced(path, &content[..content.len() >> 1])?;
                return Err(io::ErrorKind::StorageFull.into());
            }
            OsFiles.append_synced(path, content)
        }

        fn truncate_synced(&self, path: &Path, length: u64) -> io::Result<()> {
            if self.fails_at(1) {
                return Err(io::ErrorKind::Other.into());
            }
            OsFiles.truncate_synced(path, length)
        }

        fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
            DiskSteps::read(&OsFiles, path)
        }

        fn read_range(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
            DiskSteps::read_range(&OsFiles, path, offset, length)
        }

        fn write_synced(&self, path: &Path, content: &[u8]) -> io::Result<()> {
            OsFiles.write_synced(path, content)
        }

        fn append(&self, path: &Path, content: &[u8]) -> io::Result<()> {
            DiskSteps::append(&OsFiles, path, content)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            OsFiles.rename(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<bool> {
            OsFiles.remove(path)
        }

        fn has(&self, path: &Path) -> io::Result<bool> {
            OsFiles.has(path)
        }

        fn sync_names_beside(&self, path: &Path) -> io::Result<()> {
            OsFiles.sync_names_beside(path)
        }
    }

    #[test]
    fn nothing_is_added_behind_a_record_that_was_torn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db-tail");
        let disk = TearsOnce(AtomicU8::new(0));
        let mut tail = Tail::load(&disk, path.clone()).unwrap();
        let mut append = |first, byte| tail.append(&disk, 2, first, &vec![byte; FRAME_BYTES], None);
        append(10, 1).unwrap();
        append(11, 2).unwrap_err();
        // The cut that would make room fails too.
        append(11, 3).unwrap_err();
        append(11, 4).unwrap();
        assert_eq!(tail.read(&disk, 11, 11).unwrap(), vec![4; FRAME_BYTES]);
        assert_eq!(Tail::load(&disk, path).unwrap().count(), 2);
    }

    #[test]
    fn a_tail_that_does_not_continue_the_wal_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db-tail");
        let mut tail = Tail::load(&OsFiles, path.clone()).unwrap();
        tail.append(&OsFiles, 2, 10, &vec![1; FRAME_BYTES], None)
            .unwrap();
        tail.keep_only_after(&OsFiles, 2, 9).unwrap();
        assert_eq!(tail.count(), 1);
        tail.keep_only_after(&OsFiles, 2, 10).unwrap();
        assert_eq!(tail.count(), 0);
        assert!(!path.exists());
    }

    #[test]
    fn a_tail_is_cut_where_a_record_begins_and_goes_on_from_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db-tail");
        let mut tail = Tail::load(&OsFiles, path.clone()).unwrap();
        let before = Chain([9; 32]);
        for (first, byte) in [(10, 1), (12, 2), (14, 3)] {
            tail.append(&OsFiles, 2, first, &vec![byte; FRAME_BYTES * 2], None)
                .unwrap();
        }
        let middle = before.after_all(&vec![1; FRAME_BYTES * 2]);
        assert_eq!(tail.chain(&OsFiles, before, Some(11)).unwrap(), middle);
        assert_eq!(tail.chain(&OsFiles, before, Some(9)).unwrap(), before);
        tail.cut(&OsFiles, 13).unwrap();
        assert_eq!(tail.count(), 2);
        tail.append(&OsFiles, 2, 12, &vec![4; FRAME_BYTES], None)
            .unwrap();
        let expected = middle.after_all(&vec![4; FRAME_BYTES]);
        assert_eq!(tail.chain(&OsFiles, before, None).unwrap(), expected);
        let mut tail = Tail::load(&OsFiles, path.clone()).unwrap();
        assert_eq!(tail.chain(&OsFiles, before, None).unwrap(), expected);
        assert_eq!(tail.read(&OsFiles, 12, 12).unwrap(), vec![4; FRAME_BYTES]);
        tail.cut(&OsFiles, 10).unwrap();
        assert!(!path.exists());
    }
}
