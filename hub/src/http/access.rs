//! Who may make a call: the columns of the table of calls, and the check that stands before each handler.

use super::ApiError;
use super::auth::{self, OwnCopy};
use super::caller::Caller;
use super::noted::Noted;
use super::sync::Segments;
use crate::hub::Hub;
use crate::store::AuthedNode;
use axum::extract::FromRequestParts;
use counterfoil_domain::ShopId;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::access::{EndpointRow, Reach, Role};
use http::Method;
use http::request::Parts;
use std::sync::Arc;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::SecurityRequirement;

/// Who may make a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// Nobody is asked who they are; what the body holds may be a credential.
    Anyone,
    /// A till, by its token.
    Till,
    /// Whoever pushes to the copy: the till of the book, the clients of the database.
    OwnCopy,
    /// People, and machines in their roles. The owner may everything.
    Roles { shop_manager: Of, support: Of },
}

/// What of it a role may see or decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Of {
    Nothing,
    /// What belongs to the caller's shop.
    Own(Subject),
    All,
}

/// How a call says which shop it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    /// By the node in its address.
    Node,
    /// By the conflict in its address, in which the shop had a part.
    Conflict,
    /// Not at all: the handler leaves out what belongs to other shops ([`Caller::shop`]).
    Answer,
}

/// Nobody is asked who they are.
pub(super) const ANYONE: Access = Access::Anyone;
/// A till, about itself.
pub(super) const TILL: Access = Access::Till;
/// Whoever pushes to the copy.
pub(super) const OWN_COPY: Access = Access::OwnCopy;
/// The owner alone.
pub(super) const OWNER: Access = Access::Roles {
    shop_manager: Of::Nothing,
    support: Of::Nothing,
};
/// Read by the owner and support: what concerns the chain.
pub(super) const READ_CHAIN: Access = Access::Roles {
    shop_manager: Of::Nothing,
    support: Of::All,
};
/// Everybody who is signed in: what all shops share, and what is about the caller.
pub(super) const READ_SHARED: Access = Access::Roles {
    shop_manager: Of::All,
    support: Of::All,
};
/// Everybody who is signed in, about their own session.
pub(super) const SIGNED_IN: Access = READ_SHARED;
/// Read by all; a shop manager's answer holds the own shop only.
pub(super) const READ_SHOP: Access = read_own(Subject::Answer);

/// Read by all, by a shop manager when it belongs to the own shop.
pub(super) const fn read_own(subject: Subject) -> Access {
    Access::Roles {
        shop_manager: Of::Own(subject),
        support: Of::All,
    }
}

/// Decided by the owner, and by a shop manager for the own shop.
pub(super) const fn decide_own(subject: Subject) -> Access {
    Access::Roles {
        shop_manager: Of::Own(subject),
        support: Of::Nothing,
    }
}

impl Access {
    fn of(self, role: Role) -> Of {
        match (self, role) {
            (Self::Roles { .. }, Role::Owner) => Of::All,
            (Self::Roles { shop_manager, .. }, Role::ShopManager) => shop_manager,
            (Self::Roles { support, .. }, Role::Support) => support,
            (Self::Anyone | Self::Till | Self::OwnCopy, _) => Of::Nothing,
        }
    }

    /// Says in a call's description who may make it.
    pub(super) fn describe(self, operation: &mut Operation) {
        let callers = match self {
            Self::Anyone => "Anyone.".to_owned(),
            Self::Till => "Tills, each by its token.".to_owned(),
            Self::OwnCopy => "Whoever holds the token of this copy.".to_owned(),
            Self::Roles { .. } => {
                let of = |role: Role| match self.of(role) {
                    Of::Nothing => None,
                    Of::Own(_) => Some(format!("{} of the shop", role.name())),
                    Of::All => Some(role.name().to_owned()),
                };
                let roles = [Role::Owner, Role::ShopManager, Role::Support];
                let named: Vec<String> = roles.into_iter().filter_map(of).collect();
                format!("Callers: {}.", named.join(", "))
            }
        };
        operation.description = Some(callers);
        if self != Self::Anyone {
            let by_token = SecurityRequirement::new::<_, [&str; 0], &str>("token", []);
            operation.security = Some(vec![by_token]);
        }
    }

    /// The row of the table as it is told.
    pub(super) fn to_wire(self, method: &Method, path: &str) -> EndpointRow {
        let reach = |role| match self.of(role) {
            Of::Nothing => Reach::Nothing,
            Of::Own(_) => Reach::OwnShop,
            Of::All => Reach::Everything,
        };
        EndpointRow {
            method: method.to_string(),
            path: path.to_owned(),
            anyone: self == Self::Anyone,
            till: self == Self::Till || self == Self::OwnCopy,
            owner: reach(Role::Owner),
            shop_manager: reach(Role::ShopManager),
            support: reach(Role::Support),
        }
    }
}

/// Lets a call through to its handler, with who makes it, or says why not.
pub(super) async fn admit(
    hub: &Arc<Hub>,
    access: Access,
    parts: &mut Parts,
) -> Result<(), ApiError> {
    match access {
        Access::Anyone => {}
        Access::Till => {
            let node: AuthedNode = auth::till(hub, &parts.headers).await?;
            Noted::caller_is(parts, node.id);
            parts.extensions.insert(node);
        }
        Access::OwnCopy => {
            let copy: OwnCopy = auth::own_copy(hub, parts).await?;
            parts.extensions.insert(copy);
        }
        Access::Roles { .. } => {
            let caller = auth::caller(hub, parts).await?;
            let what = auth::what(parts);
            match access.of(caller.role) {
                Of::All => {}
                Of::Own(subject) if is_own(hub, subject, caller.shop, parts).await? => {}
                Of::Own(_) => return Err(another_shop(hub, &caller, &what).await),
                Of::Nothing => {
                    return Err(refuse(hub, &caller, "is not for that role", &what).await);
                }
            }
            parts.extensions.insert(caller);
        }
    }
    Ok(())
}

/// Refuses what belongs to a shop that is not the caller's.
pub(super) async fn another_shop(hub: &Hub, caller: &Caller, what: &str) -> ApiError {
    refuse(hub, caller, "belongs to another shop", what).await
}

async fn refuse(hub: &Hub, caller: &Caller, why: &str, what: &str) -> ApiError {
    let (name, role) = (caller.name(), caller.role.name());
    hub.refused(&name, what).await;
    let detail = format!("{name} may not, as {role}: this {why}");
    ApiError::new(Code::Forbidden, detail).hint("ask an owner of the chain")
}

/// Whether what a call is about belongs to a shop. What nobody knows is left to the handler, which says so.
async fn is_own(
    hub: &Hub,
    subject: Subject,
    shop: Option<ShopId>,
    parts: &mut Parts,
) -> Result<bool, ApiError> {
    let Some(shop) = shop else {
        return Ok(false);
    };
    let segments = Segments::from_request_parts(parts, &()).await?;
    let own = match subject {
        Subject::Answer => Some(true),
        Subject::Node => match segments.text("node").parse() {
            Ok(node) => {
                hub.lookups
                    .call(move |it| it.node_is_of(node, shop))
                    .await?
            }
            Err(_) => None,
        },
        Subject::Conflict => match segments.text("conflict").parse() {
            Ok(id) => {
                let asked = hub.lookups.call(move |it| it.conflict_is_of(id, shop));
                asked.await?
            }
            Err(_) => None,
        },
    };
    Ok(own.unwrap_or(true))
}
