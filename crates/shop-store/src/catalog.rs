//! Reading and editing the catalog as the till sees it.

use crate::error::StoreError;
use crate::open::ShopStore;
use crate::overlay::OverlayRow;
use crate::record::{Entry, Writer};
use crate::tables::{Table, scalar, to_json};
use counterfoil_domain::digest::CatalogHasher;
use counterfoil_domain::document::normalize_code;
use counterfoil_domain::edit::{CatalogEdit, DELETED, Scalar, row_id};
use counterfoil_domain::{Document, DocumentId, UnitPrice};
use counterfoil_migrate::params;
use counterfoil_protocol::wire::node::{CatalogDigest, CatalogRow, Recorded};
use std::collections::BTreeMap;

/// A product as a sale needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Product {
    /// Its code.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// What it costs now, if it has a price.
    pub price: Option<UnitPrice>,
}

/// When an edit was made, milliseconds since the Unix epoch.
#[derive(Clone, Copy)]
pub(crate) enum When {
    /// By this till's clock, which may be wrong.
    Clock(i64),
    /// By the data that it comes from.
    Data(i64),
}

const PRODUCT_BY_CODE: &str = "SELECT id, coalesce(name, id), price_mills FROM temp.products \
                               WHERE deleted = 0 AND id = ?1";
const PRODUCT_BY_BARCODE: &str = "SELECT id, coalesce(name, id), price_mills FROM temp.products \
                                  WHERE deleted = 0 AND barcode = ?1 ORDER BY id LIMIT 1";

/// The product is a parameter: only so does SQLite look into the index of each arm of the overlay.
const DATED_PRICE: &str = "SELECT price_mills FROM temp.prices WHERE product = ?1 AND deleted = 0 \
                           AND price_mills IS NOT NULL AND coalesce(valid_from_ms, 0) <= ?2 \
                           AND (shop IS NULL OR shop = ?3) \
                           ORDER BY shop IS NULL, coalesce(valid_from_ms, 0) DESC, id LIMIT 1";

/// The bookkeeping columns that a row shows apart.
const SHOWN_APART: [&str; 6] = [
    "id",
    "origin_shop_id",
    "last_modified_shop_id",
    "last_modified_at",
    "revision",
    "versions",
];

impl ShopStore {
    pub(crate) fn table(&self, name: &str) -> Result<&Table, StoreError> {
        self.tables
            .get(name)
            .ok_or_else(|| StoreError::UnknownTable {
                name: name.to_owned(),
                known: self.tables.keys().cloned().collect::<Vec<_>>().join(", "),
            })
    }

    /// The row as this till sees it; of one that was merged, the row that stands for it.
    ///
    /// # Errors
    /// [`StoreError::UnknownTable`], [`StoreError::UnknownRow`].
    pub fn catalog_get(&self, table: &str, id: &str) -> Result<CatalogRow, StoreError> {
        let asked = row_id(table, id);
        let id = self.survivor(table, &asked)?;
        match self.catalog_row(table, &id) {
            // What stands for it may come later than the word that it does.
            Err(StoreError::UnknownRow { .. }) if asked != id => self.catalog_row(table, &asked),
            found => Ok(CatalogRow {
                merged: (asked != id).then_some(asked),
                ..found?
            }),
        }
    }

    /// The row itself, also when another one stands for it.
    ///
    /// # Errors
    /// As [`Self::catalog_get`].
    pub fn catalog_row(&self, table: &str, id: &str) -> Result<CatalogRow, StoreError> {
        let table = self.table(table)?;
        let id = row_id(&table.name, id);
        let row = self
            .overlay_row(table, &id)?
            .ok_or_else(|| StoreError::UnknownRow {
                table: table.name.clone(),
                row: id.clone(),
            })?;
        let columns = row
            .values
            .iter()
            .filter(|(name, _)| !SHOWN_APART.contains(&name.as_str()));
        Ok(CatalogRow {
            table: table.name.clone(),
            columns: columns
                .map(|(name, value)| (name.clone(), to_json(value)))
                .collect(),
            pending: self.is_pending(table, &id)?,
            merged: None,
            id,
            origin_shop_id: row.text("origin_shop_id"),
            last_modified_shop_id: row.text("last_modified_shop_id"),
            last_modified_at: row.integer("last_modified_at"),
            revision: row.integer("revision"),
        })
    }

    /// Proposes new values for a row: visible here at once, everywhere once the hub has merged it.
    /// Columns that hold the value already are left out; `None` when nothing is left.
    ///
    /// # Errors
    /// [`StoreError::UnknownTable`], [`StoreError::UnknownColumn`], [`StoreError::ColumnType`].
    pub fn catalog_set(
        &mut self,
        table: &str,
        id: &str,
        columns: &BTreeMap<String, serde_json::Value>,
        now_ms: i64,
    ) -> Result<Option<Recorded>, StoreError> {
        let (id, values) = self.edit_of(table, id, columns)?;
        self.write(|writer| writer.edit(table, &id, values, When::Clock(now_ms), None))
    }

    /// The row that an edit means: of one that was merged, the row that stands for it, but
    /// whoever deletes the duplicate means the duplicate. With the values in the types of their columns.
    pub(crate) fn edit_of(
        &self,
        table: &str,
        id: &str,
        columns: &BTreeMap<String, serde_json::Value>,
    ) -> Result<(String, BTreeMap<String, Scalar>), StoreError> {
        let described = self.table(table)?;
        let mut values = BTreeMap::new();
        for (column, value) in columns {
            let (column, value) = described.convert(column, value)?;
            values.insert(column, value);
        }
        let row = row_id(table, id);
        match values.contains_key(DELETED) {
            true => Ok((row, values)),
            false => Ok((self.survivor(table, &row)?, values)),
        }
    }

    /// Finds a product by code, else by barcode, with the price that holds now: the newest dated
    /// price of this shop, else of every shop, else the list price.
    ///
    /// # Errors
    /// [`StoreError::UnknownProduct`].
    pub fn product(&self, code: &str, now_ms: i64) -> Result<Product, StoreError> {
        let sku = normalize_code(code);
        let find = |sql, key: &str| {
            self.conn.query_optional(sql, [key], |row| {
                Ok(Product {
                    sku: row.get(0)?,
                    name: row.get(1)?,
                    price: row.get::<Option<i64>>(2)?.map(UnitPrice::from_mills),
                })
            })
        };
        let by_code = |sku: &str| -> Result<Option<Product>, StoreError> {
            let survivor = self.survivor("products", sku)?;
            match find(PRODUCT_BY_CODE, &survivor)? {
                // What stands for it may be deleted, or come later than the word that it does.
                None if survivor != sku => Ok(find(PRODUCT_BY_CODE, sku)?),
                found => Ok(found),
            }
        };
        let found = match by_code(&sku)? {
            Some(found) => Some(found),
            None => match find(PRODUCT_BY_BARCODE, code.trim())? {
                // The label of a product that was merged is still on the shelf.
                Some(found) => by_code(&found.sku)?,
                None => None,
            },
        };
        let mut product = found.ok_or(StoreError::UnknownProduct(sku))?;
        if self.has_dated_prices.get() {
            let shop = self
                .binding
                .as_ref()
                .map(|binding| binding.shop.to_string());
            let parameters = params![product.sku.as_str(), now_ms, shop];
            let dated = self
                .conn
                .query_optional(DATED_PRICE, parameters, |row| row.get(0))?;
            product.price = dated.map(UnitPrice::from_mills).or(product.price);
        }
        Ok(product)
    }

    /// A digest over the catalog as it came from the hub, without this node's pending edits.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn catalog_digest(&self) -> Result<CatalogDigest, StoreError> {
        self.conn
            .snapshot(|_| -> Result<CatalogDigest, StoreError> {
                let mut hasher = CatalogHasher::new();
                let mut rows = BTreeMap::new();
                for (name, table) in &self.tables {
                    hasher.table(name);
                    let columns = table.digest_columns();
                    let deleted = columns.iter().position(|column| *column == DELETED);
                    let sql = format!(
                        "SELECT {} FROM catalog.{name} ORDER BY id",
                        columns.join(", ")
                    );
                    let mut alive = 0;
                    let mut values: Vec<Scalar> = Vec::with_capacity(columns.len());
                    self.conn
                        .query_each(&sql, (), |row| -> Result<(), StoreError> {
                            values.clear();
                            for (index, _) in (0_usize..).zip(&columns) {
                                values.push(scalar(row, index)?);
                            }
                            let gone = deleted.and_then(|index| values.get(index));
                            alive += i64::from(gone != Some(&Scalar::Integer(1)));
                            hasher.row(&values);
                            Ok(())
                        })?;
                    rows.insert(name.clone(), alive);
                }
                let revision = self.catalog_revision()?;
                Ok(CatalogDigest {
                    revision,
                    digest: hasher.finish(),
                    rows,
                })
            })
    }

    /// The revision of the catalog held.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn catalog_revision(&self) -> Result<i64, StoreError> {
        Ok(self
            .conn
            .query_value("SELECT revision FROM catalog.catalog_state", ())?)
    }

    /// Rows that others changed after a revision; this shop's own edits do not count (L2).
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn changes_from_others(&self, after_revision: i64) -> Result<i64, StoreError> {
        let own = self
            .binding
            .as_ref()
            .map(|binding| binding.shop.to_string());
        let mut changes = 0;
        for name in self.tables.keys() {
            let sql = format!(
                "SELECT count(*) FROM catalog.{name} WHERE revision > ?1 \
                 AND last_modified_shop_id IS NOT ?2"
            );
            changes += self
                .conn
                .query_value::<i64>(&sql, params![after_revision, own.clone()])?;
        }
        Ok(changes)
    }
}

impl Writer<'_> {
    /// Records an edit with the versions it replaces; `None` when it would change nothing.
    pub(crate) fn edit(
        &mut self,
        table: &str,
        id: &str,
        mut columns: BTreeMap<String, Scalar>,
        when: When,
        edit_id: Option<DocumentId>,
    ) -> Result<Option<Recorded>, StoreError> {
        let described = self.store.table(table)?;
        let row: Option<OverlayRow> = self.store.overlay_row(described, id)?;
        if let Some(row) = &row {
            columns.retain(|column, value| row.values.get(column) != Some(value));
        }
        if columns.is_empty() {
            return Ok(None);
        }
        let versions = row
            .as_ref()
            .map(OverlayRow::versions)
            .transpose()?
            .unwrap_or_default();
        let seen = columns.keys().filter_map(|column| {
            versions
                .get(column)
                .map(|stamp| (column.clone(), vec![*stamp]))
        });
        let edit = CatalogEdit {
            table: table.to_owned(),
            row: id.to_owned(),
            base: seen.collect(),
            base_revision: row.as_ref().map_or(0, |row| row.integer("revision")),
            at_ms: match when {
                When::Clock(at_ms) => Some(at_ms),
                When::Data(_) => None,
            },
            columns,
            decision: None,
        };
        let (When::Clock(now_ms) | When::Data(now_ms)) = when;
        let document = Document::CatalogEdit(edit);
        self.append(Entry {
            id: edit_id,
            document,
            now_ms,
        })
        .map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::Paths;
    use counterfoil_testkit::{SeededRandom, TempDir};
    use std::sync::Arc;

    #[test]
    fn look_ups_at_the_till_use_the_indexes_of_both_arms_of_the_overlay() {
        let dir = TempDir::new("plan");
        let paths = Paths::of(dir.path());
        let store = ShopStore::open(&paths, 0, Arc::new(SeededRandom::new(1))).expect("opens");
        let check = |sql: &str, indexes: [&str; 2]| {
            let sql = format!("EXPLAIN QUERY PLAN {sql}");
            let steps: Vec<String> = store
                .conn
                .query_map(&sql, params!["x", 0, "y"], |row| row.get(3))
                .or_else(|_| store.conn.query_map(&sql, params!["x"], |row| row.get(3)))
                .expect("a plan");
            for index in indexes {
                assert!(
                    steps.iter().any(|step| step.contains(index)),
                    "{index}: {steps:?}"
                );
            }
            assert!(
                !steps.iter().any(|step| step.starts_with("SCAN c")),
                "{steps:?}"
            );
        };
        check(
            DATED_PRICE,
            ["INDEX prices_by_product", "INDEX pending_prices_by_product"],
        );
        check(
            PRODUCT_BY_BARCODE,
            [
                "INDEX products_by_barcode",
                "INDEX pending_products_by_barcode",
            ],
        );
        check(
            PRODUCT_BY_CODE,
            [
                "SEARCH c USING PRIMARY KEY",
                "SEARCH local.pending_products",
            ],
        );
    }
}
