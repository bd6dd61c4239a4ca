//! Node to hub, and operator to hub. Paths are below the hub's base URL.

use super::certificate::LaneStanding;
use super::token::TokenStanding;
use crate::gate::{Gate, Schemas};
use crate::wire::monitor::AlertRow;
use counterfoil_domain::lineage::Point;
use counterfoil_domain::{HubId, NodeId, ShopId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// `POST`: binds a node to a shop; no credential but what the body holds.
pub const ACTIVATE_PATH: &str = "/v1/activate";
/// `GET ?change=&id=`: conflicts of the caller's own shop that changed; the node's token.
pub const CONFLICTS_PATH: &str = "/v1/conflicts";
/// `POST`: the first call of every sync; the node's token.
pub const HELLO_PATH: &str = "/v1/hello";
/// Base of the catalog's sync protocol; the node's token.
pub const CATALOG_PATH: &str = "/v1/db/catalog";

/// Base of a book's sync protocol; the token of that node.
pub fn book_path(node: NodeId) -> String {
    format!("/v1/db/book/{node}")
}

/// Why the hub should take the node in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    /// A further or first lane of a shop that the operator made.
    JoinSecret(String),
    /// A shop that registers itself, when the hub allows it.
    Registration {
        /// Name of the shop.
        name: String,
        /// Where to reach it.
        phone: String,
        /// Optional address.
        email: Option<String>,
    },
}

/// Asks to be bound to a shop. The same request may be sent any number of times: node id and
/// token hash are made and stored by the node before the first attempt.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ActivateRequest {
    /// Who asks.
    pub node: NodeId,
    /// SHA-256 of the node's token, hexadecimal; the token itself never travels here.
    pub token_hash: String,
    /// By what right.
    pub admission: Admission,
    /// What the node can read and write.
    pub schemas: Schemas,
    /// The node has never belonged to a shop. A hub that knows another till of its name refuses it,
    /// because its folder is a copy; it asks again as another node.
    #[serde(default)]
    pub first: bool,
    /// The name under which such a node was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formerly: Option<NodeId>,
}

/// The node is bound.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ActivateAnswer {
    /// The hub that answered.
    pub hub: HubId,
    /// The shop the node belongs to.
    pub shop: ShopId,
    /// Its name.
    pub shop_name: String,
    /// Number of the lane in its shop, from 1.
    pub lane: i64,
    /// Its receipt series begin with this number at least, when it shares entries with other tills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
}

/// Opens a sync.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct HelloRequest {
    /// What the node can read and write.
    pub schemas: Schemas,
    /// Catalog revision the node holds (L6).
    pub catalog_revision: i64,
    /// The node's wall clock, milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// How long its last hello took, there and back, in milliseconds: half of it is how old `now_ms` is on
    /// arrival.
    #[serde(default)]
    pub round_trip_ms: i64,
    /// The newest entry of its journal at that moment; without it nothing is kept of its clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub book_seq: Option<i64>,
    /// Entries of its journal that the hub had not received when it asked.
    #[serde(default)]
    pub waiting: i64,
    /// Those of them that it failed to send as often as its limit says; it goes on trying (T5).
    #[serde(default)]
    pub failed: i64,
}

/// What a hub does that does not say.
const fn yes() -> bool {
    true
}

/// Where the node stands with the hub.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct HelloAnswer {
    /// What the node may do.
    pub gate: Gate,
    /// The hub's schemas.
    pub schemas: Schemas,
    /// The hub's wall clock, milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Journal entries of this node up to here are consolidated or in quarantine.
    pub consolidated_seq: i64,
    /// Entries of this node that wait in quarantine.
    pub quarantined: i64,
    /// Why the hub does not consolidate this node's book, when it does not.
    #[serde(default)]
    pub halted: Option<String>,
    /// Whether the hub takes this node's book at present; not from a node older than itself while its
    /// policy is `strict`.
    #[serde(default = "yes")]
    pub takes_book: bool,
    /// Why the hub keeps this node's book without counting it, until one of the two is upgraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// Newest revision of the catalog.
    pub catalog_revision: i64,
    /// Points of this node's journal that are consolidated. A till whose journal does not hold them
    /// all is an old copy, or one of two.
    #[serde(default)]
    pub known: Vec<Point>,
    /// The newest change of a conflict in which the node's shop has a part; it grows with each. Absent
    /// from a hub that does not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflicts: Option<i64>,
    /// What becomes of the token that this was asked with. Absent from a hub whose tokens do not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenStanding>,
    /// The authority of the lanes of the node's shop. Absent from a hub that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<LaneStanding>,
}

/// `POST /v1/admin/shops` makes a shop and its first join code; `GET` lists shops.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ShopAddRequest {
    /// Unique name.
    pub name: String,
    /// URL under which tills reach the hub; the hub's own idea when absent.
    pub hub_url: Option<String>,
    /// How long the join code holds, in minutes.
    pub valid_minutes: Option<i64>,
    /// A shop of that name may exist already: then only a further join code is made.
    #[serde(default)]
    pub existing: bool,
}

/// A shop and a join code for one lane.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ShopAdded {
    /// The shop.
    pub shop_id: ShopId,
    /// Text of a [`crate::join::JoinCode`], for one lane, once.
    pub join_code: String,
    /// When the code ends, milliseconds since the Unix epoch.
    pub expires_ms: i64,
}

/// A shop in a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ShopRow {
    /// The shop.
    pub shop_id: ShopId,
    /// Its name.
    pub name: String,
    /// Where to reach it.
    pub phone: Option<String>,
    /// Whether its nodes may sync.
    pub active: bool,
    /// Number of its nodes.
    pub nodes: i64,
}

/// A node in a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeRow {
    /// The node.
    pub node_id: NodeId,
    /// Its shop.
    pub shop_id: ShopId,
    /// Name of its shop.
    pub shop: String,
    /// Number of the lane in its shop, from 1.
    pub lane: i64,
    /// `active`, `revoked`, `token_expired`, `diverged`, `waits` or `update_required`.
    pub state: String,
    /// When its token ends by itself, milliseconds since the Unix epoch; absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expires_ms: Option<i64>,
    /// It was asked for another token and does not use one yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub token_rotates: bool,
    /// Why its book is not consolidated any further, when it is `diverged`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
    /// Why its book is kept and not read yet, when it `waits`: one of the two programs has to be upgraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// Since when, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_since_ms: Option<i64>,
    /// How many of its entries are here and wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_entries: Option<i64>,
    /// The schema of its book, as it said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub book_schema: Option<i32>,
    /// The schema of the catalog that it can read, as it said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog_schema: Option<i32>,
    /// The till it was before, when its data folder was restored from a backup or cloned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<NodeId>,
    /// Lane of that till.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from_lane: Option<i64>,
    /// Journal entries up to here are that till's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_after_seq: Option<i64>,
    /// Last contact, milliseconds since the Unix epoch.
    pub seen_ms: Option<i64>,
    /// Journal entries consolidated.
    pub consolidated_seq: i64,
    /// Entries in quarantine.
    pub quarantined: i64,
    /// Catalog revision it has pulled.
    pub catalog_revision: Option<i64>,
    /// Publications it has not pulled yet.
    pub catalog_pending: i64,
    /// Its clock minus the hub's, milliseconds.
    pub clock_offset_ms: Option<i64>,
}

/// A group of `report sales`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SalesGroup {
    /// Id of the shop, node, customer or product, or the day as `YYYY-MM-DD` (UTC). Empty: sales to nobody by name.
    pub key: String,
    /// Name of the shop, customer or product, `shop/lane`, or the day.
    pub name: String,
    /// Number of sales.
    pub count: i64,
    /// Number of refunds.
    pub refunds: i64,
    /// Lines of both.
    pub lines: i64,
    /// Sum of sales and refunds in minor units, trial receipts included.
    pub total_minor: i64,
    /// The part of `count` and `refunds` that was recorded in trial.
    pub trial_receipts: i64,
    /// The part of the sum that was recorded in trial, minor units.
    pub trial_minor: i64,
}

/// The hub at a glance; for a shop manager all but the catalog is of the own shop.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct HubStatus {
    /// The hub.
    pub hub_id: HubId,
    /// Version of the program.
    pub version: String,
    /// URL it listens on; absent when it does not run.
    pub url: Option<String>,
    /// Number of shops.
    pub shops: i64,
    /// Number of nodes.
    pub nodes: i64,
    /// Consolidated sales and refunds.
    pub receipts: i64,
    /// Documents of every other kind.
    pub documents: i64,
    /// Records that stepped aside.
    pub quarantined: i64,
    /// Recorded conflicts.
    pub conflicts: i64,
    /// Those that wait for a person.
    pub conflicts_open: i64,
    /// Newest revision of the catalog.
    pub catalog_revision: i64,
    /// Digest over the catalog's content, hexadecimal.
    pub catalog_digest: String,
    /// Rows of each catalog table, without deleted ones.
    pub catalog_rows: BTreeMap<String, i64>,
    /// The newest alerts.
    pub alerts: Vec<AlertRow>,
}

/// `POST /v1/admin/join-codes`: a join code for a further lane of a shop that exists.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct JoinCodeRequest {
    /// Name of the shop.
    pub name: String,
    /// URL under which tills reach the hub; the hub's own idea when absent.
    pub hub_url: Option<String>,
    /// How long the join code holds, in minutes.
    pub valid_minutes: Option<i64>,
}

/// `POST /v1/admin/catalog/{table}/{row}`: an edit made at the hub. It replaces every version of
/// the columns that the hub knows, so it also settles their conflicts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CatalogSetRequest {
    /// The columns set; a value is text or null and is converted to the column's type.
    pub columns: BTreeMap<String, Option<String>>,
    /// Who edits, for the audit trail; `operator` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// `POST /v1/admin/catalog/{table}/{row}/merge`: the row is the same customer or product as another one, which
/// stands for it from now on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct MergeRequest {
    /// Id of the row that stays.
    pub into: String,
    /// Who decides, for the audit trail; `operator` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// `POST /v1/admin/catalog/{table}/{row}/unmerge`, which may come without a body: a merge is taken back.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct UnmergeRequest {
    /// Who decides, for the audit trail; `operator` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// A catalog row after an edit at the hub.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CatalogSetAnswer {
    /// The publication that holds the edit.
    pub revision: i64,
    /// The row by column.
    pub row: serde_json::Map<String, serde_json::Value>,
}

/// `GET /v1/admin/catalog/{table}`: a whole table, deleted rows included.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CatalogExport {
    /// Names of the columns, in the schema's order.
    pub columns: Vec<String>,
    /// Values in the order of the columns; rows by id.
    pub rows: Vec<Vec<serde_json::Value>>,
}
