//! What a till hears of conflicts: those in which its own shop has a part, and no others. It decides them by an
//! edit in its book.

use super::ApiError;
use super::conflicts::{Asked, asked};
use crate::hub::Hub;
use crate::store::AuthedNode;
use axum::Json;
use axum::extract::State;
use counterfoil_protocol::wire::decisions::{ConflictChanges, ConflictCursor};
use counterfoil_protocol::wire::hub::CONFLICTS_PATH;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// From which place on; from the beginning when left out.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChangesQuery {
    /// The `change` of the place.
    #[serde(default)]
    change: i64,
    /// The `id` of the place.
    #[serde(default)]
    id: i64,
}

/// Lists conflicts in which the shop of the till has a part, changed since a place.
#[utoipa::path(
    get,
    path = CONFLICTS_PATH,
    tag = "nodes",
    params(ChangesQuery),
    responses((status = 200, body = ConflictChanges)),
)]
pub(crate) async fn changes(
    State(hub): State<Arc<Hub>>,
    node: AuthedNode,
    query: Asked<ChangesQuery>,
) -> Result<Json<ConflictChanges>, ApiError> {
    let ChangesQuery { change, id } = asked(query)?;
    let after = ConflictCursor { change, id };
    let find = move |reader: &mut crate::store::Reader| reader.changed_conflicts(node.shop, after);
    Ok(Json(hub.reports.call(find).await?))
}
