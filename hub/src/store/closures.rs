//! What is kept of a receipt and of a closed day, so that both can be checked later?

use super::StoreError;
use super::alerts::{NewAlert, insert_alert};
use super::movement::Batch;
use counterfoil_domain::closure::SealKey;
use counterfoil_domain::{Closure, NodeId, Topic};
use counterfoil_migrate::{Connection, Row, SqlError, params};

/// Keeps the chain of the receipts and closures of a batch that were just consolidated, and lists the closures.
pub(super) fn note(tx: &Connection, batch: &Batch) -> Result<(), StoreError> {
    let closure = Topic::Closure.code();
    let place = || params![batch.node.number, batch.after, batch.until];
    let links = match batch.is_brought() {
        false => {
            "SELECT ?1, j.seq, coalesce(b.chain, zeroblob(32)), j.chain FROM moved
             CROSS JOIN book.journal AS j ON j.seq = moved.seq
             LEFT JOIN book.journal AS b ON b.seq = moved.seq - 1"
        }
        true => {
            "SELECT ?1, r.seq, r.before, r.chain FROM moved
             CROSS JOIN main.relayed_entry AS r ON r.node = ?1 AND r.seq = moved.seq"
        }
    };
    let sql = format!(
        "INSERT OR IGNORE INTO main.link (node, seq, before, chain)
         WITH moved (seq) AS (
             SELECT seq FROM main.receipt WHERE node = ?1 AND seq > ?2 AND seq <= ?3
             UNION ALL
             SELECT seq FROM main.document
             WHERE node = ?1 AND seq > ?2 AND seq <= ?3 AND topic = {closure})
         {links}"
    );
    tx.execute(&sql, place())?;
    let sql = format!("{UNLISTED} AND d.node = ?1 AND d.seq > ?2 AND d.seq <= ?3");
    for (node, seq, content) in tx.query_map(&sql, place(), unlisted)? {
        if list(tx, node, seq, content.as_deref())? {
            continue;
        }
        let detail = format!(
            "the closure in entry {seq} cannot be read by this hub, so its day cannot be proved: update the hub, \
             which reads it again when it starts"
        );
        let alert = NewAlert {
            at_ms: batch.now_ms,
            kind: "closure_unreadable",
            node: Some(batch.node.id),
            subject: String::new(),
            detail,
        };
        insert_alert(tx, &alert)?;
    }
    Ok(())
}

/// Lists the closures that the program before this one could not read, as far as this one can.
pub(super) fn list_again(hub: &Connection) -> Result<(), StoreError> {
    hub.transaction(|tx| {
        for (node, seq, content) in tx.query_map(UNLISTED, (), unlisted)? {
            let readable = list(tx, node, seq, content.as_deref())?;
            tracing::info!(node, seq, readable, "a closure is read again");
        }
        Ok(())
    })
}

/// Closures that were consolidated and are not listed.
const UNLISTED: &str = "SELECT d.node, d.seq,
        CASE WHEN json_valid(d.content) THEN CAST(json_extract(d.content, '$.closure') AS BLOB) END
    FROM main.document AS d WHERE d.topic = 10
        AND NOT EXISTS (SELECT 1 FROM main.closure AS c WHERE c.node = d.node AND c.seq = d.seq)";

fn unlisted(row: &Row<'_>) -> Result<(i64, i64, Option<Vec<u8>>), SqlError> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

/// Keeps the key that a node's token gives, beside those that it had before: what it sealed offline may arrive
/// after it got another token. Whoever writes a token's hash calls this in the same transaction.
pub(super) fn keep_key(
    tx: &Connection,
    node: NodeId,
    token_hash: &[u8],
    now_ms: i64,
) -> Result<(), StoreError> {
    // A hash of another length opens nothing, and seals nothing.
    let Ok(hash) = <[u8; 32]>::try_from(token_hash) else {
        return Ok(());
    };
    tx.execute(
        "INSERT OR IGNORE INTO main.node_key (node, seal_key, from_ms)
         SELECT number, ?2, ?3 FROM main.node WHERE id = ?1",
        params![
            node.to_bytes(),
            SealKey::of_token_hash(&hash).as_bytes().to_vec(),
            now_ms
        ],
    )?;
    Ok(())
}

/// Lists a closure; false when it cannot be read.
fn list(tx: &Connection, node: i64, seq: i64, content: Option<&[u8]>) -> Result<bool, StoreError> {
    let closure = content.map(serde_json::from_slice::<Closure>);
    let Some(Ok(closure)) = closure else {
        return Ok(false);
    };
    tx.execute(
        "INSERT OR IGNORE INTO main.closure (node, seq, day) VALUES (?1, ?2, ?3)",
        params![node, seq, closure.day.to_string()],
    )?;
    Ok(true)
}

/// The keys with which a till may have sealed a closure that stands in the book of `owner`, the newest first; none
/// when it is not of the owner's lineage. Which of them it had when it closed the day nobody else knows, and a hub
/// that was restored from a backup may learn that one after the closure: so they are asked for when a day is proved.
pub(super) fn keys(
    hub: &Connection,
    owner: i64,
    closure: &Closure,
) -> Result<Vec<SealKey>, StoreError> {
    let sql = "SELECT held.seal_key FROM main.node_key AS held
               JOIN main.node AS signer ON signer.number = held.node, main.node AS own
               WHERE signer.id = ?1 AND own.number = ?2
                 AND coalesce(signer.root, signer.number) = coalesce(own.root, own.number)
               ORDER BY held.from_ms DESC, held.seal_key";
    let signer = NodeId::to_bytes(closure.node);
    let keys = hub.query_map(sql, params![signer, owner], |row| row.get::<Vec<u8>>(0))?;
    Ok(keys
        .iter()
        .filter_map(|key| SealKey::from_slice(key))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closures_are_found_by_their_topic() {
        let topic = format!("d.topic = {} ", Topic::Closure.code());
        assert!(UNLISTED.replace('\n', " ").contains(&topic));
    }
}
