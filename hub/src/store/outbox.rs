//! What must still be told to others, and to whom?
//!
//! A message is written with its alert, in one transaction, and goes when the other side has confirmed it: it arrives
//! at least once. Its id and content follow from the alert, so a repetition is the same.

use super::{Reader, Store, StoreError, node_id_optional};
use crate::limits::{OUTBOX_ROWS_MAX, RUN_DETAIL_CHARS_MAX};
use counterfoil_domain::HubId;
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::wire::monitor::{AlertEvent, AlertMessage};

/// Where alerts can go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Channel {
    Webhook,
    Command,
}

impl Channel {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Command => "command",
        }
    }
}

/// A message on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Delivery {
    pub(crate) id: i64,
    pub(crate) message: AlertMessage,
    /// Those that failed.
    pub(crate) attempts: i64,
}

/// Notes for each channel that something has become of an alert.
pub(super) fn enqueue(
    hub: &Connection,
    alert: i64,
    event: AlertEvent,
    now_ms: i64,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO alert_outbox (alert, event, channel, at_ms, due_ms)
               SELECT ?1, ?2, name, ?3, ?3 FROM alert_channel";
    if hub.execute(sql, params![alert, event.name(), now_ms])? > 0 {
        let sql = "DELETE FROM alert_outbox WHERE id <= (SELECT max(id) FROM alert_outbox) - ?1";
        let dropped = hub.execute(sql, params![OUTBOX_ROWS_MAX])?;
        if dropped > 0 {
            tracing::error!(
                dropped,
                "nobody takes the alerts: the oldest are not delivered any more"
            );
        }
    }
    Ok(())
}

impl Store {
    /// Says where alerts go from now on; what waits for another place is dropped.
    pub(crate) fn set_channels(&self, channels: &[Channel]) -> Result<(), StoreError> {
        self.hub.transaction(|tx| {
            tx.execute("DELETE FROM alert_channel", ())?;
            for channel in channels {
                let sql = "INSERT INTO alert_channel VALUES (?1)";
                tx.execute(sql, params![channel.name()])?;
            }
            let sql =
                "DELETE FROM alert_outbox WHERE channel NOT IN (SELECT name FROM alert_channel)";
            tx.execute(sql, ())?;
            Ok(())
        })
    }

    /// Takes a message out that was confirmed.
    pub(crate) fn delivered(&self, id: i64) -> Result<(), StoreError> {
        let sql = "DELETE FROM alert_outbox WHERE id = ?1";
        self.hub.execute(sql, params![id])?;
        Ok(())
    }

    /// Notes that a message was not confirmed, and when it is sent again.
    pub(crate) fn put_off(&self, id: i64, due_ms: i64, error: &str) -> Result<(), StoreError> {
        let error: String = error.chars().take(RUN_DETAIL_CHARS_MAX).collect();
        let sql = "UPDATE alert_outbox SET attempts = attempts + 1, due_ms = ?2, error = ?3 WHERE id = ?1";
        self.hub.execute(sql, params![id, due_ms, error])?;
        Ok(())
    }
}

impl Reader {
    /// The message that is to be sent next, when one is due.
    pub(crate) fn next_delivery(
        &self,
        channel: Channel,
        hub_id: HubId,
        now_ms: i64,
    ) -> Result<Option<Delivery>, StoreError> {
        let sql = "SELECT o.id, o.event, o.at_ms, o.attempts, alert.id, alert.kind, alert.node,
                       shop.name || '/' || node.lane, alert.subject, alert.detail, alert.at_ms
                   FROM alert_outbox AS o JOIN alert ON alert.id = o.alert
                   LEFT JOIN node ON node.id = alert.node LEFT JOIN shop ON shop.id = node.shop
                   WHERE o.channel = ?1 AND o.due_ms <= ?2
                     -- What became of an alert is told in its order, whatever was put off.
                     AND NOT EXISTS (SELECT 1 FROM alert_outbox AS before
                         WHERE before.alert = o.alert AND before.channel = o.channel
                           AND before.id < o.id)
                   ORDER BY o.id LIMIT 1";
        let found = self
            .hub
            .query_optional(sql, params![channel.name(), now_ms], |row| {
                let named = |name: String| AlertEvent::from_name(&name).ok_or("unknown event");
                let (event, alert): (AlertEvent, i64) = (row.get_with(1, named)?, row.get(4)?);
                let message = AlertMessage {
                    id: format!("{hub_id}-{alert}-{}", event.name()),
                    event,
                    at_ms: row.get(2)?,
                    hub_id,
                    alert,
                    kind: row.get(5)?,
                    node_id: node_id_optional(row, 6)?,
                    till: row.get(7)?,
                    subject: row.get(8)?,
                    detail: row.get(9)?,
                    raised_ms: row.get(10)?,
                };
                Ok(Delivery {
                    id: row.get(0)?,
                    message,
                    attempts: row.get(3)?,
                })
            })?;
        Ok(found)
    }

    /// How many messages wait.
    pub(crate) fn outbox_size(&self) -> Result<i64, StoreError> {
        Ok(self
            .hub
            .query_value("SELECT count(*) FROM alert_outbox", ())?)
    }
}
