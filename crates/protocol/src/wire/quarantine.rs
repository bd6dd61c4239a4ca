//! Operator to hub: records that broke a rule and stepped aside. Paths are below `/v1/admin`.
//!
//! `GET /quarantine?node=&reason=&open=` lists, `GET /quarantine/{node}/{seq}` shows one record.
//! `POST /quarantine/{node}/{seq}/waive`, `.../fix` and `.../retry` decide about one, `POST
//! /quarantine/retry` judges all of them again. A decision may be sent any number of times.

use counterfoil_domain::NodeId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A record that stepped aside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct QuarantineRow {
    /// The node it came from.
    pub node_id: NodeId,
    /// Name of its shop.
    pub shop: String,
    /// Lane of the node in its shop.
    pub lane: i64,
    /// Position in the node's journal.
    pub seq: i64,
    /// Kind of document.
    pub topic: String,
    /// Stable name of the rule it broke.
    pub code: String,
    /// Why it was not taken in, in words.
    pub reason: String,
    /// When, milliseconds since the Unix epoch.
    pub found_ms: i64,
    /// Since when it is consolidated after all, milliseconds since the Unix epoch; absent while it
    /// stands in quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_ms: Option<i64>,
    /// How that came: `waived`, `fixed`, `retried`, `followed` (its reason was gone: what it waited for had arrived, or a newer hub knew more),
    /// `inherited` (it is counted with another till of the lineage) or `undone` (with what it would have written).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_as: Option<String>,
}

/// A decision about a record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct QuarantineDecision {
    /// `waive`, `fix`, `retry` or `follow`.
    pub decision: String,
    /// Who decided.
    pub who: String,
    /// Why, in that person's words.
    pub why: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Stable name of the rule that the record had broken.
    pub code: String,
    /// The fields that were set; null: emptied, or a line, payment or column taken out.
    pub changes: BTreeMap<String, Option<String>>,
}

/// A record that stepped aside, with everything that belongs to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct QuarantineDetail {
    /// The record in the list.
    pub row: QuarantineRow,
    /// Whether it may be waived.
    pub may_be_waived: bool,
    /// The record field by field as the till wrote it; absent when the hub's copy of the book
    /// cannot give it.
    pub record: Option<Map<String, Value>>,
    /// The record as it is consolidated; absent while it stands in quarantine, and for an edit.
    pub consolidated: Option<Map<String, Value>>,
    /// Records in quarantine that wait for this one.
    pub dependants: Vec<QuarantineRow>,
    /// What was decided, oldest first.
    pub decisions: Vec<QuarantineDecision>,
}

/// Decides about a record.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct QuarantineRequest {
    /// Who decides.
    pub who: String,
    /// Why; required but for a retry.
    #[serde(default)]
    pub why: String,
    /// For a fix, the fields and their new values as text; null empties a field, or takes a line, a
    /// payment or a column out.
    #[serde(default)]
    pub changes: BTreeMap<String, Option<String>>,
}

/// What a decision did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct QuarantineAnswer {
    /// The record that was decided about; absent when it was about all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<QuarantineRow>,
    /// Records that are consolidated now and were not before, this one and those that waited for it.
    pub taken_in: i64,
    /// Records that stand in quarantine now.
    pub open: i64,
}
