//! What should a person look at?

use super::{Reader, Store, StoreError, node_id_optional};
use crate::limits::{ALERT_REPEAT_MS, HISTORY_ROWS_MAX};
use counterfoil_domain::NodeId;
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::wire::hub::AlertRow;

/// Writes an alert unless the same one was written a moment ago.
pub(super) fn insert_alert(hub: &Connection, alert: &AlertRow) -> Result<(), StoreError> {
    let node = alert.node_id.map(NodeId::to_bytes);
    // Only the newest rows are looked at, so the check costs the same however many there are.
    let repeated: bool = hub.query_value(
        "SELECT EXISTS (SELECT 1 FROM (SELECT * FROM alert ORDER BY id DESC LIMIT 100)
         WHERE kind = ?1 AND node IS ?2 AND detail = ?3 AND at_ms > ?4)",
        params![
            alert.kind.clone(),
            node.clone(),
            alert.detail.clone(),
            alert.at_ms.saturating_sub(ALERT_REPEAT_MS)
        ],
    )?;
    if repeated {
        return Ok(());
    }
    hub.execute(
        "INSERT INTO alert (at_ms, kind, node, detail) VALUES (?1, ?2, ?3, ?4)",
        params![alert.at_ms, alert.kind.clone(), node, alert.detail.clone()],
    )?;
    hub.execute(
        "DELETE FROM alert WHERE id <= (SELECT max(id) FROM alert) - ?1",
        params![HISTORY_ROWS_MAX],
    )?;
    Ok(())
}

impl Store {
    /// See [`insert_alert`].
    pub(crate) fn alert(&self, alert: &AlertRow) -> Result<(), StoreError> {
        insert_alert(&self.hub, alert)
    }
}

impl Reader {
    /// The newest alerts, newest first.
    pub(crate) fn alerts(&self, limit: i64) -> Result<Vec<AlertRow>, StoreError> {
        let sql = "SELECT at_ms, kind, node, detail FROM alert ORDER BY id DESC LIMIT ?1";
        Ok(self.hub.query_map(sql, params![limit], |row| {
            Ok(AlertRow {
                at_ms: row.get(0)?,
                kind: row.get(1)?,
                node_id: node_id_optional(row, 2)?,
                detail: row.get(3)?,
            })
        })?)
    }
}
