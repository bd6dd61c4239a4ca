//! What a disk is to SQLite here, and the locks and shared memory that connections of one process
//! need on its files. Safe code; the C functions stand in `vfs.rs`.

use std::{
    collections::BTreeMap,
    ffi::c_int,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock},
};

use libsql_ffi as ffi;

/// What a file is to SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A database.
    Main,
    /// Its write-ahead log.
    Wal,
    /// Its rollback journal, or another file that comes and goes.
    Journal,
}

impl FileKind {
    pub(super) fn of(flags: c_int) -> Self {
        if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
            Self::Main
        } else if flags & ffi::SQLITE_OPEN_WAL != 0 {
            Self::Wal
        } else {
            Self::Journal
        }
    }
}

/// What happened to an open file besides what its methods are called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileEvent {
    /// A checkpoint has read the wal-index header and found that it changed.
    CheckpointSawChange,
}

/// Why a disk did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// An I/O error.
    Io,
    /// No space is left.
    Full,
    /// There is no such file.
    Missing,
}

impl DiskFault {
    /// SQLite's code; `io` is the one for an I/O error of the call at hand.
    pub(super) fn code(self, io: c_int) -> c_int {
        match self {
            Self::Io => io,
            Self::Full => ffi::SQLITE_FULL,
            Self::Missing => ffi::SQLITE_CANTOPEN,
        }
    }
}

/// SQLite's code for a result.
pub(super) fn done(result: Result<(), DiskFault>, io: c_int) -> c_int {
    result.map_or_else(|fault| fault.code(io), |()| ffi::SQLITE_OK)
}

/// SQLite's code for a lock that was granted or not.
pub(super) fn busy_unless(granted: bool) -> c_int {
    if granted {
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_BUSY
    }
}

/// Length and offset as SQLite hands them in.
pub(super) fn range_of(bytes: c_int, offset: i64) -> Option<(usize, u64)> {
    Some((usize::try_from(bytes).ok()?, u64::try_from(offset).ok()?))
}

/// An open file of a [`Disk`].
pub trait DiskFile: Send + Sync {
    /// Fills the buffer from `offset` on as far as the file goes; the bytes that were there.
    ///
    /// # Errors
    /// [`DiskFault`].
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<usize, DiskFault>;

    /// Writes at `offset`, making the file longer when needed.
    ///
    /// # Errors
    /// [`DiskFault`]; a part may have been written.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskFault>;

    /// Sets the size in bytes.
    ///
    /// # Errors
    /// [`DiskFault`].
    fn truncate(&self, size: u64) -> Result<(), DiskFault>;

    /// Makes the content durable, and the name of a log or journal that was created by this open.
    ///
    /// # Errors
    /// [`DiskFault`].
    fn sync(&self) -> Result<(), DiskFault>;

    /// The size in bytes.
    ///
    /// # Errors
    /// [`DiskFault`].
    fn size(&self) -> Result<u64, DiskFault>;

    /// Tells that something happened; most disks do not care.
    fn event(&self, _event: FileEvent) {}
}

/// Files for SQLite that are not the operating system's.
pub trait Disk: Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// [`DiskFault::Missing`] when it is not there and is not to be created.
    fn open(
        &self,
        path: &Path,
        kind: FileKind,
        create: bool,
    ) -> Result<Arc<dyn DiskFile>, DiskFault>;

    /// Removes a file, durably when `sync_names`.
    ///
    /// # Errors
    /// [`DiskFault::Missing`] when there is none.
    fn delete(&self, path: &Path, sync_names: bool) -> Result<(), DiskFault>;

    /// Size of a file, `None` when there is none.
    fn stat(&self, path: &Path) -> Option<u64>;
}

type Mounts = RwLock<BTreeMap<PathBuf, Arc<dyn Disk>>>;

fn mounts() -> &'static Mounts {
    static MOUNTS: OnceLock<Mounts> = OnceLock::new();
    MOUNTS.get_or_init(Mounts::default)
}

/// Puts a disk at a folder; one that was mounted there before goes, with the locks on its files.
pub(super) fn set_mount(folder: &Path, disk: Option<Arc<dyn Disk>>) {
    let mut table = table().lock().unwrap_or_else(PoisonError::into_inner);
    table.retain(|path, _| !path.starts_with(folder));
    let mut mounts = mounts().write().unwrap_or_else(PoisonError::into_inner);
    match disk {
        Some(disk) => drop(mounts.insert(folder.to_owned(), disk)),
        None => drop(mounts.remove(folder)),
    }
}

/// The disk that has the path, if one is mounted above it.
pub(super) fn disk_of(path: &Path) -> Option<Arc<dyn Disk>> {
    let mounts = mounts().read().unwrap_or_else(PoisonError::into_inner);
    if mounts.is_empty() {
        return None;
    }
    path.ancestors()
        .find_map(|above| mounts.get(above).cloned())
}

/// Locks of SQLite's rollback protocol, in its own numbers: none, shared, reserved, pending, exclusive.
pub(super) mod level {
    use super::c_int;
    pub(crate) const NONE: c_int = 0;
    pub(crate) const SHARED: c_int = 1;
    pub(crate) const RESERVED: c_int = 2;
    pub(crate) const PENDING: c_int = 3;
}

/// Locks on the wal-index, fixed by SQLite.
const SHARED_MEMORY_LOCKS: usize = 8;

/// What a holder that excludes all others counts as; a sharing one counts 1.
const EXCLUDES_ALL: i32 = -1_000_000;

/// What one handle holds of the locks of the wal-index.
#[derive(Default)]
pub(super) struct MemoryLocks([i32; SHARED_MEMORY_LOCKS]);

/// Bytes of one region of the wal-index in words of eight, so that it is aligned.
pub(super) const REGION_WORDS: usize = 4096;

/// One region of a wal-index. It stays where it is as long as anybody has mapped it.
pub(super) type Region = Box<[u64; REGION_WORDS]>;

#[derive(Default)]
pub(super) struct SharedState {
    /// Lock of each open handle, by its number.
    locks: BTreeMap<u64, i32>,
    /// Sum of what the handles hold of each lock of the wal-index.
    memory_locks: [i32; SHARED_MEMORY_LOCKS],
    pub(super) regions: Vec<Region>,
    mappers: u64,
}

/// What connections of this process share about one database.
#[derive(Default)]
pub(super) struct Shared(Mutex<SharedState>);

type Table = Mutex<BTreeMap<PathBuf, std::sync::Weak<Shared>>>;

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(Table::default)
}

impl Shared {
    /// The one of a path; it goes when the last handle does.
    pub(super) fn of(path: &Path) -> Arc<Self> {
        let mut table = table().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = table.get(path).and_then(std::sync::Weak::upgrade) {
            return shared;
        }
        let shared = Arc::new(Self::default());
        table.insert(path.to_owned(), Arc::downgrade(&shared));
        shared
    }

    pub(super) fn state(&self) -> MutexGuard<'_, SharedState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedState {
    /// Raises a handle's lock; false when others are in the way.
    pub(super) fn lock(&mut self, handle: u64, wanted: i32) -> bool {
        let held = self.held(handle);
        if held >= wanted {
            return true;
        }
        let others = self.others(handle);
        let granted = match wanted {
            level::SHARED => others < level::PENDING,
            level::RESERVED => others < level::RESERVED,
            _ if others >= level::RESERVED => false,
            _ => {
                // Keeps new readers out while the old ones finish.
                self.locks.insert(handle, level::PENDING);
                others == level::NONE
            }
        };
        if granted {
            self.locks.insert(handle, wanted);
        }
        granted
    }

    pub(super) fn unlock(&mut self, handle: u64, wanted: i32) {
        if wanted == level::NONE {
            self.locks.remove(&handle);
        } else {
            self.locks.insert(handle, wanted);
        }
    }

    pub(super) fn is_reserved(&self) -> bool {
        self.locks.values().any(|held| *held >= level::RESERVED)
    }

    fn held(&self, handle: u64) -> i32 {
        self.locks.get(&handle).copied().unwrap_or(level::NONE)
    }

    fn others(&self, handle: u64) -> i32 {
        let others = self.locks.iter().filter(|(other, _)| **other != handle);
        others.map(|(_, held)| *held).max().unwrap_or(level::NONE)
    }

    /// Takes locks `first..first + count` of the wal-index; false when others are in the way.
    pub(super) fn lock_memory(
        &mut self,
        own: &mut MemoryLocks,
        first: usize,
        count: usize,
        exclusive: bool,
    ) -> bool {
        let range = first..(first + count).min(SHARED_MEMORY_LOCKS);
        let free = range.clone().all(|slot| {
            let others = self.memory_locks[slot] - own.0[slot];
            if exclusive { others == 0 } else { others >= 0 }
        });
        if free {
            for slot in range {
                let wanted = if exclusive { EXCLUDES_ALL } else { 1 };
                self.memory_locks[slot] += wanted - own.0[slot];
                own.0[slot] = wanted;
            }
        }
        free
    }

    /// Gives back what this handle holds of them.
    pub(super) fn unlock_memory(&mut self, own: &mut MemoryLocks, first: usize, count: usize) {
        for slot in first..(first + count).min(SHARED_MEMORY_LOCKS) {
            self.memory_locks[slot] -= std::mem::take(&mut own.0[slot]);
        }
    }

    pub(super) fn map(&mut self) {
        self.mappers += 1;
    }

    /// The last one takes the wal-index with it, as the first opener of a real one clears it.
    pub(super) fn unmap(&mut self) {
        self.mappers = self.mappers.saturating_sub(1);
        if self.mappers == 0 {
            self.regions.clear();
        }
    }
}
