//! The certificates of lanes: what a till asks the hub for, and what lanes hand on to each other.
//!
//! A shop has one authority, whose key is at the hub alone. A lane makes its own key, which it never tells. Certificates are
//! PEM texts; keys and signatures are hexadecimal.

use counterfoil_domain::{NodeId, ShopId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST`: asks for the caller's certificate among the lanes of its shop; the node's token.
pub const LANE_CERTIFICATE_PATH: &str = "/v1/lane-certificate";

/// A name that stands in the certificate of every lane: whoever dials does not know yet whom it will meet.
pub const ANY_LANE_NAME: &str = "lane.counterfoil.internal";

/// Most lanes that a list of revoked ones names; at the limit the oldest are left out, which have no token either.
pub const REVOKED_MAX: usize = 2_000;

/// Most lists of revoked lanes that a lane keeps: the newest, and older ones as long as they name somebody whom no newer one
/// names. At the limit the oldest are dropped. Of a hub that was never restored from a backup there is one.
pub const REVOKED_LISTS_MAX: usize = 3;

/// Stands before what the authority signs, so that nothing else that it signs can be taken for it. It must not change.
const REVOKED_PURPOSE: &[u8] = b"counterfoil 2026-11 revoked lanes\0";

/// The name that stands in the certificate of one lane alone.
pub fn lane_name(node: NodeId, shop: ShopId) -> String {
    format!("{node}.{shop}.{ANY_LANE_NAME}")
}

/// Asks for a certificate. The same request may be sent any number of times. For a key that was certified before the lane
/// was revoked the answer is 409: the lane makes another key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LaneCertificateRequest {
    /// Public half of the lane's key (Ed25519): 64 hexadecimal digits.
    pub public_key: String,
    /// The lists of revoked lanes that it has, at most [`REVOKED_LISTS_MAX`]. A hub that was restored from a backup
    /// has forgotten what it signed after that, and takes it from here.
    #[serde(default)]
    pub lists: Vec<SignedRevocations>,
}

/// What a lane shows to others, and by what it knows them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LaneCertificate {
    /// Its certificate.
    pub certificate: String,
    /// The certificate of the shop's authority.
    pub authority: String,
    /// Public half of the authority's key: 64 hexadecimal digits.
    pub authority_key: String,
    /// When it was made, milliseconds since the Unix epoch by the hub's clock.
    pub issued_ms: i64,
    /// When it ends, by the same clock.
    pub expires_ms: i64,
    /// Lanes of the shop that may not take part any more.
    pub revocations: SignedRevocations,
}

/// How the authority of the caller's shop stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LaneStanding {
    /// Public half of its key: 64 hexadecimal digits.
    pub authority_key: String,
    /// Number of its list of revoked lanes.
    pub revocations: i64,
}

/// A list of revoked lanes as the authority signed it. Lanes hand it on as it came.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SignedRevocations {
    /// JSON of [`Revocations`].
    pub list: String,
    /// Signature of the authority (Ed25519): 128 hexadecimal digits.
    pub signature: String,
}

impl SignedRevocations {
    /// The bytes that are signed.
    pub fn signed(list: &str) -> Vec<u8> {
        [REVOKED_PURPOSE, list.as_bytes()].concat()
    }
}

/// Lanes whose certificates are refused. Whoever is named once stays named.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Revocations {
    /// Of which shop.
    pub shop: ShopId,
    /// Grows with each change; of two lists that name a lane the one with the higher number says what holds.
    pub number: i64,
    /// The lanes, at most [`REVOKED_MAX`].
    pub lanes: Vec<RevokedLane>,
}

/// A lane whose certificates are refused, all or those of before it was taken in again: whoever copied its folder has the key
/// of those.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RevokedLane {
    /// Which one.
    pub node: NodeId,
    /// Certificates whose time begins before this are refused, milliseconds since the Unix epoch by the hub's clock. Without
    /// it all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_before_ms: Option<i64>,
}
