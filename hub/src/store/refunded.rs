//! Was more taken back of a sale than it had?

use super::StoreError;
use super::alerts::{NewAlert, insert_alert};
use super::movement::Batch;
use counterfoil_domain::Quantity;
use counterfoil_migrate::{Connection, params};

/// Sales that the batch, just consolidated, brought or took back, with each product of which less than nothing is left.
const OVER: &str = "WITH concerned (id) AS (
        SELECT refund_of FROM main.receipt WHERE node = ?1 AND seq > ?2 AND seq <= ?3 AND refund_of IS NOT NULL
        UNION
        SELECT s.id FROM main.receipt AS s WHERE s.node = ?1 AND s.seq > ?2 AND s.seq <= ?3
            AND EXISTS (SELECT 1 FROM main.receipt AS r WHERE r.refund_of = s.id)
    ), moved AS (
        SELECT c.id, l.sku, l.quantity_milli FROM concerned AS c CROSS JOIN main.receipt AS s ON s.id = c.id
            CROSS JOIN main.receipt_line AS l ON l.node = s.node AND l.seq = s.seq
        UNION ALL
        SELECT c.id, l.sku, l.quantity_milli FROM concerned AS c CROSS JOIN main.receipt AS r ON r.refund_of = c.id
            CROSS JOIN main.receipt_line AS l ON l.node = r.node AND l.seq = r.seq
    )
    SELECT s.series || '-' || s.number || ' of ' || shop.name || '/' || n.lane, m.sku, -sum(m.quantity_milli)
    FROM moved AS m CROSS JOIN main.receipt AS s ON s.id = m.id AND s.topic = 1
    JOIN main.node AS n ON n.number = s.node JOIN main.shop AS shop ON shop.id = n.shop
    GROUP BY m.id, m.sku HAVING sum(m.quantity_milli) < 0 ORDER BY s.node, s.seq, m.sku";

/// Says of which sales more was taken back than they had: lanes that could not see each other both paid. Each refund counts; a
/// person should know. A sale that has not come yet is judged when it comes.
pub(super) fn tell(tx: &Connection, batch: &Batch) -> Result<(), StoreError> {
    let key = params![batch.node.number, batch.after, batch.until];
    let over = tx.query_map(OVER, key, |row| {
        Ok((
            row.get::<String>(0)?,
            row.get::<String>(1)?,
            row.get::<i64>(2)?,
        ))
    })?;
    for (sale, sku, milli) in over {
        let more = Quantity::from_milli(milli);
        let alert = NewAlert {
            at_ms: batch.now_ms,
            kind: "refunded_twice",
            node: Some(batch.node.id),
            subject: String::new(),
            detail: format!(
                "of receipt {sale} {more} more of {sku} was taken back than was sold: every refund was paid, and counts"
            ),
        };
        insert_alert(tx, &alert)?;
    }
    Ok(())
}
