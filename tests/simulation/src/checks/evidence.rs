//! The files of a run, opened for reading.

use super::{Guarantee, Judgement};
use crate::chaos::{HUB, NODE};
use crate::files::files_below;
use counterfoil_domain::{DocumentId, NodeId};
use counterfoil_migrate::{Connection, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// All databases.
pub(super) struct Evidence {
    pub(super) hub: Connection,
    pub(super) hub_catalog: Connection,
    pub(super) nodes: Vec<NodeEvidence>,
}

/// The databases of a node, and its book at the hub.
pub(super) struct NodeEvidence {
    pub(super) name: &'static str,
    /// The hub's short key.
    pub(super) number: i64,
    pub(super) book: Connection,
    pub(super) copy: Connection,
    pub(super) catalog: Connection,
}

/// A receipt as a book or the hub holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ReceiptRow {
    pub(super) seq: i64,
    pub(super) topic: i64,
    pub(super) series: String,
    pub(super) number: i64,
    pub(super) total_minor: i64,
    pub(super) trial: bool,
    pub(super) external_ref: Option<String>,
}

/// Every database must be whole.
pub(super) fn check_files(folder: &Path, judgement: &mut Judgement) -> anyhow::Result<()> {
    for path in files_below(folder)? {
        if path.extension().is_none_or(|extension| extension != "db") {
            continue;
        }
        let name = path
            .strip_prefix(folder)
            .unwrap_or(&path)
            .display()
            .to_string();
        let database = Connection::open_read_only(&path)?;
        let integrity =
            database.query_map("PRAGMA integrity_check", (), |row| row.get::<String>(0))?;
        judgement.require(Guarantee::Sound, integrity == ["ok"], || {
            format!("{name} is damaged: {}", integrity.join("; "))
        });
        let foreign =
            database.query_map("PRAGMA foreign_key_check", (), |row| row.get::<String>(0))?;
        judgement.require(Guarantee::Sound, foreign.is_empty(), || {
            format!(
                "{name} has rows without their parent: {}",
                foreign.join(", ")
            )
        });
    }
    Ok(())
}

impl Evidence {
    /// Opens everything; `None`, with a violation, when something is not there.
    pub(super) fn open(folder: &Path, judgement: &mut Judgement) -> anyhow::Result<Option<Self>> {
        let hub_folder = folder.join(HUB);
        let hub = Connection::open_read_only(hub_folder.join("hub.db"))?;
        let hub_catalog = Connection::open_read_only(hub_folder.join("catalog.db"))?;
        let mut nodes = Vec::new();
        for name in NODE {
            let book = Connection::open_read_only(folder.join(name).join("book.db"))?;
            let id: NodeId =
                book.query_row("SELECT value FROM meta WHERE key = 'node_id'", (), |row| {
                    row.get_with(0, |text: String| text.parse())
                })?;
            let sql = "SELECT number FROM node WHERE id = ?1";
            let number = hub.query_optional(sql, [id.to_bytes()], |row| row.get(0))?;
            let copy = hub_folder.join("books").join(format!("{id}.db"));
            let (Some(number), true) = (number, copy.is_file()) else {
                judgement.breaks(Guarantee::G1, format!("the hub has no book of {name}"));
                return Ok(None);
            };
            let copy = Connection::open_read_only(copy)?;
            let catalog = Connection::open_read_only(folder.join(name).join("catalog.db"))?;
            nodes.push(NodeEvidence {
                name,
                number,
                book,
                copy,
                catalog,
            });
        }
        Ok(Some(Self {
            hub,
            hub_catalog,
            nodes,
        }))
    }

    /// The hub's receipts of a node by id, and ids that stand there twice.
    pub(super) fn hub_receipts(
        &self,
        node: i64,
    ) -> anyhow::Result<(BTreeMap<DocumentId, ReceiptRow>, BTreeSet<DocumentId>)> {
        let sql = format!("SELECT id, seq, topic, {RECEIPT} FROM receipt WHERE node = {node}");
        receipts(&self.hub, &sql)
    }
}

impl Evidence {
    /// Corrected times of a node's receipts, where its clock was measured.
    pub(super) fn corrected_ms(&self, node: i64) -> anyhow::Result<BTreeMap<DocumentId, i64>> {
        let sql = "SELECT id, corrected_ms FROM receipt
                   WHERE node = ?1 AND corrected_error_ms IS NOT NULL";
        let rows = self.hub.query_map(sql, [node], |row| {
            let id = row.get_with(0, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?;
            Ok((id, row.get(1)?))
        })?;
        Ok(rows.into_iter().collect())
    }
}

const RECEIPT: &str = "series, number, total_minor, trial, external_ref";

impl NodeEvidence {
    /// The book's receipts by id.
    pub(super) fn receipts(&self) -> anyhow::Result<BTreeMap<DocumentId, ReceiptRow>> {
        let sql = format!("SELECT id, seq, topic, {RECEIPT} FROM journal WHERE number IS NOT NULL");
        Ok(receipts(&self.book, &sql)?.0)
    }
}

fn receipts(
    database: &Connection,
    sql: &str,
) -> anyhow::Result<(BTreeMap<DocumentId, ReceiptRow>, BTreeSet<DocumentId>)> {
    let rows = database.query_map(sql, (), |row| {
        let id = row.get_with(0, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?;
        let receipt = ReceiptRow {
            seq: row.get(1)?,
            topic: row.get(2)?,
            series: row.get(3)?,
            number: row.get(4)?,
            total_minor: row.get(5)?,
            trial: row.get(6)?,
            external_ref: row.get(7)?,
        };
        Ok((id, receipt))
    })?;
    let (mut found, mut twice) = (BTreeMap::new(), BTreeSet::new());
    for (id, receipt) in rows {
        if found.insert(id, receipt).is_some() {
            twice.insert(id);
        }
    }
    Ok((found, twice))
}

/// Names of the tables of a database, without SQLite's own.
pub(super) fn tables(database: &Connection) -> anyhow::Result<Vec<String>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
               ORDER BY name";
    Ok(database.query_map(sql, (), |row| row.get(0))?)
}

/// Names of the columns of a table.
pub(super) fn columns(database: &Connection, table: &str) -> anyhow::Result<Vec<String>> {
    let sql = "SELECT name FROM pragma_table_xinfo(?1) ORDER BY cid";
    Ok(database.query_map(sql, [table], |row| row.get(0))?)
}

/// All rows of a table as text, sorted.
pub(super) fn dump(database: &Connection, table: &str) -> anyhow::Result<Vec<String>> {
    let count = columns(database, table)?.len();
    let sql = format!("SELECT * FROM {table}");
    let mut rows = database.query_map(&sql, (), |row| {
        let values: Result<Vec<Value>, _> = (0..count).map(|index| row.get(index)).collect();
        Ok(format!("{:?}", values?))
    })?;
    rows.sort();
    Ok(rows)
}

/// The first row in which two dumps differ.
pub(super) fn difference(left: &[String], right: &[String]) -> Option<String> {
    if left == right {
        return None;
    }
    let (left, right): (BTreeSet<_>, BTreeSet<_>) = (left.iter().collect(), right.iter().collect());
    let first = |a: &BTreeSet<&String>, b: &BTreeSet<&String>| {
        a.difference(b)
            .next()
            .map_or_else(|| "nothing".to_owned(), |row| (*row).clone())
    };
    Some(format!(
        "{} against {}",
        first(&left, &right),
        first(&right, &left)
    ))
}
