//! Is a journal sound, and what waits in it?

use super::{Found, NodeKey, condition};
use crate::store::{StoreError, reading};
use counterfoil_domain::{Chain, Priority};
use counterfoil_migrate::{Connection, params};

pub(super) struct Position {
    pub(super) newest: i64,
    /// By priority: where the watermark stands.
    pub(super) lanes: Vec<(Priority, i64)>,
}

/// The book contradicts what was consolidated from it; why, for a person.
pub(super) struct Broken(pub(super) String);

pub(super) type Checked<T> = Result<T, Broken>;

/// Which priorities have entries that wait, in a book that is sound as a whole.
pub(super) fn waiting(hub: &Connection, node: &NodeKey) -> Result<Checked<Found>, StoreError> {
    let position = match check(hub, node)? {
        Ok(position) => position,
        Err(broken) => return Ok(Err(broken)),
    };
    let last = position.lanes.iter().min_by_key(|(_, at)| *at).copied();
    let (last, lowest) = last.unwrap_or((Priority::Low, 0));
    if let Err(broken) = gapless(hub, node, (lowest, position.newest))? {
        return Ok(Err(broken));
    }
    let mut priorities = Vec::new();
    for (priority, at) in position.lanes {
        if has_entries(hub, node, priority, (at, position.newest))? {
            priorities.push(priority);
        }
    }
    if priorities.is_empty() && lowest < position.newest {
        // Nothing to move, but the node waits to hear so: of the one that is behind.
        priorities.push(last);
    }
    let newest = position.newest;
    Ok(Ok(Found { priorities, newest }))
}

/// Compares the book with what was consolidated from it, and reads where both stand.
pub(super) fn check(hub: &Connection, node: &NodeKey) -> Result<Checked<Position>, StoreError> {
    if !reading::has_tables(hub, node.tables)? {
        return Ok(Err(Broken(
            "the book does not hold a node's tables".to_owned(),
        )));
    }
    let sql = "SELECT max(?1, coalesce(max(seq), 0)) FROM book.journal";
    let newest: i64 = hub.query_value(sql, params![node.brought_until])?;
    let mut lanes = Vec::new();
    for priority in Priority::ALL {
        let mark = "SELECT seq, chain FROM watermark WHERE node = ?1 AND priority = ?2";
        let mark = hub.query_optional(mark, params![node.number, priority.code()], |row| {
            Ok((row.get::<i64>(0)?, row.get::<Vec<u8>>(1)?))
        })?;
        let (seq, chain) = mark.unwrap_or_else(|| (0, Chain::START.as_bytes().to_vec()));
        if let Some(reason) = contradiction(hub, node, seq, &chain)? {
            return Ok(Err(Broken(reason)));
        }
        lanes.push((priority, seq));
    }
    Ok(Ok(Position { newest, lanes }))
}

pub(super) fn gapless(
    hub: &Connection,
    node: &NodeKey,
    (after, until): (i64, i64),
) -> Result<Checked<()>, StoreError> {
    let journal = node.journal;
    let sql = format!("SELECT count(*) FROM {journal} WHERE seq > ?1 AND seq <= ?2");
    let missing = until - after - hub.query_value::<i64>(&sql, params![after, until])?;
    if missing == 0 {
        return Ok(Ok(()));
    }
    let reason = format!("the journal has a gap: {missing} entries after {after} are missing");
    Ok(Err(Broken(reason)))
}

pub(super) fn has_entries(
    hub: &Connection,
    node: &NodeKey,
    priority: Priority,
    (after, until): (i64, i64),
) -> Result<bool, StoreError> {
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM {} WHERE seq > ?1 AND seq <= ?2 AND {})",
        node.journal,
        condition(priority)
    );
    Ok(hub.query_value(&sql, params![after, until])?)
}

fn contradiction(
    hub: &Connection,
    node: &NodeKey,
    seq: i64,
    chain: &[u8],
) -> Result<Option<String>, StoreError> {
    if seq == 0 {
        return Ok(None);
    }
    let sql = format!("SELECT chain FROM {} WHERE seq = ?1", node.journal);
    let found = hub.query_optional(&sql, params![seq], |row| row.get::<Vec<u8>>(0))?;
    Ok(match found {
        Some(found) if found == chain => None,
        Some(_) => Some(format!(
            "entry {seq} of the journal is not the one that was consolidated: two tills with one \
             identity, or a restored backup"
        )),
        None => Some(format!(
            "the journal ends before entry {seq}, which was consolidated: a restored backup"
        )),
    })
}
