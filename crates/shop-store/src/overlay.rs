//! What a till sees of the catalog: the hub's rows, except where an edit of this node is not merged
//! yet. Pending rows are complete copies in `local.db`; a temporary view per table unites both.
//!
//! The pending tables hold nothing that cannot be rebuilt: they are emptied and replayed from the
//! journal whenever the catalog changes.

use crate::error::StoreError;
use crate::open::ShopStore;
use crate::tables::{Table, describe, scalar, to_sql};
use counterfoil_domain::edit::{CatalogEdit, Scalar};
use counterfoil_domain::lineage::writer_of;
use counterfoil_domain::merge::Stamp;
use counterfoil_domain::{Hlc, NodeId, Topic};
use counterfoil_migrate::{Connection, SqlError, Value, params, params_from_iter};
use std::collections::BTreeMap;

/// What a catalog is known by to those who replay over it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CatalogState {
    /// SQLite's count of changes to the file's tables.
    schema: i64,
    revision: i64,
    hlc: Hlc,
    /// This node's journal is merged up to here.
    merged: i64,
}

/// Own edits behind a position of the journal.
#[derive(Debug, Default)]
pub(crate) struct Unmerged {
    /// The edits are those behind this position.
    after: i64,
    /// The journal was read up to here.
    read: i64,
    seqs: Vec<i64>,
}

/// A row of the catalog with the stamps of its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OverlayRow {
    pub(crate) values: BTreeMap<String, Scalar>,
}

impl OverlayRow {
    fn empty(table: &Table, id: &str) -> Self {
        let mut values: BTreeMap<String, Scalar> = BTreeMap::new();
        for column in &table.columns {
            values.insert(column.name.clone(), Scalar::Null);
        }
        values.insert("id".to_owned(), Scalar::Text(id.to_owned()));
        values.insert("deleted".to_owned(), Scalar::Integer(0));
        values.insert("revision".to_owned(), Scalar::Integer(0));
        values.insert("last_modified_at".to_owned(), Scalar::Integer(0));
        values.insert("versions".to_owned(), Scalar::Text("{}".to_owned()));
        Self { values }
    }

    pub(crate) fn integer(&self, column: &str) -> i64 {
        match self.values.get(column) {
            Some(Scalar::Integer(number)) => *number,
            _ => 0,
        }
    }

    pub(crate) fn text(&self, column: &str) -> Option<String> {
        match self.values.get(column) {
            Some(Scalar::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    pub(crate) fn versions(&self) -> Result<BTreeMap<String, Stamp>, StoreError> {
        let text = self.text("versions").unwrap_or_else(|| "{}".to_owned());
        serde_json::from_str(&text).map_err(|_| StoreError::Corrupt {
            what: "a row's versions",
        })
    }

    /// Puts an edit on top of the row.
    fn apply(
        &mut self,
        edit: &CatalogEdit,
        stamp: Stamp,
        shop: Option<&str>,
    ) -> Result<(), StoreError> {
        let mut versions = self.versions()?;
        for (column, value) in &edit.columns {
            self.values.insert(column.clone(), value.clone());
            versions.insert(column.clone(), stamp);
        }
        let shop = shop.map_or(Scalar::Null, |shop| Scalar::Text(shop.to_owned()));
        if self.integer("last_modified_at") == 0 {
            self.values
                .insert("origin_shop_id".to_owned(), shop.clone());
        }
        self.values.insert("last_modified_shop_id".to_owned(), shop);
        self.values.insert(
            "last_modified_at".to_owned(),
            Scalar::Integer(stamp.hlc.raw()),
        );
        self.values.insert(
            "versions".to_owned(),
            Scalar::Text(serde_json::to_string(&versions)?),
        );
        Ok(())
    }
}

/// Makes the pending tables and the views.
pub(crate) fn lay(conn: &Connection, tables: &BTreeMap<String, Table>) -> Result<(), SqlError> {
    for (name, table) in tables {
        let columns = table.column_list();
        let typed: Vec<String> = table
            .columns
            .iter()
            .map(|column| match column.name.as_str() {
                "id" => "id TEXT PRIMARY KEY".to_owned(),
                name => format!("{name} {}", if column.integer { "INTEGER" } else { "TEXT" }),
            })
            .collect();
        let definition = format!(
            "CREATE TABLE pending_{name} ({}) STRICT, WITHOUT ROWID",
            typed.join(", ")
        );
        let sql = "SELECT sql FROM local.sqlite_schema WHERE name = ?1";
        let known = conn.query_optional(sql, [format!("pending_{name}")], |row| row.get(0))?;
        let mut script = String::new();
        // Made anew only when the catalog has changed its shape: opening a till writes nothing.
        if known.as_ref() != Some(&definition) {
            let local = definition.replacen("pending_", "local.pending_", 1);
            script += &format!("DROP TABLE IF EXISTS local.pending_{name};\n{local};\n");
            for index in &table.indexes {
                script += &format!(
                    "CREATE INDEX local.pending_{name}_by_{index} ON pending_{name} ({index});\n"
                );
            }
        }
        script += &format!(
            "CREATE TEMP VIEW {name} AS SELECT {columns} FROM catalog.{name} c WHERE NOT EXISTS \
             (SELECT 1 FROM local.pending_{name} p WHERE p.id = c.id) \
             UNION ALL SELECT {columns} FROM local.pending_{name};\n"
        );
        conn.execute_batch(&script)?;
    }
    Ok(())
}

/// Takes the views away.
pub(crate) fn lift(conn: &Connection, tables: &BTreeMap<String, Table>) -> Result<(), SqlError> {
    for name in tables.keys() {
        conn.execute_batch(&format!("DROP VIEW temp.{name};"))?;
    }
    Ok(())
}

impl ShopStore {
    /// Reads the row as the till sees it.
    pub(crate) fn overlay_row(
        &self,
        table: &Table,
        id: &str,
    ) -> Result<Option<OverlayRow>, StoreError> {
        let sql = format!(
            "SELECT {} FROM temp.{} WHERE id = ?1",
            table.column_list(),
            table.name
        );
        let row = self.conn.query_optional(&sql, [id], |row| {
            let mut values = BTreeMap::new();
            for (index, column) in (0_usize..).zip(&table.columns) {
                values.insert(column.name.clone(), scalar(row, index)?);
            }
            Ok(OverlayRow { values })
        })?;
        Ok(row)
    }

    /// Stores the row that an edit of this node leads to, until the hub has merged it.
    pub(crate) fn keep_pending(&self, edit: &CatalogEdit, stamp: Stamp) -> Result<(), StoreError> {
        let table = self.tables.get(&edit.table).ok_or(StoreError::Corrupt {
            what: "a catalog edit of a table that is gone",
        })?;
        let mut row = match self.overlay_row(table, &edit.row)? {
            Some(row) => row,
            None => OverlayRow::empty(table, &edit.row),
        };
        let shop = self
            .binding
            .as_ref()
            .map(|binding| binding.shop.to_string());
        row.apply(edit, stamp, shop.as_deref())?;
        let slots: Vec<String> = (1..=table.columns.len())
            .map(|slot| format!("?{slot}"))
            .collect();
        let sql = format!(
            "INSERT OR REPLACE INTO local.pending_{} ({}) VALUES ({})",
            table.name,
            table.column_list(),
            slots.join(", ")
        );
        let values = table
            .columns
            .iter()
            .map(|column| match row.values.get(&column.name) {
                Some(value) => to_sql(value),
                None => Value::Null,
            });
        self.conn
            .execute(&sql, params_from_iter(values.collect::<Vec<_>>()))?;
        Ok(())
    }

    /// Replays this node's unmerged edits when the catalog is not the one they were last replayed over,
    /// and tells whether it was another. A pull that broke off, and one whose replay failed, are made up
    /// for by the next call.
    ///
    /// # Errors
    /// [`StoreError`]; the overlay is as it was.
    pub fn catch_up(&mut self) -> Result<bool, StoreError> {
        self.make_up_for_swap()?;
        if self.replayed == Some(self.catalog_state()?) {
            return Ok(false);
        }
        self.catalog_changed()?;
        Ok(true)
    }

    /// Changes whenever the catalog's tables do.
    pub(crate) fn catalog_schema(&self) -> Result<i64, StoreError> {
        let sql = "PRAGMA catalog.schema_version";
        Ok(self.conn.query_value(sql, ())?)
    }

    fn catalog_state(&self) -> Result<CatalogState, StoreError> {
        let sql = "SELECT revision, hlc FROM catalog.catalog_state";
        let (revision, hlc) = self
            .conn
            .query_row(sql, (), |row| Ok((row.get(0)?, Hlc::from_raw(row.get(1)?))))?;
        Ok(CatalogState {
            schema: self.catalog_schema()?,
            revision,
            hlc,
            merged: self.merged_seq()?,
        })
    }

    /// Replays this node's unmerged edits over a catalog that has changed, and takes note of the
    /// logical time it carries. The hub may have migrated it: then its tables are described anew.
    ///
    /// # Errors
    /// [`StoreError`]; the overlay is as it was.
    pub fn catalog_changed(&mut self) -> Result<(), StoreError> {
        let state = self.catalog_state()?;
        self.head.clock.observe(state.hlc);
        let unmerged = self.unmerged()?;
        let (laid, described) = (self.tables.clone(), self.described);
        if state.schema != described {
            self.tables = describe(&self.conn)?;
            self.described = state.schema;
        }
        if let Err(error) = self.replay(&unmerged, &laid) {
            (self.tables, self.described) = (laid, described);
            return Err(error);
        }
        // Own edits may bring one.
        let sql = "SELECT EXISTS (SELECT 1 FROM temp.prices)";
        let dated = self.tables.contains_key("prices") && self.conn.query_value(sql, ())?;
        self.has_dated_prices.set(dated);
        self.note_catalog_revision()?;
        self.replayed = Some(state);
        Ok(())
    }

    /// Replays edits over the catalog as it is described; the overlay still lies over the tables of before.
    fn replay(&self, unmerged: &[i64], laid: &BTreeMap<String, Table>) -> Result<(), StoreError> {
        self.conn.transaction(|tx| {
            if self.tables != *laid {
                lift(tx, laid)?;
                lay(tx, &self.tables)?;
            }
            for name in self.tables.keys() {
                tx.execute(&format!("DELETE FROM local.pending_{name}"), ())?;
            }
            for seq in unmerged.iter().copied() {
                let sql = "SELECT hlc, payload FROM journal WHERE seq = ?1";
                let (hlc, payload) = tx.query_row(sql, [seq], |row| {
                    Ok((Hlc::from_raw(row.get(0)?), row.get::<String>(1)?))
                })?;
                let edit: CatalogEdit = serde_json::from_str(&payload)?;
                // Later edits name this one by the stamp it got then.
                let writer = writer_of(&self.formers, self.node, seq);
                // A table that the new catalog no longer has keeps its edits in the journal.
                if self.tables.contains_key(&edit.table) {
                    self.keep_pending(&edit, Stamp::new(hlc, writer))?;
                }
            }
            Ok(())
        })
    }

    /// Positions of this node's edits that the catalog does not have yet. Only what the journal gained
    /// since the last call is read: it is asked for at every sync, and a journal holds years of receipts.
    pub(crate) fn unmerged(&mut self) -> Result<Vec<i64>, StoreError> {
        let merged = self.merged_seq()?;
        // A catalog that was fetched anew may know less than the last one.
        if merged < self.unmerged.after {
            self.unmerged = Unmerged::default();
        }
        let sql = "SELECT seq FROM journal WHERE topic = ?1 AND seq > ?2 ORDER BY seq";
        let read = self.unmerged.read.max(merged);
        let gained = params![Topic::CatalogEdit.code(), read];
        let gained = self.conn.query_map(sql, gained, |row| row.get::<i64>(0))?;
        // The head is not known yet while the store opens.
        let last = gained.last().copied().unwrap_or(read);
        self.unmerged.read = self.head.seq.max(last);
        self.unmerged.seqs.extend(gained);
        self.unmerged.seqs.retain(|seq| *seq > merged);
        self.unmerged.after = merged;
        Ok(self.unmerged.seqs.clone())
    }

    /// This node's journal is merged into the catalog up to here. A hub that has not begun with the
    /// present identity says it of a former one, up to where that one's entries are this book's.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn merged_seq(&self) -> Result<i64, StoreError> {
        if let Some(merged) = self.merged_seq_of(self.node)? {
            return Ok(merged);
        }
        let mut common = i64::MAX;
        for former in self.formers.iter().rev() {
            common = common.min(former.common.seq);
            if let Some(merged) = self.merged_seq_of(former.node)? {
                return Ok(merged.min(common));
            }
        }
        Ok(0)
    }

    fn merged_seq_of(&self, node: NodeId) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT seq FROM catalog.merged_edits WHERE node = ?1";
        Ok(self
            .conn
            .query_optional(sql, [node.to_string()], |row| row.get(0))?)
    }
}
