//! How lanes compare what they have counted (P5): ranges of keys with digests.

use counterfoil_domain::stock::reconcile::{Answer, Question};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most questions in one request: their answers fit into a frame. More is malformed.
pub const QUESTIONS_MAX: usize = 256;

/// Asks what differs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct InventoryRequest {
    /// The answer has it too: counts the requests of a lane on its connection.
    pub number: u64,
    /// At most [`QUESTIONS_MAX`].
    pub questions: Vec<InventoryQuestion>,
}

/// One question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct InventoryQuestion {
    /// About what is counted of this product, by document and line; absent: about levels, by product code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Which keys, with the digest over them.
    #[serde(flatten)]
    pub question: Question,
}

/// Says what differs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct InventoryAnswer {
    /// Of the request.
    pub number: u64,
    /// To each question, in their order.
    pub answers: Vec<Answer>,
}
