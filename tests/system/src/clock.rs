//! A clock that is wrong by as much as a file says, from the moment on that it says it.

use counterfoil_domain::env::Clock;
use counterfoil_replica::env::{Env, SystemClock};
use std::path::PathBuf;
use std::sync::Arc;

/// Names the file: milliseconds that the clock is ahead; without it the clock is right.
pub const FILE: &str = "SYSTEM_CLOCK_FILE";

/// See the module.
struct FileClock(PathBuf);

impl Clock for FileClock {
    fn now_ms(&self) -> i64 {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let ahead_ms: i64 = text.trim().parse().unwrap_or(0);
        SystemClock.now_ms().saturating_add(ahead_ms)
    }
}

/// The real world but for its clock.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "tests tell their programs through the environment"
)]
pub fn env() -> Env {
    let mut env = Env::system();
    if let Ok(path) = std::env::var(FILE) {
        env.clock = Arc::new(FileClock(PathBuf::from(path)));
    }
    env
}
