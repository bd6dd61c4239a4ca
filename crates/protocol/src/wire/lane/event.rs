//! What a lane tells the others of a comparison of stock that it makes (P3, P5). It is for their logs: nothing is asked by it,
//! nothing is acknowledged, and who is not connected does not hear it.

use counterfoil_domain::{DocumentId, NodeId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An event on the wire, in the shape of a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventMessage {
    /// Its own id.
    pub id: DocumentId,
    /// Who compares.
    pub from_terminal: NodeId,
    /// What happened, with its topic.
    #[serde(flatten)]
    pub event: ReconciliationEvent,
    /// Milliseconds since the Unix epoch, the clock of that lane.
    pub timestamp: i64,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "topic", content = "payload")]
pub enum ReconciliationEvent {
    /// A comparison begins.
    #[serde(rename = "inventory.reconciliation.request")]
    Request {
        /// How many products the lane has counted.
        products: usize,
    },
    /// It is over.
    #[serde(rename = "inventory.reconciliation.complete")]
    Complete {
        /// How many products another lane said something else of.
        differing: usize,
        /// How many of them the lane has put right at itself.
        corrected: usize,
        /// How many still differ: a person counts them.
        open: usize,
    },
}

impl ReconciliationEvent {
    /// The name on the wire.
    pub const fn topic(&self) -> &'static str {
        match self {
            Self::Request { .. } => "inventory.reconciliation.request",
            Self::Complete { .. } => "inventory.reconciliation.complete",
        }
    }
}
