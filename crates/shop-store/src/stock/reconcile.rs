//! Reconciliation: what is counted here in a form that another lane compares, and counting again where the two differ (P5).
//!
//! A level is never taken from another lane. Where two differ, each counts the product again from the journals that it holds.

use super::ledger::{Ledger, level, note_correction, seen_of, standing};
use crate::error::StoreError;
use crate::open::ShopStore;
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::mesh::conversation::Window;
use counterfoil_domain::stock::reconcile::{Inventory, Leaf, Range};
use counterfoil_domain::stock::{Effect, effects, level_by};
use counterfoil_domain::{DocumentId, NodeId};
use counterfoil_migrate::{Connection, Row, SqlError, params};
use std::collections::{BTreeMap, BTreeSet};

/// One entry, however long.
const ONE: Window = Window {
    messages: 1,
    bytes: 1,
};

/// What counting a product again came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recounted {
    /// The level before and after, thousandths of the unit, when that was another one; or the count that holds was.
    pub corrected: Option<(i64, i64)>,
    /// Journals that are damaged here, with the position behind which.
    pub damaged: BTreeMap<NodeId, i64>,
}

/// Where an entry stands.
type Position = (NodeId, i64);

impl ShopStore {
    /// Levels of products in a range, by code, at most so many.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn level_leaves(&self, range: &Range, limit: usize) -> Result<Vec<Leaf>, StoreError> {
        let sql = "SELECT l.sku, l.level_milli, c.id, c.quantity_milli FROM local.stock_level AS l
                   LEFT JOIN local.inventory_changes AS c ON c.change = l.count
                   WHERE l.sku >= ?1 AND (?2 IS NULL OR l.sku < ?2) ORDER BY l.sku LIMIT ?3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let key = params![range.from.as_str(), range.to.as_deref(), limit];
        Ok(self.conn.query_map(sql, key, level_leaf)?)
    }

    /// Everything that is counted of one product, by the code that documents have.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn effect_leaves(&self, sku: &str) -> Result<Inventory, StoreError> {
        let said = self.effects_of(sku)?;
        let leaves = said.iter().map(|(effect, id)| Leaf::of_effect(*id, effect));
        Ok(leaves.collect())
    }

    /// Counts a product again: these documents from the journals, and then the level. What was counted of one that the journals
    /// do not have is taken out; what waits to be counted goes on waiting.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed.
    pub fn recount(
        &mut self,
        sku: &str,
        documents: &BTreeSet<DocumentId>,
        now_ms: i64,
    ) -> Result<Recounted, StoreError> {
        let mut recounted = Recounted::default();
        let mut right = Vec::new();
        for id in documents {
            let positions = self.positions_of(sku, *id)?;
            let (mut found, mut is_readable) = (None, true);
            for position in &positions {
                match self.entry_at(*position) {
                    Ok(entry) => found = found.or(entry.filter(|entry| entry.id == *id)),
                    Err(StoreError::Corrupt { .. }) => {
                        let (origin, seq) = *position;
                        let from = recounted.damaged.entry(origin).or_insert(seq - 1);
                        *from = (*from).min(seq - 1);
                        is_readable = false;
                    }
                    Err(error) => return Err(error),
                }
            }
            // What cannot be read is asked for again, and counted then.
            if found.is_some() || is_readable {
                right.push((*id, found));
            }
        }
        let own = self.node;
        recounted.corrected = self.conn.transaction(|tx| -> Result<_, StoreError> {
            for (id, entry) in &right {
                replace_effects(tx, (sku, *id), entry.as_ref(), now_ms)?;
            }
            correct_level(tx, (sku, own), now_ms)
        })?;
        Ok(recounted)
    }

    /// Where a document stands, as far as that is counted: first where it was counted, for a product.
    fn positions_of(&self, sku: &str, id: DocumentId) -> Result<Vec<Position>, StoreError> {
        let position = |row: &Row<'_>| {
            let node = row.get_with(0, |bytes: Vec<u8>| NodeId::from_slice(&bytes))?;
            Ok((node, row.get(1)?))
        };
        let sql = "SELECT DISTINCT j.node, c.seq FROM local.inventory_changes AS c
                   JOIN local.stock_journal AS j ON j.origin = c.origin
                   WHERE c.sku = ?1 AND c.id = ?2 AND c.kind >= 0";
        let mut found = self
            .conn
            .query_map(sql, params![sku, id.to_bytes()], position)?;
        let sql = "SELECT j.node, e.seq FROM local.peer_entry AS e
                   JOIN local.peer_journal AS j ON j.origin = e.origin WHERE e.id = ?1";
        found.extend(self.conn.query_map(sql, [id.to_bytes()], position)?);
        let sql = "SELECT seq FROM main.journal WHERE id = ?1";
        let own: Option<i64> = self
            .conn
            .query_optional(sql, [id.to_bytes()], |row| row.get(0))?;
        if let Some(seq) = own {
            found.push((self.writer_of(seq)?, seq));
        }
        let progress = self.progress()?;
        let is_counted = |(node, seq): &Position| {
            progress
                .get(node)
                .is_some_and(|counted| *seq <= counted.seq)
        };
        Ok(found.into_iter().filter(is_counted).collect())
    }

    /// Under which identity an entry of the own book counts.
    fn writer_of(&self, seq: i64) -> Result<NodeId, StoreError> {
        let holds = |(begin, end): (i64, i64)| begin < seq && seq <= end;
        let sources = self.sources()?;
        let mut own = sources.iter().filter(|source| source.is_own);
        let found = own.find(|source| holds((source.holding.begin.seq, source.holding.end.seq)));
        Ok(found.map_or(self.node, |source| source.node))
    }

    /// The entry of a journal at a position; `None` when it is not held.
    fn entry_at(&self, (node, seq): Position) -> Result<Option<LaneEntry>, StoreError> {
        let sources = self.sources()?;
        let holds = |source: &&super::Source| {
            let (begin, end) = (source.holding.begin.seq, source.holding.end.seq);
            source.node == node && begin < seq && seq <= end
        };
        let Some(source) = sources.iter().find(holds) else {
            return Ok(None);
        };
        let before = self.chain_in(source, seq - 1)?.ok_or(super::CORRUPT)?;
        let after = counterfoil_domain::lineage::Point {
            seq: seq - 1,
            chain: before,
        };
        let entries = self.entries_of(source, after, ONE)?;
        Ok(entries.into_iter().find(|entry| entry.seq == seq))
    }
}

fn level_leaf(row: &Row<'_>) -> Result<Leaf, SqlError> {
    let sku: String = row.get(0)?;
    let count = match row.get::<Option<i64>>(3)? {
        None => None,
        Some(milli) => {
            let id = row.get_with(2, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?;
            Some((id, milli))
        }
    };
    Ok(Leaf::of_level(&sku, row.get(1)?, count))
}

/// What is counted of a document for a product becomes what its entry says; without one nothing.
fn replace_effects(
    conn: &Connection,
    (sku, id): (&str, DocumentId),
    entry: Option<&LaneEntry>,
    now_ms: i64,
) -> Result<(), StoreError> {
    let right: Vec<Effect> = match entry {
        None => Vec::new(),
        Some(entry) => effects(entry).0,
    };
    let right = right.into_iter().filter(|effect| effect.sku == sku);
    let right: BTreeMap<i64, Effect> = right.map(|effect| (effect.item, effect)).collect();
    let sql = "SELECT change, item, quantity_milli, place, dated_ms, seq, hlc FROM local.inventory_changes
               WHERE sku = ?1 AND id = ?2 AND kind >= 0";
    let here = conn.query_map(sql, params![sku, id.to_bytes()], |row| {
        let said: (i64, Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?, row.get(4)?);
        let stands: (i64, i64) = (row.get(5)?, row.get(6)?);
        Ok((row.get::<i64>(0)?, row.get::<i64>(1)?, said, stands))
    })?;
    // One document at two positions, and not as twins: counting goes by positions there.
    let sql = "SELECT count(DISTINCT origin || '/' || seq) FROM local.inventory_changes
               WHERE sku = ?1 AND id = ?2 AND kind >= 0";
    let positions: i64 = conn.query_value(sql, params![sku, id.to_bytes()])?;
    if positions > 1 {
        return Ok(());
    }
    let mut kept = BTreeSet::new();
    for (change, item, said, stands) in here {
        let fits = |effect: &Effect| {
            effect.what.numbers() == said && (effect.seq, effect.hlc.raw()) == stands
        };
        if right.get(&item).is_some_and(fits) && kept.insert(item) {
            continue;
        }
        let sql = "UPDATE local.stock_level SET count = NULL WHERE sku = ?1 AND count = ?2";
        conn.execute(sql, params![sku, change])?;
        conn.execute(
            "DELETE FROM local.inventory_changes WHERE change = ?1",
            [change],
        )?;
    }
    let Some(entry) = entry else { return Ok(()) };
    let sql = "SELECT origin FROM local.stock_journal WHERE node = ?1";
    let origin = conn.query_value(sql, [entry.origin.to_bytes()])?;
    let ledger = Ledger {
        conn,
        origin,
        node: entry.origin,
        now_ms,
        oversold: BTreeSet::new(),
    };
    let (_, seen) = effects(entry);
    ledger.note_seen(entry.seq, seen.as_ref())?;
    for effect in right.values().filter(|effect| !kept.contains(&effect.item)) {
        let before = level(conn, sku)?.unwrap_or(0);
        ledger.note(entry, effect, before)?;
    }
    Ok(())
}

/// The level becomes what is counted of the product; a change leaves a row of its own.
fn correct_level(
    conn: &Connection,
    (sku, own): (&str, NodeId),
    now_ms: i64,
) -> Result<Option<(i64, i64)>, StoreError> {
    let said = crate::levels::effects_in(conn, sku)?;
    let all = said.iter().map(|(_, effect, _)| effect);
    let right = level_by(all, |count, lane| seen_of(conn, count, lane))?;
    let is_it = |effect: &Effect| effect.count().is_some() && effect.count() == right.count;
    let holds = said.iter().find(|(_, effect, _)| is_it(effect));
    let holds = holds.map(|(change, ..)| *change);
    let before = level(conn, sku)?;
    if said.is_empty() {
        conn.execute("DELETE FROM local.stock_level WHERE sku = ?1", [sku])?;
        return Ok(before.map(|before| (before, 0)));
    }
    if before == Some(right.milli) && standing(conn, sku)? == right.count {
        return Ok(None);
    }
    let sql = "INSERT INTO local.stock_level (sku, level_milli, count) VALUES (?1, ?2, ?3)
               ON CONFLICT (sku) DO UPDATE SET level_milli = excluded.level_milli, count = excluded.count";
    conn.execute(sql, params![sku, right.milli, holds])?;
    note_correction(conn, (sku, own), right.milli, now_ms)?;
    Ok(Some((before.unwrap_or(0), right.milli)))
}
