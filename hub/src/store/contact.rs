//! Who is calling, and where does it stand?

use super::alerts::{self, NewAlert};
use super::clock;
use super::gate::ShutOut;
use super::tokens::TokenState;
use super::{Reader, Store, StoreError, conflicts, lineage, node_id, shop_id};
use counterfoil_domain::clock::Measurement;
use counterfoil_domain::lineage::Point;
use counterfoil_domain::{NodeId, ShopId};
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::gate::{GatePolicy, Schemas};

/// A node whose token was right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AuthedNode {
    /// Short key of the hub's tables.
    pub(crate) number: i64,
    /// The node.
    pub(crate) id: NodeId,
    /// Its shop.
    pub(crate) shop: ShopId,
}

/// What a token stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Credential {
    /// A node that may sync.
    Good(AuthedNode),
    /// The same, with a token that it named and uses for the first time.
    Next(AuthedNode),
    /// The node's token ended by itself, at that time in milliseconds since the Unix epoch.
    Expired(NodeId, i64),
    /// The node has another token since.
    Ended(NodeId),
    /// The node's access was taken back.
    Revoked(NodeId),
    /// The shop does not trade any more.
    ShopInactive(NodeId),
    /// Nobody's.
    Unknown,
}

/// What a node said about itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contact {
    pub(crate) schemas: Schemas,
    pub(crate) catalog_revision: i64,
    pub(crate) clock_offset_ms: i64,
    /// What is kept of its clock, when it said how long its journal is.
    pub(crate) measured: Option<Measurement>,
    /// Offset beyond which there is an alert, either way.
    pub(crate) clock_limit_ms: i64,
    /// Entries that the node had not sent, and those of them that it keeps failing to send.
    pub(crate) waiting: i64,
    pub(crate) failed: i64,
}

/// Where a node stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    pub(crate) consolidated_seq: i64,
    pub(crate) quarantined: i64,
    /// Why its book is not consolidated.
    pub(crate) halted: Option<String>,
    /// Why its book waits for an upgrade.
    pub(crate) waits: Option<String>,
    /// What is taken from tills that are older than the hub.
    pub(crate) gate_policy: GatePolicy,
    /// It was told before that nothing of it is taken.
    pub(crate) shut_out: Option<ShutOut>,
    pub(crate) catalog_revision: i64,
    /// Points of its journal that are consolidated.
    pub(crate) known: Vec<Point>,
    /// The newest change of a conflict of its shop.
    pub(crate) conflicts: i64,
    pub(crate) token: TokenState,
    /// Whether what it said is on record already and fresh.
    pub(crate) contact_known: bool,
}

impl Reader {
    /// Finds the owner of a token by its hash.
    pub(crate) fn credential(
        &self,
        token_hash: &[u8],
        now_ms: i64,
    ) -> Result<Credential, StoreError> {
        let sql =
            "SELECT node.number, node.id, node.shop, node.revoked_ms IS NOT NULL, shop.active,
                      node.token_hash <> ?1,
                      CASE WHEN node.token_hash = ?1 THEN node.token_expires_ms
                           ELSE node.next_token_expires_ms END
                   FROM node JOIN shop ON shop.id = node.shop
                   WHERE node.token_hash = ?1 OR node.next_token_hash = ?1";
        let found = self.hub.query_optional(sql, params![token_hash], |row| {
            let (id, shop) = (node_id(row, 1)?, shop_id(row, 2)?);
            let node = AuthedNode {
                number: row.get(0)?,
                id,
                shop,
            };
            let ended = row
                .get::<Option<i64>>(6)?
                .filter(|end_ms| *end_ms <= now_ms);
            Ok(match (row.get(3)?, row.get(4)?, ended, row.get(5)?) {
                (true, _, _, _) => Credential::Revoked(id),
                (false, false, _, _) => Credential::ShopInactive(id),
                (false, true, Some(end_ms), _) => Credential::Expired(id, end_ms),
                (false, true, None, true) => Credential::Next(node),
                (false, true, None, false) => Credential::Good(node),
            })
        })?;
        if let Some(found) = found {
            return Ok(found);
        }
        let former = self.former_owner(token_hash)?;
        Ok(former.map_or(Credential::Unknown, Credential::Ended))
    }

    /// Where a node stands now, compared with what it says.
    pub(crate) fn standing(
        &self,
        node: &AuthedNode,
        contact: &Contact,
        now_ms: i64,
    ) -> Result<Standing, StoreError> {
        // Entries of all priorities are through up to the lowest of the four watermarks.
        let sql = "SELECT (SELECT CASE count(*) WHEN 4 THEN min(seq) ELSE 0 END
                           FROM watermark WHERE node = ?1),
                          (SELECT count(*) FROM quarantine WHERE node = ?1 AND settled_ms IS NULL),
                          (SELECT EXISTS (SELECT 1 FROM node WHERE number = ?1
                           AND book_schema = ?2 AND catalog_schema = ?3 AND catalog_revision = ?4
                           AND heard_ms IS NOT NULL AND seen_ms BETWEEN ?5 AND ?6
                           AND abs(clock_offset_ms - ?7) < 1000 AND failed = ?8)),
             (SELECT halted FROM node WHERE number = ?1),
             (SELECT waits FROM node WHERE number = ?1)";
        let since = now_ms.saturating_sub(crate::limits::SEEN_INTERVAL_MS);
        let params = params![
            node.number,
            i64::from(contact.schemas.book),
            i64::from(contact.schemas.catalog),
            contact.catalog_revision,
            since,
            now_ms,
            contact.clock_offset_ms,
            contact.failed,
        ];
        let catalog_revision = self.catalog_revision()?;
        let (gate_policy, shut_out) = (self.gate_policy()?, self.is_shut_out(node.number)?);
        let known = lineage::consolidated_points(&self.hub, node.number)?;
        let conflicts = conflicts::newest_change(&self.hub, node.shop)?;
        let token = self.token_state(node.number)?;
        Ok(self.hub.query_row(sql, params, |row| {
            Ok(Standing {
                consolidated_seq: row.get(0)?,
                quarantined: row.get(1)?,
                catalog_revision,
                known,
                conflicts,
                token,
                contact_known: row.get(2)?,
                halted: row.get(3)?,
                waits: row.get(4)?,
                gate_policy,
                shut_out,
            })
        })?)
    }
}

impl Store {
    /// Puts on record what a node said.
    pub(crate) fn record_contact(
        &self,
        node: i64,
        contact: &Contact,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.hub.transaction(|tx| -> Result<(), StoreError> {
            if let Some(measured) = &contact.measured {
                clock::keep(tx, node, measured)?;
            }
            watch_clock(tx, node, contact, now_ms)
        })?;
        let sql = "UPDATE node SET seen_ms = ?2, heard_ms = coalesce(heard_ms, ?2), catalog_revision = ?5, clock_offset_ms = ?6,
                       schema_ms = CASE WHEN book_schema IS ?3 AND catalog_schema IS ?4
                                   THEN schema_ms ELSE ?2 END,
                       book_schema = ?3, catalog_schema = ?4, waiting = ?7, failed = ?8
                   WHERE number = ?1";
        self.hub.execute(
            sql,
            params![
                node,
                now_ms,
                i64::from(contact.schemas.book),
                i64::from(contact.schemas.catalog),
                contact.catalog_revision,
                contact.clock_offset_ms,
                contact.waiting,
                contact.failed,
            ],
        )?;
        Ok(())
    }
}

pub(super) const CLOCK_WRONG: &str = "clock_wrong";

/// Raises an alert when a till's clock becomes wrong, and clears it when it is right again (X1).
fn watch_clock(
    tx: &Connection,
    node: i64,
    contact: &Contact,
    now_ms: i64,
) -> Result<(), StoreError> {
    let offset_ms = contact.clock_offset_ms;
    let wrong = offset_ms.saturating_abs() > contact.clock_limit_ms;
    let sql = "SELECT id FROM node WHERE number = ?1";
    let id = tx.query_row(sql, params![node], |row| node_id(row, 0))?;
    if !wrong {
        return alerts::clear(tx, CLOCK_WRONG, Some(id), now_ms);
    }
    let alert = NewAlert {
        at_ms: now_ms,
        kind: CLOCK_WRONG,
        node: Some(id),
        subject: String::new(),
        detail: format!("its clock is {offset_ms} ms ahead of the hub's"),
    };
    alerts::raise(tx, &alert)
}
