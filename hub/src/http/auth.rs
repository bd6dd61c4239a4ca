//! Who may do what: a node its own book and the catalog, a client of a free-standing database that
//! database, the operator everything of the admin API.

use super::ApiError;
use super::databases::own_database;
use super::sync::Segments;
use crate::copies::CopyKey;
use crate::hub::Hub;
use crate::secrets;
use crate::store::{AuthedNode, Credential};
use axum::extract::FromRequestParts;
use counterfoil_domain::NodeId;
use counterfoil_protocol::problem::Code;
use http::request::Parts;
use http::{HeaderMap, header};
use std::sync::Arc;

/// The caller is the operator.
pub(crate) struct Operator;

/// The token that came with a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::trim)
}

impl FromRequestParts<Arc<Hub>> for AuthedNode {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        let Some(token) = bearer(&parts.headers) else {
            hub.alert("unauthorized", None, "a request came without a token")
                .await;
            return Err(
                ApiError::new(Code::Unauthorized, "this call needs a node's token")
                    .hint("activate the till with a join code"),
            );
        };
        let hash = secrets::hash(token);
        match hub
            .lookups
            .call(move |reader| reader.credential(&hash))
            .await?
        {
            Credential::Good(node) => Ok(node),
            Credential::Revoked(node) => {
                hub.alert(
                    "revoked_token",
                    Some(node),
                    "a revoked till asked for access",
                )
                .await;
                let detail = "this till's access was revoked at the hub";
                Err(ApiError::new(Code::Unauthorized, detail)
                    .hint("ask the operator for a new join code and activate again"))
            }
            Credential::ShopInactive(node) => {
                hub.alert(
                    "inactive_shop",
                    Some(node),
                    "a till of an inactive shop asked",
                )
                .await;
                let detail = "this till's shop is not active at the hub";
                Err(ApiError::new(Code::Unauthorized, detail).hint("ask the operator"))
            }
            Credential::Unknown => {
                hub.alert("unauthorized", None, "a request came with an unknown token")
                    .await;
                let detail = "the hub does not know this till's token";
                Err(ApiError::new(Code::Unauthorized, detail)
                    .hint("activate the till again with a new join code"))
            }
        }
    }
}

/// The copy that the caller may read and push to.
pub(crate) struct OwnCopy(pub(crate) CopyKey);

impl FromRequestParts<Arc<Hub>> for OwnCopy {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        let segments = Segments::from_request_parts(parts, hub).await?;
        if let Some(named) = segments.find("database") {
            return own_database(hub, parts, named).await.map(Self);
        }
        let node = AuthedNode::from_request_parts(parts, hub).await?;
        let book = own_book(hub, &node, segments.text("node")).await?;
        Ok(Self(CopyKey::Book(book)))
    }
}

/// Lets a node at its own book only.
async fn own_book(hub: &Hub, caller: &AuthedNode, named: &str) -> Result<NodeId, ApiError> {
    let wanted: NodeId = named
        .parse()
        .map_err(|_| ApiError::new(Code::BadRequest, format!("`{named}` is not a node id")))?;
    if wanted == caller.id {
        return Ok(wanted);
    }
    let detail = format!("asked for the book of node {wanted}");
    hub.alert("foreign_book", Some(caller.id), &detail).await;
    Err(ApiError::new(
        Code::Forbidden,
        "this token is for another till's book",
    ))
}

impl FromRequestParts<Arc<Hub>> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        let token = bearer(&parts.headers).unwrap_or_default();
        if secrets::same(token.as_bytes(), hub.admin_token.as_bytes()) {
            return Ok(Self);
        }
        hub.alert(
            "unauthorized",
            None,
            "an admin request came without the admin token",
        )
        .await;
        Err(
            ApiError::new(Code::Unauthorized, "this call needs the hub's admin token")
                .hint("the token is in admin.token in the hub's data folder"),
        )
    }
}
