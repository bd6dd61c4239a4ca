//! What can go wrong on a connection, and whether trying again helps.

use std::path::PathBuf;

use libsql::ffi;

use super::row::FromSqlError;

/// Characters of the SQL text kept in an error.
const SQL_TEXT_MAX: usize = 160;

/// When the same call may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// At once: somebody else held the lock.
    Now,
    /// After a while: an outside condition may pass.
    Later,
    /// Not before a person has looked: disk full, file damaged, statement wrong.
    Never,
}

/// What a failed COMMIT left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Nothing of the transaction is stored.
    RolledBack,
    /// This handle does not see it, but the disk failed while the commit was written: after a crash
    /// it may be there. Do not acknowledge; close, open again and look.
    Uncertain,
}

/// Why a database file could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file is not there, and this way of opening does not create it.
    #[error("there is no database file {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The path has no absolute form or is not UTF-8, which libsql requires.
    #[error("cannot use the path {}", path.display())]
    Path {
        /// The path as given.
        path: PathBuf,
        /// The cause, when the system gave one.
        #[source]
        source: Option<std::io::Error>,
    },
    /// libSQL refused the file: no permission, no folder, no database.
    #[error("cannot open the database {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What libSQL said.
        #[source]
        source: libsql::Error,
    },
    /// A rule could not be set or read back.
    #[error("cannot set engine rule {rule} on {}", path.display())]
    Rule {
        /// The file.
        path: PathBuf,
        /// The PRAGMA.
        rule: String,
        /// What the statement said.
        #[source]
        source: Box<SqlError>,
    },
    /// A rule was set and reads back otherwise; writing would not be safe.
    #[error("engine rule {rule} of {} is {found}, not {wanted}", path.display())]
    RuleIgnored {
        /// The file.
        path: PathBuf,
        /// The PRAGMA.
        rule: String,
        /// The value that was set.
        wanted: &'static str,
        /// The value that was read back.
        found: String,
    },
}

/// Why a statement or transaction failed. No variant leaves a statement or transaction open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqlError {
    /// SQLite refused or failed the statement.
    #[error("statement failed: {sql}")]
    Statement {
        /// The statement, shortened.
        sql: String,
        /// What libSQL said.
        #[source]
        source: libsql::Error,
    },
    /// A script failed; the statements before the failing one stay, unless a transaction was open.
    #[error("script failed: {sql}")]
    Batch {
        /// The script, shortened.
        sql: String,
        /// What libSQL said.
        #[source]
        source: libsql::Error,
    },
    /// The number of values differs from the number of parameters.
    #[error("{given} values for {expected} parameters: {sql}")]
    ParameterCount {
        /// The statement, shortened.
        sql: String,
        /// Parameters in the statement.
        expected: usize,
        /// Values given.
        given: usize,
    },
    /// A named value fits no parameter; SQLite would leave the parameter NULL.
    #[error("no parameter is called {name}: {sql}")]
    ParameterName {
        /// The statement, shortened.
        sql: String,
        /// The name given.
        name: String,
    },
    /// A value cannot be stored.
    #[error("a value cannot be stored: {sql}")]
    ParameterValue {
        /// The statement, shortened.
        sql: String,
        /// The rule it broke.
        #[source]
        source: libsql::Error,
    },
    /// A text value holds a NUL character; libsql would read it back cut short.
    #[error("a text value holds a NUL character: {sql}")]
    ParameterNul {
        /// The statement, shortened.
        sql: String,
    },
    /// The query found no row where one was due.
    #[error("no row: {sql}")]
    NoRow {
        /// The statement, shortened.
        sql: String,
    },
    /// A column does not hold what the reader expects.
    #[error("column {index} cannot be read: {sql}")]
    Column {
        /// The statement, shortened.
        sql: String,
        /// Counts from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: FromSqlError,
    },
    /// A column holds a value that the caller's own type refuses.
    #[error("column {index} cannot be decoded: {sql}")]
    Decode {
        /// The statement, shortened.
        sql: String,
        /// Counts from 0.
        index: usize,
        /// What the caller's type said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The transaction could not begin; another connection is writing.
    #[error("cannot begin a transaction")]
    Begin {
        /// What libSQL said.
        #[source]
        source: Box<Self>,
    },
    /// COMMIT failed; the transaction is over.
    #[error("cannot commit ({outcome:?})")]
    Commit {
        /// What is known about the disk.
        outcome: CommitOutcome,
        /// What libSQL said.
        #[source]
        source: Box<Self>,
    },
    /// A transaction is open already; they do not nest.
    #[error("a transaction is already open on this connection")]
    Nested,
    /// The body ended the transaction by itself, so it was not atomic.
    #[error("the transaction was ended before its commit")]
    EndedEarly,
    /// A call outside a transaction began one; it was rolled back.
    #[error("the statement left a transaction open, rolled back: {sql}")]
    LeftOpen {
        /// The statement, shortened.
        sql: String,
    },
    /// The database to attach does not exist; SQLite would create an empty one.
    #[error("cannot attach {}", path.display())]
    Attach {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<OpenError>,
    },
    /// The name of an attached database is not a plain lower-case word, or is taken by SQLite.
    #[error("`{name}` cannot be the name of an attached database")]
    AttachName {
        /// The name given.
        name: String,
    },
}

impl SqlError {
    /// The extended SQLite result code, when SQLite gave one.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Statement { source, .. } | Self::Batch { source, .. } => match source {
                libsql::Error::SqliteFailure(code, _) => Some(*code),
                _ => None,
            },
            Self::Begin { source } | Self::Commit { source, .. } => source.code(),
            _ => None,
        }
    }

    /// The primary SQLite result code: the low byte of [`Self::code`].
    #[must_use]
    pub fn primary_code(&self) -> Option<i32> {
        self.code().map(|code| code & 0xff)
    }

    /// Whether another connection held the lock for the whole busy timeout.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(
            self.primary_code(),
            Some(ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED)
        )
    }

    /// Whether a constraint (unique, foreign key, check, not null, `RAISE(ABORT)`) refused the row.
    #[must_use]
    pub fn is_constraint(&self) -> bool {
        self.primary_code() == Some(ffi::SQLITE_CONSTRAINT)
    }

    /// Whether the disk is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.primary_code() == Some(ffi::SQLITE_FULL)
    }

    /// Whether the file is damaged or no database.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(
            self.primary_code(),
            Some(ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB)
        )
    }

    /// When the same call may be tried again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self.primary_code() {
            Some(ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED) => Retry::Now,
            Some(ffi::SQLITE_NOMEM | ffi::SQLITE_INTERRUPT) => Retry::Later,
            _ => Retry::Never,
        }
    }
}

/// One line of at most [`SQL_TEXT_MAX`] characters, for error messages.
pub(super) fn shortened(sql: &str) -> String {
    let mut line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(SQL_TEXT_MAX) {
        line.truncate(end);
        line.push('…');
    }
    line
}
