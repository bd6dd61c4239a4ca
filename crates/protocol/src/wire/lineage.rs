//! Between a hub and a till that do not hold the same history: how far they agree, and the identity
//! under which the till goes on (ADR 0008).

use crate::gate::Schemas;
use counterfoil_domain::NodeId;
use counterfoil_domain::lineage::Point;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST`: what the hub knows of the caller's journal; the node's token.
pub const LINEAGE_PATH: &str = "/v1/lineage";
/// `POST`: a new identity for the caller; the node's token.
pub const IDENTITY_PATH: &str = "/v1/identity";

/// Asks for points of the journal in a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct LineageRequest {
    /// Only points after this position; 0 for all.
    pub after_seq: i64,
    /// Only points before this position; all when absent.
    pub before_seq: Option<i64>,
}

/// Points of the journal as the hub has it: of its copy, the newest in the range and others evenly
/// spaced, and of what is consolidated.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LineageAnswer {
    /// Ascending by position; empty when the hub knows nothing there.
    pub points: Vec<Point>,
}

/// Asks for a new identity. The same request may be sent any number of times: node id and token
/// are made and stored by the till before the first attempt.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct IdentityRequest {
    /// The new identity.
    pub node: NodeId,
    /// SHA-256 of its token, hexadecimal.
    pub token_hash: String,
    /// The last entry that both sides hold. Entries up to here stay the caller's present identity's.
    pub common: Point,
    /// What the node can read and write.
    pub schemas: Schemas,
}

/// The till has a new identity in the same shop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct IdentityAnswer {
    /// Number of its lane in the shop.
    pub lane: i64,
    /// Its receipt series begin with this number, which no till of the same lineage had.
    pub epoch: i64,
}
