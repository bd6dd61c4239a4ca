//! Conflicts and what people decide about them, as the operator's commands ask for it.

use counterfoil_domain::edit::Chosen;
use counterfoil_domain::merge::Stamp;
use counterfoil_domain::{DocumentId, ImportId, NodeId, ShopId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether a conflict waits for a person, and what settled it otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConflictState {
    /// Both values stand side by side: under `manual` only a person settles it.
    Open,
    /// The policy chose; the value that lost is kept and can be put back.
    ByPolicy,
    /// A person chose.
    ByChoice,
    /// A later edit replaced the value that lost.
    ByEdit,
    /// Both came to hold the same value.
    ByAgreement,
}

impl ConflictState {
    /// The stored and typed name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::ByPolicy => "by_policy",
            Self::ByChoice => "by_choice",
            Self::ByEdit => "by_edit",
            Self::ByAgreement => "by_agreement",
        }
    }

    /// Reads a stored name.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Open,
            Self::ByPolicy,
            Self::ByChoice,
            Self::ByEdit,
            Self::ByAgreement,
        ]
        .into_iter()
        .find(|state| state.name() == name)
    }
}

/// One of the values of a conflict, with where it came from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConflictSide {
    /// The value.
    pub value: serde_json::Value,
    /// Names the version.
    pub stamp: Stamp,
    /// When it was written, milliseconds since the Unix epoch by the hub's clock, as corrected.
    pub at_ms: i64,
    /// Who wrote it: a node, or the hub.
    pub node_id: NodeId,
    /// The writer's shop; the hub when absent.
    pub shop_id: Option<ShopId>,
    /// Name of the shop.
    pub shop: Option<String>,
    /// Number of the writer's lane in its shop, from 1.
    pub lane: Option<i64>,
    /// The versions that its editor saw and replaced.
    pub base: Vec<Stamp>,
    /// The catalog revision that its editor had.
    pub base_revision: i64,
}

/// A conflict in a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConflictRow {
    /// Number of the conflict.
    pub id: i64,
    /// Catalog table.
    pub table: String,
    /// Row of the table.
    pub row: String,
    /// Column of the row.
    pub column: String,
    /// The policy under which it was found.
    pub policy: String,
    /// When it was found, milliseconds since the Unix epoch.
    pub found_ms: i64,
    /// What was current when it was found.
    pub winner: ConflictSide,
    /// What lost, kept.
    pub loser: ConflictSide,
    /// What is current now.
    pub current: ConflictSide,
    /// Whether it is settled, and how.
    pub state: ConflictState,
    /// Since when, milliseconds since the Unix epoch; absent while it is open.
    pub settled_ms: Option<i64>,
    /// The version that settled it; absent while it is open.
    pub settled_by: Option<Stamp>,
}

/// `GET /v1/admin/conflicts?state=&table=&shop=&after=&limit=`: conflicts by number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConflictPage {
    /// Ascending by number.
    pub conflicts: Vec<ConflictRow>,
    /// `after` of the next page; absent on the last.
    pub next: Option<i64>,
}

/// A place in the sequence of changes of conflicts.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, ToSchema,
)]
pub struct ConflictCursor {
    /// Number of the change.
    pub change: i64,
    /// Number of the last conflict that was given out of it.
    pub id: i64,
}

/// `GET /v1/conflicts?change=&id=`: conflicts of the caller's own shop that changed after a place, which is
/// left out for all of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConflictChanges {
    /// As they are now, in the order of their last changes.
    pub conflicts: Vec<ConflictRow>,
    /// The place after the last of them.
    pub cursor: ConflictCursor,
    /// There are more behind it.
    pub more: bool,
}

/// A conflict as a till of a shop that has a part in it shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ShopConflict {
    /// As the hub told it last; `current` is what this till sees now.
    #[serde(flatten)]
    pub conflict: ConflictRow,
    /// What was decided at this till and is not merged at the hub yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingDecision>,
}

/// A decision on its way to the hub.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PendingDecision {
    /// The edit that carries it.
    pub id: DocumentId,
    /// What was chosen.
    pub choice: Chosen,
    /// Whether the value that lost is put back.
    pub put_back: bool,
    /// The value that becomes current.
    pub value: serde_json::Value,
    /// Who decided.
    pub by: String,
    /// When, milliseconds since the Unix epoch by this till's logical clock.
    pub at_ms: i64,
}

/// `GET /v1/conflicts?state=&table=&after=&limit=` of a node: conflicts of its own shop by number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ShopConflictPage {
    /// Ascending by number.
    pub conflicts: Vec<ShopConflict>,
    /// `after` of the next page; absent on the last.
    pub next: Option<i64>,
}

/// A conflict after a decision at a till.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ShopConflictDecided {
    /// As it is now.
    pub conflict: ShopConflict,
    /// The edit that carries the decision.
    pub id: DocumentId,
    /// The hub has merged it. Otherwise it is recorded in the book and travels with the next sync.
    pub merged: bool,
    /// The decision had been made before; nothing was written.
    pub repeated: bool,
}

/// What a person chose.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The value that is current stays.
    Winner,
    /// The value that lost becomes current.
    Loser,
    /// A third value, as text that is converted to the column's type; nothing empties the column.
    Value(Option<String>),
}

impl Choice {
    /// Which of them it is.
    pub const fn chosen(&self) -> Chosen {
        match self {
            Self::Winner => Chosen::Winner,
            Self::Loser => Chosen::Loser,
            Self::Value(_) => Chosen::Value,
        }
    }
}

/// Who decides, and what they saw. Part of every request that decides.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Deciding {
    /// The version that was current when the person looked. Another one there now is a refusal. Absent:
    /// for a resolution the winner of the conflict, for putting back whatever there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Stamp>,
    /// Made by the caller before the first attempt: a repetition is answered and decides nothing again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DocumentId>,
    /// Who decides, for the audit trail; `operator` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// `POST /v1/admin/conflicts/{id}/resolve`: settles a conflict. The choice is an edit of the hub that
/// replaces every version there is of the column.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ResolveRequest {
    /// What is chosen.
    pub choice: Choice,
    /// Who, and what they saw.
    #[serde(flatten)]
    pub deciding: Deciding,
}

/// A conflict after a decision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConflictDecided {
    /// As it is now.
    pub conflict: ConflictRow,
    /// Newest revision of the catalog, which holds the choice.
    pub revision: i64,
    /// The decision had been made before; nothing was written.
    pub repeated: bool,
}

/// Where a till asks the hub to take back what its shop wrote.
pub const UNDO_PATH: &str = "/v1/undo";

/// `POST /v1/admin/undo`, and [`UNDO_PATH`] of hub and node for their own shop: takes back what a node wrote to the catalog
/// in a time, or what an import did, as edits of the hub to what was there before. What somebody else wrote on top of it
/// stays. It names either an import, or a node with both times; a till that names neither means itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UndoRequest {
    /// The import whose edits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_id: Option<ImportId>,
    /// The node whose edits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<NodeId>,
    /// From when, milliseconds since the Unix epoch, by the hub's clock: as corrected, whatever the node's clock said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<i64>,
    /// Up to and without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<i64>,
    /// Only says what would be taken back.
    #[serde(default)]
    pub dry_run: bool,
    /// Who decides, for the audit trail; `operator` when absent, `till` at a till.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Undone {
    /// What became of it in sentences, a line each.
    pub fn told(&self) -> String {
        let (count, kept, revision) = (self.count, self.kept, self.revision);
        let mut text = match self.dry_run {
            true => format!(
                "{count} fields would go back, {kept} stay as others made them. Nothing was changed.\n"
            ),
            false => format!(
                "{count} fields went back, in catalog revision {revision}; {kept} stay as others made them.\n"
            ),
        };
        if let Some(documents) = self.documents {
            text.push_str(&format!(
                "{documents} documents of the import (receipts, stock movements) stay: nothing removes a document.\n"
            ));
        }
        text
    }
}

/// What was, or would be, taken back.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Undone {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Newest revision of the catalog.
    pub revision: i64,
    /// By table, row and column; the first ten thousand. A row that nobody else ever touched is deleted.
    pub fields: Vec<UndoRow>,
    /// How many fields go back.
    pub count: i64,
    /// Fields of which somebody has made something else since; they stay.
    pub kept: i64,
    /// Documents of the import, consolidated so far. They stay: nothing removes a document. Absent for a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<i64>,
}

/// An import, as far as it has arrived at the hub; one row for each node that it was recorded at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ImportRow {
    /// The import.
    pub import_id: ImportId,
    /// Where it was recorded.
    pub node_id: NodeId,
    /// Name of its shop.
    pub shop: String,
    /// Its lane.
    pub lane: i64,
    /// When it began, milliseconds since the Unix epoch, by the clock of whoever made its id; absent when the id
    /// does not say.
    pub begun_ms: Option<i64>,
    /// Its documents.
    pub documents: i64,
    /// Its catalog edits that were merged.
    pub edits: i64,
}

/// A field that goes back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct UndoRow {
    /// Catalog table.
    pub table: String,
    /// Row of the table.
    pub row: String,
    /// Column of the row.
    pub column: String,
    /// What it held.
    pub now: serde_json::Value,
    /// What it holds after.
    pub then: serde_json::Value,
}

/// A decision in the audit trail.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditRow {
    /// Number of the decision.
    pub id: i64,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Who decided.
    pub who: String,
    /// Stable name of what was done: `catalog_set`, `conflict_resolved`, `conflict_put_back`,
    /// `policy_set`, `undone`, `quarantine_waived`, `quarantine_fixed`, `quarantine_retried`.
    pub action: String,
    /// What it was done to.
    pub subject: String,
    /// More about how; may be empty.
    pub detail: String,
    /// What was there.
    pub before: serde_json::Value,
    /// What is there since.
    pub after: serde_json::Value,
    /// The edit that carried it out.
    pub edit: Option<DocumentId>,
    /// The conflict it decided.
    pub conflict: Option<i64>,
}

/// `GET /v1/admin/audit?after=&limit=`: decisions, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// Ascending by number.
    pub decisions: Vec<AuditRow>,
    /// `after` of the next page; absent on the last.
    pub next: Option<i64>,
}
