//! Parked sales at a node's local API.

use super::node::LineRequest;
use counterfoil_domain::DocumentId;
use counterfoil_domain::document::Line;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/parked`: puts a cart aside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ParkRequest {
    /// As of a sale: the same id again parks nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DocumentId>,
    /// What is in the cart.
    pub lines: Vec<LineRequest>,
    /// The customer: a catalog id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// Who parks it: a catalog id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub employee: Option<String>,
    /// By what it is known again: a name, a number of a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// `POST /v1/parked/discard`: a parked sale will not be paid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DiscardRequest {
    /// As of a sale: the same id again discards nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DocumentId>,
    /// The parked sale.
    pub parked: DocumentId,
    /// Who discards it: a catalog id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub employee: Option<String>,
}

/// `GET /v1/parked`: what is parked in this shop, as far as it is known here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ParkedSales {
    /// In the order of their ids, which begin with the time of parking.
    pub parked: Vec<ParkedRow>,
    /// `after` of the next page; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<DocumentId>,
}

/// A parked sale that nobody has finished or discarded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ParkedRow {
    /// Its id.
    pub id: DocumentId,
    /// When, milliseconds since the Unix epoch, by the clock of its lane.
    pub at_ms: i64,
    /// Number of the lane that parked it; absent in trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<i64>,
    /// Who did: a catalog id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub employee: Option<String>,
    /// The customer: a catalog id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// By what it is known again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Sum in minor units.
    pub total_minor: i64,
    /// It is parked for twelve hours or longer.
    pub stale: bool,
    /// What is in it, with the prices that it is sold at.
    pub lines: Vec<Line>,
}
