//! Escrow at a node's local API: rights to sell scarce products, and what lanes ask of each other.

use counterfoil_domain::{DocumentId, NodeId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/escrow`: begins or ends the escrow of a product, or moves rights.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct EscrowRequest {
    /// As of a sale: the same id again records nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DocumentId>,
    /// Code of the product.
    pub sku: String,
    /// What is to be done.
    #[serde(rename = "do")]
    pub what: EscrowOrder,
    /// Pieces, as a decimal: those in the shop for `begin`, those that move for `give` and `take`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<String>,
    /// Number of the other lane, for `give` and `take`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<i64>,
    /// The other lane by its node, where its number is not enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// Who does it: a catalog id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub employee: Option<String>,
}

/// What may be done to an escrow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EscrowOrder {
    /// From here on the product is sold by right, and this lane has all of it.
    Begin,
    /// Give rights of this lane to another one.
    Give,
    /// Take over rights of a lane that does not come back.
    Take,
    /// The rights of this lane are good although it was restored or copied.
    Release,
    /// The product is sold freely again.
    End,
}

/// `GET /v1/escrow`: products under escrow, as far as is known here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Escrows {
    /// By product code.
    pub escrows: Vec<EscrowRow>,
}

/// A product under escrow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct EscrowRow {
    /// Code of the product.
    pub sku: String,
    /// The escrow.
    pub id: DocumentId,
    /// Pieces that this lane may sell, in thousandths of the unit.
    pub rights_milli: i64,
    /// This till was restored or copied: its rights are not used until a person releases them.
    pub frozen: bool,
    /// Other lanes began escrows of the same product without knowing of this one; those count for nothing.
    pub begun_apart: usize,
    /// Lanes that take part, as far as is known here.
    pub lanes: Vec<EscrowLane>,
    /// Lanes whose journals are here and do not say that they have heard of it: they may sell the product freely.
    pub unheard: Vec<NodeId>,
}

/// The part of a lane.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct EscrowLane {
    /// Its node.
    pub node: NodeId,
    /// Its number; absent when it has said nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<i64>,
    /// Pieces that it may sell, in thousandths of the unit.
    pub rights_milli: i64,
    /// It is this lane.
    pub here: bool,
}

/// A lane asks another one for rights.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RightsRequest {
    /// What for: whoever has given for it gives nothing more.
    pub need: DocumentId,
    /// The escrow.
    pub escrow: DocumentId,
    /// Code of the product.
    pub sku: String,
    /// How much is lacking, in thousandths of the unit; above zero.
    pub quantity_milli: i64,
}
