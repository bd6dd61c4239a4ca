//! What a till sees of the catalog: the hub's rows, except where an edit of a lane of its shop is not merged
//! yet. Pending rows are complete copies in `local.db`; a temporary view per table unites both.
//!
//! The pending tables hold nothing that cannot be rebuilt: they follow from the journals and the catalog, and are made
//! anew when a till opens, and where the catalog has changed.

use crate::error::StoreError;
use crate::lane_edits::{OWN, RowName, Settlement, note_edit};
use crate::open::ShopStore;
use crate::tables::{Table, describe, scalar, to_sql};
use counterfoil_domain::edit::{CatalogEdit, OWNER, Scalar};
use counterfoil_domain::merge::{Published, Settling, Shown, Stamp, shown};
use counterfoil_domain::{Hlc, NodeId, ShopId, Topic};
use counterfoil_migrate::{Connection, SqlError, Value, params, params_from_iter};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What a catalog is known by to those who replay over it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CatalogState {
    /// SQLite's count of changes to the file's tables.
    schema: i64,
    revision: i64,
    hlc: Hlc,
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

    /// The row as the hub published it.
    fn published(&self, table: &Table) -> Result<Published, StoreError> {
        let mut columns = BTreeMap::new();
        for (column, stamp) in self.versions()? {
            let is_described = table.editable.iter().any(|known| known.name == column);
            if let Some(value) = self.values.get(&column).filter(|_| is_described) {
                columns.insert(column, (stamp, value.clone()));
            }
        }
        Ok(Published {
            columns,
            revision: self.integer("revision"),
            modified: Hlc::from_raw(self.integer("last_modified_at")),
            creator: self.shop("origin_shop_id"),
        })
    }

    fn shop(&self, column: &str) -> Option<ShopId> {
        self.text(column)?.parse().ok()
    }

    /// Puts what the columns show into the row.
    fn show(&mut self, columns: BTreeMap<String, Shown>) -> Result<(), StoreError> {
        let mut versions = self.versions()?;
        let of =
            |shop: Option<ShopId>| shop.map_or(Scalar::Null, |shop| Scalar::Text(shop.to_string()));
        let mut set = |column: &str, value| self.values.insert(column.to_owned(), value);
        let latest = columns.values().max_by_key(|shown| shown.place);
        let latest = latest.map(|shown| (shown.place.time.raw(), of(shown.shop)));
        for (column, shown) in columns {
            set(&column, shown.value);
            versions.insert(column, shown.place.stamp);
        }
        let versions = serde_json::to_string(&versions)?;
        set("versions", Scalar::Text(versions));
        let modified = self.integer("last_modified_at");
        if let Some((at, shop)) = latest.filter(|(at, _)| *at > modified) {
            let mut set = |column: &str, value| self.values.insert(column.to_owned(), value);
            if modified == 0 {
                set("origin_shop_id", shop.clone());
            }
            set("last_modified_shop_id", shop);
            set("last_modified_at", Scalar::Integer(at));
        }
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
        self.row_in("temp", table, id)
    }

    fn row_in(
        &self,
        schema: &str,
        table: &Table,
        id: &str,
    ) -> Result<Option<OverlayRow>, StoreError> {
        let sql = format!(
            "SELECT {} FROM {schema}.{} WHERE id = ?1",
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

    /// Shows an edit of this node until the hub has merged it.
    pub(crate) fn keep_pending(&self, edit: &CatalogEdit, seq: i64) -> Result<(), StoreError> {
        note_edit(&self.conn, (OWN, seq), edit)?;
        self.show_row(&edit.table, &edit.row)
    }

    /// Stores what a row shows with the edits that the hub has not merged.
    pub(crate) fn show_row(&self, table: &str, id: &str) -> Result<(), StoreError> {
        // A table that the catalog does not have keeps its edits in the journals.
        let Some(table) = self.tables.get(table) else {
            return Ok(());
        };
        let shop = self.binding.as_ref().map(|binding| binding.shop);
        let edits = self.edits_of(table, id, shop)?;
        if edits.iter().all(|edit| edit.is_merged) {
            let sql = format!("DELETE FROM local.pending_{} WHERE id = ?1", table.name);
            self.conn.execute(&sql, [id])?;
            return Ok(());
        }
        let held = self.row_in("catalog", table, id)?;
        let published = held.as_ref().map(|row| row.published(table)).transpose()?;
        let writer = |stamp: &Stamp| match self.settlement.is_a_lanes(stamp) {
            true if self.is_own_lanes(stamp) => shop,
            true => Some(another_shop(held.as_ref(), shop)),
            false => None,
        };
        let is_owner = |column: &&str| table.editable.iter().any(|known| known.name == *column);
        let settling = Settling {
            policy: &|column| self.settlement.policy(&table.name, column),
            writer: &writer,
            owner: Some(OWNER).filter(is_owner),
        };
        let columns = shown(published.as_ref(), &edits, &settling);
        let mut row = held.unwrap_or_else(|| OverlayRow::empty(table, id));
        row.show(columns)?;
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

    /// Whether a lane of this shop wrote a version.
    fn is_own_lanes(&self, stamp: &Stamp) -> bool {
        let formers = self.formers.iter().map(|former| former.node);
        let mut own = self.settlement.peers.keys().copied();
        let mut own = own.by_ref().chain(formers).chain([self.node]);
        own.any(|node| Stamp::new(stamp.hlc, node) == *stamp)
    }

    /// Shows what the journals say over the catalog as it is now, where that is not the one of before, and tells whether it
    /// was another. A pull that broke off, and one after which this failed, are made up for by the next call.
    ///
    /// # Errors
    /// [`StoreError`]; the overlay is as it was.
    pub fn catch_up(&mut self) -> Result<bool, StoreError> {
        self.make_up_for_swap()?;
        let (state, settlement) = (self.catalog_state()?, self.settlement()?);
        let Some(before) = self.replayed else {
            self.catalog_changed()?;
            return Ok(true);
        };
        if before == state && self.settlement == settlement {
            return Ok(false);
        }
        let goes_on = settlement.goes_on_from(&self.settlement);
        if before.schema != state.schema || before.revision > state.revision || !goes_on {
            let is_otherwise = settlement.settles_otherwise(&self.settlement);
            self.catalog_changed()?;
            if is_otherwise && !self.waiting_rows()?.is_empty() {
                // No position of a cursor says which rows show another value now.
                self.turn()?;
            }
            return Ok(true);
        }
        let was = std::mem::replace(&mut self.settlement, settlement);
        if let Err(error) = self.show_changed(&was) {
            self.settlement = was;
            return Err(error);
        }
        self.follow(state)?;
        Ok(true)
    }

    /// Whether what is shown was made over the catalog as it is.
    pub(crate) fn is_caught_up(&self) -> Result<bool, StoreError> {
        let is_same = self.replayed == Some(self.catalog_state()?);
        Ok(is_same && self.settlement == self.settlement()?)
    }

    /// Shows the rows anew that the hub has published, and those of which it has merged something.
    fn show_changed(&self, was: &Settlement) -> Result<(), StoreError> {
        self.conn.transaction(|tx| {
            let mut rows: BTreeSet<RowName> = BTreeSet::new();
            for node in self.settlement.journals() {
                let merged = self.settlement.merged(node);
                rows.extend(self.rows_between(node, was.merged(node), merged)?);
            }
            for name in self.tables.keys() {
                let sql = format!(
                    "SELECT p.id FROM local.pending_{name} AS p LEFT JOIN catalog.{name} AS c ON c.id = p.id
                     WHERE coalesce(c.revision, 0) <> p.revision"
                );
                let published: Vec<String> = tx.query_map(&sql, (), |row| row.get(0))?;
                rows.extend(published.into_iter().map(|id| (name.clone(), id)));
            }
            for (table, row) in &rows {
                self.show_row(table, row)?;
            }
            Ok(())
        })
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
        })
    }

    /// Shows what the journals say over a catalog that has changed, all of it anew, and takes note of the
    /// logical time it carries. The hub may have migrated it: then its tables are described anew.
    ///
    /// # Errors
    /// [`StoreError`]; the overlay is as it was.
    pub fn catalog_changed(&mut self) -> Result<(), StoreError> {
        let (state, settlement) = (self.catalog_state()?, self.settlement()?);
        let unmerged = self.unmerged()?;
        let (laid, described) = (self.tables.clone(), self.described);
        if state.schema != described {
            self.tables = describe(&self.conn)?;
            self.described = state.schema;
        }
        let was = std::mem::replace(&mut self.settlement, settlement);
        if let Err(error) = self.show_all(&unmerged, &laid) {
            (self.tables, self.described, self.settlement) = (laid, described, was);
            return Err(error);
        }
        self.follow(state)
    }

    fn follow(&mut self, state: CatalogState) -> Result<(), StoreError> {
        self.head.clock.observe(state.hlc);
        // Edits of the shop may bring one.
        let sql = "SELECT EXISTS (SELECT 1 FROM temp.prices)";
        let dated = self.tables.contains_key("prices") && self.conn.query_value(sql, ())?;
        self.has_dated_prices.set(dated);
        self.note_catalog_revision()?;
        self.replayed = Some(state);
        Ok(())
    }

    /// Shows all rows with edits that the hub has not merged, over the catalog as it is described; the overlay still lies over
    /// the tables of before.
    fn show_all(&self, unmerged: &[i64], laid: &BTreeMap<String, Table>) -> Result<(), StoreError> {
        self.conn.transaction(|tx| {
            if self.tables != *laid {
                lift(tx, laid)?;
                lay(tx, &self.tables)?;
            }
            for name in self.tables.keys() {
                tx.execute(&format!("DELETE FROM local.pending_{name}"), ())?;
            }
            for seq in unmerged.iter().copied() {
                // The index may be younger than the book.
                let sql = "SELECT payload FROM journal WHERE seq = ?1";
                let edit = tx.query_row(sql, [seq], |row| {
                    row.get_with(0, |text: String| serde_json::from_str(&text))
                })?;
                note_edit(tx, (OWN, seq), &edit)?;
            }
            for (table, row) in self.waiting_rows()? {
                self.show_row(&table, &row)?;
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
        let merged = self.stated_seq()?;
        Ok(self.lost_behind()?.map_or(merged, |lost| merged.min(lost)))
    }

    /// What the catalog says of this till's edits, under whichever name.
    fn stated_seq(&self) -> Result<i64, StoreError> {
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

    pub(crate) fn merged_seq_of(&self, node: NodeId) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT seq FROM catalog.merged_edits WHERE node = ?1";
        Ok(self
            .conn
            .query_optional(sql, [node.to_string()], |row| row.get(0))?)
    }
}

/// A shop that is not this one: where the row names one, most likely that one wrote to it.
fn another_shop(row: Option<&OverlayRow>, own: Option<ShopId>) -> ShopId {
    let named = ["shop", "last_modified_shop_id", "origin_shop_id"];
    let mut shops = named.iter().filter_map(|column| row?.shop(column));
    shops
        .find(|shop| Some(*shop) != own)
        .unwrap_or_else(|| ShopId::from_uuid(Uuid::nil()))
}
