//! Which lanes of a shop may not take part in its mesh any more?
//!
//! The list has a number, by which lanes know the newer of two. It is a time, so that a hub that was restored from a backup
//! goes on above what it has forgotten.

use super::{Reader, Store, StoreError, node_id};
use counterfoil_domain::{NodeId, ShopId};
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::wire::certificate::{REVOKED_MAX, Revocations};

/// The list of a node's shop is another one from now on.
pub(super) fn changed_by(tx: &Connection, node: NodeId, now_ms: i64) -> Result<(), StoreError> {
    let sql = "UPDATE shop SET revocations = max(revocations + 1, ?2)
               WHERE id = (SELECT shop FROM node WHERE id = ?1)";
    tx.execute(sql, params![node.to_bytes(), now_ms])?;
    Ok(())
}

fn number(hub: &Connection, shop: ShopId) -> Result<i64, StoreError> {
    let sql = "SELECT revocations FROM shop WHERE id = ?1";
    Ok(hub.query_value(sql, params![shop.to_bytes()])?)
}

impl Reader {
    /// Number of a shop's list.
    pub(crate) fn revocations_number(&self, shop: ShopId) -> Result<i64, StoreError> {
        number(&self.hub, shop)
    }
}

impl Store {
    /// A shop's list. A lane that has one of a higher number has it from before this hub was restored from a backup: the
    /// list gets a number above that. A number from the future is nobody's.
    pub(crate) fn revocations(
        &self,
        shop: ShopId,
        known: i64,
        now_ms: i64,
    ) -> Result<Revocations, StoreError> {
        self.hub.transaction(|tx| {
            if known > number(tx, shop)? && known <= now_ms {
                let sql = "UPDATE shop SET revocations = ?2 + 1 WHERE id = ?1";
                tx.execute(sql, params![shop.to_bytes(), known])?;
            }
            let sql = "SELECT id FROM node WHERE shop = ?1 AND revoked_ms IS NOT NULL
                       ORDER BY revoked_ms DESC, id LIMIT ?2";
            let most = i64::try_from(REVOKED_MAX).unwrap_or(i64::MAX);
            let nodes = tx.query_map(sql, params![shop.to_bytes(), most], |row| node_id(row, 0))?;
            Ok(Revocations {
                shop,
                number: number(tx, shop)?,
                nodes,
            })
        })
    }
}
