//! Escrow: products that are sold by right, and what of them each lane may sell.

use crate::api::Json;
use crate::api::documents::{Answer, record};
use crate::api::employees::Headers;
use crate::node::Node;
use crate::problem::Refusal;
use axum::extract::State;
use counterfoil_domain::Topic;
use counterfoil_protocol::wire::escrow::{EscrowRequest, Escrows};
use counterfoil_protocol::wire::node::Recorded;

/// Begins or ends the escrow of a product, or moves rights between lanes. To take over, release and end needs the permission
/// `manage` where employees sign in.
#[utoipa::path(
    post,
    path = "/v1/escrow",
    tag = "documents",
    request_body = EscrowRequest,
    responses((status = 200, body = Recorded)),
)]
pub(super) async fn order(
    State(node): State<Node>,
    Headers(presented): Headers,
    Json(request): Json<EscrowRequest>,
) -> Answer {
    let (what, sku) = (request.what, request.sku.clone());
    let recorded = record(
        &node,
        (Topic::Escrow, request.id),
        presented,
        move |store, now_ms| store.draft_escrow(&request, now_ms),
    )
    .await?;
    if !recorded.repeated {
        node.tell_escrow_order(what, &sku, &recorded).await;
    }
    Ok(recorded)
}

/// Products under escrow, with what each lane may sell, as far as is known here.
#[utoipa::path(
    get,
    path = "/v1/escrow",
    tag = "documents",
    responses((status = 200, body = Escrows)),
)]
pub(super) async fn list(State(node): State<Node>) -> Result<axum::Json<Escrows>, Refusal> {
    let escrows = node.store(|store| store.escrows()).await?;
    Ok(axum::Json(Escrows { escrows }))
}
