//! What a till hears of conflicts: those in which its own shop has a part, and no others. It decides them by an
//! edit in its book.

use super::ApiError;
use super::conflicts::{Asked, asked};
use crate::hub::Hub;
use crate::store::AuthedNode;
use axum::Json;
use axum::extract::State;
use counterfoil_protocol::wire::decisions::{ConflictChanges, ConflictCursor};
use serde::Deserialize;
use std::sync::Arc;

/// From which place on; from the beginning when left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangesQuery {
    #[serde(default)]
    change: i64,
    #[serde(default)]
    id: i64,
}

/// `GET /v1/conflicts`.
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
