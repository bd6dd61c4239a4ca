//! Showing stock: levels, and what changed them.

use crate::api::{asked, bad_request, page_size};
use crate::node::Node;
use crate::problem::Refusal;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::stock::{Reconciliation, StockChanges, StockLevels};
use counterfoil_shop_store::StoreError;
use counterfoil_shop_store::levels::LevelFilter;
use serde::Deserialize;
use utoipa::IntoParams;

/// Rows in a page when the caller does not say, and at most.
const PAGE_ROWS_MAX: u32 = 1_000;

/// Which levels.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LevelQuery {
    /// Only of this product; one that was merged into another is shown as that one.
    sku: Option<String>,
    /// Only those of which more was sold than somebody had counted.
    #[serde(default)]
    oversold: bool,
    /// The `next` of the page before.
    #[serde(default)]
    after: String,
    /// Largest number of rows.
    limit: Option<u32>,
}

/// Which changes.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ChangeQuery {
    /// The product.
    sku: String,
    /// The `next` of the page before.
    before: Option<i64>,
    /// Largest number of rows.
    limit: Option<u32>,
}

/// Levels of stock in this shop, of all its lanes, as far as they are known here.
#[utoipa::path(
    get,
    path = "/v1/stock",
    tag = "stock",
    params(LevelQuery),
    responses((status = 200, body = StockLevels)),
)]
pub(super) async fn levels(
    State(node): State<Node>,
    query: Result<Query<LevelQuery>, QueryRejection>,
) -> Result<axum::Json<StockLevels>, Refusal> {
    let query = asked(query)?;
    let limit = usize::try_from(page_size(query.limit, PAGE_ROWS_MAX)?).unwrap_or(usize::MAX);
    let behind = node.catch_up_stock().await?;
    if let Some(sku) = query.sku {
        let name = sku.clone();
        let found = node.store(move |store| store.stock_level(&sku)).await?;
        let detail = format!("nothing of {name} has moved, and nobody has counted it");
        let level = found.ok_or_else(|| Problem::new(Code::NotFound, detail))?;
        return Ok(axum::Json(StockLevels {
            levels: vec![level],
            next: None,
            behind,
        }));
    }
    let filter = LevelFilter {
        after: query.after,
        oversold: query.oversold,
        limit,
    };
    let levels = node.store(move |store| store.stock_levels(&filter)).await?;
    let is_full = levels.len() >= limit;
    let next = levels.last().filter(|_| is_full);
    Ok(axum::Json(StockLevels {
        next: next.map(|level| level.sku.clone()),
        levels,
        behind,
    }))
}

/// What changed the stock of a product, newest first.
#[utoipa::path(
    get,
    path = "/v1/stock/changes",
    tag = "stock",
    params(ChangeQuery),
    responses((status = 200, body = StockChanges)),
)]
pub(super) async fn changes(
    State(node): State<Node>,
    query: Result<Query<ChangeQuery>, QueryRejection>,
) -> Result<axum::Json<StockChanges>, Refusal> {
    let ChangeQuery { sku, before, limit } = asked(query)?;
    if sku.trim().is_empty() {
        return Err(bad_request("`sku` is the code of a product"));
    }
    let limit = i64::from(page_size(limit, PAGE_ROWS_MAX)?);
    node.catch_up_stock().await?;
    let read = move |store: &mut counterfoil_shop_store::ShopStore| -> Result<_, StoreError> {
        store.stock_changes(&sku, before, limit)
    };
    let changes = node.store(read).await?;
    let is_full = i64::try_from(changes.len()).is_ok_and(|rows| rows >= limit);
    let next = changes.last().filter(|_| is_full);
    Ok(axum::Json(StockChanges {
        next: next.map(|change| change.change),
        changes,
    }))
}

/// Compares stock with all lanes that are connected now, and counts again what this lane has counted wrong.
#[utoipa::path(
    post,
    path = "/v1/stock/reconciliation",
    tag = "stock",
    responses((status = 200, body = Reconciliation)),
)]
pub(super) async fn reconcile(
    State(node): State<Node>,
) -> Result<axum::Json<Reconciliation>, Refusal> {
    Ok(axum::Json(node.reconcile().await?))
}
