//! What a power cut at one place of the tape could leave.
//!
//! Of what was not synced anything may be there or not: each write, each 512-byte sector of a write,
//! each change of size, each change of a name. A sync makes a file's content durable, the sync of a
//! folder its names.

use crate::disk::{Image, folder_of};
use crate::tape::{Entry, Op, Side};
use counterfoil_testkit::SeededRandom;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A disk writes whole sectors of this many bytes, or none.
const SECTOR_BYTES: usize = 512;

/// Syncs that a disk answers and does not do, for negative controls.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lie {
    /// None.
    None,
    /// Those that `synchronous = NORMAL` leaves out: of a log, unless its header was written or a
    /// checkpoint follows.
    NormalCommits,
    /// Those of logs.
    Logs,
    /// Those of databases.
    Databases,
    /// Those of folders.
    Names,
    /// Those of the files beside the databases.
    Beside,
    /// All of them.
    Everything,
}

impl Lie {
    /// Places of the tape whose sync is none.
    fn places(self, tape: &[Entry], side: Side) -> Vec<bool> {
        let mut skipped = vec![false; tape.len()];
        for (at, entry) in tape.iter().enumerate() {
            let Entry::Disk(whose, op) = entry else {
                continue;
            };
            if *whose != side {
                continue;
            }
            skipped[at] = match (self, op) {
                (Self::NormalCommits, Op::Sync { file, name }) => {
                    name.ends_with("-wal") && !normal_syncs(tape, side, at, *file, name)
                }
                (Self::Logs, Op::Sync { name, .. }) => name.ends_with("-wal"),
                (Self::Databases, Op::Sync { name, .. }) => name.ends_with(".db"),
                (Self::Beside, Op::Sync { name, .. }) => {
                    !name.ends_with("-wal") && !name.ends_with(".db")
                }
                (Self::Names, Op::SyncNames { .. })
                | (Self::Everything, Op::Sync { .. } | Op::SyncNames { .. }) => true,
                _ => false,
            };
        }
        skipped
    }
}

/// The syncs of files that a side's disk does, in order, each with how many changes stand before it.
#[must_use]
pub fn syncs(tape: &[Entry], side: Side, lie: Lie) -> Vec<(String, usize)> {
    let (skipped, mut changes, mut syncs) = (lie.places(tape, side), 0, Vec::new());
    for (entry, skipped) in tape.iter().zip(skipped) {
        match entry {
            Entry::Disk(whose, Op::Sync { name, .. }) if *whose == side && !skipped => {
                syncs.push((name.clone(), changes));
            }
            Entry::Disk(_, Op::Sync { .. } | Op::SyncNames { .. }) | Entry::Said(_) => {}
            Entry::Disk(..) => changes += 1,
        }
    }
    syncs
}

/// Whether `synchronous = NORMAL` does a sync of a log: after a new header, and before a checkpoint
/// writes to the database.
fn normal_syncs(tape: &[Entry], side: Side, at: usize, log: u64, name: &str) -> bool {
    let database = name.trim_end_matches("-wal");
    let of_side = |entry: &Entry| match entry {
        Entry::Disk(whose, op) if *whose == side => Some(op.clone()),
        _ => None,
    };
    let before = tape[..at].iter().rev().filter_map(of_side).find(|op| {
        matches!(op, Op::Write { file, .. } | Op::Truncate { file, .. } | Op::Sync { file, .. }
            if *file == log)
    });
    let header = matches!(before, Some(Op::Write { offset: 0, .. }));
    let names: BTreeMap<u64, &str> = tape
        .iter()
        .filter_map(|entry| match entry {
            Entry::Disk(whose, Op::Create { name, file }) if *whose == side => {
                Some((*file, name.as_str()))
            }
            _ => None,
        })
        .collect();
    let after = tape[at + 1..]
        .iter()
        .filter_map(of_side)
        .find(|op| match op {
            Op::Write { file, .. } | Op::Truncate { file, .. } | Op::Sync { file, .. } => {
                *file == log || names.get(file) == Some(&database)
            }
            _ => false,
        });
    let checkpoint = match after {
        Some(Op::Write { file, .. } | Op::Truncate { file, .. } | Op::Sync { file, .. }) => {
            file != log
        }
        _ => false,
    };
    header || checkpoint
}

/// The disk of one side after every operation, by what of it is durable.
pub struct Walk {
    tape: Arc<Vec<Entry>>,
    side: Side,
    skipped: Vec<bool>,
    next: usize,
    durable: Image,
    pending: Vec<Op>,
    digests: HashMap<usize, blake3::Hash>,
}

impl Walk {
    /// Stands before the first operation; `image` is durable.
    #[must_use]
    pub fn new(tape: Arc<Vec<Entry>>, side: Side, image: Image, lie: Lie) -> Self {
        let skipped = lie.places(&tape, side);
        Self {
            tape,
            side,
            skipped,
            next: 0,
            durable: image,
            pending: Vec::new(),
            digests: HashMap::new(),
        }
    }

    /// Takes the next entry of the tape in; whether it was an operation of this side, `None` at the
    /// end.
    pub fn step(&mut self) -> Option<bool> {
        let tape = Arc::clone(&self.tape);
        let entry = tape.get(self.next)?;
        let skipped = self.skipped[self.next];
        self.next += 1;
        let Entry::Disk(side, op) = entry else {
            return Some(false);
        };
        if *side != self.side {
            return Some(false);
        }
        match op {
            _ if skipped => {}
            Op::Sync { file, .. } => self.settle(|op| match op {
                Op::Write { file: it, .. } | Op::Truncate { file: it, .. } => it == file,
                _ => false,
            }),
            Op::SyncNames { folder } => self.settle(|op| match op {
                Op::Create { name, .. } | Op::Remove { name } | Op::Rename { to: name, .. } => {
                    folder_of(name) == *folder
                }
                _ => false,
            }),
            op => self.pending.push(op.clone()),
        }
        Some(true)
    }

    /// How much of the tape has been taken in.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.next
    }

    fn settle(&mut self, is_durable: impl Fn(&Op) -> bool) {
        let mut rest = Vec::new();
        for op in std::mem::take(&mut self.pending) {
            if is_durable(&op) {
                self.durable.apply(&op);
            } else {
                rest.push(op);
            }
        }
        self.pending = rest;
        self.digests.clear();
    }

    /// How many operations a power cut may take back.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// One of the things that a power cut could leave, drawn by a number: 0 leaves nothing of what was
    /// not synced, 1 everything.
    #[must_use]
    pub fn outcome(&self, draw: u64, seed: u64) -> Image {
        let mut image = self.durable.clone();
        let luck = SeededRandom::new(seed ^ draw.wrapping_mul(0x9E37_79B9));
        let until = luck.below(self.pending.len() as u64 + 1);
        let odds = 2 + luck.below(7);
        for (number, op) in (0..).zip(&self.pending) {
            match draw {
                0 => {}
                1 => image.apply(op),
                draw if draw % 4 == 2 => {
                    if number < until {
                        image.apply(op);
                    }
                }
                draw if draw % 4 == 3 => {
                    if luck.below(odds) > 0 {
                        image.apply(op);
                    }
                }
                _ => tear(&mut image, op, odds, &luck),
            }
        }
        image
    }

    /// The digest of every file of an image, by name.
    pub fn digests(&mut self, image: &Image) -> Vec<(String, blake3::Hash)> {
        let mut digests = Vec::with_capacity(image.names.len());
        for (name, file) in &image.names {
            let Some(content) = image.contents.get(file) else {
                continue;
            };
            let digest = match self.durable.contents.get(file) {
                Some(durable) if Arc::ptr_eq(durable, content) => *self
                    .digests
                    .entry(Arc::as_ptr(content).addr())
                    .or_insert_with(|| blake3::hash(content)),
                _ => blake3::hash(content),
            };
            digests.push((name.clone(), digest));
        }
        digests
    }
}

/// One digest of the files whose names are wanted.
#[must_use]
pub fn digest_of(digests: &[(String, blake3::Hash)], wanted: impl Fn(&str) -> bool) -> u128 {
    let mut hasher = blake3::Hasher::new();
    for (name, digest) in digests.iter().filter(|(name, _)| wanted(name)) {
        hasher.update(name.as_bytes()).update(&[0]);
        hasher.update(digest.as_bytes());
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(half)
}

/// Each sector of a write is there or not; anything else is there or not.
fn tear(image: &mut Image, op: &Op, odds: u64, luck: &SeededRandom) {
    let Op::Write {
        file,
        offset,
        bytes,
    } = op
    else {
        if luck.below(2) == 0 {
            image.apply(op);
        }
        return;
    };
    let mut at = 0;
    while at < bytes.len() {
        let sector_end = (offset + at).div_euclid(SECTOR_BYTES) * SECTOR_BYTES + SECTOR_BYTES;
        let end = (sector_end - offset).min(bytes.len());
        if luck.below(odds) > 0 {
            image.write(*file, offset + at, &bytes[at..end]);
        }
        at = end;
    }
}
