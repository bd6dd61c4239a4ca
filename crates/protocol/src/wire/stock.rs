//! What a till, or the hub, says of stock (X3, G7).

use counterfoil_domain::{DocumentId, NodeId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/stock`: levels, by product code.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StockLevels {
    /// Products of which something has moved or was counted.
    pub levels: Vec<StockLevel>,
    /// There may be more behind this code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Entries that are here and not counted yet: at a lane those it is about to count, at the hub those in quarantine.
    pub behind: i64,
}

/// The stock of a product in this shop: the last count and the movements after it, of all lanes, as far as they are known here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StockLevel {
    /// Product code.
    pub sku: String,
    /// What the catalog calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Thousandths of the selling unit. As long as nobody has counted it is what has moved in all.
    pub level_milli: i64,
    /// The count that holds; absent when nobody has counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<CountedStock>,
    /// More was sold than somebody had counted: somebody has to look and count again.
    pub oversold: bool,
}

/// A count that holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CountedStock {
    /// Its document.
    pub id: DocumentId,
    /// The lane that recorded it.
    pub node: NodeId,
    /// When, by that lane's clock: milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What was there, thousandths of the selling unit.
    pub quantity_milli: i64,
}

/// `GET /v1/stock/changes`: what changed the stock of a product, newest first as this lane learned of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StockChanges {
    /// The changes.
    pub changes: Vec<StockChange>,
    /// There are more before this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// One change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StockChange {
    /// Counts the changes on this lane.
    pub change: i64,
    /// Product code, as the document has it.
    pub sku: String,
    /// What recorded it: `sale`, `refund`, `stock_movement` or `stock_count`; or `reconciliation`, when this lane had counted wrong and
    /// put the level right.
    pub topic: String,
    /// The document; of a reconciliation the lane.
    pub id: DocumentId,
    /// The lane that recorded it.
    pub node: NodeId,
    /// Position in that lane's journal.
    pub seq: i64,
    /// When, by that lane's clock: milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What moved, positive comes in; of a count what was there. Thousandths of the selling unit.
    pub quantity_milli: i64,
    /// The level after it, as this lane then knew it.
    pub level_milli: i64,
    /// When this lane learned of it, milliseconds since the Unix epoch.
    pub noted_ms: i64,
}

/// `POST /v1/stock/reconciliation`: how this lane's stock compares with that of the others (P5).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Reconciliation {
    /// When it ended, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Products that were compared.
    pub products: usize,
    /// Lanes with which they were.
    pub lanes: usize,
    /// Connected lanes that have more entries of some journal than this one, or fewer, and are catching up; they were not asked.
    pub behind: usize,
    /// Lanes that did not answer, or not sensibly: older programs do not know the question.
    pub silent: usize,
    /// Products of which another lane said something else, also when both had counted what was on its way.
    pub differing: usize,
    /// Of those, products that this lane had counted wrong, and counted again from the journals.
    pub corrected: usize,
    /// Journals of which something was damaged here, which another lane was asked to send again.
    pub damaged: usize,
    /// Codes of products, at most 10, of which another lane still says something else: it counts wrong, or does not have the same journals.
    pub open: Vec<String>,
    /// Requests that this lane sent for it.
    pub requests: u64,
    /// Bytes of all requests and answers.
    pub bytes: u64,
}
