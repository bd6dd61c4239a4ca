//! Which nodes are there, and how are they?

use super::users::note;
use super::watch::TRADES;
use super::{Reader, Store, StoreError, node_id, node_id_optional, revocations, shop_id};
use counterfoil_domain::{NodeId, ShopId};
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::gate::{Gate, Schemas, gate};
use counterfoil_protocol::wire::hub::NodeRow;
use serde_json::Value;

/// What people call a till: its shop and lane.
pub(super) fn till_name(hub: &Connection, number: i64) -> Result<String, StoreError> {
    let sql = "SELECT shop.name || '/' || lane FROM node JOIN shop ON shop.id = node.shop
               WHERE number = ?1";
    Ok(hub.query_value(sql, params![number])?)
}

impl Store {
    /// Takes a node's access back; false when there is no such node. A second time changes nothing.
    pub(crate) fn revoke(&self, node: NodeId, by: (&str, i64)) -> Result<bool, StoreError> {
        self.hub.transaction(|tx| {
            let sql = "UPDATE node SET revoked_ms = ?2, next_token_hash = NULL, next_token_expires_ms = NULL
                       WHERE id = ?1 AND revoked_ms IS NULL";
            if tx.execute(sql, params![node.to_bytes(), by.1])? > 0 {
                let what = ("node_revoked", format!("node {node}"));
                note(tx, by, what, Value::Null)?;
                revocations::refuse(tx, node, by.1)?;
            }
            let sql = "SELECT EXISTS (SELECT 1 FROM node WHERE id = ?1)";
            Ok(tx.query_value(sql, params![node.to_bytes()])?)
        })
    }
}

impl Reader {
    /// Whether a node belongs to a shop; `None` when there is no such node.
    pub(crate) fn node_is_of(
        &self,
        node: NodeId,
        shop: ShopId,
    ) -> Result<Option<bool>, StoreError> {
        let sql = "SELECT shop = ?2 FROM node WHERE id = ?1";
        let asked = params![node.to_bytes(), shop.to_bytes()];
        Ok(self.hub.query_optional(sql, asked, |row| row.get(0))?)
    }

    /// What people call a till.
    pub(crate) fn till_name(&self, number: i64) -> Result<String, StoreError> {
        till_name(&self.hub, number)
    }

    /// Tills that may trade, by shop and lane: the names of so many of them, and how many there are.
    pub(crate) fn trading_tills(
        &self,
        named_max: usize,
    ) -> Result<(Vec<String>, usize), StoreError> {
        let sql = format!(
            "SELECT shop.name || '/' || lane FROM node JOIN shop ON shop.id = node.shop
             WHERE {TRADES} ORDER BY shop.name, lane"
        );
        let mut names: Vec<String> = self.hub.query_map(&sql, (), |row| row.get(0))?;
        let count = names.len();
        names.truncate(named_max);
        Ok((names, count))
    }

    /// All nodes by shop and lane.
    pub(crate) fn nodes(&self, hub: Schemas) -> Result<Vec<NodeRow>, StoreError> {
        let published = self.catalog_revision()?;
        let sql = "SELECT node.id, node.shop, shop.name, node.lane, node.revoked_ms IS NOT NULL,
                      node.halted, node.book_schema, node.catalog_schema, node.seen_ms,
                      node.catalog_revision, node.clock_offset_ms,
                      (SELECT CASE count(*) WHEN 4 THEN min(seq) ELSE 0 END
                       FROM watermark WHERE watermark.node = node.number),
                      (SELECT count(*) FROM quarantine
                       WHERE quarantine.node = node.number AND settled_ms IS NULL),
                      former.id, former.lane, node.forked_seq,
                      node.waits, node.waits_since_ms, node.waits_seq,
                      node.token_expires_ms, node.token_rotate <> 0 OR node.next_token_hash IS NOT NULL
                   FROM node JOIN shop ON shop.id = node.shop
                   LEFT JOIN node AS former ON former.number = node.forked_from
                   ORDER BY shop.name, node.lane";
        Ok(self.hub.query_map(sql, (), |row| {
            let schemas = Schemas {
                book: row.get::<Option<i32>>(6)?.unwrap_or(hub.book),
                catalog: row.get::<Option<i32>>(7)?.unwrap_or(hub.catalog),
            };
            let halted: Option<String> = row.get(5)?;
            let waits: Option<String> = row.get(16)?;
            let state = match (row.get(4)?, &halted, &waits, gate(hub, schemas)) {
                (true, _, _, _) => "revoked",
                (false, Some(_), _, _) => "diverged",
                (false, None, Some(_), _) => "waits",
                (false, None, None, Gate::UpdateRequired) => "update_required",
                (false, None, None, Gate::Open) => "active",
            };
            let consolidated_seq: i64 = row.get(11)?;
            let newest: Option<i64> = row.get(18)?;
            let catalog_revision: Option<i64> = row.get(9)?;
            Ok(NodeRow {
                node_id: node_id(row, 0)?,
                shop_id: shop_id(row, 1)?,
                shop: row.get(2)?,
                lane: row.get(3)?,
                state: state.to_owned(),
                token_expires_ms: row.get(19)?,
                token_rotates: row.get(20)?,
                halted,
                waits,
                waits_since_ms: row.get(17)?,
                waits_entries: newest.map(|newest| newest - consolidated_seq),
                book_schema: row.get(6)?,
                catalog_schema: row.get(7)?,
                forked_from: node_id_optional(row, 13)?,
                forked_from_lane: row.get(14)?,
                forked_after_seq: row.get(15)?,
                seen_ms: row.get(8)?,
                consolidated_seq,
                quarantined: row.get(12)?,
                catalog_revision,
                catalog_pending: published - catalog_revision.unwrap_or(0),
                clock_offset_ms: row.get(10)?,
            })
        })?)
    }
}
