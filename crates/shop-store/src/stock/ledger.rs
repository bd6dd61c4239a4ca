//! What an entry changes in the levels of `local.db`.

use crate::error::StoreError;
use counterfoil_domain::lineage::Point;
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::stock::{Count, Effect, Movement, Seen, SeenLane, Shelf, effects};
use counterfoil_domain::{Hlc, NodeId};
use counterfoil_migrate::{Connection, Row, SqlError, params};
use std::collections::BTreeSet;

/// The levels in a transaction, and whose entries are being counted.
pub(super) struct Ledger<'c> {
    pub(super) conn: &'c Connection,
    pub(super) origin: i64,
    pub(super) node: NodeId,
    pub(super) now_ms: i64,
    pub(super) oversold: BTreeSet<String>,
}

impl Ledger<'_> {
    /// Of an entry that is counted under another name, only what it had seen is kept: later counts under this name refer to it.
    pub(super) fn count(&mut self, entry: &LaneEntry, is_known: bool) -> Result<(), StoreError> {
        let (said, seen) = effects(entry);
        self.note_seen(entry.seq, seen.as_ref())?;
        if is_known {
            return Ok(());
        }
        for effect in &said {
            self.apply(entry, effect)?;
        }
        Ok(())
    }

    /// Keeps what a count had seen.
    pub(super) fn note_seen(&self, seq: i64, seen: Option<&Seen>) -> Result<(), StoreError> {
        let sql =
            "INSERT OR REPLACE INTO local.stock_seen (origin, lane, since_seq, seq, connected)
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        for lane in seen.into_iter().flat_map(|seen| &seen.lanes) {
            let connected = i64::from(lane.connected);
            let row = params![self.origin, lane.node.to_bytes(), seq, lane.seq, connected];
            self.conn.execute(sql, row)?;
        }
        Ok(())
    }

    fn apply(&mut self, entry: &LaneEntry, effect: &Effect) -> Result<(), StoreError> {
        let sku = effect.sku.as_str();
        let before = level(self.conn, sku)?;
        let holds = standing(self.conn, sku)?;
        let (milli, is_standing) = match (effect.count(), effect.movement()) {
            (Some(count), _) if holds.is_none_or(|held| held.order() < count.order()) => {
                (self.sum_after(sku, &count)?, true)
            }
            (None, Some(movement)) => {
                let is_before = match holds {
                    Some(count) => {
                        let seen = seen_of(self.conn, &count, self.node)?;
                        movement.is_before(&count, seen)
                    }
                    None => false,
                };
                let moved = if is_before { 0 } else { movement.milli };
                (before.unwrap_or(0).saturating_add(moved), false)
            }
            // A count that an earlier one which came first does not give way to.
            _ => (before.unwrap_or(0), false),
        };
        let change = self.note(entry, effect, milli)?;
        let sql = "INSERT INTO local.stock_level (sku, level_milli, count) VALUES (?1, ?2, ?3)
                   ON CONFLICT (sku) DO UPDATE SET level_milli = excluded.level_milli,
                       count = coalesce(excluded.count, count)";
        let count = is_standing.then_some(change);
        self.conn.execute(sql, params![sku, milli, count])?;
        let was_oversold = holds.is_some() && before.is_some_and(|it| it < 0);
        if milli < 0 && !was_oversold && (is_standing || holds.is_some()) {
            self.oversold.insert(sku.to_owned());
        } else if milli >= 0 {
            self.oversold.remove(sku);
        }
        Ok(())
    }

    /// What a count and the movements after it come to, of those that are counted.
    fn sum_after(&self, sku: &str, count: &Count) -> Result<i64, StoreError> {
        let sql = "SELECT j.node, c.seq, c.hlc, c.quantity_milli, c.dated_ms
                   FROM local.inventory_changes AS c JOIN local.stock_journal AS j ON j.origin = c.origin
                   WHERE c.sku = ?1 AND c.place IS NULL AND c.kind >= 0";
        let movements = self.conn.query_map(sql, [sku], |row| {
            Ok(Movement {
                origin: row.get_with(0, |bytes: Vec<u8>| NodeId::from_slice(&bytes))?,
                seq: row.get(1)?,
                hlc: Hlc::from_raw(row.get(2)?),
                milli: row.get(3)?,
                dated_ms: row.get(4)?,
            })
        })?;
        let mut shelf = Shelf::new(Some(*count));
        for movement in movements {
            shelf.add(&movement, |count, lane| seen_of(self.conn, count, lane))?;
        }
        Ok(shelf.level().milli)
    }

    pub(super) fn note(
        &self,
        entry: &LaneEntry,
        effect: &Effect,
        level_milli: i64,
    ) -> Result<i64, StoreError> {
        let (milli, place, dated_ms) = effect.what.numbers();
        let sql = "INSERT INTO local.inventory_changes (sku, origin, seq, item, kind, id, hlc, quantity_milli, place, dated_ms,
                       level_milli, noted_ms)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) RETURNING change";
        let row = params![
            effect.sku.as_str(),
            self.origin,
            effect.seq,
            effect.item,
            entry.kind,
            entry.id.to_bytes(),
            effect.hlc.raw(),
            milli,
            place,
            dated_ms,
            level_milli,
            self.now_ms
        ];
        Ok(self.conn.query_value(sql, row)?)
    }
}

/// Instead of a topic, of a row that no entry says: a level that was put right.
pub(crate) const CORRECTION: i64 = -1;

/// Notes that a level was put right.
pub(super) fn note_correction(
    conn: &Connection,
    (sku, own): (&str, NodeId),
    level_milli: i64,
    now_ms: i64,
) -> Result<(), SqlError> {
    // Of the own journal, as far as that is counted.
    let sql = "INSERT INTO local.inventory_changes (sku, origin, seq, item, kind, id, hlc, quantity_milli, level_milli, noted_ms)
               SELECT ?1, origin, seq, 0, ?3, ?2, 0, 0, ?4, ?5 FROM local.stock_journal
               ORDER BY node = ?2 DESC LIMIT 1";
    conn.execute(
        sql,
        params![sku, own.to_bytes(), CORRECTION, level_milli, now_ms],
    )?;
    Ok(())
}

/// The number of the journal.
pub(super) fn note_progress(
    conn: &Connection,
    node: NodeId,
    point: Point,
) -> Result<i64, SqlError> {
    let sql = "INSERT INTO local.stock_journal (node, seq, chain) VALUES (?1, ?2, ?3)
               ON CONFLICT (node) DO UPDATE SET seq = excluded.seq, chain = excluded.chain RETURNING origin";
    let chain = point.chain.as_bytes().to_vec();
    conn.query_value(sql, params![node.to_bytes(), point.seq, chain])
}

pub(super) fn level(conn: &Connection, sku: &str) -> Result<Option<i64>, SqlError> {
    let sql = "SELECT level_milli FROM local.stock_level WHERE sku = ?1";
    conn.query_optional(sql, [sku], |row| row.get(0))
}

pub(super) fn standing(conn: &Connection, sku: &str) -> Result<Option<Count>, StoreError> {
    let sql = "SELECT j.node, c.seq, c.hlc, c.place, c.dated_ms, c.quantity_milli
               FROM local.stock_level AS l
               CROSS JOIN local.inventory_changes AS c ON c.change = l.count
               CROSS JOIN local.stock_journal AS j ON j.origin = c.origin
               WHERE l.sku = ?1";
    Ok(conn.query_optional(sql, [sku], standing_row)?)
}

fn standing_row(row: &Row<'_>) -> Result<Count, SqlError> {
    Ok(Count {
        origin: row.get_with(0, |bytes: Vec<u8>| NodeId::from_slice(&bytes))?,
        seq: row.get(1)?,
        hlc: Hlc::from_raw(row.get(2)?),
        place: Hlc::from_raw(row.get(3)?),
        at_ms: row.get(4)?,
        milli: row.get(5)?,
    })
}

/// What the lane of a count had of a journal then.
pub(crate) fn seen_of(
    conn: &Connection,
    count: &Count,
    lane: NodeId,
) -> Result<Option<SeenLane>, SqlError> {
    let sql = "SELECT s.seq, s.connected FROM local.stock_journal AS j
               CROSS JOIN local.stock_seen AS s ON s.origin = j.origin AND s.lane = ?2 AND s.since_seq <= ?3
               WHERE j.node = ?1 ORDER BY s.since_seq DESC LIMIT 1";
    let key = params![count.origin.to_bytes(), lane.to_bytes(), count.seq];
    conn.query_optional(sql, key, |row| {
        Ok(SeenLane {
            node: lane,
            seq: row.get(0)?,
            connected: row.get(1)?,
        })
    })
}
