//! Which imports have arrived?

use super::{Reader, StoreError, node_id};
use crate::limits::IMPORTS_SHOWN_MAX;
use counterfoil_domain::{ImportId, ShopId};
use counterfoil_migrate::params;
use counterfoil_protocol::wire::decisions::ImportRow;

/// From indexes that hold imported entries alone.
pub(super) const IMPORTS: &str =
    "SELECT import_id, node.id, shop.name, node.lane, sum(documents), sum(edits)
    FROM (SELECT import_id, node AS number, count(*) AS documents, 0 AS edits FROM receipt
          WHERE import_id IS NOT NULL GROUP BY import_id, node
          UNION ALL
          SELECT import_id, node, count(*), 0 FROM document
          WHERE import_id IS NOT NULL GROUP BY import_id, node
          UNION ALL
          SELECT import_id, node.number, 0, count(DISTINCT edit) FROM field_version
          JOIN node ON node.id = field_version.node
          WHERE import_id IS NOT NULL GROUP BY import_id, node.number) AS found
    JOIN node ON node.number = found.number JOIN shop ON shop.id = node.shop
    WHERE ?1 IS NULL OR shop.id = ?1
    GROUP BY import_id, node.number ORDER BY import_id DESC, node.number LIMIT ?2";

/// An id of version 7 says when it was made.
fn begun_ms(import: ImportId) -> Option<i64> {
    let (seconds, nanos) = import.uuid().get_timestamp()?.to_unix();
    let millis = seconds.checked_mul(1_000)?;
    i64::try_from(millis.checked_add(u64::from(nanos.div_euclid(1_000_000)))?).ok()
}

impl Reader {
    /// Imports of a shop, or of all, the newest first.
    pub(crate) fn imports(&self, shop: Option<ShopId>) -> Result<Vec<ImportRow>, StoreError> {
        let asked = params![shop.map(ShopId::to_bytes), IMPORTS_SHOWN_MAX];
        Ok(self.hub.query_map(IMPORTS, asked, |row| {
            let import_id = row.get_with(0, |bytes: Vec<u8>| ImportId::from_slice(&bytes))?;
            Ok(ImportRow {
                import_id,
                node_id: node_id(row, 1)?,
                shop: row.get(2)?,
                lane: row.get(3)?,
                begun_ms: begun_ms(import_id),
                documents: row.get(4)?,
                edits: row.get(5)?,
            })
        })?)
    }
}
