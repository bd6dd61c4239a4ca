//! One ordered log of everything that happened to the disks of a run, and of what was promised.

use counterfoil_domain::DocumentId;
use counterfoil_protocol::wire::node::Recorded;
use std::sync::{Arc, Mutex, PoisonError};

/// Whose disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    /// The till's.
    Node,
    /// The hub's.
    Hub,
}

/// A change of a disk, or a sync. A file is known by a number; names point to numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// A name for a new, empty file.
    Create {
        /// Path on the disk.
        name: String,
        /// The file.
        file: u64,
    },
    /// Bytes.
    Write {
        /// The file.
        file: u64,
        /// Where.
        offset: usize,
        /// What.
        bytes: Arc<[u8]>,
    },
    /// Another size.
    Truncate {
        /// The file.
        file: u64,
        /// In bytes.
        size: usize,
    },
    /// The file's content is durable from here on.
    Sync {
        /// The file.
        file: u64,
        /// The name it was opened by.
        name: String,
    },
    /// A name moves, over another one if need be.
    Rename {
        /// From.
        from: String,
        /// To.
        to: String,
    },
    /// A name goes.
    Remove {
        /// Path on the disk.
        name: String,
    },
    /// The folder's names are durable from here on.
    SyncNames {
        /// Path of the folder on the disk.
        folder: String,
    },
}

/// What somebody was told, or asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fact {
    /// From here on a power cut is looked at.
    Begin,
    /// A till asks for a sale under this id.
    Attempted(DocumentId),
    /// The node said that it is recorded.
    Acknowledged(Recorded),
    /// The hub said that it has the journal up to there, and has consolidated it up to there.
    Received {
        /// Journal entries received.
        received: i64,
        /// Journal entries consolidated.
        consolidated: i64,
    },
    /// The node said that its catalog is at this revision.
    Holds(i64),
    /// The hub said that it has a shop of this name.
    ShopAdded(String),
    /// The node said that it belongs to a shop.
    Activated,
    /// The hub said that it published this revision of the catalog.
    Published(i64),
}

/// An entry of the tape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Something happened to a disk.
    Disk(Side, Op),
    /// Something was said.
    Said(Fact),
}

/// See the module. Clones are one tape.
#[derive(Clone, Default, Debug)]
pub struct Tape(Arc<Mutex<Vec<Entry>>>);

impl Tape {
    pub(crate) fn push(&self, entry: Entry) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(entry);
    }

    /// Notes what was said.
    pub fn say(&self, fact: Fact) {
        self.push(Entry::Said(fact));
    }

    /// Everything so far.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
