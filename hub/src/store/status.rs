//! How is the hub?

use super::{Reader, Store, StoreError, node_id};
use crate::limits::STATUS_ALERTS_MAX;
use counterfoil_domain::{HubId, NodeId, ShopId};
use counterfoil_migrate::{Kind, Value, params, schema_version};
use counterfoil_protocol::wire::hub::HubStatus;

impl Store {
    /// Writes something to `hub.db`, durably, so that it is known whether that works now.
    pub(crate) fn try_writing(&mut self, now_ms: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO meta VALUES ('written_ms', ?1)
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.hub.execute(sql, params![now_ms.to_string()])?;
        Ok(())
    }

    /// Folds the WAL of `hub.db`; a reader in the way is no error.
    pub(crate) fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.hub.checkpoint_truncate()?;
        Ok(())
    }
}

impl Reader {
    /// Which database is not of this program's schema, when one is not.
    pub(crate) fn outdated(&self) -> Result<Option<String>, StoreError> {
        for (kind, database) in [(Kind::Hub, &self.hub), (Kind::Catalog, &self.catalog)] {
            let (found, wanted) = (schema_version(database)?, kind.schema_version());
            if found != Some(wanted) {
                let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
                let name = kind.as_str();
                return Ok(Some(format!(
                    "{name}.db has {found}, this program is of {wanted}"
                )));
            }
        }
        Ok(None)
    }

    /// Ids of all nodes.
    pub(crate) fn node_ids(&self) -> Result<Vec<NodeId>, StoreError> {
        Ok(self
            .hub
            .query_map("SELECT id FROM node ORDER BY number", (), |row| {
                node_id(row, 0)
            })?)
    }

    /// The hub at a glance; of one shop what is a shop's.
    pub(crate) fn status(
        &self,
        hub_id: HubId,
        url: Option<String>,
        shop: Option<ShopId>,
    ) -> Result<HubStatus, StoreError> {
        let catalog = self.catalog_digest()?;
        let alerts = self.alerts(false, shop, STATUS_ALERTS_MAX)?;
        // Without a shop nothing but the number of rows is asked, which needs no look at each of millions.
        let (shops, nodes, rows, conflicts) = match shop {
            None => ("TRUE", "TRUE", "TRUE", "TRUE"),
            Some(_) => (
                "id = ?1",
                "shop = ?1",
                "node IN (SELECT number FROM node WHERE shop = ?1)",
                "(loser_shop = ?1 OR winner_shop = ?1)",
            ),
        };
        let sql = format!(
            "SELECT (SELECT count(*) FROM shop WHERE {shops}),
                    (SELECT count(*) FROM node WHERE {nodes}),
                    (SELECT count(*) FROM receipt WHERE {rows}),
                    (SELECT count(*) FROM document WHERE {rows}),
                    (SELECT count(*) FROM quarantine WHERE settled_ms IS NULL AND {rows}),
                    (SELECT count(*) FROM conflict WHERE {conflicts}),
                    (SELECT count(*) FROM conflict WHERE state = 'open' AND {conflicts})"
        );
        let of: Vec<Value> = shop
            .map(|shop| Value::Blob(shop.to_bytes()))
            .into_iter()
            .collect();
        Ok(self.hub.query_row(&sql, of, |row| {
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
