//! Taking back what this shop wrote to the catalog.

use crate::api::Json;
use crate::api::employees::Headers;
use crate::node::Node;
use crate::problem::Refusal;
use crate::sync;
use axum::extract::State;
use counterfoil_domain::employee::Permission;
use counterfoil_protocol::wire::decisions::{UNDO_PATH, UndoRequest, Undone};

/// Takes back what one till of this shop wrote to the catalog in a time, or one import of it. Needs the hub.
#[utoipa::path(
    post,
    path = UNDO_PATH,
    tag = "conflicts",
    request_body = UndoRequest,
    responses((status = 200, body = Undone)),
)]
pub(super) async fn undo(
    State(node): State<Node>,
    Headers(presented): Headers,
    Json(request): Json<UndoRequest>,
) -> Result<axum::Json<Undone>, Refusal> {
    let now_ms = node.now_ms();
    node.store(move |store| store.admit(presented, Some(Permission::Manage), now_ms))
        .await?;
    match sync::undo(&node, &request).await {
        Ok(undone) => Ok(axum::Json(undone)),
        Err(error) => Err(error.problem().into()),
    }
}
