//! What other clients of a node do (E3): a browser till, a tablet, a program. They push operations in batches and
//! pull what has changed; conflicts are in [`super::decisions`].

use super::node::{
    CashRequest, ExpenseRequest, LedgerRequest, OrderRequest, ReceiptRequest, Recorded,
    StockRequest,
};
use super::parked::{DiscardRequest, ParkRequest};
use crate::problem::Problem;
use counterfoil_domain::{DocumentId, Topic};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// `POST /v1/operations`: operations in the order in which they are carried out. Each is checked by itself: one
/// that breaks a rule is refused and does not hold up the others. All that are not refused are on disk when
/// the answer comes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationsRequest {
    /// [`Operation`]s; read one by one, so that one that cannot be read is refused alone.
    pub operations: Vec<serde_json::Value>,
}

/// Something to record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// Made by the client before the first attempt. An id that is known is answered with what was recorded
    /// under it, and nothing is recorded again; so a batch whose answer was lost is simply sent again.
    pub id: DocumentId,
    /// What.
    #[serde(flatten)]
    pub content: OperationContent,
}

/// What to record. The id of the operation counts, an id inside the content is refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", content = "content", rename_all = "snake_case")]
pub enum OperationContent {
    /// A sale.
    Sale(ReceiptRequest),
    /// A refund.
    Refund(ReceiptRequest),
    /// A stock movement, or a count.
    Stock(StockRequest),
    /// Money spent out of the till.
    Expense(ExpenseRequest),
    /// Customer credit.
    Ledger(LedgerRequest),
    /// An advance order.
    Order(OrderRequest),
    /// A drawer is opened or closed.
    Cash(CashRequest),
    /// A cart is parked.
    Park(ParkRequest),
    /// A parked sale is discarded.
    Discard(DiscardRequest),
    /// An edit of the catalog.
    Catalog(CatalogOperation),
}

impl OperationContent {
    /// The id inside the content, where a client also put one.
    pub fn inner_id(&self) -> Option<DocumentId> {
        match self {
            Self::Sale(request) | Self::Refund(request) => request.id,
            Self::Stock(request) => request.id,
            Self::Expense(request) => request.id,
            Self::Ledger(request) => request.id,
            Self::Order(request) => request.id,
            Self::Cash(request) => request.id,
            Self::Park(request) => request.id,
            Self::Discard(request) => request.id,
            Self::Catalog(_) => None,
        }
    }

    /// What kind of document it becomes.
    pub const fn topic(&self) -> Topic {
        match self {
            Self::Sale(_) => Topic::Sale,
            Self::Refund(_) => Topic::Refund,
            Self::Stock(StockRequest { count: true, .. }) => Topic::StockCount,
            Self::Stock(_) => Topic::StockMovement,
            Self::Expense(_) => Topic::Expense,
            Self::Ledger(_) => Topic::LedgerEntry,
            Self::Order(_) => Topic::AdvanceOrder,
            Self::Cash(_) => Topic::CashSession,
            Self::Park(_) => Topic::ParkedSale,
            Self::Discard(_) => Topic::ParkedDiscard,
            Self::Catalog(_) => Topic::CatalogEdit,
        }
    }
}

/// New values of a catalog row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CatalogOperation {
    /// Catalog table.
    pub table: String,
    /// Id of the row.
    pub row: String,
    /// New values; `null` empties a column.
    pub columns: BTreeMap<String, serde_json::Value>,
}

/// What became of a batch of operations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct OperationsAnswer {
    /// One for each operation, in their order.
    pub results: Vec<OperationResult>,
}

/// What became of one operation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct OperationResult {
    /// Its id; absent when it could not be read.
    pub id: Option<DocumentId>,
    /// How it ended.
    pub outcome: OperationOutcome,
    /// What was recorded, now or when it was first sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Recorded>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationOutcome {
    /// It is recorded.
    Recorded,
    /// It had been recorded before.
    Repeated,
    /// The catalog holds these values already: there was nothing to record.
    Unchanged,
    /// It breaks a rule, and was not recorded.
    Refused,
}

/// `GET /v1/changes?after=&types=&limit=`: what has changed since a cursor.
///
/// A row of the catalog is given as this till sees it, and again whenever that changes; the last one
/// given is right. A document is given once, it does not change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChangePage {
    /// At most `limit` changes.
    pub changes: Vec<Change>,
    /// `after` of the next request; also when there is nothing more now. Opaque, and good for the same
    /// `types` only.
    pub cursor: String,
    /// There is more behind it already.
    pub more: bool,
}

/// A row of the catalog, or a document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// Catalog table, or kind of document.
    #[serde(rename = "type")]
    pub entity: String,
    /// Id of the row or document.
    pub id: String,
    /// The row is deleted; its last values are in `content`.
    pub deleted: bool,
    /// The row holds an edit of this node that the hub has not merged.
    pub pending: bool,
    /// Position of a document in the journal; absent for rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// Columns of the row, or fields of the document.
    pub content: serde_json::Map<String, serde_json::Value>,
}
