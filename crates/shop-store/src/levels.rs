//! Reading stock: levels, what changed them, and what was sold of which there was none.

use crate::error::StoreError;
use crate::open::ShopStore;
use crate::stock::{CORRECTION, seen_of};
use counterfoil_domain::alias::{ALIASES, aliased};
use counterfoil_domain::document::normalize_code;
use counterfoil_domain::stock::{Count, Effect, Level, What, level_by};
use counterfoil_domain::{DocumentId, Hlc, NodeId, Topic};
use counterfoil_migrate::{Connection, Row, SqlError, Value, params};
use counterfoil_protocol::wire::stock::{CountedStock, StockChange, StockLevel};
use std::collections::{BTreeMap, BTreeSet};

/// Which levels.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LevelFilter {
    /// Products behind this code.
    pub after: String,
    /// Only those of which more was sold than counted.
    pub oversold: bool,
    /// Largest number of them.
    pub limit: usize,
}

impl ShopStore {
    /// The stock of a product, as far as it is counted; `None` when nothing of it has moved. A product that was merged into
    /// another one has none of its own.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn stock_level(&self, sku: &str) -> Result<Option<StockLevel>, StoreError> {
        let sku = self.survivor("products", &normalize_code(sku))?;
        self.level_of(&sku, Some(&self.duplicates_of(&sku)?))
    }

    /// Stock by product code, as far as it is counted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn stock_levels(&self, filter: &LevelFilter) -> Result<Vec<StockLevel>, StoreError> {
        let twins = self.merged_products()?;
        let gone: BTreeSet<&String> = twins.values().flatten().collect();
        let mut levels = Vec::new();
        let mut after = filter.after.clone();
        // Codes that nothing was recorded under, whose duplicates have stock.
        while levels.len() < filter.limit {
            let Some(sku) = self.next_sku(&after, filter.oversold, &twins)? else {
                break;
            };
            after.clone_from(&sku);
            if gone.contains(&sku) {
                continue;
            }
            let level = self.level_of(&sku, twins.get(&sku))?;
            levels.extend(level.filter(|level| !filter.oversold || level.oversold));
        }
        Ok(levels)
    }

    /// How many products are oversold, by the levels of their own codes.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn oversold(&self) -> Result<i64, StoreError> {
        let sql =
            "SELECT count(*) FROM local.stock_level WHERE level_milli < 0 AND count IS NOT NULL";
        Ok(self.conn.query_value(sql, ())?)
    }

    /// The next code behind one that may be listed.
    fn next_sku(
        &self,
        after: &str,
        oversold: bool,
        twins: &BTreeMap<String, BTreeSet<String>>,
    ) -> Result<Option<String>, StoreError> {
        let sql = match oversold {
            true => {
                "SELECT min(sku) FROM local.stock_level
                     WHERE sku > ?1 AND level_milli < 0 AND count IS NOT NULL"
            }
            false => "SELECT min(sku) FROM local.stock_level WHERE sku > ?1",
        };
        let found: Option<String> = self.conn.query_value(sql, [after])?;
        let survivors =
            twins.range::<str, _>((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
        let survivor = survivors.map(|(sku, _)| sku.clone()).next();
        Ok(found.into_iter().chain(survivor).min())
    }

    /// Products that others were merged into, with those.
    fn merged_products(&self) -> Result<BTreeMap<String, BTreeSet<String>>, StoreError> {
        let mut twins: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        if !self.tables.contains_key(ALIASES) {
            return Ok(twins);
        }
        let sql = "SELECT id FROM temp.aliases WHERE deleted = 0";
        let ids: Vec<String> = self.conn.query_map(sql, (), |row| row.get(0))?;
        for id in ids {
            if let Some(("products", sku)) = aliased(&id) {
                let survivor = self.survivor("products", sku)?;
                if survivor != sku {
                    twins.entry(survivor).or_default().insert(sku.to_owned());
                }
            }
        }
        Ok(twins)
    }

    fn level_of(
        &self,
        sku: &str,
        twins: Option<&BTreeSet<String>>,
    ) -> Result<Option<StockLevel>, StoreError> {
        let found = match twins.filter(|twins| !twins.is_empty()) {
            None => self.counted_level(sku)?,
            // They are one product: the last count of any of them is the count of all.
            Some(twins) => self.joint_level(twins.iter().map(String::as_str).chain([sku]))?,
        };
        let Some((level, id)) = found else {
            return Ok(None);
        };
        let counted = level.count.zip(id).map(|(count, id)| CountedStock {
            id,
            node: count.origin,
            at_ms: count.at_ms,
            quantity_milli: count.milli,
        });
        let sql = "SELECT name FROM temp.products WHERE id = ?1";
        let name: Option<Value> = self.conn.query_optional(sql, [sku], |row| row.get(0))?;
        Ok(Some(StockLevel {
            sku: sku.to_owned(),
            name: match name {
                Some(Value::Text(name)) => Some(name),
                _ => None,
            },
            level_milli: level.milli,
            oversold: level.is_oversold(),
            counted,
        }))
    }

    /// A level, with the document of its count.
    fn counted_level(&self, sku: &str) -> Result<Option<(Level, Option<DocumentId>)>, StoreError> {
        let sql = "SELECT l.level_milli, c.seq, c.hlc, c.place, c.dated_ms, c.quantity_milli, j.node, c.id
                   FROM local.stock_level AS l
                   LEFT JOIN local.inventory_changes AS c ON c.change = l.count
                   LEFT JOIN local.stock_journal AS j ON j.origin = c.origin
                   WHERE l.sku = ?1";
        Ok(self.conn.query_optional(sql, [sku], |row| {
            let count = match row.get::<Option<i64>>(1)? {
                None => None,
                Some(seq) => Some(Count {
                    origin: node(row, 6)?,
                    seq,
                    hlc: Hlc::from_raw(row.get(2)?),
                    place: Hlc::from_raw(row.get(3)?),
                    at_ms: row.get(4)?,
                    milli: row.get(5)?,
                }),
            };
            let milli = row.get(0)?;
            let id = count.map(|_| id(row, 7)).transpose()?;
            Ok((Level { milli, count }, id))
        })?)
    }

    /// The level of several codes taken as one product.
    fn joint_level<'s>(
        &self,
        skus: impl Iterator<Item = &'s str>,
    ) -> Result<Option<(Level, Option<DocumentId>)>, StoreError> {
        let mut effects = Vec::new();
        for sku in skus {
            effects.extend(self.effects_of(sku)?);
        }
        if effects.is_empty() {
            return Ok(None);
        }
        let said = effects.iter().map(|(effect, _)| effect);
        let level = level_by(said, |count, lane| seen_of(&self.conn, count, lane))?;
        let is_it = |effect: &Effect| effect.count().is_some() && effect.count() == level.count;
        let id = effects.iter().find(|(effect, _)| is_it(effect));
        Ok(Some((level, id.map(|(_, id)| *id))))
    }

    pub(crate) fn effects_of(&self, sku: &str) -> Result<Vec<(Effect, DocumentId)>, StoreError> {
        let said = effects_in(&self.conn, sku)?;
        Ok(said.into_iter().map(|(_, said, id)| (said, id)).collect())
    }

    /// What changed the stock of a product, newest first, before a number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn stock_changes(
        &self,
        sku: &str,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<StockChange>, StoreError> {
        let sku = self.survivor("products", &normalize_code(sku))?;
        let mut skus = self.duplicates_of(&sku)?;
        skus.insert(sku);
        let sql = "SELECT c.change, c.sku, c.kind, c.id, j.node, c.seq, c.hlc, c.quantity_milli, c.level_milli, c.noted_ms
                   FROM local.inventory_changes AS c JOIN local.stock_journal AS j ON j.origin = c.origin
                   WHERE c.sku IN (SELECT value FROM json_each(?1)) AND c.change < coalesce(?2, 1 << 62)
                   ORDER BY c.change DESC LIMIT ?3";
        let skus = serde_json::to_string(&skus)?;
        Ok(self
            .conn
            .query_map(sql, params![skus, before, limit], change)?)
    }
}

/// What is counted of a product, with the number of the change and the document.
pub(crate) fn effects_in(
    conn: &Connection,
    sku: &str,
) -> Result<Vec<(i64, Effect, DocumentId)>, SqlError> {
    let sql = "SELECT j.node, c.seq, c.item, c.hlc, c.quantity_milli, c.place, c.dated_ms, c.id, c.change
               FROM local.inventory_changes AS c JOIN local.stock_journal AS j ON j.origin = c.origin
               WHERE c.sku = ?1 AND c.kind >= 0";
    conn.query_map(sql, [sku], |row| {
        let (milli, dated_ms): (i64, Option<i64>) = (row.get(4)?, row.get(6)?);
        let what = match row.get::<Option<i64>>(5)? {
            None => What::Moved { milli, dated_ms },
            Some(place) => What::Counted {
                milli,
                place: Hlc::from_raw(place),
                at_ms: dated_ms.unwrap_or(0),
            },
        };
        let effect = Effect {
            sku: sku.to_owned(),
            origin: node(row, 0)?,
            seq: row.get(1)?,
            item: row.get(2)?,
            hlc: Hlc::from_raw(row.get(3)?),
            what,
        };
        Ok((row.get(8)?, effect, id(row, 7)?))
    })
}

fn change(row: &Row<'_>) -> Result<StockChange, SqlError> {
    let topic = match row.get(2)? {
        CORRECTION => "reconciliation",
        kind => Topic::from_code(kind).map_or("unknown", Topic::name),
    };
    Ok(StockChange {
        change: row.get(0)?,
        sku: row.get(1)?,
        topic: topic.to_owned(),
        id: id(row, 3)?,
        node: node(row, 4)?,
        seq: row.get(5)?,
        at_ms: Hlc::from_raw(row.get(6)?).millis(),
        quantity_milli: row.get(7)?,
        level_milli: row.get(8)?,
        noted_ms: row.get(9)?,
    })
}

fn node(row: &Row<'_>, index: usize) -> Result<NodeId, SqlError> {
    row.get_with(index, |bytes: Vec<u8>| NodeId::from_slice(&bytes))
}

fn id(row: &Row<'_>, index: usize) -> Result<DocumentId, SqlError> {
    row.get_with(index, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))
}
