//! Who makes a call to the admin API.

use super::ApiError;
use crate::hub::Hub;
use crate::limits::WHO_CHARS_MAX;
use crate::store::Account;
use axum::extract::FromRequestParts;
use counterfoil_domain::ShopId;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::access::Role;
use http::request::Parts;
use std::sync::Arc;

/// A caller who has shown a good credential.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Caller {
    /// Who it is; `None`: whoever holds the admin token, which lies in the hub's folder.
    pub(crate) account: Option<Account>,
    pub(crate) role: Role,
    /// The only shop that the caller may see into; `None`: all.
    pub(crate) shop: Option<ShopId>,
}

impl Caller {
    /// Whoever holds the admin token.
    pub(crate) const OPERATOR: Self = Self {
        account: None,
        role: Role::Owner,
        shop: None,
    };

    /// Whether what belongs to a shop is shown.
    pub(crate) fn sees(&self, shop: ShopId) -> bool {
        self.shop.is_none_or(|own| own == shop)
    }

    /// The name for logs and the audit trail.
    pub(crate) fn name(&self) -> String {
        match &self.account {
            None => "operator".to_owned(),
            Some(account) => account.to_string(),
        }
    }

    /// The name of who decides. With the admin token it is what the request says, because the command line is
    /// used by whoever is logged in there; everybody else decides under the own name, whatever is said.
    pub(crate) fn decides(&self, said: Option<String>) -> Result<String, ApiError> {
        match said.filter(|_| self.account.is_none()) {
            Some(said) => name_of(said),
            None => Ok(self.name()),
        }
    }
}

/// A name that somebody gave as their own.
pub(super) fn name_of(said: String) -> Result<String, ApiError> {
    let size = 1..=WHO_CHARS_MAX;
    let is_name = !said.trim().is_empty()
        && size.contains(&said.chars().count())
        && !said.chars().any(char::is_control);
    if !is_name {
        let detail = format!("`by` is a name of 1 to {WHO_CHARS_MAX} characters");
        return Err(ApiError::new(Code::Invalid, detail));
    }
    Ok(said)
}

impl FromRequestParts<Arc<Hub>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Hub>) -> Result<Self, ApiError> {
        super::auth::admitted(parts)
    }
}
