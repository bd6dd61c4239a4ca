//! A till whose history is not the hub's: how far they agree, and who it is from now on.

use super::ApiError;
use super::bodies::read_json;
use super::tokens::read_hash;
use crate::hub::Hub;
use crate::store::{AuthedNode, Claim, Claimed, Store};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::lineage::{
    IDENTITY_PATH, IdentityAnswer, IdentityRequest, LINEAGE_PATH, LineageAnswer, LineageRequest,
};
use counterfoil_replica::crash::{self, CrashPoint};
use http::HeaderMap;
use std::sync::Arc;

/// Tells how far the history of a till is the hub's.
#[utoipa::path(
    post,
    path = LINEAGE_PATH,
    tag = "nodes",
    request_body = LineageRequest,
    responses((status = 200, body = LineageAnswer)),
)]
pub(crate) async fn points(
    State(hub): State<Arc<Hub>>,
    node: AuthedNode,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<LineageAnswer>, ApiError> {
    let request: LineageRequest = read_json(&headers, body).await?;
    let (held, book) = hub.held_book(node.id).await?.unzip();
    let id = node.id;
    let find = move |store: &mut Store| store.lineage(&node, book.as_ref(), request);
    let points = hub.on_book(held, find).await?;
    tracing::info!(node = %id, ?request, points = points.len(), "asked for its lineage");
    Ok(Json(LineageAnswer { points }))
}

/// Gives a restored or cloned till an identity of its own.
#[utoipa::path(
    post,
    path = IDENTITY_PATH,
    tag = "nodes",
    request_body = IdentityRequest,
    responses((status = 200, body = IdentityAnswer)),
)]
pub(crate) async fn identity(
    State(hub): State<Arc<Hub>>,
    from: AuthedNode,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<IdentityAnswer>, ApiError> {
    let request: IdentityRequest = read_json(&headers, body).await?;
    let claim = Claim {
        from,
        node: request.node,
        token_hash: read_hash(&request.token_hash)?,
        token_expires_ms: hub.token_expires_ms().await?,
        common: request.common,
        schemas: request.schemas,
        now_ms: hub.now_ms(),
    };
    let (held, book) = hub.held_book(from.id).await?.unzip();
    let claimed = hub.on_book(held, move |store| store.claim(&claim, book.as_ref()));
    match claimed.await? {
        Claimed::Given { answer, new } => {
            crash::pass(CrashPoint::IdentityGiven);
            let (node, lane) = (request.node, answer.lane);
            tracing::warn!(%node, former = %from.id, lane, new,
                "a till goes on under a new identity: it was restored from a backup or cloned");
            Ok(Json(answer))
        }
        Claimed::Taken => {
            let detail = "another till has this identity";
            Err(ApiError::new(Code::Conflict, detail).hint("the till asks for another one"))
        }
        Claimed::NotCommon => {
            let detail = "the hub does not hold the entry that is said to be common";
            Err(ApiError::new(Code::Diverged, detail).hint("the till compares again"))
        }
        Claimed::TooMany => {
            let detail = "this till was given too many identities already";
            hub.alert("too_many_identities", Some(from.id), detail)
                .await;
            Err(ApiError::new(Code::Forbidden, detail)
                .hint("something restores or copies its data folder again and again"))
        }
    }
}
