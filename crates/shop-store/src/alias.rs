//! Who stands for a customer or product that was merged into another one.

use crate::catalog::When;
use crate::error::StoreError;
use crate::open::ShopStore;
use crate::tables::to_sql;
use counterfoil_domain::alias::{ALIASES, MERGEABLE, SURVIVOR, alias_id, aliased, survivor};
use counterfoil_domain::edit::{DELETED, Scalar, row_id};
use counterfoil_protocol::wire::node::Recorded;
use std::collections::{BTreeMap, BTreeSet};

const NEXT: &str = "SELECT survivor FROM temp.aliases WHERE id = ?1 AND deleted = 0";

impl ShopStore {
    /// The row that stands for a row: itself, unless it was merged into another one.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn survivor(&self, table: &str, row: &str) -> Result<String, StoreError> {
        // A catalog of an older hub has no aliases.
        if !MERGEABLE.contains(&table) || !self.tables.contains_key(ALIASES) {
            return Ok(row.to_owned());
        }
        survivor(row, |at| {
            let found = self
                .conn
                .query_optional(NEXT, [alias_id(table, at)], |row| row.get(0))?;
            Ok(found.flatten())
        })
    }

    /// Products that were merged into one, and into those in turn.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub(crate) fn duplicates_of(&self, sku: &str) -> Result<BTreeSet<String>, StoreError> {
        let (mut found, mut left) = (BTreeSet::new(), vec![sku.to_owned()]);
        if !self.tables.contains_key(ALIASES) {
            return Ok(found);
        }
        let sql = "SELECT id FROM temp.aliases WHERE survivor = ?1 AND deleted = 0";
        while let Some(next) = left.pop() {
            let ids: Vec<String> = self.conn.query_map(sql, [next], |row| row.get(0))?;
            let products = ids.iter().filter_map(|id| aliased(id));
            for (_, duplicate) in products.filter(|(table, _)| *table == "products") {
                if duplicate != sku && found.insert(duplicate.to_owned()) {
                    left.push(duplicate.to_owned());
                }
            }
        }
        Ok(found)
    }

    /// Merges a row into another one: an edit that travels and merges like any other. `None` when that is so
    /// already.
    ///
    /// # Errors
    /// [`StoreError::NotMergeable`], [`StoreError::UnknownRow`] for a survivor that is not there,
    /// [`StoreError::MergedAlready`] when one stands for the other already.
    pub fn merge_rows(
        &mut self,
        table: &str,
        row: &str,
        into: &str,
        now_ms: i64,
    ) -> Result<Option<Recorded>, StoreError> {
        let (row, into) = (row_id(table, row), row_id(table, into));
        let id = self.alias_of(table, &row)?;
        let target = self.survivor(table, &into)?;
        let alive = self
            .overlay_row(self.table(table)?, &target)?
            .is_some_and(|found| found.integer(DELETED) == 0);
        if !alive {
            return Err(StoreError::UnknownRow {
                table: table.to_owned(),
                row: into,
            });
        }
        if row == into || target == row {
            return Err(StoreError::MergedAlready { row, into });
        }
        let columns = BTreeMap::from([
            (SURVIVOR.to_owned(), Scalar::Text(into)),
            (DELETED.to_owned(), Scalar::Integer(0)),
        ]);
        self.write(|writer| writer.edit(ALIASES, &id, columns, When::Clock(now_ms), None))
    }

    /// Takes a merge back; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::NotMergeable`].
    pub fn unmerge_row(
        &mut self,
        table: &str,
        row: &str,
        now_ms: i64,
    ) -> Result<Option<Recorded>, StoreError> {
        let id = self.alias_of(table, &row_id(table, row))?;
        let known = to_sql(&Scalar::Text(id.clone()));
        let sql = "SELECT EXISTS (SELECT 1 FROM temp.aliases WHERE id = ?1)";
        if !self.conn.query_value::<bool>(sql, [known])? {
            return Ok(None);
        }
        let columns = BTreeMap::from([(DELETED.to_owned(), Scalar::Integer(1))]);
        self.write(|writer| writer.edit(ALIASES, &id, columns, When::Clock(now_ms), None))
    }

    fn alias_of(&self, table: &str, row: &str) -> Result<String, StoreError> {
        if !MERGEABLE.contains(&table) {
            return Err(StoreError::NotMergeable(table.to_owned()));
        }
        self.table(ALIASES)?;
        Ok(alias_id(table, row))
    }
}
