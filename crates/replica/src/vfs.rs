//! VFSs for tests: SQLite's randomness, time and sleep from a seed, and disks of our own.
//!
//! SQLite reaches all of these through the VFS only. With the first one a seed replays byte for byte,
//! in a process of one thread; with the second one a test sees and steers every write and sync. In
//! production nothing of this is compiled in.
#![expect(unsafe_code, reason = "a VFS is a table of C functions")]

mod disk;
mod seeded;

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    path::{Path, PathBuf},
    ptr,
    sync::atomic::{AtomicU64, Ordering},
    sync::{Arc, Once},
};

use libsql_ffi as ffi;

use self::disk::{MemoryLocks, Shared, busy_unless, done, range_of};
pub use self::{
    disk::{Disk, DiskFault, DiskFile, FileEvent, FileKind},
    seeded::set_time_ms,
};
use crate::wal::initialize;

/// Makes a VFS with repeatable randomness, time and sleep the default one, and starts it at `seed`.
///
/// Call it before the simulated process opens a database or mounts a disk; a second call only seeds again.
///
/// # Panics
/// When SQLite has no default VFS or refuses another one.
pub fn register_deterministic(seed: u64) {
    static REGISTERED: Once = Once::new();
    initialize();
    seeded::start_at(seed);
    REGISTERED.call_once(|| {
        register(c"counterfoil-deterministic", |table, _| {
            table.xRandomness = Some(randomness);
            table.xSleep = Some(sleep);
            table.xCurrentTime = None;
            table.xCurrentTimeInt64 = Some(current_time);
        });
    });
    // SAFETY: zero bytes and no buffer throw away what SQLite's generator was seeded with before.
    unsafe { ffi::sqlite3_randomness(0, ptr::null_mut()) };
}

/// Makes a changed copy of the default VFS the default one; SQLite is initialized.
fn register<C>(name: &'static CStr, change: C)
where
    C: FnOnce(&mut ffi::sqlite3_vfs, *mut ffi::sqlite3_vfs),
{
    // SAFETY: SQLite is initialized. The copy keeps all methods that are not changed; they do not depend
    // on the table's address. It is leaked because SQLite keeps the pointer for the rest of the process.
    let code = unsafe {
        let default = ffi::sqlite3_vfs_find(ptr::null());
        assert!(!default.is_null(), "SQLite has a default VFS");
        let mut table = ptr::read(default);
        table.zName = name.as_ptr();
        table.pNext = ptr::null_mut();
        change(&mut table, default);
        ffi::sqlite3_vfs_register(Box::leak(Box::new(table)), 1)
    };
    assert_eq!(code, ffi::SQLITE_OK, "SQLite takes another VFS");
}

unsafe extern "C" fn randomness(
    _vfs: *mut ffi::sqlite3_vfs,
    bytes: c_int,
    output: *mut c_char,
) -> c_int {
    let length = usize::try_from(bytes).unwrap_or_default();
    // SAFETY: SQLite hands in a buffer of that many bytes.
    let output = unsafe { std::slice::from_raw_parts_mut(output.cast::<u8>(), length) };
    seeded::fill(output);
    bytes
}

unsafe extern "C" fn sleep(_vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    seeded::sleep_ms(i64::from(microseconds).div_euclid(1000));
    microseconds
}

unsafe extern "C" fn current_time(_vfs: *mut ffi::sqlite3_vfs, output: *mut i64) -> c_int {
    // SAFETY: SQLite hands in a place for the result.
    unsafe { *output = seeded::julian_ms() };
    ffi::SQLITE_OK
}

/// Puts a disk of our own at a folder: from now on SQLite finds every file below it there.
///
/// Call it again with another disk, or [`unmount`], when no file below the folder is used any more.
///
/// # Panics
/// When SQLite has no default VFS or refuses another one.
pub fn mount(folder: &Path, disk: Arc<dyn Disk>) {
    static REGISTERED: Once = Once::new();
    initialize();
    REGISTERED.call_once(|| {
        register(c"counterfoil-mounts", |table, default| {
            let own = c_int::try_from(size_of::<OpenFile>()).unwrap_or(c_int::MAX);
            table.szOsFile = table.szOsFile.max(own);
            table.pAppData = default.cast();
            table.xOpen = Some(open);
            table.xDelete = Some(delete);
            table.xAccess = Some(access);
            table.xFullPathname = Some(full_path);
        });
    });
    disk::set_mount(folder, Some(disk));
}

/// Takes a disk away that [`mount`] put at a folder.
pub fn unmount(folder: &Path) {
    disk::set_mount(folder, None);
}

/// An open file as SQLite knows it: its table of methods comes first.
#[repr(C)]
struct OpenFile {
    base: ffi::sqlite3_file,
    state: *mut FileState,
}

struct FileState {
    number: u64,
    file: Arc<dyn DiskFile>,
    shared: Arc<Shared>,
    mapped: bool,
    locks: MemoryLocks,
    /// Removed when it is closed.
    temporary: Option<(Arc<dyn Disk>, PathBuf)>,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Version 3 is what has SQLite tell a file that the wal-index changed under a checkpoint.
    iVersion: 3,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: None,
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(map_memory),
    xShmLock: Some(lock_memory),
    xShmBarrier: Some(memory_barrier),
    xShmUnmap: Some(unmap_memory),
    // Called for a mapped file only, and none is: mmap_size is 0 by the engine rules.
    xFetch: None,
    xUnfetch: Some(unfetch),
};

/// # Safety
/// `file` must be one that [`open`] has filled and [`close`] has not emptied.
unsafe fn state<'a>(file: *mut ffi::sqlite3_file) -> &'a mut FileState {
    // SAFETY: the caller vouches for the file; SQLite uses it from one thread at a time.
    unsafe { &mut *(*file.cast::<OpenFile>()).state }
}

/// # Safety
/// `name` must be null or zero-terminated.
unsafe fn mounted(name: *const c_char) -> Option<(PathBuf, Arc<dyn Disk>)> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller vouches for the terminator.
    let path = PathBuf::from(unsafe { CStr::from_ptr(name) }.to_str().ok()?);
    disk::disk_of(&path).map(|disk| (path, disk))
}

/// # Safety
/// `vfs` must be the table that [`mount`] registered.
unsafe fn default_of(vfs: *mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    // SAFETY: the caller vouches for the table.
    unsafe { (*vfs).pAppData.cast() }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    // SAFETY: SQLite hands in its own pointers: a name or null, room for the file, the table.
    unsafe {
        let found = mounted(name);
        let Some((path, disk)) = found else {
            let default = default_of(vfs);
            return match (*default).xOpen {
                Some(open) => open(default, name, file, flags, out_flags),
                None => ffi::SQLITE_CANTOPEN,
            };
        };
        (*file).pMethods = ptr::null();
        let opened = match disk.open(
            &path,
            FileKind::of(flags),
            flags & ffi::SQLITE_OPEN_CREATE != 0,
        ) {
            Ok(opened) => opened,
            Err(fault) => return fault.code(ffi::SQLITE_CANTOPEN),
        };
        let shared = Shared::of(&path);
        let temporary = (flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0).then_some((disk, path));
        let state = FileState {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            file: opened,
            shared,
            mapped: false,
            locks: MemoryLocks::default(),
            temporary,
        };
        (*file.cast::<OpenFile>()).state = Box::into_raw(Box::new(state));
        (*file).pMethods = &raw const METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_names: c_int,
) -> c_int {
    // SAFETY: SQLite hands in its own pointers.
    unsafe {
        let found = mounted(name);
        match (found, (*default_of(vfs)).xDelete) {
            (Some((path, disk)), _) => match disk.delete(&path, sync_names != 0) {
                Err(DiskFault::Missing) => ffi::SQLITE_IOERR_DELETE_NOENT,
                result => done(result, ffi::SQLITE_IOERR_DELETE),
            },
            (None, Some(delete)) => delete(default_of(vfs), name, sync_names),
            (None, None) => ffi::SQLITE_IOERR_DELETE,
        }
    }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    output: *mut c_int,
) -> c_int {
    // SAFETY: SQLite hands in its own pointers and a place for the result.
    unsafe {
        let found = mounted(name);
        match (found, (*default_of(vfs)).xAccess) {
            (Some((path, disk)), _) => {
                // An empty file counts as none when SQLite asks whether a file exists.
                let least = u64::from(flags == ffi::SQLITE_ACCESS_EXISTS);
                *output = c_int::from(disk.stat(&path).is_some_and(|size| size >= least));
                ffi::SQLITE_OK
            }
            (None, Some(access)) => access(default_of(vfs), name, flags, output),
            (None, None) => ffi::SQLITE_IOERR_ACCESS,
        }
    }
}

unsafe extern "C" fn full_path(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    output: *mut c_char,
) -> c_int {
    // SAFETY: SQLite hands in its own pointers and `room` bytes for the result.
    unsafe {
        if mounted(name).is_some() {
            let name = CStr::from_ptr(name).to_bytes_with_nul();
            if usize::try_from(room).is_ok_and(|room| name.len() <= room) {
                ptr::copy_nonoverlapping(name.as_ptr().cast(), output, name.len());
                return ffi::SQLITE_OK;
            }
            return ffi::SQLITE_CANTOPEN;
        }
        match (*default_of(vfs)).xFullPathname {
            Some(full_path) => full_path(default_of(vfs), name, room, output),
            None => ffi::SQLITE_CANTOPEN,
        }
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes an open file once and does not use it afterwards.
    let state = unsafe {
        let state = (*file.cast::<OpenFile>()).state;
        (*file).pMethods = ptr::null();
        Box::from_raw(state)
    };
    state.shared.state().unlock(state.number, disk::level::NONE);
    if state.mapped {
        state.shared.state().unmap();
    }
    match &state.temporary {
        Some((disk, path)) => done(disk.delete(path, false), ffi::SQLITE_IOERR_DELETE),
        None => ffi::SQLITE_OK,
    }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    output: *mut c_void,
    bytes: c_int,
    offset: i64,
) -> c_int {
    let Some((length, offset)) = range_of(bytes, offset) else {
        return ffi::SQLITE_IOERR_READ;
    };
    // SAFETY: the file is open and the buffer has that many bytes.
    let (state, output) = unsafe {
        (
            state(file),
            std::slice::from_raw_parts_mut(output.cast::<u8>(), length),
        )
    };
    match state.file.read(offset, output) {
        Ok(read) if read >= length => ffi::SQLITE_OK,
        Ok(read) => {
            // SQLite wants zeros behind the end.
            output[read..].fill(0);
            ffi::SQLITE_IOERR_SHORT_READ
        }
        Err(fault) => fault.code(ffi::SQLITE_IOERR_READ),
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    input: *const c_void,
    bytes: c_int,
    offset: i64,
) -> c_int {
    let Some((length, offset)) = range_of(bytes, offset) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: the file is open and the buffer has that many bytes.
    let (state, input) = unsafe {
        (
            state(file),
            std::slice::from_raw_parts(input.cast::<u8>(), length),
        )
    };
    done(state.file.write(offset, input), ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    let Ok(size) = u64::try_from(size) else {
        return ffi::SQLITE_IOERR_TRUNCATE;
    };
    // SAFETY: the file is open.
    let state = unsafe { state(file) };
    done(state.file.truncate(size), ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: the file is open.
    let state = unsafe { state(file) };
    done(state.file.sync(), ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, output: *mut i64) -> c_int {
    // SAFETY: the file is open and there is a place for the result.
    let (state, output) = unsafe { (state(file), &mut *output) };
    match state.file.size() {
        Ok(size) => {
            *output = i64::try_from(size).unwrap_or(i64::MAX);
            ffi::SQLITE_OK
        }
        Err(fault) => fault.code(ffi::SQLITE_IOERR_FSTAT),
    }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, wanted: c_int) -> c_int {
    // SAFETY: the file is open.
    let state = unsafe { state(file) };
    busy_unless(state.shared.state().lock(state.number, wanted))
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, wanted: c_int) -> c_int {
    // SAFETY: the file is open.
    let state = unsafe { state(file) };
    state.shared.state().unlock(state.number, wanted);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(
    file: *mut ffi::sqlite3_file,
    output: *mut c_int,
) -> c_int {
    // SAFETY: the file is open and there is a place for the result.
    let (state, output) = unsafe { (state(file), &mut *output) };
    *output = c_int::from(state.shared.state().is_reserved());
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(
    _file: *mut ffi::sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    if operation != ffi::SQLITE_FCNTL_MMAP_SIZE {
        return ffi::SQLITE_NOTFOUND;
    }
    // SAFETY: this operation comes with a place for a size; nothing is ever mapped.
    unsafe { *argument.cast::<i64>() = 0 };
    ffi::SQLITE_OK
}

/// As SQLite assumes it of every disk on Unix.
unsafe extern "C" fn device_characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn map_memory(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    _bytes: c_int,
    extend: c_int,
    output: *mut *mut c_void,
) -> c_int {
    let Ok(region) = usize::try_from(region) else {
        return ffi::SQLITE_IOERR_SHMMAP;
    };
    // SAFETY: the file is open and there is a place for the result.
    let (state, output) = unsafe { (state(file), &mut *output) };
    let mut shared = state.shared.state();
    if !state.mapped {
        state.mapped = true;
        shared.map();
    }
    while extend != 0 && shared.regions.len() <= region {
        shared.regions.push(Box::new([0; disk::REGION_WORDS]));
    }
    // The region stays where it is until the last file that mapped it is closed.
    *output = match shared.regions.get_mut(region) {
        Some(region) => region.as_mut_ptr().cast(),
        None => ptr::null_mut(),
    };
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock_memory(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    let (Ok(first), Ok(count)) = (usize::try_from(first), usize::try_from(count)) else {
        return ffi::SQLITE_IOERR_SHMLOCK;
    };
    // SAFETY: the file is open.
    let state = unsafe { state(file) };
    let exclusive = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
    let mut shared = state.shared.state();
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        shared.unlock_memory(&mut state.locks, first, count);
        return ffi::SQLITE_OK;
    }
    busy_unless(shared.lock_memory(&mut state.locks, first, count, exclusive))
}

unsafe extern "C" fn memory_barrier(_file: *mut ffi::sqlite3_file) {
    std::sync::atomic::fence(Ordering::SeqCst);
}

unsafe extern "C" fn unmap_memory(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: the file is open.
    let state = unsafe { state(file) };
    if std::mem::take(&mut state.mapped) {
        state.shared.state().unmap();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn unfetch(
    file: *mut ffi::sqlite3_file,
    _offset: i64,
    page: *mut c_void,
) -> c_int {
    if page.is_null() {
        // SAFETY: the file is open.
        unsafe { state(file) }
            .file
            .event(FileEvent::CheckpointSawChange);
    }
    ffi::SQLITE_OK
}
