//! What did employees do at tills beside documents: who signed in or tried to, who approved what?

use super::{Reader, StoreError, node_id, shop_id};
use counterfoil_domain::{ShopId, Topic};
use counterfoil_migrate::params;
use counterfoil_protocol::wire::employees::EmployeeEventRow;

/// Which events are asked for.
#[derive(Clone, Debug)]
pub(crate) struct EmployeeEventFilter {
    pub(crate) shop: Option<ShopId>,
    pub(crate) employee: Option<String>,
    /// At most so many.
    pub(crate) limit: i64,
}

impl Reader {
    /// Events of employees, newest first.
    pub(crate) fn employee_events(
        &self,
        filter: &EmployeeEventFilter,
    ) -> Result<Vec<EmployeeEventRow>, StoreError> {
        // As a constant, which the index on these documents understands.
        let topic = Topic::EmployeeEvent.code();
        let sql = format!(
            "SELECT node.shop, shop.name, node.id, node.lane, d.seq, d.corrected_ms,
                 d.content ->> 'employee', d.content ->> 'event', d.content ->> 'permission',
                 d.content ->> 'outcome', coalesce(d.content ->> 'unlooked', 0)
             FROM document AS d JOIN node ON node.number = d.node JOIN shop ON shop.id = node.shop
             WHERE d.topic = {topic} AND (?1 IS NULL OR node.shop = ?1)
               AND (?2 IS NULL OR d.content ->> 'employee' = ?2)
             ORDER BY d.corrected_ms DESC, d.node, d.seq DESC LIMIT ?3"
        );
        let asked = params![
            filter.shop.map(ShopId::to_bytes),
            filter.employee.as_deref(),
            filter.limit
        ];
        Ok(self.hub.query_map(&sql, asked, |row| {
            Ok(EmployeeEventRow {
                shop_id: shop_id(row, 0)?,
                shop: row.get(1)?,
                node_id: node_id(row, 2)?,
                lane: row.get(3)?,
                seq: row.get(4)?,
                at_ms: row.get(5)?,
                employee: row.get(6)?,
                event: row.get(7)?,
                permission: row.get(8)?,
                outcome: row.get(9)?,
                unlooked: row.get(10)?,
            })
        })?)
    }
}
