//! Lanes in trial that a person pairs (ADR 0026).

use super::Json;
use super::employees::Headers;
use crate::mesh::pairing;
use crate::node::Node;
use crate::problem::Refusal;
use axum::extract::State;
use counterfoil_domain::employee::Permission;
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::pairing::{
    PairCommand, PairingAnswer, PairingLeft, PairingStatus, RevokeCommand,
};
use counterfoil_shop_store::Presented;

/// Another lane hears everything: where PINs are asked for, that is for those who may manage.
async fn admit(node: &Node, presented: Presented) -> Result<(), Refusal> {
    let now_ms = node.now_ms();
    let admitted =
        node.store(move |store| store.admit(presented, Some(Permission::Manage), now_ms));
    Ok(admitted.await?)
}

/// Pairs this lane in trial with others, in their own network, without a hub: with an empty request it shows a code; with
/// `code` and `with` it joins the lane that shows one.
#[utoipa::path(
    post,
    path = "/v1/pairing",
    tag = "lanes",
    request_body = PairCommand,
    responses((status = 200, body = PairingAnswer)),
)]
pub(super) async fn pair(
    State(node): State<Node>,
    Headers(presented): Headers,
    Json(command): Json<PairCommand>,
) -> Result<axum::Json<PairingAnswer>, Refusal> {
    admit(&node, presented).await?;
    let answer = match (command.code, command.with) {
        (None, None) => pairing::offer(&node).await?,
        (Some(code), Some(with)) => pairing::join(&node, &code, &with).await?,
        _ => {
            let detail = "`code` and `with` come together: the code that the other lane shows, and where it is reached";
            return Err(Problem::new(Code::BadRequest, detail).into());
        }
    };
    Ok(axum::Json(answer))
}

/// Leaves the trial shop. The book stays as it is.
#[utoipa::path(
    delete,
    path = "/v1/pairing",
    tag = "lanes",
    responses((status = 200, body = PairingLeft)),
)]
pub(super) async fn leave(
    State(node): State<Node>,
    Headers(presented): Headers,
) -> Result<axum::Json<PairingLeft>, Refusal> {
    admit(&node, presented).await?;
    Ok(axum::Json(pairing::forget(&node).await?))
}

/// Puts a lane out of the trial shop, at lane 1.
#[utoipa::path(
    post,
    path = "/v1/pairing/revoke",
    tag = "lanes",
    request_body = RevokeCommand,
    responses((status = 200, body = PairingStatus)),
)]
pub(super) async fn revoke(
    State(node): State<Node>,
    Headers(presented): Headers,
    Json(command): Json<RevokeCommand>,
) -> Result<axum::Json<PairingStatus>, Refusal> {
    admit(&node, presented).await?;
    Ok(axum::Json(pairing::revoke(&node, command).await?))
}
