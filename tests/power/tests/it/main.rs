//! A sample of what `cargo run -p power` enumerates, and schedules that plain stress does not meet.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says why by panicking"
)]

mod checkpoints;
mod cuts;

use power::world::Place;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// SQLite's randomness and time are the process's: one world at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A folder in which worlds are made, one after the other.
pub(crate) struct Ground {
    folder: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Ground {
    pub(crate) fn new(name: &str) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("counterfoil-power-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self {
            folder,
            _turn: turn,
        }
    }

    pub(crate) fn place(&self) -> Place {
        Place::new(&self.folder)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // What cannot be removed stays behind; the test has its result already.
        std::fs::remove_dir_all(&self.folder).ok();
    }
}
