//! Where a migration can be made to stand still, so that a test kills the process there.
//!
//! Without the feature `crash-points` nothing of this is compiled in. With it, the environment variable
//! [`VARIABLE`] names a database file and the boundary between two statements at which the process waits for its end.

/// `book.db:3` stands still behind the third statement of the migrations of `book.db`.
pub const VARIABLE: &str = "COUNTERFOIL_MIGRATION_HALT";

/// What is logged then.
pub const REACHED: &str = "stands still in a migration";

#[cfg(feature = "crash-points")]
pub(crate) use armed::{pass, run_script};
#[cfg(not(feature = "crash-points"))]
pub(crate) use plain::{pass, run_script};

#[cfg(not(feature = "crash-points"))]
mod plain {
    use crate::engine::{Connection, SqlError};

    /// Runs a script.
    pub(crate) fn run_script(conn: &Connection, script: &str) -> Result<(), SqlError> {
        conn.execute_batch(script)
    }

    /// A statement is done.
    pub(crate) const fn pass(_conn: &Connection) {}
}

#[cfg(feature = "crash-points")]
mod armed {
    use super::{REACHED, VARIABLE};
    use crate::engine::{Connection, SqlError};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The name of the file and the boundary, from 1.
    static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    #[expect(
        clippy::disallowed_methods,
        reason = "a test reaches into the process it started"
    )]
    fn armed() -> Option<(String, u64)> {
        let text = std::env::var(VARIABLE).ok()?;
        let (name, boundary) = text.split_once(':')?;
        Some((name.to_owned(), boundary.parse().ok()?))
    }

    /// Runs a script statement by statement.
    pub(crate) fn run_script(conn: &Connection, script: &str) -> Result<(), SqlError> {
        let mut statement = String::new();
        for piece in script.split_inclusive(';') {
            statement.push_str(piece);
            let is_blank = |line: &str| line.trim().is_empty() || line.trim().starts_with("--");
            // A semicolon in a comment, a text or a trigger ends no statement: SQLite refuses what is not whole.
            if !statement.lines().all(is_blank) && conn.execute_batch(&statement).is_ok() {
                statement.clear();
                pass(conn);
            }
        }
        conn.execute_batch(&statement)
    }

    /// A statement is done; the process waits for its end here when a test wants that.
    pub(crate) fn pass(conn: &Connection) {
        let Some((name, boundary)) = ARMED.get_or_init(armed) else {
            return;
        };
        let file = conn.path().file_name().unwrap_or_default();
        if file == name.as_str() && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *boundary {
            tracing::error!("{REACHED}: {name}:{boundary}");
            loop {
                std::thread::park();
            }
        }
    }
}
