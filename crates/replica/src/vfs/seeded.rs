//! Randomness and time that a seed repeats, for the process.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Milliseconds from SQLite's day zero, noon of 24 November 4714 BC, to the Unix epoch.
const EPOCH_MS: i64 = 210_866_760_000_000;

static STATE: AtomicU64 = AtomicU64::new(0);
static TIME_MS: AtomicI64 = AtomicI64::new(0);

pub(super) fn start_at(seed: u64) {
    STATE.store(seed, Ordering::SeqCst);
}

/// Sets the time that SQL functions such as `datetime('now')` see.
pub fn set_time_ms(now_ms: i64) {
    TIME_MS.store(now_ms, Ordering::SeqCst);
}

/// A sleep moves the time and takes none.
pub(super) fn sleep_ms(milliseconds: i64) {
    TIME_MS.fetch_add(milliseconds, Ordering::SeqCst);
}

/// The time as SQLite counts it.
pub(super) fn julian_ms() -> i64 {
    EPOCH_MS + TIME_MS.load(Ordering::SeqCst)
}

pub(super) fn fill(output: &mut [u8]) {
    for part in output.chunks_mut(8) {
        part.copy_from_slice(&next_random().to_le_bytes()[..part.len()]);
    }
}

/// Next output of the `SplitMix64` generator.
fn next_random() -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut mixed = STATE.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
