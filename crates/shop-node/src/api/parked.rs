//! Parked sales: a cart is put aside at one lane, and finished (`documents::sale`) or discarded at any lane of the shop.

use crate::api::documents::{Answer, record};
use crate::api::employees::Headers;
use crate::api::{Json, asked, page_size};
use crate::node::Node;
use crate::problem::Refusal;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use counterfoil_domain::{DocumentId, Topic};
use counterfoil_protocol::wire::node::Recorded;
use counterfoil_protocol::wire::parked::{DiscardRequest, ParkRequest, ParkedSales};
use serde::Deserialize;
use utoipa::IntoParams;

/// Rows in a page when the caller does not say, and at most.
const PAGE_ROWS_MAX: u32 = 1_000;

/// Which of them.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ParkedQuery {
    /// The `next` of the page before.
    after: Option<DocumentId>,
    /// Largest number of rows.
    limit: Option<u32>,
}

/// Puts a cart aside, unpaid. Every lane of the shop can finish it as soon as it has heard of it.
#[utoipa::path(
    post,
    path = "/v1/parked",
    tag = "documents",
    request_body = ParkRequest,
    responses((status = 200, body = Recorded)),
)]
pub(super) async fn park(
    State(node): State<Node>,
    Headers(presented): Headers,
    Json(request): Json<ParkRequest>,
) -> Answer {
    record(
        &node,
        (Topic::ParkedSale, request.id),
        presented,
        move |store, now_ms| store.draft_parked(&request, now_ms),
    )
    .await
}

/// Records that a parked sale will not be paid.
#[utoipa::path(
    post,
    path = "/v1/parked/discard",
    tag = "documents",
    request_body = DiscardRequest,
    responses((status = 200, body = Recorded)),
)]
pub(super) async fn discard(
    State(node): State<Node>,
    Headers(presented): Headers,
    Json(request): Json<DiscardRequest>,
) -> Answer {
    record(
        &node,
        (Topic::ParkedDiscard, request.id),
        presented,
        move |store, now_ms| store.draft_discard(&request, now_ms),
    )
    .await
}

/// Parked sales of all lanes of the shop that nobody has finished or discarded, as far as is known here.
#[utoipa::path(
    get,
    path = "/v1/parked",
    tag = "documents",
    params(ParkedQuery),
    responses((status = 200, body = ParkedSales)),
)]
pub(super) async fn list(
    State(node): State<Node>,
    query: Result<Query<ParkedQuery>, QueryRejection>,
) -> Result<axum::Json<ParkedSales>, Refusal> {
    let ParkedQuery { after, limit } = asked(query)?;
    let limit = usize::try_from(page_size(limit, PAGE_ROWS_MAX)?).unwrap_or(usize::MAX);
    let now_ms = node.now_ms();
    let parked = node
        .store(move |store| store.parked_sales(after, limit, now_ms))
        .await?;
    let is_full = parked.len() >= limit;
    let next = parked.last().filter(|_| is_full);
    Ok(axum::Json(ParkedSales {
        next: next.map(|row| row.id),
        parked,
    }))
}
