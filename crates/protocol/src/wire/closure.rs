//! Closing a business day at a till, and its proof at the hub (X9).

use counterfoil_domain::closure::{Day, Takings};
use counterfoil_domain::{Closure, DocumentId, NodeId, ShopId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/close-day` of a node: closes a business day; again changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct CloseDayRequest {
    /// Which one; the business day of this moment when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<Day>,
}

/// A closed business day.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ClosedDay {
    /// Id of the document.
    pub id: DocumentId,
    /// Position in the node's journal.
    pub seq: i64,
    /// What it states.
    pub closure: Closure,
    /// The day was closed before; nothing new was recorded.
    pub repeated: bool,
    /// Earlier days that had receipts and were not closed, oldest first: they are closed with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_closed: Vec<Closure>,
}

/// How far a lane's business day is proved.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProofState {
    /// The closure is what was consolidated.
    Proved,
    /// The till was heard of after the day and has not closed it.
    Open,
    /// The till was not heard of since the day ended, or its book is not consolidated.
    Waiting,
    /// The closure is not what was consolidated.
    Failed,
}

impl ProofState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Proved, Self::Open, Self::Waiting, Self::Failed];

    /// The name used in commands and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proved => "proved",
            Self::Open => "open",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
        }
    }
}

/// Something that keeps a day from being proved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProofFinding {
    /// `missing`, `quarantined`, `differs`, `extra`, `takings`, `chain`, `closure_altered`, `closure_gap`,
    /// `seal`, or `not_closed`.
    pub kind: String,
    /// Journal entry, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// Receipt as people read it, `L1-17`, or `L1-17..19` for several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// In words.
    pub detail: String,
}

/// A sale that came after its day, or a later one, was closed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LateEntry {
    /// Receipt as people read it.
    pub receipt: String,
    /// Position in the till's journal.
    pub seq: i64,
    /// The day it is dated.
    pub day: Day,
    /// The day whose closure it belongs to; absent while it waits for the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_with: Option<Day>,
    /// Minor units.
    pub total_minor: i64,
}

/// A lane's business day.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProofRow {
    /// The node.
    pub node_id: NodeId,
    /// Its shop.
    pub shop_id: ShopId,
    /// Name of its shop.
    pub shop: String,
    /// Number of the lane in its shop.
    pub lane: i64,
    /// How far it is.
    pub state: ProofState,
    /// Why it is not further, or through whom it is proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// What was consolidated and belongs to this closure; without a closure, what is dated on the day.
    pub found: Takings,
    /// The part of `found` that another till's row counts: entries from before this till was restored
    /// or cloned.
    pub elsewhere: Takings,
    /// What the till states, when it has closed the day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closure: Option<Closure>,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<ProofFinding>,
    /// Late entries: those of earlier days that belong to this closure, and those of this day that do
    /// not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<LateEntry>,
}

/// `GET /v1/admin/proof?day=YYYY-MM-DD`: every lane that sold on a day, or should have closed it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Proof {
    /// The business day.
    pub day: Day,
    /// Whether all rows are proved.
    pub proved: bool,
    /// Receipts of all rows, each counted once.
    pub receipts: i64,
    /// Their sum in minor units.
    pub total_minor: i64,
    /// By shop and lane.
    pub rows: Vec<ProofRow>,
}
