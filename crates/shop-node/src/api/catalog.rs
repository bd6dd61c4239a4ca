//! The catalog as this till sees it, and edits proposed to the hub.

use crate::api::employees::Headers;
use crate::api::{Json, named};
use crate::node::Node;
use crate::problem::Refusal;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use counterfoil_domain::Priority;
use counterfoil_domain::edit::{DELETED, row_id};
use counterfoil_protocol::wire::aliases::{MergeAnswer, MergeRequest};
use counterfoil_protocol::wire::node::{CatalogDigest, CatalogRow, CatalogSetRequest};
use counterfoil_shop_store::{EditOf, Presented, ShopStore, StoreError, column_names, sets_pin};

/// Table and id of a row, as the address names them.
type NamedRow = Result<Path<(String, String)>, PathRejection>;

/// Shows a row of the catalog as this till sees it.
#[utoipa::path(
    get,
    path = "/v1/catalog/{table}/{id}",
    tag = "catalog",
    responses((status = 200, body = CatalogRow)),
)]
pub(super) async fn get(
    State(node): State<Node>,
    row: NamedRow,
) -> Result<axum::Json<CatalogRow>, Refusal> {
    let (table, id) = named(row)?;
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
    row: NamedRow,
    Headers(presented): Headers,
    Json(request): Json<CatalogSetRequest>,
) -> Result<axum::Json<CatalogRow>, Refusal> {
    let (table, id) = named(row)?;
    let now_ms = node.now_ms();
    let work = move |store: &mut ShopStore| -> Result<_, StoreError> {
        let of = EditOf {
            table: &table,
            row: &id,
            columns: &column_names(&request.columns),
            sets_pin: sets_pin(&request.columns),
        };
        store.admit_edit(presented, of, now_ms)?;
        let recorded = store.catalog_set(&table, &id, &request.columns, now_ms)?;
        // Who deletes a duplicate is shown the duplicate.
        let row = match request.columns.contains_key(DELETED) {
            true => store.catalog_row(&table, &id)?,
            false => store.catalog_get(&table, &id)?,
        };
        Ok((recorded, row))
    };
    let (recorded, row) = node.store(work).await?;
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

/// Merges a customer or product into another one, which stands for it from now on.
#[utoipa::path(
    post,
    path = "/v1/catalog/{table}/{id}/merge",
    tag = "catalog",
    request_body = MergeRequest,
    responses((status = 200, body = MergeAnswer)),
)]
pub(super) async fn merge(
    State(node): State<Node>,
    row: NamedRow,
    Headers(presented): Headers,
    Json(request): Json<MergeRequest>,
) -> Result<axum::Json<MergeAnswer>, Refusal> {
    merged(&node, named(row)?, presented, Some(request.into)).await
}

/// Takes a merge back.
#[utoipa::path(
    post,
    path = "/v1/catalog/{table}/{id}/unmerge",
    tag = "catalog",
    responses((status = 200, body = MergeAnswer)),
)]
pub(super) async fn unmerge(
    State(node): State<Node>,
    row: NamedRow,
    Headers(presented): Headers,
) -> Result<axum::Json<MergeAnswer>, Refusal> {
    merged(&node, named(row)?, presented, None).await
}

async fn merged(
    node: &Node,
    (table, id): (String, String),
    presented: Presented,
    into: Option<String>,
) -> Result<axum::Json<MergeAnswer>, Refusal> {
    let now_ms = node.now_ms();
    let work = move |store: &mut ShopStore| -> Result<_, StoreError> {
        store.admit(presented, None, now_ms)?;
        let recorded = match into {
            Some(into) => store.merge_rows(&table, &id, &into, now_ms)?,
            None => store.unmerge_row(&table, &id, now_ms)?,
        };
        let row = row_id(&table, &id);
        let survivor = store.survivor(&table, &row)?;
        let answer = MergeAnswer {
            table,
            row,
            survivor,
        };
        Ok((recorded, answer))
    };
    let (recorded, answer) = node.store(work).await?;
    if let Some(recorded) = recorded {
        tracing::info!(id = %recorded.id, seq = recorded.seq, ?answer, "merge recorded");
        node.recorded(Priority::Normal);
    }
    Ok(axum::Json(answer))
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
