//! Compares what a database has with what the program knows, and looks for damage.

use std::fmt;

use refinery_core::Migration;
use serde::Serialize;

use crate::engine::{Connection, OpenError, SqlError};
use crate::schema::{MigrationName, Schema};

/// refinery's own name for its table.
pub(crate) const HISTORY_TABLE: &str = "refinery_schema_history";

/// Findings of one kind that [`Schema::check`] lists; a damaged file has thousands.
const FINDINGS_MAX: usize = 100;

/// How a database stands to the migrations of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing to do.
    Current,
    /// Migrations wait to be applied.
    Pending,
    /// A newer program has migrated it; this one must not write to it.
    Newer,
    /// Its history is not a part of this program's.
    Divergent,
    /// There is no such file.
    Missing,
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Current => "current",
            Self::Pending => "pending",
            Self::Newer => "newer",
            Self::Divergent => "divergent",
            Self::Missing => "missing",
        })
    }
}

/// A migration in a database's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AppliedMigration {
    /// Counts from 1.
    pub version: i32,
    /// Name in the file name.
    pub name: String,
    /// RFC 3339, by the clock of the program that applied it.
    pub applied_on: String,
    #[serde(skip)]
    pub(crate) checksum: String,
}

/// How a history departs from the program's migrations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Divergence {
    /// The same version with other text: a released file was edited, or the kind is wrong.
    Edited {
        /// As the database has it.
        applied: MigrationName,
        /// As the program has it.
        known: MigrationName,
    },
    /// Applied, but not in the program, although it knows later ones.
    Unknown {
        /// As the database has it.
        applied: MigrationName,
    },
    /// In the program, older than the newest applied one, and not applied.
    Skipped {
        /// As the program has it.
        known: MigrationName,
    },
    /// Tables, but no history: not made by this project.
    Foreign {
        /// How many tables.
        table_count: i64,
    },
}

impl fmt::Display for Divergence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited { applied, known } => write!(
                formatter,
                "migration {applied} was applied with another text than this program's {known}"
            ),
            Self::Unknown { applied } => write!(
                formatter,
                "migration {applied} was applied, but this program does not have it"
            ),
            Self::Skipped { known } => write!(
                formatter,
                "migration {known} was never applied, although later ones were"
            ),
            Self::Foreign { table_count } => write!(
                formatter,
                "the database has {table_count} tables and no schema history"
            ),
        }
    }
}

/// How a database stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The newest applied version; `None` before the first run.
    pub current: Option<i32>,
    /// The newest version this program knows; 0 when it knows none.
    pub latest: i32,
    /// To be applied, ascending; empty when newer or divergent.
    pub pending: Vec<MigrationName>,
    /// Ascending.
    pub applied: Vec<AppliedMigration>,
    /// The sum of it.
    pub state: State,
    /// What differs, when divergent.
    pub divergence: Option<Divergence>,
}

/// A row whose parent is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The child table.
    pub table: String,
    /// Its row; `None` in a table without rowid.
    pub rowid: Option<i64>,
    /// The table that lacks the parent.
    pub parent: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, parent, .. } = self;
        match self.rowid {
            Some(rowid) => write!(formatter, "{table} row {rowid} has no parent in {parent}"),
            None => write!(formatter, "a row of {table} has no parent in {parent}"),
        }
    }
}

/// What kind of problem [`Schema::check`] found. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// The file does not exist.
    Missing,
    /// Migrations wait.
    Pending,
    /// Migrated by a newer program.
    Newer,
    /// Another history.
    Divergent,
    /// Rows without their parent.
    ForeignKey,
    /// `quick_check` found damage.
    Integrity,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// For programs.
    pub code: ProblemCode,
    /// For people.
    pub message: String,
}

impl Problem {
    /// Whether no run of this program can mend it (exit code 6).
    #[must_use]
    pub fn is_schema_conflict(&self) -> bool {
        matches!(self.code, ProblemCode::Newer | ProblemCode::Divergent)
    }
}

/// Why a database could not be judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// The file could not be opened.
    #[error("cannot open the database")]
    Open {
        /// The cause.
        #[source]
        source: OpenError,
    },
    /// The history table could not be read.
    #[error("cannot read the schema history")]
    History {
        /// The cause.
        #[source]
        source: SqlError,
    },
    /// The checks themselves failed, for instance on a damaged file.
    #[error("cannot check the database")]
    Check {
        /// The cause.
        #[source]
        source: SqlError,
    },
}

impl Schema {
    /// Compares the history of `conn` with this set.
    ///
    /// # Errors
    ///
    /// [`StatusError::History`] when the history cannot be read.
    pub fn status(&self, conn: &Connection) -> Result<Status, StatusError> {
        let history = |source| StatusError::History { source };
        let applied = read_history(conn).map_err(history)?;
        let mut divergence = self.divergence(&applied);
        if applied.is_empty() {
            let table_count = count_tables(conn).map_err(history)?;
            if table_count > 0 {
                divergence = Some(Divergence::Foreign { table_count });
            }
        }
        Ok(self.judged(applied, divergence))
    }

    /// The status of a file that does not exist.
    pub(crate) fn status_of_missing(&self) -> Status {
        Status {
            state: State::Missing,
            ..self.judged(Vec::new(), None)
        }
    }

    fn judged(&self, applied: Vec<AppliedMigration>, divergence: Option<Divergence>) -> Status {
        let current = applied.last().map(|newest| newest.version);
        let latest = self.version();
        let reached = current.unwrap_or(0);
        let mut pending = self.names();
        pending.retain(|name| name.version > reached);
        let state = if divergence.is_some() {
            pending.clear();
            State::Divergent
        } else if reached > latest {
            State::Newer
        } else if pending.is_empty() {
            State::Current
        } else {
            State::Pending
        };
        Status {
            current,
            latest,
            pending,
            applied,
            state,
            divergence,
        }
    }

    /// The first place where the history departs; versions after the program's last are only newer.
    fn divergence(&self, applied: &[AppliedMigration]) -> Option<Divergence> {
        let newest = applied.last()?.version;
        for found in applied {
            let known = self.migrations().iter();
            let mut same_version = known.filter(|known| known.version() == found.version);
            let name = MigrationName {
                version: found.version,
                name: found.name.clone(),
            };
            match same_version.next() {
                Some(known) if is_same(known, found) => {}
                Some(known) => {
                    return Some(Divergence::Edited {
                        applied: name,
                        known: MigrationName::of(known),
                    });
                }
                None if found.version > self.version() => {}
                None => return Some(Divergence::Unknown { applied: name }),
            }
        }
        let skipped = self.names().into_iter().find(|known| {
            let was_applied = applied.iter().any(|found| found.version == known.version);
            known.version < newest && !was_applied
        });
        skipped.map(|known| Divergence::Skipped { known })
    }

    /// Looks for everything that keeps a program from working with the database.
    ///
    /// Reads the whole file (`quick_check`).
    ///
    /// # Errors
    ///
    /// [`StatusError`] when the checks cannot be carried out.
    pub fn check(&self, conn: &Connection) -> Result<Vec<Problem>, StatusError> {
        let status = self.status(conn)?;
        let mut problems: Vec<Problem> = status.problem().into_iter().collect();
        let failed = |source| StatusError::Check { source };
        for violation in foreign_key_violations(conn).map_err(failed)? {
            problems.push(Problem {
                code: ProblemCode::ForeignKey,
                message: violation.to_string(),
            });
        }
        let quick_check = format!("PRAGMA main.quick_check({FINDINGS_MAX})");
        let lines = conn
            .query_map(&quick_check, (), |row| row.get::<String>(0))
            .map_err(failed)?;
        let damage = lines.into_iter().filter(|line| line != "ok");
        problems.extend(damage.map(|message| Problem {
            code: ProblemCode::Integrity,
            message,
        }));
        Ok(problems)
    }
}

impl Status {
    /// The state as a finding; `None` when the database is current.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        let (code, message) = match self.state {
            State::Current => return None,
            State::Missing => (ProblemCode::Missing, "there is no such file".to_owned()),
            State::Pending => {
                let names: Vec<String> = self.pending.iter().map(ToString::to_string).collect();
                let message = format!("not yet applied: {}", names.join(", "));
                (ProblemCode::Pending, message)
            }
            State::Newer => {
                let found = self.current.unwrap_or(0);
                (ProblemCode::Newer, newer_message(found, self.latest))
            }
            State::Divergent => {
                let divergence = self.divergence.as_ref();
                let message = divergence.map_or_else(String::new, ToString::to_string);
                (ProblemCode::Divergent, message)
            }
        };
        Some(Problem { code, message })
    }
}

pub(crate) fn newer_message(found: i32, known: i32) -> String {
    format!("database has schema {found}, this program knows up to {known}")
}

fn is_same(known: &Migration, found: &AppliedMigration) -> bool {
    known.name() == found.name && known.checksum().to_string() == found.checksum
}

/// The applied migrations, ascending; empty before the first run.
pub(crate) fn read_history(conn: &Connection) -> Result<Vec<AppliedMigration>, SqlError> {
    let exists: bool = conn.query_value(
        "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = ?1)",
        [HISTORY_TABLE],
    )?;
    if !exists {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT version, name, applied_on, checksum FROM main.{HISTORY_TABLE} ORDER BY version"
    );
    conn.query_map(&sql, (), |row| {
        Ok(AppliedMigration {
            version: row.get(0)?,
            name: row.get(1)?,
            applied_on: row.get(2)?,
            checksum: row.get(3)?,
        })
    })
}

/// Tables that neither SQLite, libSQL nor refinery made.
fn count_tables(conn: &Connection) -> Result<i64, SqlError> {
    conn.query_value(
        "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND name <> ?1 \
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'libsql\\_%' ESCAPE '\\'",
        [HISTORY_TABLE],
    )
}

/// At most [`FINDINGS_MAX`] rows without their parent.
pub(crate) fn foreign_key_violations(conn: &Connection) -> Result<Vec<Violation>, SqlError> {
    let sql = format!(
        "SELECT \"table\", rowid, parent FROM pragma_foreign_key_check(NULL, 'main') \
         LIMIT {FINDINGS_MAX}"
    );
    conn.query_map(&sql, (), |row| {
        Ok(Violation {
            table: row.get(0)?,
            rowid: row.get(1)?,
            parent: row.get(2)?,
        })
    })
}
