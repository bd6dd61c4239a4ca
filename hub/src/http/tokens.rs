//! A node's tokens: how the next one follows, and when.

use super::ApiError;
use super::access::OWNER;
use super::bodies::read_json;
use super::caller::Caller;
use super::calls::Calls;
use super::sync::Segments;
use crate::hub::Hub;
use crate::secrets;
use crate::store::{AuthedNode, Credential, NextToken, StoreError, TokenState};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use counterfoil_domain::hex::array_from_hex;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::hub::NodeRow;
use counterfoil_protocol::wire::token::{TOKEN_PATH, TokenAnswer, TokenRequest, TokenStanding};
use counterfoil_replica::crash::{self, CrashPoint};
use http::HeaderMap;
use std::sync::Arc;
use utoipa_axum::routes;

pub(super) fn calls() -> Calls {
    Calls::new().add(OWNER, routes!(rotate))
}

/// The hash of a token, as a request names it.
pub(super) fn read_hash(text: &str) -> Result<Vec<u8>, ApiError> {
    let malformed = || ApiError::new(Code::Invalid, "token_hash is 64 hexadecimal digits");
    Ok(array_from_hex::<32>(text).ok_or_else(malformed)?.to_vec())
}

/// What a till is told of its token: it changes it at half of its time, so that one that was away for long
/// has time left.
pub(super) fn standing_of(hub: &Hub, token: TokenState) -> TokenStanding {
    let life_ms = hub.token_life_ms();
    let now_ms = hub.now_ms();
    let left_ms = token.expires_ms.map(|end_ms| end_ms.saturating_sub(now_ms));
    let due = match (life_ms, left_ms) {
        (None, None) => false,
        // The operator has set another life since.
        (None, Some(_)) | (Some(_), None) => true,
        // A clock that is behind makes every token look too long: what it would give ended before it began.
        (Some(life_ms), Some(left_ms)) => {
            left_ms < life_ms >> 1 || left_ms > life_ms && now_ms >= token.known_ms
        }
    };
    TokenStanding {
        expires_ms: token.expires_ms,
        rotate: token.wanted || due,
    }
}

/// What a token stands for. The first use of a next token ends the one before.
pub(super) async fn credential(hub: &Hub, token: &str) -> Result<Credential, StoreError> {
    let hash = secrets::hash(token);
    let look_up = || {
        let (hash, now_ms) = (hash.clone(), hub.now_ms());
        hub.lookups
            .call(move |reader| reader.credential(&hash, now_ms))
    };
    let found = look_up().await?;
    let Credential::Next(node) = found else {
        return Ok(found);
    };
    let (next, now_ms) = (hash.clone(), hub.now_ms());
    let begun = hub
        .writer
        .call(move |store| store.begin_token(&next, now_ms));
    if begun.await? {
        crash::pass(CrashPoint::TokenBegun);
        tracing::info!(node = %node.id, "a till uses its next token, the one before has ended");
    }
    look_up().await
}

/// Notes the token that the caller uses next.
#[utoipa::path(
    post,
    path = TOKEN_PATH,
    tag = "nodes",
    request_body = TokenRequest,
    responses((status = 200, body = TokenAnswer)),
)]
pub(crate) async fn next(
    State(hub): State<Arc<Hub>>,
    node: AuthedNode,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<TokenAnswer>, ApiError> {
    let request: TokenRequest = read_json(&headers, body).await?;
    let expires_ms = hub.token_expires_ms().await?;
    let next = NextToken {
        node,
        hash: read_hash(&request.token_hash)?,
        expires_ms,
        now_ms: hub.now_ms(),
    };
    if !hub
        .writer
        .call(move |store| store.note_next_token(&next))
        .await?
    {
        let detail = "this token was used before";
        return Err(ApiError::new(Code::Conflict, detail).hint("the till makes another one"));
    }
    crash::pass(CrashPoint::TokenNoted);
    tracing::debug!(node = %node.id, "a till has named its next token");
    Ok(Json(TokenAnswer { expires_ms }))
}

/// Asks a node to change its token at its next contact.
#[utoipa::path(
    post,
    path = "/v1/admin/nodes/{node}/rotate-token",
    tag = "nodes",
    responses((status = 200, body = NodeRow)),
)]
async fn rotate(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    segments: Segments,
) -> Result<Json<NodeRow>, ApiError> {
    let node = super::admin::named_node(&segments)?;
    let (by, now_ms) = (caller.name(), hub.now_ms());
    hub.writer
        .call(move |store| store.ask_for_token(node, (&by, now_ms)))
        .await?;
    tracing::info!(%node, "a till is asked for another token");
    super::admin::node_row(&hub, node).await
}
