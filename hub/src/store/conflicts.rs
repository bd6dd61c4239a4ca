//! Which concurrent edits had to be settled?

use super::{Reader, StoreError, shop_id_optional};
use counterfoil_migrate::Row;
use counterfoil_migrate::SqlError;
use counterfoil_protocol::wire::hub::ConflictRow;

fn json(row: &Row<'_>, index: usize) -> Result<serde_json::Value, SqlError> {
    row.get_with(index, |text: String| serde_json::from_str(&text))
}

impl Reader {
    /// All conflicts, oldest first.
    pub(crate) fn conflicts(&self) -> Result<Vec<ConflictRow>, StoreError> {
        let sql = "SELECT id, table_name, row_id, column_name, policy, winner_value, winner_shop,
                          loser_value, loser_shop, found_ms
                   FROM conflict ORDER BY id";
        Ok(self.hub.query_map(sql, (), |row| {
            Ok(ConflictRow {
                id: row.get(0)?,
                table: row.get(1)?,
                row: row.get(2)?,
                column: row.get(3)?,
                policy: row.get(4)?,
                winner_value: json(row, 5)?,
                winner_shop: shop_id_optional(row, 6)?,
                loser_value: json(row, 7)?,
                loser_shop: shop_id_optional(row, 8)?,
                found_ms: row.get(9)?,
            })
        })?)
    }
}
