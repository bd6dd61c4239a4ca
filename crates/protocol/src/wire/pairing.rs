//! Lanes that are paired in trial (ADR 0026): what a person asks of a lane, and what the two lanes say to each other.

use super::certificate::LaneCertificate;
use super::lane::RefusalCode;
use counterfoil_domain::mesh::pairing::Nonce;
use counterfoil_domain::{NodeId, ShopId, hex::array_from_hex};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a lane is asked to take another one in, on the port on which lanes are reached.
pub const PAIR_PATH: &str = "/v1/pair";

/// The version of this exchange. A lane of another one is refused.
pub const PAIR_PROTOCOL: u32 = 1;

/// `POST /v1/pairing`: with nothing, show a code here; with both, join the lane that shows the code.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PairCommand {
    /// The code that the other lane shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Where that lane is reached, `HOST` or `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
}

/// `POST /v1/pairing/revoke`: a lane of the trial shop that may not take part any more. It is asked of lane 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeCommand {
    /// Its number.
    pub lane: i64,
}

/// A code that is to be typed at another lane.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PairingOffer {
    /// The code. It is shown here and nowhere else.
    pub code: String,
    /// Until when it is good, milliseconds since the Unix epoch by this lane's clock.
    pub good_until_ms: i64,
    /// Where this lane is reached, as far as it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
}

/// What `POST /v1/pairing` is answered with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PairingAnswer {
    /// The trial shop.
    pub shop_id: ShopId,
    /// This lane's number in it.
    pub lane: i64,
    /// The code, when one is shown here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<PairingOffer>,
}

/// `DELETE /v1/pairing`: whether there was something to leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PairingLeft {
    /// The trial shop that was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shop_id: Option<ShopId>,
}

/// The trial shop of a lane.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PairingStatus {
    /// The trial shop.
    pub shop_id: ShopId,
    /// This lane's number in it. Lane 1 shows codes.
    pub lane: i64,
    /// Where lane 1 is reached, at the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// Until when a code is good that is shown here, milliseconds since the Unix epoch; absent when none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_good_until_ms: Option<i64>,
    /// Wrong codes that came instead of it.
    pub wrong_codes: u32,
    /// The lanes that were paired, at lane 1.
    pub lanes: Vec<PairedLane>,
}

/// A lane of a trial shop.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PairedLane {
    /// Its number.
    pub lane: i64,
    /// Its node.
    pub node_id: NodeId,
    /// It may not take part any more.
    pub revoked: bool,
}

/// How a lane introduces itself for one attempt.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PairHello {
    /// [`PAIR_PROTOCOL`].
    pub protocol: u32,
    /// Who.
    pub node: NodeId,
    /// 32 bytes drawn for this attempt, 64 hexadecimal digits.
    pub nonce: String,
}

impl PairHello {
    /// What it drew; `None` when that is no nonce.
    pub fn nonce(&self) -> Option<Nonce> {
        array_from_hex(&self.nonce)
    }
}

/// What the two lanes say, one JSON text each, in this order: both say hello, the one that was dialed after the other;
/// then one asks and the other answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PairFrame {
    /// Who speaks.
    PairHello(PairHello),
    /// The lane asks to be taken in.
    PairRequest {
        /// JSON of [`PairRequest`].
        said: String,
        /// That its speaker knows the code.
        proof: String,
    },
    /// The lane is taken in.
    PairGrant {
        /// JSON of [`PairGrant`].
        said: String,
        /// That its speaker knows the code.
        proof: String,
    },
    /// It is not; this has no proof.
    Refused {
        /// For programs.
        code: RefusalCode,
        /// For people.
        detail: String,
    },
}

/// Asks for a certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PairRequest {
    /// Public half of the lane's key (Ed25519): 64 hexadecimal digits.
    pub public_key: String,
}

/// What a lane is given that is taken in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PairGrant {
    /// The trial shop.
    pub shop: ShopId,
    /// The lane's number in it.
    pub lane: i64,
    /// Its certificate.
    pub given: LaneCertificate,
}
