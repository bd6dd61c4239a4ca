//! The tokens of a node: how one follows another, so that no lost answer leaves a till without one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST`: names the caller's next token; the node's token.
pub const TOKEN_PATH: &str = "/v1/token";

/// Names the token that a node will use next. The node has made and kept it before this is first sent, so the
/// same request may be sent any number of times. Both tokens are good until the next one is used; then the
/// one before ends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenRequest {
    /// SHA-256 of the next token, hexadecimal; the token itself never travels here.
    pub token_hash: String,
}

/// The next token may be used.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenAnswer {
    /// When it ends by itself, milliseconds since the Unix epoch by the hub's clock; absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
}

/// What the hub says of the token that it was asked with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct TokenStanding {
    /// When it ends by itself, milliseconds since the Unix epoch by the hub's clock; absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
    /// The node should name its next one now.
    pub rotate: bool,
}
