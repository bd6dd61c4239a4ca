//! The rules every connection is opened by, set and read back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use libsql::{Builder, OpenFlags, Value};

use super::connection::Connection;
use super::error::{OpenError, SqlError};
use super::inline;

/// How long a statement waits for another connection's lock. Longer than a large apply takes;
/// then the caller gets an error that says busy.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a finished commit means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced: the commit itself is the acknowledgement. Every write on a node, and `hub.db`.
    Full,
    /// Written, not synced. Only for the hub's push apply, which syncs once before it answers.
    Normal,
}

struct Rule {
    pragma: &'static str,
    value: &'static str,
    /// How SQLite reads the value back.
    found: &'static str,
    /// Counts for each attached database, not once for the connection.
    per_database: bool,
}

const fn rule(
    pragma: &'static str,
    value: &'static str,
    found: &'static str,
    per_database: bool,
) -> Rule {
    Rule {
        pragma,
        value,
        found,
        per_database,
    }
}

/// Design 12. `journal_mode` stands apart, as it changes the file.
const RULES: [Rule; 7] = [
    // Checkpoints belong to one owner; two of them can destroy committed sales.
    rule("wal_autocheckpoint", "0", "0", false),
    rule("foreign_keys", "ON", "1", false),
    // A schema pulled from elsewhere must not call functions with side effects.
    rule("trusted_schema", "OFF", "0", false),
    rule("cell_size_check", "ON", "1", false),
    // With a mapped file an I/O error is a signal that ends the process.
    rule("mmap_size", "0", "0", true),
    rule("temp_store", "MEMORY", "2", false),
    rule("busy_timeout", "5000", "5000", false),
];

impl Durability {
    fn rule(self) -> Rule {
        match self {
            Self::Full if is_normal_planted() => rule("synchronous", "NORMAL", "1", true),
            Self::Full => rule("synchronous", "FULL", "2", true),
            Self::Normal => rule("synchronous", "NORMAL", "1", true),
        }
    }
}

/// Whether this process forgets the rule on purpose: `PlantedBug` of `counterfoil-replica`.
#[cfg(feature = "planted-bugs")]
#[expect(
    clippy::disallowed_methods,
    reason = "a test reaches into the process it started"
)]
fn is_normal_planted() -> bool {
    std::env::var("COUNTERFOIL_PLANTED_BUG").is_ok_and(|name| name == "synchronous-normal")
}

#[cfg(not(feature = "planted-bugs"))]
const fn is_normal_planted() -> bool {
    false
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Create,
    Write,
    Read,
}

impl Connection {
    /// Opens a database file by the engine rules and creates it if it is not there.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; a rule that does not hold is an error, not a warning.
    pub fn open(path: impl AsRef<Path>, durability: Durability) -> Result<Self, OpenError> {
        open(path.as_ref(), durability, Access::Create)
    }

    /// Opens a database file that must exist.
    ///
    /// # Errors
    ///
    /// [`OpenError::Missing`]; else as for [`Self::open`].
    pub fn open_existing(
        path: impl AsRef<Path>,
        durability: Durability,
    ) -> Result<Self, OpenError> {
        open(path.as_ref(), durability, Access::Write)
    }

    /// Opens a database file that must exist, for reading only. Changes neither file nor WAL, also
    /// not at close.
    ///
    /// # Errors
    ///
    /// [`OpenError::Missing`]; else as for [`Self::open`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        open(path.as_ref(), Durability::Full, Access::Read)
    }
}

/// The absolute path, which also keeps SQLite from reading a leading `file:` as a URI.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, OpenError> {
    let failed = |source| OpenError::Path {
        path: path.to_path_buf(),
        source,
    };
    let absolute = std::path::absolute(path).map_err(|error| failed(Some(error)))?;
    if absolute.to_str().is_none() {
        return Err(failed(None));
    }
    Ok(absolute)
}

fn open(path: &Path, durability: Durability, access: Access) -> Result<Connection, OpenError> {
    let path = absolute(path)?;
    if access != Access::Create && !path.is_file() {
        return Err(OpenError::Missing { path });
    }
    let flags = match access {
        Access::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let database = inline(Builder::new_local(&path).flags(flags).build());
    let raw = match database.and_then(|database| database.connect()) {
        Ok(raw) => raw,
        Err(source) => return Err(OpenError::Open { path, source }),
    };
    let connection = Connection::new(raw, path, durability);
    // First of all: the statements below may meet another connection's lock.
    connection
        .set_busy_timeout(BUSY_TIMEOUT)
        .map_err(|source| rule_failed(&connection, "busy_timeout", source))?;
    if access == Access::Read {
        set_rule(&connection, "main", &rule("query_only", "ON", "1", false))?;
    } else {
        set_wal(&connection, "main")?;
    }
    for rule in RULES.iter().chain([&durability.rule()]) {
        set_rule(&connection, "main", rule)?;
    }
    Ok(connection)
}

/// Attaches `path` and applies the rules that count per database; detaches it when one fails.
pub(super) fn attach(connection: &Connection, path: &Path, name: &str) -> Result<(), SqlError> {
    let refused = |error| SqlError::Attach {
        path: path.to_path_buf(),
        source: Box::new(error),
    };
    let path = absolute(path).map_err(refused)?;
    if !path.is_file() {
        return Err(refused(OpenError::Missing { path }));
    }
    let text = path.to_string_lossy().into_owned();
    connection.execute(&format!("ATTACH DATABASE ?1 AS {name}"), [text])?;
    if let Err(error) = set_rules_of_attached(connection, name) {
        connection.detach(name)?;
        return Err(refused(error));
    }
    Ok(())
}

fn set_rules_of_attached(connection: &Connection, name: &str) -> Result<(), OpenError> {
    set_wal(connection, name)?;
    let durability = connection.durability().rule();
    let per_database = RULES.iter().filter(|rule| rule.per_database);
    for rule in per_database.chain([&durability]) {
        set_rule(connection, name, rule)?;
    }
    Ok(())
}

/// Only when it is not WAL already: the change needs the file for itself.
fn set_wal(connection: &Connection, database: &str) -> Result<(), OpenError> {
    let wal = rule("journal_mode", "WAL", "wal", true);
    if read_rule(connection, database, &wal)? == wal.found {
        return Ok(());
    }
    set_rule(connection, database, &wal)
}

fn set_rule(connection: &Connection, database: &str, rule: &Rule) -> Result<(), OpenError> {
    let sql = format!("PRAGMA {database}.{} = {}", rule.pragma, rule.value);
    connection
        .execute_batch(&sql)
        .map_err(|source| rule_failed(connection, rule.pragma, source))?;
    let found = read_rule(connection, database, rule)?;
    if found != rule.found {
        return Err(OpenError::RuleIgnored {
            path: connection.path().to_path_buf(),
            rule: format!("{database}.{}", rule.pragma),
            wanted: rule.found,
            found,
        });
    }
    Ok(())
}

fn read_rule(connection: &Connection, database: &str, rule: &Rule) -> Result<String, OpenError> {
    let sql = format!("PRAGMA {database}.{}", rule.pragma);
    let value = connection
        .query_value::<Value>(&sql, ())
        .map_err(|source| rule_failed(connection, rule.pragma, source))?;
    Ok(match value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text,
        other => format!("{other:?}"),
    })
}

fn rule_failed(connection: &Connection, rule: &str, source: SqlError) -> OpenError {
    OpenError::Rule {
        path: connection.path().to_path_buf(),
        rule: rule.to_owned(),
        source: Box::new(source),
    }
}
