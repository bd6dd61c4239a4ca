//! What is on the shelves of a shop? Levels from the counts and movements of all its lanes (X3, G7), by the rules that the
//! lanes keep themselves.
//!
//! Nothing is stored: the shop's consolidated entries are read through. What waits in quarantine counts when it is settled.

use super::{Reader, StoreError, node_id};
use counterfoil_domain::stock::{Count, Movement, Seen, Shelf, Sight, fits};
use counterfoil_domain::{DocumentId, Hlc, NodeId, ShopId};
use counterfoil_migrate::{Row, SqlError, params};
use counterfoil_protocol::wire::stock::{CountedStock, StockLevel};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::convert::Infallible;

/// Positions of a journal whose lines are read at once.
const STRETCH: i64 = 10_000;

/// Which levels.
#[derive(Clone, Debug, Default)]
pub(crate) struct StockFilter {
    /// Only of this product, or the one that it was merged into.
    pub(crate) sku: Option<String>,
    /// Only those of which more was sold than somebody had counted.
    pub(crate) oversold: bool,
    /// Products behind this code.
    pub(crate) after: String,
    /// Largest number of them.
    pub(crate) limit: usize,
}

/// A count as it was consolidated.
#[derive(Deserialize)]
struct Counted {
    sku: String,
    quantity_milli: i64,
    at_ms: i64,
    seen: Option<Seen>,
}

/// A movement likewise.
#[derive(Deserialize)]
struct Moved {
    sku: String,
    quantity_milli: i64,
    at_ms: i64,
    external_ref: Option<String>,
}

/// The levels of a shop while they are added up.
struct Shelves {
    /// Products that were merged into another one.
    survivors: BTreeMap<String, String>,
    counts: BTreeMap<String, (Count, DocumentId)>,
    sight: Sight,
    products: BTreeMap<String, Shelf>,
}

impl Reader {
    /// Stock of a shop by product code, and how many entries of its lanes wait in quarantine.
    pub(crate) fn stock(
        &self,
        shop: ShopId,
        filter: &StockFilter,
    ) -> Result<(Vec<StockLevel>, i64), StoreError> {
        let sql = "SELECT id, number FROM node WHERE shop = ?1 ORDER BY number";
        let lanes = self.hub.query_map(sql, params![shop.to_bytes()], |row| {
            Ok((node_id(row, 0)?, row.get::<i64>(1)?))
        })?;
        let mut shelves = Shelves {
            survivors: self.aliases("products")?,
            counts: BTreeMap::new(),
            sight: Sight::default(),
            products: BTreeMap::new(),
        };
        self.hub.snapshot(|_| -> Result<(), StoreError> {
            for (node, number) in &lanes {
                self.add_counts(&mut shelves, (*node, *number))?;
            }
            shelves.begin();
            for (node, number) in &lanes {
                self.add_movements(&mut shelves, (*node, *number))?;
                self.add_lines(&mut shelves, (*node, *number))?;
            }
            Ok(())
        })?;
        let wanted = filter.sku.as_deref().map(|sku| shelves.survivor(sku));
        let mut levels = Vec::new();
        for (sku, shelf) in &shelves.products {
            let held = shelves.counts.get(sku);
            let level = shelf.level();
            let oversold = level.is_oversold();
            let is_asked = wanted.as_ref().is_none_or(|wanted| wanted == sku);
            if !is_asked || *sku <= filter.after || (filter.oversold && !oversold) {
                continue;
            }
            if levels.len() == filter.limit {
                break;
            }
            levels.push(StockLevel {
                sku: sku.clone(),
                name: self.product_name(sku)?,
                level_milli: level.milli,
                counted: held.map(|(count, id)| CountedStock {
                    id: *id,
                    node: count.origin,
                    at_ms: count.at_ms,
                    quantity_milli: count.milli,
                }),
                oversold,
            });
        }
        let sql = "SELECT count(*) FROM quarantine JOIN node ON node.number = quarantine.node
                   WHERE node.shop = ?1 AND settled_ms IS NULL";
        let behind = self.hub.query_value(sql, params![shop.to_bytes()])?;
        Ok((levels, behind))
    }

    fn product_name(&self, sku: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT name FROM products WHERE id = ?1";
        let found = self
            .catalog
            .query_optional(sql, params![sku], |row| row.get(0))?;
        Ok(found.flatten())
    }

    fn add_counts(
        &self,
        shelves: &mut Shelves,
        (origin, number): (NodeId, i64),
    ) -> Result<(), StoreError> {
        let sql =
            "SELECT seq, id, hlc, content FROM document WHERE node = ?1 AND topic = 9 ORDER BY seq";
        let rows = self.hub.query_map(sql, params![number], |row| {
            let id = row.get_with(1, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?;
            let hlc = Hlc::from_raw(row.get(2)?);
            Ok((row.get(0)?, id, hlc, content::<Counted>(row, 3)?))
        })?;
        for (seq, id, hlc, said) in rows {
            let Some(said) = said else { continue };
            if let Some(seen) = &said.seen {
                shelves.sight.note(origin, seq, seen);
            }
            let count = Count {
                origin,
                seq,
                hlc,
                place: Seen::place(said.seen.as_ref(), hlc),
                at_ms: said.at_ms,
                milli: said.quantity_milli,
            };
            if fits(count.milli) {
                shelves.count(&said.sku, count, id);
            }
        }
        Ok(())
    }

    fn add_movements(
        &self,
        shelves: &mut Shelves,
        (origin, number): (NodeId, i64),
    ) -> Result<(), StoreError> {
        let sql = "SELECT seq, hlc, content FROM document WHERE node = ?1 AND topic = 8";
        let rows = self.hub.query_map(sql, params![number], |row| {
            let hlc = Hlc::from_raw(row.get(1)?);
            Ok((row.get(0)?, hlc, content::<Moved>(row, 2)?))
        })?;
        for (seq, hlc, said) in rows {
            let Some(said) = said else { continue };
            let movement = Movement {
                origin,
                seq,
                hlc,
                milli: said.quantity_milli,
                dated_ms: said.external_ref.map(|_| said.at_ms),
            };
            shelves.add(&said.sku, &movement);
        }
        Ok(())
    }

    /// Stretch by stretch: a shop may have sold a million lines.
    fn add_lines(
        &self,
        shelves: &mut Shelves,
        (origin, number): (NodeId, i64),
    ) -> Result<(), StoreError> {
        let sql = "SELECT coalesce(max(seq), 0) FROM receipt WHERE node = ?1";
        let end: i64 = self.hub.query_value(sql, params![number])?;
        let sql = "SELECT line.sku, line.quantity_milli, line.seq, receipt.hlc,
                       CASE WHEN receipt.external_ref IS NOT NULL THEN receipt.at_ms END
                   FROM receipt_line AS line CROSS JOIN receipt USING (node, seq)
                   WHERE line.node = ?1 AND line.seq > ?2 AND line.seq <= ?2 + ?3";
        let mut after = 0;
        while after < end {
            let rows = self
                .hub
                .query_map(sql, params![number, after, STRETCH], |row| {
                    let movement = Movement {
                        origin,
                        milli: -row.get::<i64>(1)?,
                        seq: row.get(2)?,
                        hlc: Hlc::from_raw(row.get(3)?),
                        dated_ms: row.get(4)?,
                    };
                    Ok((row.get::<String>(0)?, movement))
                })?;
            for (sku, movement) in rows {
                shelves.add(&sku, &movement);
            }
            after += STRETCH;
        }
        Ok(())
    }
}

impl Shelves {
    fn survivor(&self, sku: &str) -> String {
        let survivor = self.survivors.get(sku).map_or(sku, String::as_str);
        survivor.to_owned()
    }

    fn count(&mut self, sku: &str, count: Count, id: DocumentId) {
        let sku = self.survivor(sku);
        let is_later = |(held, _): &(Count, DocumentId)| held.order() < count.order();
        if self.counts.get(&sku).is_none_or(is_later) {
            self.counts.insert(sku, (count, id));
        }
    }

    /// All counts are known: levels begin with those that hold.
    fn begin(&mut self) {
        let counts = self.counts.iter();
        self.products = counts
            .map(|(sku, (count, _))| (sku.clone(), Shelf::new(Some(*count))))
            .collect();
    }

    fn add(&mut self, sku: &str, movement: &Movement) {
        if !fits(movement.milli) {
            return;
        }
        let (sku, sight) = (self.survivor(sku), &self.sight);
        let shelf = self.products.entry(sku);
        let seen = |count: &Count, lane| Ok::<_, Infallible>(sight.of(count, lane));
        let Ok(()) = shelf
            .or_insert_with(|| Shelf::new(None))
            .add(movement, seen);
    }
}

/// `None` for what is no such document: lanes pass over it too.
fn content<T: DeserializeOwned>(row: &Row<'_>, index: usize) -> Result<Option<T>, SqlError> {
    Ok(serde_json::from_str(&row.get::<String>(index)?).ok())
}
