//! The schema gate as an operator sees and sets it.

use crate::gate::{GatePolicy, Schemas};
use counterfoil_domain::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// `GET /v1/admin/gate`: what waits for an upgrade, and of whom.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct GateReport {
    /// What is taken from tills that are older than the hub.
    pub policy: GatePolicy,
    /// What this hub reads and writes.
    pub schemas: Schemas,
    /// Tills of other schemas than the hub's, by shop and lane.
    pub tills: Vec<GateTill>,
    /// Changes of the schemas that a till, or the hub, does not know yet: by database, oldest first.
    pub changes: Vec<HeldChange>,
}

/// A till of other schemas than the hub's, and what waits because of that.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct GateTill {
    /// The node.
    pub node_id: NodeId,
    /// Its shop and lane, such as `Leith/2`.
    pub till: String,
    /// What it said last that it reads and writes.
    pub schemas: Schemas,
    /// When it said anything last, milliseconds since the Unix epoch.
    pub seen_ms: Option<i64>,
    /// What becomes of its book.
    pub book: BookGate,
    /// Entries that wait: here, when the book is kept; at the till as it said last, when the book is refused.
    pub entries: i64,
    /// Since when they wait, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// Whether the catalog waits for it.
    pub catalog_waits: bool,
    /// Publications of the catalog that wait.
    pub publications: i64,
    /// Catalog rows in them, by table.
    pub rows: BTreeMap<String, i64>,
    /// What waits and who has to be upgraded, in words.
    pub why: String,
}

/// What becomes of a book.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BookGate {
    /// It is taken and counted.
    Counted,
    /// It is taken and kept, and counted after an upgrade.
    Kept,
    /// It is not taken.
    Refused,
}

/// A change of a schema that somebody does not know yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct HeldChange {
    /// `book` or `catalog`.
    pub database: String,
    /// The schema version that it leads to.
    pub version: i32,
    /// Its name; absent when this hub does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whose program is too old for it.
    pub held_back_by: HeldBackBy,
    /// Those tills; when the hub is too old, the tills that wait for it.
    pub tills: Vec<String>,
}

/// Whose program is too old.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeldBackBy {
    /// Tills'.
    Tills,
    /// The hub's.
    Hub,
}

/// `POST /v1/admin/gate`: sets what is taken from tills that are older than the hub.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct GateSetRequest {
    /// The policy.
    pub policy: GatePolicy,
    /// Who decides, for the audit trail; `operator` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// The policy after it was set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct GateSet {
    /// The policy in force.
    pub policy: GatePolicy,
    /// Whether it was another one before.
    pub changed: bool,
}

/// `POST /v1/admin/gate/rehearse`: what a policy would do. Nothing is changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct GateRehearseRequest {
    /// The policy.
    pub policy: GatePolicy,
}

/// What a policy would do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct GateRehearsal {
    /// The policy in force.
    pub policy_now: GatePolicy,
    /// The policy that was rehearsed.
    pub policy: GatePolicy,
    /// Tills whose book would not be taken any more, or would be taken again, as it would then be.
    pub tills: Vec<GateTill>,
}
