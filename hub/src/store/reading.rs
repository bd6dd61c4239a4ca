//! How are the tables of an attached book read?
//!
//! A book of an older schema is read through views in `temp`, which the lenses describe; nothing is
//! written to it. One that cannot be read waits, and the node's row says why.

use super::alerts::NewAlert;
use super::consolidation::NodeKey;
use super::movement::PLAIN;
use super::{Store, StoreError, alerts, relayed};
use counterfoil_migrate::{Connection, Kind, params};
use counterfoil_protocol::lens::{self, BOOK, Reading, Tables, VERSIONS_BEHIND_MAX};

/// What stands before the name of a table: the schema of the attached book.
pub(super) const AS_IS: &str = "book.";

/// What stands before the name of a table of a book that is read through lenses.
const THROUGH: &str = "temp.as_newest_";

/// The alert of a book that waits.
pub(super) const BOOK_WAITS: &str = "book_waits";

/// Why a book is not consolidated for now.
pub(super) struct Waits {
    /// For a person.
    reason: String,
    /// Newest entry that is here.
    newest: Option<i64>,
}

impl Store {
    /// Prepares the attached book for reading; what stands before the names of its tables then.
    pub(super) fn begin_reading(&self) -> Result<Result<&'static str, Waits>, StoreError> {
        let Some(version) = version(&self.hub)? else {
            // Nothing of ours: whoever looks for the tables says so.
            return Ok(Ok(AS_IS));
        };
        let (known, newest) = (self.schemas.book, Kind::Book.schema_version());
        let reason = match lens::reading(known, version) {
            Reading::HubOlder => format!(
                "its book is of schema {version}, which is newer than this hub's ({known}): upgrade the \
                 hub; what arrives until then is kept and counted afterwards"
            ),
            Reading::NodeTooOld => format!(
                "its book is of schema {version}, which is more than {VERSIONS_BEHIND_MAX} versions behind \
                 this hub's ({known}): upgrade the till; what arrives until then is kept and counted \
                 afterwards"
            ),
            Reading::AsIs | Reading::Through if version == newest => return Ok(Ok(AS_IS)),
            Reading::AsIs | Reading::Through => {
                lay(&self.hub, version)?;
                return Ok(Ok(THROUGH));
            }
        };
        let sql = "SELECT max(seq) FROM book.journal";
        let newest = self.hub.query_value(sql, ())?;
        Ok(Err(Waits { reason, newest }))
    }

    /// Takes the views away, so that the book can be detached.
    pub(super) fn end_reading(&self) -> Result<(), StoreError> {
        relayed::end_reading(&self.hub)?;
        let sql =
            "SELECT name FROM temp.sqlite_schema WHERE type = 'view' AND name LIKE 'as_newest_%'";
        for view in self.hub.query_map(sql, (), |row| row.get::<String>(0))? {
            self.hub
                .execute(&format!("DROP VIEW temp.{}", quoted(&view)), ())?;
        }
        Ok(())
    }

    /// Notes that a book waits, once.
    pub(super) fn note_waiting(
        &self,
        node: &NodeKey,
        waits: &Waits,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.hub.transaction(|tx| {
            let sql = "UPDATE node SET waits_seq = ?2 WHERE number = ?1 AND waits_seq IS NOT ?2";
            tx.execute(sql, params![node.number, waits.newest])?;
            let sql = "UPDATE node SET waits = ?2, waits_since_ms = coalesce(waits_since_ms, ?3)
                       WHERE number = ?1 AND waits IS NOT ?2";
            if tx.execute(sql, params![node.number, waits.reason.as_str(), now_ms])? == 0 {
                return Ok(());
            }
            tracing::warn!(node = %node.id, reason = waits.reason, "the book of a node waits");
            // Another reason is another alert.
            alerts::clear(tx, BOOK_WAITS, Some(node.id), now_ms)?;
            let alert = NewAlert {
                at_ms: now_ms,
                kind: BOOK_WAITS,
                node: Some(node.id),
                subject: String::new(),
                detail: waits.reason.clone(),
            };
            alerts::raise(tx, &alert)
        })
    }

    /// Notes that a book is read again.
    pub(super) fn note_reading(&self, node: &NodeKey, now_ms: i64) -> Result<(), StoreError> {
        let sql = "SELECT waits IS NOT NULL FROM node WHERE number = ?1";
        if self.hub.query_value(sql, params![node.number])? {
            self.hub.transaction(|tx| {
                let sql = "UPDATE node SET waits = NULL, waits_since_ms = NULL, waits_seq = NULL
                           WHERE number = ?1";
                tx.execute(sql, params![node.number])?;
                alerts::clear(tx, BOOK_WAITS, Some(node.id), now_ms)
            })?;
            tracing::info!(node = %node.id, "the book of a node waits no more");
        }
        Ok(())
    }
}

/// The schema version of the attached book; nothing for a database that no program of ours has made.
fn version(hub: &Connection) -> Result<Option<i32>, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM book.sqlite_schema
               WHERE type = 'table' AND name = 'refinery_schema_history')";
    if !hub.query_value::<bool>(sql, ())? {
        return Ok(None);
    }
    let sql = "SELECT max(version) FROM book.refinery_schema_history";
    Ok(hub.query_value(sql, ())?)
}

/// Names of the tables that a hub reads, as the newest schema has them.
fn tables() -> impl Iterator<Item = &'static str> {
    let plain = PLAIN.iter().map(|plain| plain.table);
    let plain = plain.filter(|table| *table != "journal");
    ["journal", "receipt_item"].into_iter().chain(plain)
}

/// Whether the attached book has all tables that a hub reads: one without was not written by a node. `source` is what
/// stands before their names.
pub(super) fn has_tables(hub: &Connection, source: &str) -> Result<bool, StoreError> {
    let (schema, kind, before) = match source {
        THROUGH => ("temp", "view", "as_newest_"),
        _ => ("book", "table", ""),
    };
    let names: Vec<String> = tables().map(|name| format!("'{before}{name}'")).collect();
    let sql = format!(
        "SELECT count(*) = {} FROM {schema}.sqlite_schema WHERE type = '{kind}' AND name IN ({})",
        names.len(),
        names.join(", ")
    );
    Ok(hub.query_value(&sql, ())?)
}

/// A name as SQL, whatever it holds: a book may have tables and columns of its own.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Lays the views over a book of an older version, of what a hub reads of it.
fn lay(hub: &Connection, version: i32) -> Result<(), StoreError> {
    // What an extension of SQLite keeps as a table cannot be asked for its columns without that extension.
    let sql = "SELECT t.name, c.name FROM book.sqlite_schema AS t, pragma_table_xinfo(t.name, 'book') AS c
               WHERE t.type = 'table' AND t.sql LIKE 'CREATE TABLE%' ORDER BY t.name, c.cid";
    let mut found = Tables::new();
    for (table, column) in hub.query_map(sql, (), |row| {
        Ok((row.get::<String>(0)?, row.get::<String>(1)?))
    })? {
        found.entry(table).or_default().push(column);
    }
    for view in lens::views(&found, version, BOOK) {
        if !tables().any(|name| name == view.name) {
            continue;
        }
        let own = found.get(&view.table);
        let columns = view.columns.iter().map(|(name, of)| {
            // A column of the book, or a literal.
            let is_column = own.is_some_and(|own| own.contains(of));
            let of = if is_column { quoted(of) } else { of.clone() };
            format!("{of} AS {}", quoted(name))
        });
        let columns: Vec<_> = columns.collect();
        let rows = match view.table.as_str() {
            "" => "WHERE FALSE".to_owned(),
            table => format!("FROM book.{}", quoted(table)),
        };
        let sql = format!(
            "CREATE TEMP VIEW as_newest_{} AS SELECT {} {rows}",
            view.name,
            columns.join(", "),
        );
        hub.execute(&sql, ())?;
    }
    Ok(())
}
