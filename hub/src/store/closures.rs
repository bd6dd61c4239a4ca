//! What is kept of a receipt and of a closed day, so that both can be checked later?

use super::StoreError;
use counterfoil_domain::closure::SealKey;
use counterfoil_domain::{Closure, NodeId, Topic};
use counterfoil_migrate::{Connection, params};

/// Keeps the chain of the receipts and closures in a range that were just consolidated from the attached
/// book, and lists the closures.
pub(super) fn note(tx: &Connection, node: i64, after: i64, until: i64) -> Result<(), StoreError> {
    let closure = Topic::Closure.code();
    let sql = format!(
        "INSERT OR IGNORE INTO main.link (node, seq, before, chain)
         SELECT ?1, j.seq, coalesce(b.chain, zeroblob(32)), j.chain
         FROM (SELECT seq FROM main.receipt WHERE node = ?1 AND seq > ?2 AND seq <= ?3
               UNION ALL
               SELECT seq FROM main.document
               WHERE node = ?1 AND seq > ?2 AND seq <= ?3 AND topic = {closure}) AS moved
         CROSS JOIN book.journal AS j ON j.seq = moved.seq
         LEFT JOIN book.journal AS b ON b.seq = moved.seq - 1"
    );
    tx.execute(&sql, params![node, after, until])?;
    let sql = format!(
        "SELECT seq, json_extract(content, '$.closure') FROM main.document
         WHERE node = ?1 AND seq > ?2 AND seq <= ?3 AND topic = {closure}"
    );
    let closures = tx.query_map(&sql, params![node, after, until], |row| {
        Ok((row.get::<i64>(0)?, row.get::<String>(1)?))
    })?;
    for (seq, content) in closures {
        match serde_json::from_str::<Closure>(&content) {
            Ok(closure) => list(tx, node, seq, &closure)?,
            // Its day stays open, which is what an operator sees.
            Err(error) => tracing::warn!(node, seq, %error, "a closure cannot be read"),
        }
    }
    Ok(())
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

fn list(tx: &Connection, node: i64, seq: i64, closure: &Closure) -> Result<(), StoreError> {
    // Which of its keys a till had when it closed the day nobody else knows: it may have another one since.
    let sql = "SELECT held.seal_key FROM main.node_key AS held
               JOIN main.node AS signer ON signer.number = held.node, main.node AS own
               WHERE signer.id = ?1 AND own.number = ?2
                 AND coalesce(signer.root, signer.number) = coalesce(own.root, own.number)
               ORDER BY held.from_ms DESC, held.seal_key";
    let signer = NodeId::to_bytes(closure.node);
    let keys = tx.query_map(sql, params![signer, node], |row| row.get::<Vec<u8>>(0))?;
    let fits = |key: &&Vec<u8>| SealKey::from_slice(key).is_some_and(|key| key.verifies(closure));
    let key = keys.iter().find(fits).or(keys.first()).cloned();
    tx.execute(
        "INSERT OR IGNORE INTO main.closure (node, seq, day, seal_key) VALUES (?1, ?2, ?3, ?4)",
        params![node, seq, closure.day.to_string(), key],
    )?;
    Ok(())
}
