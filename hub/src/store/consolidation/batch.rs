//! Which entries belong to a batch, and how far is its node then?

use super::check::{Position, has_entries};
use super::{NodeKey, condition};
use crate::store::StoreError;
use crate::store::movement::Batch;
use counterfoil_domain::Priority;
use counterfoil_migrate::{Connection, params};
use counterfoil_replica::planted::PlantedBug;

/// How far a batch goes.
pub(super) struct Reach {
    /// Its first and last entry; behind each other when it has none.
    pub(super) first: i64,
    pub(super) last: i64,
    /// Everything up to here is of other priorities, or in the batch.
    pub(super) until: i64,
}

/// `size` entries of the priority in a stretch of the journal. The batch begins at the first of them: a
/// hundred thousand entries of other priorities before it are looked at once, not by every statement.
pub(super) fn reach(
    tx: &Connection,
    node: &NodeKey,
    priority: Priority,
    (after, newest): (i64, i64),
    size: i64,
) -> Result<Reach, StoreError> {
    let sql = format!(
        "SELECT count(*), coalesce(min(seq), ?2 + 1), coalesce(max(seq), ?2) FROM (
             SELECT seq FROM {} WHERE seq > ?1 AND seq <= ?2 AND {} ORDER BY seq LIMIT ?3)",
        node.journal,
        condition(priority)
    );
    let size = size.max(1);
    let (count, first, last) = tx.query_row(&sql, params![after, newest, size], |row| {
        Ok((row.get::<i64>(0)?, row.get(1)?, row.get(2)?))
    })?;
    let until = if count < size { newest } else { last };
    Ok(Reach { first, last, until })
}

/// Sets the watermark of the batch's priority, and of each other priority that has nothing up to
/// there.
pub(super) fn advance(
    tx: &Connection,
    batch: &Batch,
    reached: i64,
    position: &Position,
) -> Result<(), StoreError> {
    let mut until = reached;
    if PlantedBug::WatermarkTooFar.is_planted() {
        until = position.newest.min(until + 1);
    }
    for (priority, at) in &position.lanes {
        let done = *priority == batch.priority
            || *at < reached && !has_entries(tx, &batch.node, *priority, (*at, reached))?;
        if !done {
            continue;
        }
        let sql = format!(
            "INSERT INTO watermark (node, priority, seq, chain, at_ms)
             SELECT ?1, ?2, seq, chain, ?4 FROM {} WHERE seq = ?3
             ON CONFLICT (node, priority) DO UPDATE
             SET seq = excluded.seq, chain = excluded.chain, at_ms = excluded.at_ms",
            batch.node.journal
        );
        let mark = params![batch.node.number, priority.code(), until, batch.now_ms];
        tx.execute(&sql, mark)?;
    }
    Ok(())
}
