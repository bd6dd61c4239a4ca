//! Was a parked sale finished more than once?

use super::StoreError;
use super::alerts::{NewAlert, insert_alert};
use super::movement::Batch;
use counterfoil_migrate::{Connection, params};

/// Says which sales of the batch, just consolidated, finish what another sale has finished: lanes that could not see each
/// other both did. Each was paid and counts; a person should know.
pub(super) fn tell(tx: &Connection, batch: &Batch) -> Result<(), StoreError> {
    let sql = "SELECT s.series || '-' || s.number, shop.name || '/' || n.lane || ' with receipt '
                   || o.series || '-' || o.number
               FROM main.receipt AS s
               CROSS JOIN main.receipt AS o ON o.parked ->> 'id' = s.parked ->> 'id' AND o.parked IS NOT NULL AND o.id <> s.id
               JOIN main.node AS n ON n.number = o.node JOIN main.shop AS shop ON shop.id = n.shop
               WHERE s.node = ?1 AND s.seq > ?2 AND s.seq <= ?3 AND s.parked IS NOT NULL
               ORDER BY s.seq, o.node, o.seq";
    let key = params![batch.node.number, batch.after, batch.until];
    let twice = tx.query_map(sql, key, |row| {
        Ok((row.get::<String>(0)?, row.get::<String>(1)?))
    })?;
    for (sale, other) in twice {
        let alert = NewAlert {
            at_ms: batch.now_ms,
            kind: "parked_sold_twice",
            node: Some(batch.node.id),
            subject: String::new(),
            detail: format!(
                "receipt {sale} finishes a parked sale that {other} finished too: both were paid, and both count"
            ),
        };
        insert_alert(tx, &alert)?;
    }
    Ok(())
}
