//! The engine: connections that follow the rules of design 12, and synchronous access to them.
//!
//! libSQL's local `async fn`s run inline and block the calling thread; they never wait for a
//! wake-up. So this wrapper polls each future once and offers plain blocking calls. A daemon calls
//! them from a thread of its own, the simulator inline.
//!
//! # What happens at close
//!
//! SQLite checkpoints and deletes the WAL when the last handle on a file closes, unless that handle
//! set `SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE`. The libsql crate (0.10) neither sets it nor gives out its
//! raw handle, so this crate cannot set it without `unsafe`, which it denies itself. On a till's book
//! such a checkpoint is a foreign one that replication has to heal from. Hence:
//! a running node holds `replica`'s raw handle, which has the setting, open beside these connections;
//! a program that ends (the migration runner) uses [`Connection::abandon`], which never closes.

mod connection;
mod error;
mod open;
mod row;
mod statements;
mod transaction;

pub use connection::{Checkpoint, Connection};
pub use error::{CommitOutcome, OpenError, Retry, SqlError};
pub(crate) use open::absolute;
pub use open::{BUSY_TIMEOUT, Durability};
pub use row::{FromSql, FromSqlError, Row};
pub use transaction::Transaction;

use std::future::Future;

use futures_util::FutureExt as _;

/// Runs one of libSQL's local futures, which is ready at the first poll.
///
/// # Panics
///
/// If the future is pending: then libsql changed, and every caller of this crate would be wrong.
fn inline<T>(future: impl Future<Output = T>) -> T {
    future
        .now_or_never()
        .expect("libsql runs local calls inline and never waits")
}
