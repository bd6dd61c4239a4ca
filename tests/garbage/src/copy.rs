//! The hub's copy: frames that no SQLite wrote, in any order, and files beside it that are not its own.

use counterfoil_replica::env::OsFiles;
use counterfoil_replica::frame::{Frame, frames};
use counterfoil_replica::limits::{FRAME_BYTES, FRAME_HEADER_BYTES, PAGE_BYTES};
use counterfoil_replica::{Chain, Copy, CopyInfo, CopyKind, PullOutcome, Push, PushOutcome};
use counterfoil_testkit::TempDir;
use std::path::PathBuf;
use std::sync::Arc;

use crate::script::Script;

/// What the main file may grow to: no page of the script lies behind it, and a size that a frame
/// merely states must not make a file.
const MAIN_BYTES_MAX: u64 = 64 << 20;

/// Calls of one script.
const CALLS_MAX: usize = 24;

struct Hub {
    dir: TempDir,
    copy: Copy,
    /// Frames that were acknowledged in this generation, with nothing for salt and checksum.
    held: Vec<Vec<u8>>,
}

/// Calls that the bytes choose. What was acknowledged is what a pull gives, also after a restart.
pub(crate) fn push_and_pull(bytes: &[u8]) {
    let dir = TempDir::new("garbage-copy");
    let copy = Copy::open(&dir.join("copy.db"), CopyKind::Pushed, Arc::new(OsFiles));
    let copy = copy.expect("an empty copy");
    let mut hub = Hub {
        dir,
        copy,
        held: Vec::new(),
    };
    let mut script = Script::new(bytes);
    for _ in 0..CALLS_MAX {
        if script.is_empty() {
            break;
        }
        let Some(next) = hub.call(&mut script) else {
            // Pages that are no database: the file cannot be opened, and the hub says so.
            return;
        };
        hub = next;
    }
    hub.check();
}

impl Hub {
    fn call(mut self, script: &mut Script<'_>) -> Option<Self> {
        let info = self.copy.info().ok()?;
        match script.byte() % 8 {
            0..=2 => self.push(script, &info)?,
            3 => self.push_delta(script, &info)?,
            4 => {
                let (generation, start) = (u64::from(script.byte()), u64::from(script.byte()));
                self.copy
                    .pull(generation, start, u64::from(script.word()))
                    .ok()?;
            }
            5 => {
                self.copy.begin_generation().ok()?;
                let now = self.copy.info().ok()?;
                if now.generation != info.generation {
                    self.held.clear();
                }
                let main = std::fs::metadata(self.path()).expect("it is there").len();
                assert!(main <= MAIN_BYTES_MAX, "the main file has {main} bytes");
            }
            6 => {
                let path = self.path();
                let Self { dir, copy, held } = self;
                drop(copy);
                let copy = Copy::open(&path, CopyKind::Pushed, Arc::new(OsFiles)).ok()?;
                self = Self { dir, copy, held };
            }
            _ => {
                let frame = u64::from(script.byte());
                self.copy.pages(info.generation, frame).ok()?;
            }
        }
        Some(self)
    }

    fn path(&self) -> PathBuf {
        self.dir.join("copy.db")
    }

    fn push(&mut self, script: &mut Script<'_>, info: &CopyInfo) -> Option<()> {
        let body: Vec<u8> = (0..1 + script.byte() % 3)
            .flat_map(|_| frame(script))
            .collect();
        let flags = script.byte();
        // Mostly where it belongs; else a repetition, or a hole.
        let start = match flags & 3 {
            3 => u64::from(script.byte()),
            _ => info.max_frame_no + 1,
        };
        let after = info.chain.after_all(&body);
        let outcome = self.copy.push(&Push {
            generation: info.generation,
            start,
            end: start + count(&body),
            body: &body,
            chain: (flags & 4 != 0).then_some(after),
            before: (flags & 8 != 0).then_some(info.chain),
        });
        let PushOutcome::Accepted { max_frame_no, .. } = outcome.ok()? else {
            return Some(());
        };
        let first = usize::try_from(start).expect("small");
        for (number, frame) in (first..).zip(frames(&body)) {
            if u64::try_from(number).expect("small") > max_frame_no {
                break;
            }
            assert!(number <= self.held.len() + 1, "a hole was acknowledged");
            if number == self.held.len() + 1 {
                self.held.push(without_salt(frame));
            } else if self.held[number - 1] != without_salt(frame) {
                // The frames of a tail gave way.
                self.held.truncate(number - 1);
                self.held.push(without_salt(frame));
            }
        }
        Some(())
    }

    fn push_delta(&mut self, script: &mut Script<'_>, info: &CopyInfo) -> Option<()> {
        let length = usize::from(script.byte());
        let frames = 1 + u64::from(script.byte() % 4);
        let start = info.max_frame_no + 1;
        let outcome = self.copy.push_delta(&Push {
            generation: info.generation,
            start,
            end: start + frames,
            body: script.take(length),
            chain: Some(Chain([1; 32])),
            before: Some(info.chain),
        });
        let taken = matches!(outcome.ok()?, PushOutcome::Accepted { .. });
        assert!(!taken, "nobody finds bytes of that checksum");
        Some(())
    }

    fn check(&mut self) {
        let Ok(info) = self.copy.info() else {
            return;
        };
        let held = count(&self.held.concat());
        assert_eq!(info.max_frame_no, held, "what was acknowledged is there");
        assert_eq!(info.chain, info.chain_start.after_all(&self.held.concat()));
        if info.committed_frame_no == 0 {
            return;
        }
        let pulled = self
            .copy
            .pull(info.generation, 1, info.committed_frame_no + 1);
        let Ok(PullOutcome::Frames(body)) = pulled else {
            panic!("{pulled:?}");
        };
        let pulled: Vec<Vec<u8>> = frames(&body).map(without_salt).collect();
        assert!(
            pulled == self.held[..pulled.len()],
            "a pull gives what was pushed"
        );
    }
}

/// A frame of a small page number and size, or of any; a page of one byte, changed at one place.
fn frame(script: &mut Script<'_>) -> Vec<u8> {
    let mut frame = vec![0; FRAME_HEADER_BYTES];
    for at in [0, 4] {
        let number = match script.byte() {
            255 => u32::from(script.word()) << 16 | u32::from(script.word()),
            // The first is a page's number, which is never 0; the second ends a transaction or not.
            small => u32::from(small % 16) + u32::from(at == 0),
        };
        frame[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }
    let mut page = vec![script.byte(); PAGE_BYTES];
    let at = usize::from(script.word()) % PAGE_BYTES;
    let length = usize::from(script.byte());
    let new = script.take(length);
    let end = PAGE_BYTES.min(at + new.len());
    page[at..end].copy_from_slice(&new[..end - at]);
    frame.append(&mut page);
    frame
}

fn count(body: &[u8]) -> u64 {
    u64::try_from(frames(body).len()).expect("small")
}

fn without_salt(frame: Frame<'_>) -> Vec<u8> {
    let mut bytes = frame.bytes().to_vec();
    bytes[8..FRAME_HEADER_BYTES].fill(0);
    bytes
}

/// Files beside the database that somebody else wrote: the held-back tail and the record. Whatever
/// they hold, the copy says what is wrong or takes frames.
pub(crate) fn open_beside(bytes: &[u8]) {
    let dir = TempDir::new("garbage-tail");
    let path = dir.join("copy.db");
    let mut script = Script::new(bytes);
    let flags = script.byte();
    let rest = match flags & 3 {
        0 => script.rest().to_vec(),
        // Records whose digests are right.
        _ => records(&mut script),
    };
    let name = if flags & 4 == 0 {
        "copy.db-tail"
    } else {
        "copy.db-sync"
    };
    std::fs::write(dir.join(name), rest).expect("a file");
    let Ok(mut copy) = Copy::open(&path, CopyKind::Pushed, Arc::new(OsFiles)) else {
        return;
    };
    let Ok(info) = copy.info() else {
        return;
    };
    let (Some(start), Some(end)) = (
        info.max_frame_no.checked_add(1),
        info.max_frame_no.checked_add(2),
    ) else {
        return;
    };
    let body = frame(&mut script);
    assert_eq!(body.len(), FRAME_BYTES);
    let push = Push {
        generation: info.generation,
        start,
        end,
        body: &body,
        chain: None,
        before: None,
    };
    copy.push(&push).ok();
    copy.info().ok();
}

/// Records of a tail: generation, first frame, number of frames, and frames.
fn records(script: &mut Script<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..4 {
        if script.is_empty() {
            break;
        }
        let mut record = b"cftail1\0".to_vec();
        for small in [1, 1, 1] {
            let number = match script.byte() {
                0 => small,
                255 => u64::MAX - u64::from(script.byte()),
                other => u64::from(other),
            };
            record.extend_from_slice(&number.to_be_bytes());
        }
        let held = usize::from(script.byte() % 3);
        let frames: Vec<u8> = (0..held).flat_map(|_| frame(script)).collect();
        let digest = blake3::Hasher::new()
            .update(&record)
            .update(&frames)
            .finalize();
        record.extend_from_slice(digest.as_bytes());
        record.extend_from_slice(&frames);
        bytes.append(&mut record);
    }
    bytes
}
