//! How is the hub?

use super::{Reader, Store, StoreError, node_id};
use crate::limits::STATUS_ALERTS_MAX;
use counterfoil_domain::{HubId, NodeId};
use counterfoil_protocol::wire::hub::HubStatus;

impl Store {
    /// Folds the WAL of `hub.db`; a reader in the way is no error.
    pub(crate) fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.hub.checkpoint_truncate()?;
        Ok(())
    }
}

impl Reader {
    /// Ids of all nodes.
    pub(crate) fn node_ids(&self) -> Result<Vec<NodeId>, StoreError> {
        Ok(self
            .hub
            .query_map("SELECT id FROM node ORDER BY number", (), |row| {
                node_id(row, 0)
            })?)
    }

    /// The hub at a glance.
    pub(crate) fn status(
        &self,
        hub_id: HubId,
        url: Option<String>,
    ) -> Result<HubStatus, StoreError> {
        let catalog = self.catalog_digest()?;
        let alerts = self.alerts(STATUS_ALERTS_MAX)?;
        let sql = "SELECT (SELECT count(*) FROM shop), (SELECT count(*) FROM node),
                          (SELECT count(*) FROM receipt), (SELECT count(*) FROM document),
                          (SELECT count(*) FROM quarantine WHERE settled_ms IS NULL),
                          (SELECT count(*) FROM conflict),
                          (SELECT count(*) FROM conflict WHERE state = 'open')";
        Ok(self.hub.query_row(sql, (), |row| {
            Ok(HubStatus {
                hub_id,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                url,
                shops: row.get(0)?,
                nodes: row.get(1)?,
                receipts: row.get(2)?,
                documents: row.get(3)?,
                quarantined: row.get(4)?,
                conflicts: row.get(5)?,
                conflicts_open: row.get(6)?,
                catalog_revision: catalog.revision,
                catalog_digest: catalog.digest,
                catalog_rows: catalog.rows,
                alerts,
            })
        })?)
    }
}
