//! Who is calling: a till, a client of a free-standing database, a person or machine in a role, or whoever
//! holds the admin token. The table of calls says who may make which call.

use super::ApiError;
use super::caller::Caller;
use super::databases::own_database;
use super::noted::Noted;
use super::sync::Segments;
use super::tokens;
use crate::copies::CopyKey;
use crate::hub::Hub;
use crate::limits::SEEN_INTERVAL_MS;
use crate::secrets;
use crate::store::{Account, AuthedNode, Credential, KnownToken, Store};
use axum::extract::FromRequestParts;
use counterfoil_domain::NodeId;
use counterfoil_protocol::problem::Code;
use http::request::Parts;
use http::{HeaderMap, header};
use std::sync::Arc;

/// The token that came with a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::trim)
}

/// A call as logs name it: method and path. What follows the path may be private.
pub(super) fn what(parts: &Parts) -> String {
    format!("{} {}", parts.method, parts.uri.path())
}

/// What the check before the handler found out about who is calling.
pub(super) fn admitted<T: Clone + Send + Sync + 'static>(parts: &Parts) -> Result<T, ApiError> {
    let found = parts.extensions.get::<T>().cloned();
    found.ok_or_else(|| {
        tracing::error!(
            call = what(parts),
            "the table of calls admits somebody else"
        );
        ApiError::new(Code::Internal, "the hub does not know who is calling")
    })
}

impl FromRequestParts<Arc<Hub>> for AuthedNode {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Hub>) -> Result<Self, ApiError> {
        admitted(parts)
    }
}

/// The till that is calling.
pub(super) async fn till(hub: &Hub, headers: &HeaderMap) -> Result<AuthedNode, ApiError> {
    let Some(token) = bearer(headers) else {
        hub.alert("unauthorized", None, "a request came without a token")
            .await;
        return Err(
            ApiError::new(Code::Unauthorized, "this call needs a node's token")
                .hint("activate the till with a join code"),
        );
    };
    match tokens::credential(hub, token).await? {
        Credential::Good(node) | Credential::Next(node) => Ok(node),
        Credential::Expired(node, end_ms) => Err(expired(hub, node, end_ms).await?),
        Credential::Ended(node) => {
            let detail = "asked with a token that it has changed since: a restored backup, a copy of its folder, or \
                          somebody who found one";
            hub.alert("ended_token", Some(node), detail).await;
            let detail = "this till has had another token since the one that it asks with";
            Err(ApiError::new(Code::Unauthorized, detail).hint(NEW_CODE))
        }
        Credential::Revoked(node) => {
            hub.alert(
                "revoked_token",
                Some(node),
                "a revoked till asked for access",
            )
            .await;
            let detail = "this till's access was revoked at the hub";
            Err(ApiError::new(Code::Unauthorized, detail).hint(NEW_CODE))
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

/// What somebody at the till does about a token that is not good any more.
const NEW_CODE: &str = "ask the operator for a new join code and activate again";

/// The answer to a till that was away for longer than its token holds.
async fn expired(hub: &Hub, node: NodeId, end_ms: i64) -> Result<ApiError, ApiError> {
    let ended = jiff::Timestamp::from_millisecond(end_ms);
    let ended = ended.map_or_else(|_| "long ago".to_owned(), |at| format!("on {at:.0}"));
    let detail = format!("its token expired {ended}: it needs a new join code");
    let now_ms = hub.now_ms();
    hub.writer
        .call(move |store| store.note_expired(node, &detail, now_ms))
        .await?;
    let detail = format!("this till's token expired {ended}");
    Ok(ApiError::new(Code::Unauthorized, detail).hint(NEW_CODE))
}

/// The copy that the caller may read and push to.
#[derive(Clone)]
pub(crate) struct OwnCopy(pub(crate) CopyKey);

impl FromRequestParts<Arc<Hub>> for OwnCopy {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Hub>) -> Result<Self, ApiError> {
        admitted(parts)
    }
}

/// The copy that is named in the address, when the caller's token is for it.
pub(super) async fn own_copy(hub: &Hub, parts: &mut Parts) -> Result<OwnCopy, ApiError> {
    let segments = Segments::from_request_parts(parts, &()).await?;
    if let Some(named) = segments.find("database") {
        return own_database(hub, parts, named).await.map(OwnCopy);
    }
    let node = till(hub, &parts.headers).await?;
    Noted::caller_is(parts, node.id);
    let book = own_book(hub, &node, segments.text("node")).await?;
    Ok(OwnCopy(CopyKey::Book(book)))
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
    hub.refused(
        &format!("till {}", caller.id),
        &format!("the book of {wanted}"),
    )
    .await;
    Err(ApiError::new(
        Code::Forbidden,
        "this token is for another till's book",
    ))
}

/// The person, machine or operator who is calling.
pub(super) async fn caller(hub: &Hub, parts: &Parts) -> Result<Caller, ApiError> {
    let token = bearer(&parts.headers).unwrap_or_default();
    if secrets::same(token.as_bytes(), hub.admin_token.as_bytes()) {
        return Ok(Caller::OPERATOR);
    }
    let hash = secrets::hash(token);
    let known = hub
        .lookups
        .call(move |reader| reader.known_token(&hash))
        .await?;
    let Some(known) = known else {
        let seen = "the admin API was asked without a good token";
        hub.alert("unauthorized", None, seen).await;
        let detail = "this call needs the token of a session, of a machine, or of the hub";
        return Err(ApiError::new(Code::Unauthorized, detail).hint(
            "sign in with `counterfoil-hub login NAME`; the hub's own token is in admin.token in \
             its data folder",
        ));
    };
    let now_ms = hub.now_ms();
    if known.revoked || known.expires_ms <= now_ms {
        let why = if known.revoked {
            "was revoked"
        } else {
            "has expired"
        };
        hub.log_access(&known.account.to_string(), &what(parts), why)
            .await;
        let (detail, hint) = match &known.account {
            Account::User { name, .. } => (
                format!("the session of {name} {why}"),
                format!("sign in again: `counterfoil-hub login {name}`"),
            ),
            Account::Machine { name } => (
                format!("the token of machine {name} {why}"),
                "an owner makes a new one: `counterfoil-hub token add NAME --role ROLE`".to_owned(),
            ),
        };
        return Err(ApiError::new(Code::Unauthorized, detail).hint(hint));
    }
    note_use(hub, &known, now_ms).await?;
    Ok(Caller {
        account: Some(known.account),
        role: known.role,
        shop: known.shop,
    })
}

/// Notes that a token was used, now and then.
async fn note_use(hub: &Hub, known: &KnownToken, now_ms: i64) -> Result<(), ApiError> {
    let fresh = |seen_ms: i64| (seen_ms..=seen_ms + SEEN_INTERVAL_MS).contains(&now_ms);
    if known.seen_ms.is_some_and(fresh) {
        return Ok(());
    }
    let account = known.account.clone();
    let note = move |store: &mut Store| match account {
        Account::User { session, .. } => store.session_seen(session, now_ms),
        Account::Machine { name } => store.machine_seen(&name, now_ms),
    };
    Ok(hub.writer.call(note).await?)
}
