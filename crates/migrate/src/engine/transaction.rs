//! Transactions that end with their closure, whatever happens in it.

use std::ops::Deref;

use libsql::ffi;

use super::connection::Connection;
use super::error::{CommitOutcome, SqlError};

/// An open transaction. Pass `&tx` where a `&Connection` is wanted.
///
/// Statements of the connection run inside it in any case: a connection has one transaction.
#[derive(Debug)]
pub struct Transaction<'c> {
    connection: &'c Connection,
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Connection {
    /// Runs `body` in a write transaction (`BEGIN IMMEDIATE`) and commits it.
    ///
    /// Rolled back when `body` fails or panics and when COMMIT fails. Annotate the closure where
    /// the compiler asks: `|tx| -> Result<_, SaleError> { … }`.
    ///
    /// # Errors
    ///
    /// Those of `body`; [`SqlError::Begin`] (busy), [`SqlError::Commit`] (see its outcome),
    /// [`SqlError::Nested`], [`SqlError::EndedEarly`]. No transaction is open afterwards.
    pub fn transaction<T, E: From<SqlError>>(
        &self,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.within("BEGIN IMMEDIATE", body)
    }

    /// Runs `body` in a read transaction: all its queries see one state of the database.
    ///
    /// # Errors
    ///
    /// As for [`Self::transaction`].
    pub fn snapshot<T, E: From<SqlError>>(
        &self,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.within("BEGIN DEFERRED", body)
    }

    /// Runs `body` inside the open transaction and takes back what it did when it fails; the transaction
    /// goes on either way.
    ///
    /// # Errors
    ///
    /// Those of `body`, also when SQLite took the whole transaction back because of them (a full disk);
    /// [`SqlError`] when it cannot be taken back. In both cases the transaction must end.
    pub fn savepoint<T, E: From<SqlError>>(
        &self,
        body: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.command("SAVEPOINT attempt")?;
        let done = body();
        if done.is_err() {
            if self.is_autocommit() {
                return done;
            }
            self.command("ROLLBACK TO attempt")?;
        }
        self.command("RELEASE attempt")?;
        done
    }

    fn within<T, E: From<SqlError>>(
        &self,
        begin: &str,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        if !self.is_autocommit() {
            return Err(SqlError::Nested.into());
        }
        self.command(begin).map_err(|source| SqlError::Begin {
            source: Box::new(source),
        })?;
        let rollback = RollbackOnDrop { connection: self };
        let value = body(&Transaction { connection: self })?;
        if self.is_autocommit() {
            return Err(SqlError::EndedEarly.into());
        }
        self.command("COMMIT").map_err(commit_error)?;
        drop(rollback);
        Ok(value)
    }
}

fn commit_error(source: SqlError) -> SqlError {
    // A refused commit (busy, deferred foreign key) wrote no commit frame. After any other failure
    // the frame may have reached the disk although this handle takes it back.
    let outcome = match source.primary_code() {
        Some(ffi::SQLITE_BUSY | ffi::SQLITE_CONSTRAINT) => CommitOutcome::RolledBack,
        _ => CommitOutcome::Uncertain,
    };
    SqlError::Commit {
        outcome,
        source: Box::new(source),
    }
}

struct RollbackOnDrop<'c> {
    connection: &'c Connection,
}

impl Drop for RollbackOnDrop<'_> {
    fn drop(&mut self) {
        // After RAISE(ROLLBACK), a full disk or an I/O error SQLite has rolled back by itself.
        self.connection.roll_back_if_open();
    }
}
