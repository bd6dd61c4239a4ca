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

fn list(tx: &Connection, node: i64, seq: i64, closure: &Closure) -> Result<(), StoreError> {
    // Kept with the closure: the till may have another token later.
    let sql = "SELECT signer.token_hash FROM main.node AS signer, main.node AS own
               WHERE signer.id = ?1 AND own.number = ?2
                 AND coalesce(signer.root, signer.number) = coalesce(own.root, own.number)";
    let signer = NodeId::to_bytes(closure.node);
    let hash = tx.query_optional(sql, params![signer, node], |row| row.get::<Vec<u8>>(0))?;
    let key = hash.and_then(|hash| <[u8; 32]>::try_from(hash).ok());
    let key = key.map(|hash| SealKey::of_token_hash(&hash).as_bytes().to_vec());
    tx.execute(
        "INSERT OR IGNORE INTO main.closure (node, seq, day, seal_key) VALUES (?1, ?2, ?3, ?4)",
        params![node, seq, closure.day.to_string(), key],
    )?;
    Ok(())
}
