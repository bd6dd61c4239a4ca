//! The catalog as this till sees it, and edits proposed to the hub.

use crate::api::Json;
use crate::node::Node;
use crate::problem::Refusal;
use axum::extract::{Path, State};
use counterfoil_domain::Priority;
use counterfoil_protocol::wire::node::{CatalogDigest, CatalogRow, CatalogSetRequest};
use counterfoil_shop_store::StoreError;

/// Shows a row of the catalog as this till sees it.
#[utoipa::path(
    get,
    path = "/v1/catalog/{table}/{id}",
    tag = "catalog",
    responses((status = 200, body = CatalogRow)),
)]
pub(super) async fn get(
    State(node): State<Node>,
    Path((table, id)): Path<(String, String)>,
) -> Result<axum::Json<CatalogRow>, Refusal> {
    Ok(axum::Json(
        node.store(move |store| store.catalog_get(&table, &id))
            .await?,
    ))
}

/// Edits a row of the catalog, and proposes the edit to the hub.
#[utoipa::path(
    put,
    path = "/v1/catalog/{table}/{id}",
    tag = "catalog",
    request_body = CatalogSetRequest,
    responses((status = 200, body = CatalogRow)),
)]
pub(super) async fn set(
    State(node): State<Node>,
    Path((table, id)): Path<(String, String)>,
    Json(request): Json<CatalogSetRequest>,
) -> Result<axum::Json<CatalogRow>, Refusal> {
    let now_ms = node.now_ms();
    let (recorded, row) = node
        .store(move |store| -> Result<_, StoreError> {
            let recorded = store.catalog_set(&table, &id, &request.columns, now_ms)?;
            Ok((recorded, store.catalog_get(&table, &id)?))
        })
        .await?;
    match recorded {
        Some(recorded) => {
            tracing::info!(id = %recorded.id, seq = recorded.seq, table = %row.table, row = %row.id,
                "catalog edit recorded");
            node.recorded(Priority::Normal);
        }
        None => tracing::debug!(table = %row.table, row = %row.id, "the edit changes nothing"),
    }
    Ok(axum::Json(row))
}

/// Digests the catalog, to compare with the hub.
#[utoipa::path(
    get,
    path = "/v1/catalog-digest",
    tag = "catalog",
    responses((status = 200, body = CatalogDigest)),
)]
pub(super) async fn digest(State(node): State<Node>) -> Result<axum::Json<CatalogDigest>, Refusal> {
    Ok(axum::Json(
        node.store(|store| store.catalog_digest()).await?,
    ))
}
