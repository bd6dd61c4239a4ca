//! What should a person look at?
//!
//! An event is written each time it happens, a state once until it is cleared. Both go to the outbox in the same
//! transaction, see [`super::outbox`].

use super::audit::{self, Decided};
use super::watch::PRICE_OPEN;
use super::{Reader, Store, StoreError, node_id_optional, outbox};
use crate::limits::{ALERT_REPEAT_MS, HISTORY_ROWS_MAX};
use counterfoil_domain::{NodeId, ShopId};
use counterfoil_migrate::{Connection, Row, SqlError, params};
use counterfoil_protocol::wire::monitor::{AlertEvent, AlertRow};
use serde_json::Value;

/// An alert before it has a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NewAlert {
    pub(crate) at_ms: i64,
    pub(crate) kind: &'static str,
    pub(crate) node: Option<NodeId>,
    pub(crate) subject: String,
    pub(crate) detail: String,
}

/// Writes an event unless the same one was written a moment ago.
pub(super) fn insert_alert(hub: &Connection, alert: &NewAlert) -> Result<(), StoreError> {
    // Only the newest rows are looked at, so the check costs the same however many there are.
    let repeated: bool = hub.query_value(
        "SELECT EXISTS (SELECT 1 FROM (SELECT * FROM alert ORDER BY id DESC LIMIT 100)
         WHERE kind = ?1 AND node IS ?2 AND detail = ?3 AND at_ms > ?4)",
        params![
            alert.kind,
            alert.node.map(NodeId::to_bytes),
            alert.detail.as_str(),
            alert.at_ms.saturating_sub(ALERT_REPEAT_MS)
        ],
    )?;
    if !repeated {
        write(hub, alert, false)?;
    }
    Ok(())
}

/// Writes that a state has begun, unless it lasts already.
pub(super) fn raise(hub: &Connection, alert: &NewAlert) -> Result<(), StoreError> {
    let lasts: bool = hub.query_value(
        "SELECT EXISTS (SELECT 1 FROM alert WHERE lasting = 1 AND cleared_ms IS NULL
         AND kind = ?1 AND coalesce(node, x'') = coalesce(?2, x'') AND subject = ?3)",
        params![
            alert.kind,
            alert.node.map(NodeId::to_bytes),
            alert.subject.as_str()
        ],
    )?;
    if !lasts {
        write(hub, alert, true)?;
    }
    Ok(())
}

/// Writes that the states of a node have ended, if they lasted.
pub(super) fn clear(
    hub: &Connection,
    kind: &'static str,
    node: Option<NodeId>,
    now_ms: i64,
) -> Result<(), StoreError> {
    let sql = "SELECT id FROM alert WHERE lasting = 1 AND cleared_ms IS NULL
               AND kind = ?1 AND coalesce(node, x'') = coalesce(?2, x'')";
    let node = node.map(NodeId::to_bytes);
    let lasting = hub.query_map(sql, params![kind, node], |row| row.get(0))?;
    for id in lasting {
        clear_one(hub, id, now_ms)?;
    }
    Ok(())
}

/// As [`clear`], of one alert.
pub(super) fn clear_one(hub: &Connection, id: i64, now_ms: i64) -> Result<(), StoreError> {
    let sql =
        "UPDATE alert SET cleared_ms = ?2 WHERE id = ?1 AND lasting = 1 AND cleared_ms IS NULL";
    if hub.execute(sql, params![id, now_ms])? > 0 {
        outbox::enqueue(hub, id, AlertEvent::Cleared, now_ms)?;
    }
    Ok(())
}

fn write(hub: &Connection, alert: &NewAlert, lasting: bool) -> Result<(), StoreError> {
    hub.execute(
        "INSERT INTO alert (at_ms, kind, node, subject, detail, lasting) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            alert.at_ms,
            alert.kind,
            alert.node.map(NodeId::to_bytes),
            alert.subject.as_str(),
            alert.detail.as_str(),
            lasting
        ],
    )?;
    outbox::enqueue(
        hub,
        hub.last_insert_rowid(),
        AlertEvent::Raised,
        alert.at_ms,
    )?;
    hub.execute(
        "DELETE FROM alert WHERE id <= (SELECT max(id) FROM alert) - ?1
         AND NOT (lasting = 1 AND cleared_ms IS NULL) AND id NOT IN (SELECT alert FROM alert_outbox)",
        params![HISTORY_ROWS_MAX],
    )?;
    Ok(())
}

const OPEN: &str =
    "(lasting = 1 AND cleared_ms IS NULL OR lasting = 0 AND acknowledged_ms IS NULL)";

const ROWS: &str =
    "SELECT id, at_ms, kind, node, subject, detail, lasting, cleared_ms, acknowledged_ms,
                           acknowledged_by FROM alert";

fn read(row: &Row<'_>) -> Result<AlertRow, SqlError> {
    Ok(AlertRow {
        id: row.get(0)?,
        at_ms: row.get(1)?,
        kind: row.get(2)?,
        node_id: node_id_optional(row, 3)?,
        subject: row.get(4)?,
        detail: row.get(5)?,
        lasting: row.get(6)?,
        cleared_ms: row.get(7)?,
        acknowledged_ms: row.get(8)?,
        acknowledged_by: row.get(9)?,
    })
}

impl Store {
    /// See [`insert_alert`].
    pub(crate) fn alert(&self, alert: &NewAlert) -> Result<(), StoreError> {
        self.hub.transaction(|tx| insert_alert(tx, alert))
    }

    /// Notes that somebody has seen an alert, or all; how many nobody had seen before. `None` when there is none of
    /// that number.
    pub(crate) fn acknowledge(
        &self,
        id: Option<i64>,
        who: &str,
        now_ms: i64,
    ) -> Result<Option<i64>, StoreError> {
        self.hub.transaction(|tx| {
            let known = "SELECT EXISTS (SELECT 1 FROM alert WHERE id = ?1)";
            if id.is_some() && !tx.query_value::<bool>(known, params![id])? {
                return Ok(None);
            }
            let sql = "UPDATE alert SET acknowledged_ms = ?2, acknowledged_by = ?3
                       WHERE acknowledged_ms IS NULL AND (?1 IS NULL OR id = ?1)";
            let seen = tx.execute(sql, params![id, now_ms, who])?;
            if seen > 0 {
                let decided = Decided {
                    at_ms: now_ms,
                    who,
                    action: "acknowledge",
                    subject: id.map_or_else(|| "all alerts".to_owned(), |id| format!("alert {id}")),
                    detail: "",
                    before: Value::Null,
                    after: Value::from(seen),
                    edit: None,
                    conflict: None,
                };
                audit::write_down(tx, decided)?;
            }
            Ok(Some(i64::try_from(seen).unwrap_or(i64::MAX)))
        })
    }
}

impl Reader {
    /// The newest alerts, newest first; only those that ask for somebody when `open`, and about a shop, its nodes or
    /// its prices, when one is given.
    pub(crate) fn alerts(
        &self,
        open: bool,
        shop: Option<ShopId>,
        limit: i64,
    ) -> Result<Vec<AlertRow>, StoreError> {
        let which = if open { OPEN } else { "true" };
        let sql = format!(
            "{ROWS} WHERE {which} AND (?1 IS NULL OR node IN (SELECT id FROM node WHERE shop = ?1)
                 OR kind = '{PRICE_OPEN}' AND subject = (SELECT name FROM shop WHERE id = ?1))
             ORDER BY id DESC LIMIT ?2"
        );
        let newest = params![shop.map(ShopId::to_bytes), limit];
        Ok(self.hub.query_map(&sql, newest, read)?)
    }

    /// States that last, of these kinds.
    pub(crate) fn lasting(&self, kinds: &[&str]) -> Result<Vec<AlertRow>, StoreError> {
        let sql = format!("{ROWS} WHERE lasting = 1 AND cleared_ms IS NULL ORDER BY id");
        let mut rows = self.hub.query_map(&sql, (), read)?;
        rows.retain(|row| kinds.contains(&row.kind.as_str()));
        Ok(rows)
    }

    /// How many alerts of each kind ask for somebody.
    pub(crate) fn open_alerts(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let sql =
            format!("SELECT kind, count(*) FROM alert WHERE {OPEN} GROUP BY kind ORDER BY kind");
        Ok(self
            .hub
            .query_map(&sql, (), |row| Ok((row.get(0)?, row.get(1)?)))?)
    }
}
