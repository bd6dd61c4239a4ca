//! What has changed since a cursor, for other clients of the node (E3): rows of the catalog as this till sees them,
//! and documents of the book.
//!
//! A cursor holds three places, and one in each other lane's journal. The journal only grows, so a document is given once. A row of
//! the catalog moves to a newer revision when it changes; deleted rows stay, with `deleted`. An edit of a lane of the shop shows at
//! once, and what became of it when the hub has merged it, also when it lost and the row did not change.

mod lanes;

use crate::error::StoreError;
use crate::open::ShopStore;
use crate::tables::{Table, to_json};
use counterfoil_domain::edit::{CatalogEdit, DELETED, Scalar};
use counterfoil_domain::hex::{from_hex, to_hex};
use counterfoil_domain::{Chain, DocumentId, NodeId, Topic};
use counterfoil_migrate::params;
use counterfoil_protocol::wire::clients::{Change, ChangePage};
use lanes::Told;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Kinds of documents that are given out, and how their fields are read, by position in the journal.
const DOCUMENTS: [(Topic, &str); 12] = [
    (Topic::Sale, RECEIPT),
    (Topic::Refund, RECEIPT),
    (
        Topic::LedgerEntry,
        "SELECT json_object('customer', customer, 'amount_minor', amount_minor, 'currency', currency,
             'note', note, 'at_ms', at_ms) FROM ledger_entry WHERE seq = ?1",
    ),
    (
        Topic::AdvanceOrder,
        "SELECT json_object('customer', customer, 'due_ms', due_ms, 'lines', json(lines), 'total_minor',
             total_minor, 'deposit_minor', deposit_minor, 'currency', currency, 'at_ms', at_ms)
         FROM advance_order WHERE seq = ?1",
    ),
    (
        Topic::CashSession,
        "SELECT json_object('event', event, 'counted_minor', counted_minor, 'currency', currency,
             'employee', employee, 'at_ms', at_ms) FROM cash_session WHERE seq = ?1",
    ),
    (
        Topic::Expense,
        "SELECT json_object('category', category, 'amount_minor', amount_minor, 'currency', currency,
             'note', note, 'at_ms', at_ms, 'employee', employee) FROM expense WHERE seq = ?1",
    ),
    (
        Topic::StockMovement,
        "SELECT json_object('sku', sku, 'quantity_milli', quantity_milli, 'reason', reason, 'at_ms',
             at_ms, 'external_ref', external_ref) FROM stock_movement WHERE seq = ?1",
    ),
    (
        Topic::StockCount,
        "SELECT json_object('sku', sku, 'quantity_milli', quantity_milli, 'at_ms', at_ms)
         FROM stock_count WHERE seq = ?1",
    ),
    (Topic::Closure, "SELECT content FROM closure WHERE seq = ?1"),
    (Topic::ParkedSale, PAYLOAD),
    (Topic::ParkedDiscard, PAYLOAD),
    (Topic::Escrow, PAYLOAD),
];

const PAYLOAD: &str = "SELECT payload FROM journal WHERE seq = ?1";

const RECEIPT: &str = "SELECT json_object('trial', trial, 'series', series, 'number', number, 'at_ms', at_ms,
        'currency', currency, 'total_minor', total_minor, 'customer', customer, 'employee', employee,
        'refund_of', (SELECT substr(id, 1, 8) || '-' || substr(id, 9, 4) || '-' || substr(id, 13, 4) || '-'
                             || substr(id, 17, 4) || '-' || substr(id, 21)
                      FROM (SELECT lower(hex(refund_of)) AS id) WHERE refund_of IS NOT NULL),
        'external_ref', external_ref, 'parked', CASE WHEN json_valid(payload) THEN json(payload) END,
        'lines', (SELECT json_group_array(json_object('sku', sku, 'description', description,
                      'quantity_milli', quantity_milli, 'unit_price_mills', unit_price_mills,
                      'amount_minor', amount_minor))
                  FROM (SELECT * FROM receipt_line WHERE seq = ?1 ORDER BY line)),
        'payments', (SELECT json_group_array(json_object('tender', tender, 'amount_minor', amount_minor))
                     FROM (SELECT * FROM payment WHERE seq = ?1 ORDER BY payment)))
    FROM journal WHERE seq = ?1";

/// Counts how often the catalog was not what it had been, which only a hub that was restored brings about.
const TURNS_KEY: &str = "catalog_turns";
const REVISION_KEY: &str = "catalog_revision_seen";

/// Which changes are asked for.
#[derive(Clone, Debug, Default)]
pub struct ChangeFilter {
    /// A cursor that was given out; `None` begins at the beginning.
    pub after: Option<String>,
    /// Catalog tables and kinds of documents; all when empty.
    pub types: BTreeSet<String>,
    /// At most so many, from 1.
    pub limit: usize,
}

/// How far a client has come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Cursor {
    /// Whose journal it is.
    node: NodeId,
    /// How often the catalog had been another one.
    turns: i64,
    types: BTreeSet<String>,
    /// Own edits up to here were given as the hub merged them.
    merged: i64,
    /// The journal was given up to here.
    seq: i64,
    /// The chain value there, which names the history that was given.
    chain: Chain,
    /// The catalog was given up to here.
    revision: i64,
    table: String,
    row: String,
    /// How far the edits of other lanes were given, by whose journal it is.
    #[serde(default)]
    peers: BTreeMap<NodeId, Told>,
}

impl Cursor {
    fn read(text: &str) -> Option<Self> {
        serde_json::from_slice(&from_hex(text)?).ok()
    }

    fn write(&self) -> Result<String, StoreError> {
        Ok(to_hex(&serde_json::to_vec(self)?))
    }
}

/// A page that is being filled.
struct Page {
    changes: Vec<Change>,
    limit: usize,
}

impl Page {
    fn room(&self) -> usize {
        self.limit.saturating_sub(self.changes.len())
    }
}

impl ShopStore {
    /// The next changes, of one moment.
    ///
    /// # Errors
    /// [`StoreError::UnknownType`], [`StoreError::CursorMalformed`]; [`StoreError::CursorGone`] when what the
    /// cursor counted on is gone, and the client begins again.
    pub fn changes(&mut self, filter: &ChangeFilter) -> Result<ChangePage, StoreError> {
        loop {
            let follows = match self.catch_up() {
                Ok(_) => true,
                // What is pending stays as it was, and is told when there is room again.
                Err(error) if error.is_full() && self.catalog_schema()? == self.described => false,
                Err(error) => return Err(error),
            };
            let page = self
                .conn
                .snapshot(|_| match follows && !self.is_caught_up()? {
                    // A cursor must not pass rows that are not shown yet.
                    true => Ok(None),
                    false => self.changes_now(filter).map(Some),
                });
            if let Some(page) = page? {
                return Ok(page);
            }
        }
    }

    fn changes_now(&self, filter: &ChangeFilter) -> Result<ChangePage, StoreError> {
        let types = self.asked_types(&filter.types)?;
        let mut cursor = self.cursor_of(filter)?;
        let mut page = Page {
            changes: Vec::new(),
            limit: filter.limit,
        };
        let more = self.merged_since(&types, &mut cursor, &mut page)?
            || self.recorded_since(&types, &mut cursor, &mut page)?
            || self.heard_since(&types, &mut cursor, &mut page)?
            || self.published_since(&types, &mut cursor, &mut page)?;
        cursor.chain = self.chain_at(cursor.seq)?.ok_or(StoreError::Corrupt {
            what: "the journal's chain",
        })?;
        Ok(ChangePage {
            changes: page.changes,
            cursor: cursor.write()?,
            more,
        })
    }

    fn asked_types(&self, types: &BTreeSet<String>) -> Result<BTreeSet<String>, StoreError> {
        let documents = DOCUMENTS.iter().map(|(topic, _)| topic.name().to_owned());
        let known: BTreeSet<String> = self.tables.keys().cloned().chain(documents).collect();
        if let Some(unknown) = types.difference(&known).next() {
            return Err(StoreError::UnknownType {
                name: unknown.clone(),
                known: known.into_iter().collect::<Vec<_>>().join(", "),
            });
        }
        Ok(if types.is_empty() {
            known
        } else {
            types.clone()
        })
    }

    fn cursor_of(&self, filter: &ChangeFilter) -> Result<Cursor, StoreError> {
        let turns = self.number_of(TURNS_KEY)?;
        let Some(text) = &filter.after else {
            return Ok(Cursor {
                node: self.node,
                turns,
                types: filter.types.clone(),
                merged: self.merged_seq()?,
                seq: 0,
                chain: Chain::START,
                revision: 0,
                table: String::new(),
                row: String::new(),
                peers: BTreeMap::new(),
            });
        };
        let cursor = Cursor::read(text).ok_or(StoreError::CursorMalformed)?;
        if cursor.types != filter.types {
            return Err(StoreError::CursorMalformed);
        }
        let same_till =
            cursor.node == self.node && self.chain_at(cursor.seq)? == Some(cursor.chain);
        if !same_till || cursor.turns != turns {
            return Err(StoreError::CursorGone);
        }
        Ok(cursor)
    }

    fn number_of(&self, key: &str) -> Result<i64, StoreError> {
        let text = self.local_state(key)?;
        let number = text.map(|text| text.parse());
        number
            .transpose()
            .map(Option::unwrap_or_default)
            .map_err(|_| StoreError::Corrupt { what: "a counter" })
    }

    /// Takes note of the revision that the catalog has now.
    pub(crate) fn note_catalog_revision(&self) -> Result<(), StoreError> {
        let (held, seen) = (self.catalog_revision()?, self.number_of(REVISION_KEY)?);
        if held < seen {
            self.turn()?;
        }
        if held != seen {
            self.set_local_state(REVISION_KEY, &held.to_string())?;
        }
        Ok(())
    }

    /// Cursors that were given out are gone from now on.
    pub(crate) fn turn(&self) -> Result<(), StoreError> {
        let turns = self.number_of(TURNS_KEY)?.saturating_add(1);
        self.set_local_state(TURNS_KEY, &turns.to_string())
    }

    /// Rows whose edits were given as pending and are merged since; whether there are more.
    fn merged_since(
        &self,
        types: &BTreeSet<String>,
        cursor: &mut Cursor,
        page: &mut Page,
    ) -> Result<bool, StoreError> {
        let merged = self.merged_seq()?;
        // A hub that was restored may have to merge them again.
        cursor.merged = cursor.merged.min(merged);
        let sql = "SELECT seq, payload FROM journal
                   WHERE topic = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4";
        loop {
            let until = merged.min(cursor.seq);
            let key = params![
                Topic::CatalogEdit.code(),
                cursor.merged,
                until,
                SCANNED_AT_ONCE
            ];
            let edits = self.conn.query_map(sql, key, |row| {
                Ok((row.get::<i64>(0)?, row.get::<String>(1)?))
            })?;
            if edits.is_empty() {
                cursor.merged = merged;
                return Ok(false);
            }
            for (seq, payload) in edits {
                if page.room() == 0 {
                    return Ok(true);
                }
                let edit: CatalogEdit = serde_json::from_str(&payload)?;
                let change = match self.row_change(types, &edit.table, &edit.row)? {
                    // The hub put the edit aside, and nobody else has made the row.
                    None if types.contains(&edit.table) => Some(gone(edit.table, edit.row)),
                    change => change,
                };
                page.changes.extend(change);
                cursor.merged = seq;
            }
        }
    }

    /// Documents, and rows that this node edited and the hub has not merged; whether there are more.
    fn recorded_since(
        &self,
        types: &BTreeSet<String>,
        cursor: &mut Cursor,
        page: &mut Page,
    ) -> Result<bool, StoreError> {
        let merged = self.merged_seq()?;
        let sql =
            "SELECT seq, topic, id, payload FROM journal WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        loop {
            let entries =
                self.conn
                    .query_map(sql, params![cursor.seq, SCANNED_AT_ONCE], |row| {
                        let id =
                            row.get_with(2, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?;
                        let (seq, topic) = (row.get::<i64>(0)?, row.get::<i64>(1)?);
                        Ok((seq, topic, id, row.get::<Option<String>>(3)?))
                    })?;
            if entries.is_empty() {
                return Ok(false);
            }
            for (seq, topic, id, payload) in entries {
                if page.room() == 0 {
                    return Ok(true);
                }
                let topic = Topic::from_code(topic);
                match (topic, payload) {
                    // What is merged comes with the catalog.
                    (Some(Topic::CatalogEdit), Some(payload)) if seq > merged => {
                        let edit: CatalogEdit = serde_json::from_str(&payload)?;
                        page.changes
                            .extend(self.row_change(types, &edit.table, &edit.row)?);
                    }
                    (Some(topic), _) if types.contains(topic.name()) => {
                        page.changes.push(self.document_change(topic, seq, id)?);
                    }
                    _ => {}
                }
                cursor.seq = seq;
            }
        }
    }

    /// Rows that the hub published; whether there are more.
    fn published_since(
        &self,
        types: &BTreeSet<String>,
        cursor: &mut Cursor,
        page: &mut Page,
    ) -> Result<bool, StoreError> {
        let room = page.room().saturating_add(1);
        let limit = i64::try_from(room).unwrap_or(i64::MAX);
        let mut found: BTreeSet<(i64, String, String)> = BTreeSet::new();
        for table in self.tables.keys().filter(|table| types.contains(*table)) {
            // In the order of revision, table and row; where the cursor stands decides what is behind it.
            let (revision, row) = match table.cmp(&cursor.table) {
                std::cmp::Ordering::Less => (cursor.revision.saturating_add(1), ""),
                std::cmp::Ordering::Equal => (cursor.revision, cursor.row.as_str()),
                std::cmp::Ordering::Greater => (cursor.revision, ""),
            };
            let sql = format!(
                "SELECT revision, id FROM catalog.{table}
                 WHERE revision >= ?1 AND (revision, id) > (?1, ?2) ORDER BY revision, id LIMIT ?3"
            );
            let rows = self
                .conn
                .query_map(&sql, params![revision, row, limit], |row| {
                    Ok((row.get::<i64>(0)?, table.clone(), row.get::<String>(1)?))
                })?;
            found.extend(rows);
        }
        for (revision, table, row) in found {
            if page.room() == 0 {
                return Ok(true);
            }
            page.changes.extend(self.row_change(types, &table, &row)?);
            (cursor.revision, cursor.table, cursor.row) = (revision, table, row);
        }
        Ok(false)
    }

    /// A row as this till sees it now; `None` when it is of another type, or not there at all.
    fn row_change(
        &self,
        types: &BTreeSet<String>,
        table: &str,
        id: &str,
    ) -> Result<Option<Change>, StoreError> {
        let Some(table) = self.tables.get(table).filter(|_| types.contains(table)) else {
            return Ok(None);
        };
        let Some(row) = self.overlay_row(table, id)? else {
            return Ok(None);
        };
        let shown = |name: &str| table.editable.iter().any(|column| column.name == name);
        let columns = row
            .values
            .iter()
            .filter(|(name, _)| shown(name) && *name != DELETED);
        Ok(Some(Change {
            entity: table.name.clone(),
            id: id.to_owned(),
            deleted: row.values.get(DELETED) == Some(&Scalar::Integer(1)),
            pending: self.is_pending(table, id)?,
            seq: None,
            content: columns
                .map(|(name, value)| (name.clone(), to_json(value)))
                .collect(),
        }))
    }

    /// Whether the row holds an edit of a lane of this shop that the hub has not merged.
    pub(crate) fn is_pending(&self, table: &Table, id: &str) -> Result<bool, StoreError> {
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM local.pending_{} WHERE id = ?1)",
            table.name
        );
        Ok(self.conn.query_value(&sql, [id])?)
    }

    fn document_change(
        &self,
        topic: Topic,
        seq: i64,
        id: DocumentId,
    ) -> Result<Change, StoreError> {
        let held = DOCUMENTS.iter().find(|(known, _)| *known == topic);
        let content = match held {
            Some((_, sql)) => self.conn.query_optional(sql, [seq], |row| {
                row.get_with(0, |text: String| serde_json::from_str(&text))
            })?,
            None => None,
        };
        let content = content.ok_or(StoreError::Corrupt {
            what: "a document of the journal",
        })?;
        Ok(Change {
            entity: topic.name().to_owned(),
            id: id.to_string(),
            deleted: false,
            pending: false,
            seq: Some(seq),
            content,
        })
    }
}

/// A row that is not there any more.
fn gone(table: String, row: String) -> Change {
    Change {
        entity: table,
        id: row,
        deleted: true,
        pending: false,
        seq: None,
        content: serde_json::Map::new(),
    }
}

/// Entries of the journal that are read at a time; a page that needs more reads again.
const SCANNED_AT_ONCE: i64 = 500;
