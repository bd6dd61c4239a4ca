//! A connection with blocking calls, a statement cache, and nothing left open after a call.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libsql::params::{IntoParams, Params};
use libsql::{Statement, Value};

use super::error::{SqlError, shortened};
use super::open::Durability;
use super::row::{FromSql, Row};
use super::statements::Statements;
use super::{inline, open};

/// An open database, set up by the engine rules.
///
/// `Send`, but not `Sync` and not `Clone`: clones of a libSQL connection share one handle and
/// therefore one transaction. All calls block the thread. Dropping it closes the handle; read the
/// module's "What happens at close" and [`Self::abandon`] before doing so on a book.
pub struct Connection {
    // Finalized before the handle closes: fields drop in this order.
    statements: RefCell<Statements>,
    raw: libsql::Connection,
    path: PathBuf,
    durability: Durability,
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("path", &self.path)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

/// What a checkpoint did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// A reader or writer was in the way and the WAL was not truncated.
    pub busy: bool,
    /// Frames in the WAL; 0 after success.
    pub wal_frames: i64,
    /// Frames moved into the database file; 0 after success, as the WAL is gone then.
    pub checkpointed_frames: i64,
}

/// A statement in use; goes back to the cache, reset, however the call ends.
struct InUse<'c> {
    connection: &'c Connection,
    text: String,
    statement: Option<Statement>,
}

impl InUse<'_> {
    fn statement(&self) -> &Statement {
        self.statement
            .as_ref()
            .expect("taken only when this is dropped")
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        if let Some(statement) = self.statement.take() {
            // An open statement holds a read mark, which blocks every TRUNCATE checkpoint.
            statement.reset();
            let text = std::mem::take(&mut self.text);
            self.connection.statements.borrow_mut().put(text, statement);
        }
    }
}

impl Connection {
    pub(super) fn new(raw: libsql::Connection, path: PathBuf, durability: Durability) -> Self {
        let statements = RefCell::default();
        Self {
            statements,
            raw,
            path,
            durability,
        }
    }

    /// The absolute path of the database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a commit on this connection means.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Sets how long a statement waits for another connection's lock.
    ///
    /// # Errors
    ///
    /// [`SqlError::Statement`] when libSQL refuses.
    pub fn set_busy_timeout(&self, timeout: Duration) -> Result<(), SqlError> {
        let set = self.raw.busy_timeout(timeout);
        set.map_err(|source| statement_error("busy_timeout", source))
    }

    /// Runs one statement that returns no rows, and counts the rows it changed (0 for DDL).
    ///
    /// SQLite ignores what follows the first statement; use [`Self::execute_batch`] for scripts.
    ///
    /// # Errors
    ///
    /// [`SqlError`]; the statement's own changes are taken back by SQLite.
    pub fn execute(&self, sql: &str, params: impl IntoParams) -> Result<u64, SqlError> {
        let total = self.raw.total_changes();
        self.guarded(sql, || {
            let params = converted(sql, params)?;
            let in_use = self.prepared(sql, &params)?;
            inline(in_use.statement().execute(params)).map_err(|e| statement_error(sql, e))?;
            Ok(())
        })?;
        // SQLite keeps the last count for statements that change nothing.
        let changed = self.raw.total_changes() != total;
        Ok(if changed { self.raw.changes() } else { 0 })
    }

    /// Reads the first row; further rows are not read.
    ///
    /// # Errors
    ///
    /// [`SqlError::NoRow`] when there is none; else [`SqlError`].
    pub fn query_row<T>(
        &self,
        sql: &str,
        params: impl IntoParams,
        read: impl FnOnce(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        let found = self.query_optional(sql, params, read)?;
        found.ok_or_else(|| SqlError::NoRow {
            sql: shortened(sql),
        })
    }

    /// Reads the first row if there is one; further rows are not read.
    ///
    /// # Errors
    ///
    /// [`SqlError`] when the statement or `read` fails.
    pub fn query_optional<T>(
        &self,
        sql: &str,
        params: impl IntoParams,
        read: impl FnOnce(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Option<T>, SqlError> {
        self.guarded(sql, || {
            let params = converted(sql, params)?;
            let in_use = self.prepared(sql, &params)?;
            let mut rows =
                inline(in_use.statement().query(params)).map_err(|e| statement_error(sql, e))?;
            let first = inline(rows.next()).map_err(|e| statement_error(sql, e))?;
            first.map(|row| read(&Row::new(&row, sql))).transpose()
        })
    }

    /// Reads every row into memory, in the query's order.
    ///
    /// # Errors
    ///
    /// [`SqlError`] when the statement or `read` fails.
    pub fn query_map<T>(
        &self,
        sql: &str,
        params: impl IntoParams,
        mut read: impl FnMut(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        let mut values = Vec::new();
        self.query_each(sql, params, |row| -> Result<(), SqlError> {
            values.push(read(row)?);
            Ok(())
        })?;
        Ok(values)
    }

    /// Hands every row to `each` as it is read; stops at its first error.
    ///
    /// # Errors
    ///
    /// Those of `each`, and [`SqlError`] when the statement fails.
    pub fn query_each<E: From<SqlError>>(
        &self,
        sql: &str,
        params: impl IntoParams,
        mut each: impl FnMut(&Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.guarded(sql, || {
            let params = converted(sql, params)?;
            let in_use = self.prepared(sql, &params)?;
            let mut rows =
                inline(in_use.statement().query(params)).map_err(|e| statement_error(sql, e))?;
            while let Some(row) = inline(rows.next()).map_err(|e| statement_error(sql, e))? {
                each(&Row::new(&row, sql))?;
            }
            Ok(())
        })
    }

    /// Reads the first column of the first row.
    ///
    /// # Errors
    ///
    /// [`SqlError::NoRow`] when there is none; else [`SqlError`].
    pub fn query_value<T: FromSql>(
        &self,
        sql: &str,
        params: impl IntoParams,
    ) -> Result<T, SqlError> {
        self.query_row(sql, params, |row| row.get(0))
    }

    /// Runs a script without parameters; rows are thrown away.
    ///
    /// # Errors
    ///
    /// [`SqlError::Batch`]: the statements before the failing one stay, unless a transaction was
    /// open. [`SqlError::LeftOpen`] when the script began a transaction and did not end it.
    pub fn execute_batch(&self, sql: &str) -> Result<(), SqlError> {
        self.guarded(sql, || match inline(self.raw.execute_batch(sql)) {
            Ok(_rows) => Ok(()),
            Err(source) => Err(SqlError::Batch {
                sql: shortened(sql),
                source,
            }),
        })
    }

    /// Whether no transaction is open.
    #[must_use]
    pub fn is_autocommit(&self) -> bool {
        self.raw.is_autocommit()
    }

    /// The `rowid` of the last inserted row.
    #[must_use]
    pub fn last_insert_rowid(&self) -> i64 {
        self.raw.last_insert_rowid()
    }

    /// Attaches another database file as `name`, by the same engine rules.
    ///
    /// A transaction over two files is not atomic across a power cut in WAL mode: write one, read
    /// the other.
    ///
    /// # Errors
    ///
    /// [`SqlError::Attach`] when the file is missing or its rules do not hold (then it is not
    /// attached), [`SqlError::AttachName`], [`SqlError::Nested`] inside a transaction.
    pub fn attach(&self, path: impl AsRef<Path>, name: &str) -> Result<(), SqlError> {
        if !self.is_autocommit() {
            return Err(SqlError::Nested);
        }
        check_attach_name(name)?;
        open::attach(self, path.as_ref(), name)
    }

    /// Detaches the database attached as `name`.
    ///
    /// # Errors
    ///
    /// [`SqlError::Batch`] when no such database is attached or a transaction is open.
    pub fn detach(&self, name: &str) -> Result<(), SqlError> {
        check_attach_name(name)?;
        // Cached statements may name the tables that go away.
        self.statements.borrow_mut().clear();
        self.execute_batch(&format!("DETACH DATABASE {name}"))
    }

    /// Moves the WAL into the database file and truncates it.
    ///
    /// Only for the one checkpoint owner of the database, with its writers held back (design 12):
    /// two connections that checkpoint can destroy committed rows. Never on a replicated book.
    ///
    /// # Errors
    ///
    /// [`SqlError::Statement`]; that something was in the way is not an error, see [`Checkpoint`].
    pub fn checkpoint_truncate(&self) -> Result<Checkpoint, SqlError> {
        self.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| {
            Ok(Checkpoint {
                busy: row.get(0)?,
                wal_frames: row.get(1)?,
                checkpointed_frames: row.get(2)?,
            })
        })
    }

    /// Closes the handle. The last one on a file checkpoints it and deletes the WAL.
    pub fn close(self) {
        drop(self);
    }

    /// Gives the handle up without closing it: no checkpoint, the WAL stays as it is.
    ///
    /// For a program that is about to end: to SQLite it looks like a crash after the last commit,
    /// which loses nothing. In a program that goes on it leaks the handle and its files.
    pub fn abandon(self) {
        std::mem::forget(self);
    }

    /// Runs a statement of the transaction machinery; it may open or end a transaction.
    pub(super) fn command(&self, sql: &str) -> Result<(), SqlError> {
        let in_use = self.prepared(sql, &Params::None)?;
        let ran = inline(in_use.statement().run(Params::None));
        ran.map_err(|source| statement_error(sql, source))
    }

    pub(super) fn roll_back_if_open(&self) {
        if self.is_autocommit() {
            return;
        }
        if let Err(error) = self.command("ROLLBACK") {
            // The next transaction on this connection fails with `Nested` and says so.
            tracing::error!(error = &error as &dyn std::error::Error, "rollback failed");
        }
    }

    /// Runs `call`, and takes back a transaction that it began and left open.
    fn guarded<T, E: From<SqlError>>(
        &self,
        sql: &str,
        call: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let outside = self.is_autocommit();
        let result = call();
        if outside && !self.is_autocommit() {
            self.roll_back_if_open();
            result?;
            return Err(E::from(SqlError::LeftOpen {
                sql: shortened(sql),
            }));
        }
        result
    }

    fn prepared(&self, sql: &str, params: &Params) -> Result<InUse<'_>, SqlError> {
        let cached = self.statements.borrow_mut().take(sql);
        let (text, statement) = match cached {
            Some(found) => found,
            None => {
                let prepared = inline(self.raw.prepare(sql));
                let statement = prepared.map_err(|source| statement_error(sql, source))?;
                (sql.to_owned(), statement)
            }
        };
        let in_use = InUse {
            connection: self,
            text,
            statement: Some(statement),
        };
        check_params(in_use.statement(), sql, params)?;
        Ok(in_use)
    }
}

fn statement_error(sql: &str, source: libsql::Error) -> SqlError {
    let sql = shortened(sql);
    SqlError::Statement { sql, source }
}

fn converted(sql: &str, params: impl IntoParams) -> Result<Params, SqlError> {
    params
        .into_params()
        .map_err(|source| SqlError::ParameterValue {
            sql: shortened(sql),
            source,
        })
}

/// SQLite keeps the bindings of the last run, and libsql ignores names that do not exist: either
/// would store a wrong value in silence.
fn check_params(statement: &Statement, sql: &str, params: &Params) -> Result<(), SqlError> {
    let expected = statement.parameter_count();
    let mut texts: Vec<&Value> = Vec::new();
    let given = match params {
        Params::None => 0,
        Params::Positional(values) => {
            texts.extend(values);
            values.len()
        }
        Params::Named(values) => {
            for (name, value) in values {
                let indexes = 1..=i32::try_from(expected).unwrap_or(i32::MAX);
                let mut known = indexes.filter_map(|index| statement.parameter_name(index));
                if !known.any(|parameter| parameter == name) {
                    return Err(SqlError::ParameterName {
                        sql: shortened(sql),
                        name: name.clone(),
                    });
                }
                texts.push(value);
            }
            values.len()
        }
    };
    if given != expected {
        return Err(SqlError::ParameterCount {
            sql: shortened(sql),
            expected,
            given,
        });
    }
    let has_nul = |value: &&Value| matches!(value, Value::Text(text) if text.contains('\0'));
    if texts.iter().any(has_nul) {
        return Err(SqlError::ParameterNul {
            sql: shortened(sql),
        });
    }
    Ok(())
}

fn check_attach_name(name: &str) -> Result<(), SqlError> {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    if name.is_empty() || !plain || name == "main" || name == "temp" {
        return Err(SqlError::AttachName {
            name: name.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::error::OpenError;
    use super::super::statements::STATEMENTS_MAX;
    use super::*;

    #[test]
    fn an_error_is_small_enough_to_be_a_part_of_others() {
        assert!(size_of::<SqlError>() <= 72, "{}", size_of::<SqlError>());
        assert!(size_of::<OpenError>() <= 104, "{}", size_of::<OpenError>());
    }

    #[test]
    fn the_statement_cache_is_limited() {
        let raw = inline(libsql::Builder::new_local(":memory:").build());
        let raw = raw.unwrap().connect().unwrap();
        let connection = Connection::new(raw, PathBuf::new(), Durability::Full);
        for number in 0..STATEMENTS_MAX + 20 {
            let value: usize = connection
                .query_value(&format!("SELECT {number}"), ())
                .unwrap();
            assert_eq!(value, number);
        }
        assert_eq!(connection.statements.borrow().count(), STATEMENTS_MAX);
    }
}
