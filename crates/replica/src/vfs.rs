//! A VFS for the simulation: SQLite's randomness, time and sleep come from a seed; files are real.
//!
//! SQLite reaches all three through the VFS only, so with this one a seed replays byte for byte.
//! For a process of one thread; in production nothing of this is compiled in.
#![expect(unsafe_code, reason = "a VFS is a table of C functions")]

use std::{
    ffi::{c_char, c_int},
    ptr,
    sync::{
        Once,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use libsql_ffi as ffi;

use crate::wal::initialize;

/// Milliseconds from SQLite's day zero, noon of 24 November 4714 BC, to the Unix epoch.
const EPOCH_MS: i64 = 210_866_760_000_000;

static STATE: AtomicU64 = AtomicU64::new(0);
static TIME_MS: AtomicI64 = AtomicI64::new(0);

/// Makes a VFS with repeatable randomness, time and sleep the default one, and starts it at `seed`.
///
/// Call it before the simulated process opens a database; a second call only seeds again.
///
/// # Panics
/// When SQLite has no default VFS or refuses another one.
pub fn register_deterministic(seed: u64) {
    static REGISTERED: Once = Once::new();
    initialize();
    STATE.store(seed, Ordering::SeqCst);
    REGISTERED.call_once(|| {
        // SAFETY: SQLite is initialized. The copy of the default VFS's table keeps all its file
        // methods, which do not depend on the table's address, and is leaked because SQLite keeps
        // the pointer for the rest of the process.
        let code = unsafe {
            let default = ffi::sqlite3_vfs_find(ptr::null());
            assert!(!default.is_null(), "SQLite has a default VFS");
            let mut table = ptr::read(default);
            table.zName = c"counterfoil-deterministic".as_ptr();
            table.pNext = ptr::null_mut();
            table.xRandomness = Some(randomness);
            table.xSleep = Some(sleep);
            table.xCurrentTime = None;
            table.xCurrentTimeInt64 = Some(current_time);
            ffi::sqlite3_vfs_register(Box::leak(Box::new(table)), 1)
        };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite takes another VFS");
    });
    // SAFETY: zero bytes and no buffer throw away what SQLite's generator was seeded with before.
    unsafe { ffi::sqlite3_randomness(0, ptr::null_mut()) };
}

/// Sets the time that SQL functions such as `datetime('now')` see.
pub fn set_time_ms(now_ms: i64) {
    TIME_MS.store(now_ms, Ordering::SeqCst);
}

/// Next output of the `SplitMix64` generator.
fn next_random() -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut mixed = STATE.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

unsafe extern "C" fn randomness(
    _vfs: *mut ffi::sqlite3_vfs,
    bytes: c_int,
    output: *mut c_char,
) -> c_int {
    let length = usize::try_from(bytes).unwrap_or_default();
    // SAFETY: SQLite hands in a buffer of that many bytes.
    let output = unsafe { std::slice::from_raw_parts_mut(output.cast::<u8>(), length) };
    for part in output.chunks_mut(8) {
        part.copy_from_slice(&next_random().to_le_bytes()[..part.len()]);
    }
    bytes
}

unsafe extern "C" fn sleep(_vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    TIME_MS.fetch_add(i64::from(microseconds).div_euclid(1000), Ordering::SeqCst);
    microseconds
}

unsafe extern "C" fn current_time(_vfs: *mut ffi::sqlite3_vfs, output: *mut i64) -> c_int {
    // SAFETY: SQLite hands in a place for the result.
    unsafe { *output = EPOCH_MS + TIME_MS.load(Ordering::SeqCst) };
    ffi::SQLITE_OK
}
