//! How conflicts are settled, as the operator's commands ask for it and change it.

use super::decisions::ConflictSide;
use counterfoil_domain::merge::Policy;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A policy in force, in `GET /v1/admin/policies`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PolicyRow {
    /// Catalog table.
    pub table: String,
    /// Column; `*` holds for those that have no policy of their own.
    pub column: String,
    /// How concurrent edits are settled.
    pub policy: Policy,
    /// When it was set, milliseconds since the Unix epoch; absent for what the schema says.
    pub since_ms: Option<i64>,
}

/// The same rows with the columns of a table joined by commas that have one policy since one moment, such as those that
/// were set together. The order is that of the first column of each.
#[must_use]
pub fn grouped(rows: Vec<PolicyRow>) -> Vec<PolicyRow> {
    let mut groups: Vec<PolicyRow> = Vec::new();
    for row in rows {
        let same = |group: &&mut PolicyRow| {
            (&group.table, group.policy, group.since_ms) == (&row.table, row.policy, row.since_ms)
        };
        match groups.iter_mut().find(same) {
            Some(group) => {
                group.column.push(',');
                group.column.push_str(&row.column);
            }
            None => groups.push(row),
        }
    }
    groups
}

/// `POST /v1/admin/policies/{table}/{columns}`: changes the policy of some columns, joined by commas, in one decision for
/// what is written from now on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PolicySetRequest {
    /// The policy.
    pub policy: Policy,
    /// Who decides, for the audit trail; `operator` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// A policy after a change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PolicySet {
    /// Catalog table.
    pub table: String,
    /// Columns, joined by commas; `*` is for those that have no policy of their own.
    pub column: String,
    /// The policy in force.
    pub policy: Policy,
    /// Whether it was another one before for any of them.
    pub changed: bool,
    /// Newest revision of the catalog, which states it.
    pub revision: i64,
}

/// `POST /v1/admin/policies/{table}/{columns}/rehearse`: decides again what was edited in the last days, as
/// if the policy had held since then. Nothing is changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RehearseRequest {
    /// The policy.
    pub policy: Policy,
    /// How far back, in days.
    pub days: u32,
}

/// What a policy would have come to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Rehearsal {
    /// Catalog table.
    pub table: String,
    /// Columns, joined by commas; `*` is for those that have no policy of their own.
    pub column: String,
    /// The policy that was rehearsed.
    pub policy: Policy,
    /// From when, milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// Fields that were edited since then.
    pub fields: i64,
    /// Those that would hold another value.
    pub different: i64,
    /// They, by row and column; the first 10,000.
    pub rows: Vec<RehearsalRow>,
}

/// A field that would hold another value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RehearsalRow {
    /// Row of the table.
    pub row: String,
    /// Column of the row.
    pub column: String,
    /// The policy by which it holds what it holds.
    pub policy_now: Policy,
    /// What it holds, and whose it is.
    pub now: ConflictSide,
    /// What it would hold.
    pub then: ConflictSide,
}
