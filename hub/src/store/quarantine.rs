//! Which records stepped aside?

use super::{Reader, StoreError, node_id};
use counterfoil_domain::Topic;
use counterfoil_protocol::wire::hub::QuarantineRow;

impl Reader {
    /// All records in quarantine, by node and position.
    pub(crate) fn quarantine(&self) -> Result<Vec<QuarantineRow>, StoreError> {
        let sql = "SELECT node.id, shop.name, quarantine.seq, topic, reason, found_ms
                   FROM quarantine JOIN node ON node.number = quarantine.node
                   JOIN shop ON shop.id = node.shop ORDER BY quarantine.node, quarantine.seq";
        Ok(self.hub.query_map(sql, (), |row| {
            let topic: i64 = row.get(3)?;
            let name = Topic::from_code(topic).map(|topic| topic.name().to_owned());
            Ok(QuarantineRow {
                node_id: node_id(row, 0)?,
                shop: row.get(1)?,
                seq: row.get(2)?,
                topic: name.unwrap_or_else(|| format!("unknown ({topic})")),
                reason: row.get(4)?,
                found_ms: row.get(5)?,
            })
        })?)
    }
}
