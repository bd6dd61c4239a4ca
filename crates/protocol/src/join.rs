//! Join codes: what an operator hands to a new lane.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

const PREFIX: &str = "CF1-";

/// Everything a node needs to find and convince the hub. Its text form is a secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct JoinCode {
    /// Base URL of the hub.
    #[serde(rename = "u")]
    pub hub_url: String,
    /// The one-time secret, hexadecimal.
    #[serde(rename = "s")]
    pub secret: String,
    /// SHA-256 fingerprint of the hub's certificate, when it has one of its own.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// Text that is not a join code.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a join code: it begins with {PREFIX} and is printed by `counterfoil-hub shop add`"
)]
pub struct ParseJoinCodeError;

impl fmt::Display for JoinCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_vec(self).map_err(|_| fmt::Error)?;
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }
}

impl FromStr for JoinCode {
    type Err = ParseJoinCodeError;

    fn from_str(text: &str) -> Result<Self, ParseJoinCodeError> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(ParseJoinCodeError)?;
        let json = URL_SAFE_NO_PAD
            .decode(body)
            .map_err(|_| ParseJoinCodeError)?;
        serde_json::from_slice(&json).map_err(|_| ParseJoinCodeError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_code_round_trips_and_garbage_is_refused() {
        let code = JoinCode {
            hub_url: "http://127.0.0.1:8700".to_owned(),
            secret: "00ff".to_owned(),
            certificate: None,
        };
        assert_eq!(code.to_string().parse(), Ok(code));
        for garbage in ["", "CF1-", "CF1-%%%", "CF1-e30", "hello"] {
            assert_eq!(
                garbage.parse::<JoinCode>(),
                Err(ParseJoinCodeError),
                "{garbage}"
            );
        }
    }
}
