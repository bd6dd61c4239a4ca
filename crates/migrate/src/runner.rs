//! Applies migrations: locked against a second runner, all or nothing, never onto a newer schema.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::driver::Driver;
use crate::engine::{Connection, Durability, OpenError, Retry, SqlError};
use crate::kind::Kind;
use crate::schema::{MigrationName, Schema};
use crate::status::{Divergence, Problem, State, Status, StatusError, Violation, newer_message};

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The version before; `None` for a new database.
    pub from: Option<i32>,
    /// The version now.
    pub to: i32,
    /// Applied by this run, ascending; empty when there was nothing to do.
    pub applied: Vec<MigrationName>,
}

/// Why migrations were not applied. The schema is the one before the run in every case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The lock file could not be made or locked.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file could not be opened.
    #[error("cannot open the database")]
    Open {
        /// The cause.
        #[source]
        source: OpenError,
    },
    /// The history could not be read.
    #[error("cannot compare the schema")]
    Status {
        /// The cause.
        #[source]
        source: StatusError,
    },
    /// A newer program has migrated the database.
    #[error("{}", newer_message(*found, *known))]
    Newer {
        /// Version of the database.
        found: i32,
        /// Newest version of this program.
        known: i32,
    },
    /// The history departs from this program's migrations.
    #[error("{divergence}")]
    Divergent {
        /// Where.
        divergence: Box<Divergence>,
    },
    /// A transaction is open on the connection, so foreign keys cannot be switched off.
    #[error("a transaction is open on the connection to migrate")]
    TransactionOpen,
    /// A statement of a migration failed.
    #[error("migration {migration} failed")]
    Statement {
        /// Its name.
        migration: String,
        /// The cause.
        #[source]
        source: SqlError,
    },
    /// A migration holds COMMIT, ROLLBACK or a statement that ends the transaction.
    #[error("migration {migration} ended the transaction it ran in")]
    EndedTransaction {
        /// Its name.
        migration: String,
    },
    /// Rows would be left without their parent.
    #[error("the migrations leave rows without their parent, first: {}", violations.first()
        .map_or_else(String::new, ToString::to_string))]
    ForeignKeys {
        /// At most 100 of them.
        violations: Vec<Violation>,
    },
    /// A row of the history holds no date or no checksum.
    #[error("row {version} of the schema history is damaged")]
    HistoryRow {
        /// Its version.
        version: i32,
    },
    /// The transaction of the run, or a setting around it, failed.
    #[error("cannot run the migrations")]
    Run {
        /// The cause.
        #[from]
        source: SqlError,
    },
    /// The moment to be noted is no date.
    #[error("{applied_at_ms} ms since the epoch is no date")]
    AppliedAt {
        /// As given.
        applied_at_ms: i64,
    },
    /// refinery refused the set of migrations.
    #[error("refinery refused the migrations")]
    Refinery {
        /// The cause.
        #[source]
        source: refinery_core::Error,
    },
}

impl ApplyError {
    /// When the run may be tried again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Run { source } | Self::Statement { source, .. } => source.retry(),
            Self::Lock { .. } | Self::Open { .. } | Self::TransactionOpen => Retry::Later,
            _ => Retry::Never,
        }
    }

    /// Whether program and database do not belong together (exit code 6).
    #[must_use]
    pub fn is_schema_conflict(&self) -> bool {
        matches!(self, Self::Newer { .. } | Self::Divergent { .. })
    }

    /// What a person should do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Newer { .. } => "install a newer Counterfoil",
            Self::Divergent { divergence } => divergence.hint(),
            Self::Lock { .. } | Self::Open { .. } => {
                "check that the folder exists and that this user may write to it"
            }
            Self::Run { source } | Self::Statement { source, .. } if source.is_busy() => {
                "another program is writing to the database: stop it, or try again"
            }
            Self::Run { source } | Self::Statement { source, .. } if source.is_disk_full() => {
                "the disk is full: make room and try again; nothing was changed"
            }
            _ => "nothing was changed: the program before the upgrade still works; report this",
        }
    }
}

impl Divergence {
    /// What a person should do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Edited { .. } => {
                "check --kind and --db first; if they are right, a released migration file was \
                 edited: install an unmodified Counterfoil"
            }
            Self::Unknown { .. } | Self::Skipped { .. } => {
                "the database was migrated by another build: install that one, or a newer release"
            }
            Self::Foreign { .. } => "check --db: this is not a Counterfoil database",
        }
    }
}

/// Applies what is pending for `kind` and reports it.
///
/// Foreign keys are off during the run and checked before its commit.
///
/// # Errors
///
/// [`ApplyError`]; nothing was changed.
pub fn apply(conn: &Connection, kind: Kind, applied_at_ms: i64) -> Result<Report, ApplyError> {
    kind.schema().apply(conn, applied_at_ms)
}

/// Compares the history of `conn` with the migrations of `kind`.
///
/// # Errors
///
/// [`StatusError::History`] when the history cannot be read.
pub fn status(conn: &Connection, kind: Kind) -> Result<Status, StatusError> {
    kind.schema().status(conn)
}

/// Looks for everything that keeps a program from working with the database; reads the whole file.
///
/// # Errors
///
/// [`StatusError`] when the checks cannot be carried out.
pub fn check(conn: &Connection, kind: Kind) -> Result<Vec<Problem>, StatusError> {
    kind.schema().check(conn)
}

/// The newest applied version of any database; `None` before the first run.
///
/// # Errors
///
/// [`StatusError::History`] when the history cannot be read.
pub fn schema_version(conn: &Connection) -> Result<Option<i32>, StatusError> {
    let history = crate::status::read_history(conn);
    let history = history.map_err(|source| StatusError::History { source })?;
    Ok(history.last().map(|newest| newest.version))
}

/// Opens a database for a daemon: created if need be, migrated, every commit synced.
///
/// # Errors
///
/// [`ApplyError`]. The handle is then given up without a checkpoint, see [`Connection::abandon`].
pub fn open_and_migrate(
    path: impl AsRef<Path>,
    kind: Kind,
    applied_at_ms: i64,
) -> Result<Connection, ApplyError> {
    open_and_migrate_to(path, kind, kind.schema_version(), applied_at_ms)
}

/// As [`open_and_migrate`], by a program that knows the migrations up to `version` only.
///
/// # Errors
///
/// [`ApplyError`], as [`open_and_migrate`]; [`ApplyError::Newer`] for a database beyond that version.
pub fn open_and_migrate_to(
    path: impl AsRef<Path>,
    kind: Kind,
    version: i32,
    applied_at_ms: i64,
) -> Result<Connection, ApplyError> {
    let schema = kind.schema().up_to(version);
    let (conn, _report) = schema.open_and_apply(path, applied_at_ms)?;
    Ok(conn)
}

impl Schema {
    /// Opens the file under the runner's lock and applies what is pending.
    ///
    /// Locked before it is opened: two programs that create one file and switch it to WAL at the
    /// same moment would see each other's lock as an error.
    pub(crate) fn open_and_apply(
        &self,
        path: impl AsRef<Path>,
        applied_at_ms: i64,
    ) -> Result<(Connection, Report), ApplyError> {
        let open = |source| ApplyError::Open { source };
        let path = crate::engine::absolute(path.as_ref()).map_err(open)?;
        let lock = RunnerLock::acquire(&path)?;
        let conn = Connection::open(&path, Durability::Full).map_err(open)?;
        let applied = self.apply_locked(&conn, applied_at_ms);
        drop(lock);
        match applied {
            Ok(report) => Ok((conn, report)),
            Err(error) => {
                conn.abandon();
                Err(error)
            }
        }
    }

    /// Applies what is pending and reports it, as [`apply`] does.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]; nothing was changed.
    pub fn apply(&self, conn: &Connection, applied_at_ms: i64) -> Result<Report, ApplyError> {
        let lock = RunnerLock::acquire(conn.path())?;
        let report = self.apply_locked(conn, applied_at_ms);
        drop(lock);
        report
    }

    fn apply_locked(&self, conn: &Connection, applied_at_ms: i64) -> Result<Report, ApplyError> {
        let status = self.status(conn);
        let status = status.map_err(|source| ApplyError::Status { source })?;
        let report = Report {
            from: status.current,
            to: status.latest,
            applied: status.pending.clone(),
        };
        match status.state {
            State::Current => return Ok(report),
            State::Pending | State::Missing => {}
            State::Newer | State::Divergent => return Err(refusal(status)),
        }
        let mut driver = Driver {
            conn,
            pending: status.pending,
            applied_on: rfc3339(applied_at_ms)?,
            failure: None,
        };
        let foreign_keys = ForeignKeysOff::set(conn)?;
        let result = self.runner().run(&mut driver);
        drop(foreign_keys);
        if let Some(failure) = driver.failure {
            return Err(failure);
        }
        result.map_err(|source| ApplyError::Refinery { source })?;
        tracing::info!(
            db = %conn.path().display(),
            from = report.from.unwrap_or(0),
            to = report.to,
            applied = report.applied.len(),
            "schema migrated"
        );
        Ok(report)
    }
}

pub(crate) fn refusal(status: Status) -> ApplyError {
    match status.divergence {
        Some(divergence) => ApplyError::Divergent {
            divergence: Box::new(divergence),
        },
        None => ApplyError::Newer {
            found: status.current.unwrap_or(0),
            known: status.latest,
        },
    }
}

fn rfc3339(applied_at_ms: i64) -> Result<String, ApplyError> {
    let nanoseconds = i128::from(applied_at_ms) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .ok_or(ApplyError::AppliedAt { applied_at_ms })
}

/// Holds `<db>.migrate-lock` until dropped. The file stays: to remove it would let a third runner
/// lock a new file while the second holds the old one.
struct RunnerLock {
    _file: File,
}

impl RunnerLock {
    fn acquire(db: &Path) -> Result<Self, ApplyError> {
        let mut name = db.as_os_str().to_owned();
        name.push(".migrate-lock");
        let path = PathBuf::from(name);
        let locked = || -> std::io::Result<File> {
            let mut options = OpenOptions::new();
            let file = options
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    tracing::info!(lock = %path.display(), "waiting for another migration runner");
                    file.lock()?;
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            Ok(file)
        };
        match locked() {
            Ok(file) => Ok(Self { _file: file }),
            Err(source) => Err(ApplyError::Lock { path, source }),
        }
    }
}

/// Foreign keys off until dropped. With them on, the `DROP TABLE` of a table rebuild deletes every
/// child row through `ON DELETE CASCADE`.
struct ForeignKeysOff<'c> {
    conn: &'c Connection,
}

impl<'c> ForeignKeysOff<'c> {
    fn set(conn: &'c Connection) -> Result<Self, ApplyError> {
        conn.execute_batch("PRAGMA foreign_keys = OFF")?;
        let guard = Self { conn };
        // SQLite ignores the setting inside a transaction, without an error.
        let on: bool = conn.query_value("PRAGMA foreign_keys", ())?;
        if on {
            return Err(ApplyError::TransactionOpen);
        }
        Ok(guard)
    }
}

impl Drop for ForeignKeysOff<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.conn.execute_batch("PRAGMA foreign_keys = ON") {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot switch foreign keys on again"
            );
        }
    }
}
