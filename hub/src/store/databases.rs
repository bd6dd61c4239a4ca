//! Which free-standing databases are there, and whose token is this?

use super::users::note;
use super::{Reader, Store, StoreError};
use counterfoil_migrate::{Connection, Row, SqlError, params};
use counterfoil_protocol::wire::database::DatabaseName;
use serde_json::{Value, json};

/// A free-standing database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Database {
    pub(crate) name: DatabaseName,
    /// Name of the folder that holds its files; never used twice.
    pub(crate) folder: String,
    /// When it was made, milliseconds since the Unix epoch.
    pub(crate) created_ms: i64,
    /// Last request with its token, milliseconds since the Unix epoch.
    pub(crate) seen_ms: Option<i64>,
}

/// What became of a new database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DatabaseAddOutcome {
    /// It is on record.
    Added,
    /// The name is taken.
    Exists,
    /// The hub has as many as it may have.
    TooMany,
}

const COLUMNS: &str = "name, folder, created_ms, seen_ms";

fn database(row: &Row<'_>) -> Result<Database, SqlError> {
    Ok(Database {
        name: row.get_with(0, |text: String| text.parse())?,
        folder: row.get(1)?,
        created_ms: row.get(2)?,
        seen_ms: row.get(3)?,
    })
}

fn subject(name: &DatabaseName) -> String {
    format!("database {name}")
}

fn by_name(hub: &Connection, name: &DatabaseName) -> Result<Option<Database>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM free_database WHERE name = ?1");
    Ok(hub.query_optional(&sql, params![name.as_str()], database)?)
}

impl Store {
    /// Puts a database on record, unless the name is taken or there are `most`.
    pub(crate) fn add_database(
        &self,
        new: &Database,
        token_hash: &[u8],
        most: i64,
        by: &str,
    ) -> Result<DatabaseAddOutcome, StoreError> {
        self.hub.transaction(|tx| {
            if by_name(tx, &new.name)?.is_some() {
                return Ok(DatabaseAddOutcome::Exists);
            }
            let known: i64 = tx.query_value("SELECT count(*) FROM free_database", ())?;
            if known >= most {
                return Ok(DatabaseAddOutcome::TooMany);
            }
            tx.execute(
                "INSERT INTO free_database (name, folder, token_hash, created_ms)
                 VALUES (?1, ?2, ?3, ?4)",
                params![
                    new.name.as_str(),
                    new.folder.clone(),
                    token_hash,
                    new.created_ms
                ],
            )?;
            let by = (by, new.created_ms);
            note(tx, by, ("database_added", subject(&new.name)), Value::Null)?;
            Ok(DatabaseAddOutcome::Added)
        })
    }

    /// Replaces a database's token; false when there is no such database.
    pub(crate) fn replace_database_token(
        &self,
        name: &DatabaseName,
        token_hash: &[u8],
        by: (&str, i64),
    ) -> Result<bool, StoreError> {
        self.hub.transaction(|tx| {
            let sql = "UPDATE free_database SET token_hash = ?2 WHERE name = ?1";
            let replaced = tx.execute(sql, params![name.as_str(), token_hash])? > 0;
            if replaced {
                let what = ("database_token_replaced", subject(name));
                note(tx, by, what, Value::Null)?;
            }
            Ok(replaced)
        })
    }

    /// Takes a database off the record and says what it was.
    pub(crate) fn remove_database(
        &self,
        name: &DatabaseName,
        by: (&str, i64),
    ) -> Result<Option<Database>, StoreError> {
        self.hub.transaction(|tx| {
            let known = by_name(tx, name)?;
            tx.execute(
                "DELETE FROM free_database WHERE name = ?1",
                params![name.as_str()],
            )?;
            if let Some(known) = &known {
                let after = json!({ "kept": known.folder });
                note(tx, by, ("database_removed", subject(name)), after)?;
            }
            Ok(known)
        })
    }

    /// Notes that a client of the database was here.
    pub(crate) fn database_seen(&self, folder: &str, now_ms: i64) -> Result<(), StoreError> {
        let sql = "UPDATE free_database SET seen_ms = ?2 WHERE folder = ?1";
        self.hub.execute(sql, params![folder, now_ms])?;
        Ok(())
    }
}

impl Reader {
    /// All databases by name.
    pub(crate) fn databases(&self) -> Result<Vec<Database>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM free_database ORDER BY name");
        Ok(self.hub.query_map(&sql, (), database)?)
    }

    /// The database of that name.
    pub(crate) fn database(&self, name: &DatabaseName) -> Result<Option<Database>, StoreError> {
        by_name(&self.hub, name)
    }

    /// The database that a token opens, by the token's hash.
    pub(crate) fn database_of_token(
        &self,
        token_hash: &[u8],
    ) -> Result<Option<Database>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM free_database WHERE token_hash = ?1");
        Ok(self
            .hub
            .query_optional(&sql, params![token_hash], database)?)
    }
}
