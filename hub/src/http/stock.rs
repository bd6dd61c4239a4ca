//! Stock of a shop (X3), as far as its lanes' entries were consolidated.

use super::ApiError;
use super::access::{READ_SHOP, another_shop};
use super::caller::Caller;
use super::calls::Calls;
use super::conflicts::{Asked, asked, shop_named};
use crate::hub::Hub;
use crate::store::{Reader, StockFilter};
use axum::Json;
use axum::extract::State;
use counterfoil_domain::ShopId;
use counterfoil_domain::document::normalize_code;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::stock::StockLevels;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;
use utoipa_axum::routes;

/// Rows in a page when the caller does not say, and at most.
const PAGE_ROWS_MAX: usize = 1_000;

pub(super) fn calls() -> Calls {
    Calls::new().add(READ_SHOP, routes!(stock))
}

/// Which levels.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StockQuery {
    /// Name or id of the shop; whoever sees one shop alone need not say it.
    shop: Option<String>,
    /// Only of this product; one that was merged into another is shown as that one.
    sku: Option<String>,
    /// Only those of which more was sold than somebody had counted.
    #[serde(default)]
    oversold: bool,
    /// The `next` of the page before.
    #[serde(default)]
    after: String,
    /// Largest number of rows.
    limit: Option<usize>,
}

/// Levels of stock of a shop, of all its lanes.
#[utoipa::path(
    get,
    path = "/v1/admin/stock",
    tag = "stock",
    params(StockQuery),
    responses((status = 200, body = StockLevels)),
)]
async fn stock(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    query: Asked<StockQuery>,
) -> Result<Json<StockLevels>, ApiError> {
    let query = asked(query)?;
    let limit = query.limit.unwrap_or(PAGE_ROWS_MAX);
    if !(1..=PAGE_ROWS_MAX).contains(&limit) {
        let detail = format!("`limit` is 1 to {PAGE_ROWS_MAX}");
        return Err(ApiError::new(Code::BadRequest, detail));
    }
    let shop = shop_of(&hub, &caller, query.shop).await?;
    let filter = StockFilter {
        sku: query.sku.as_deref().map(normalize_code),
        oversold: query.oversold,
        after: query.after,
        limit,
    };
    let find = move |reader: &mut Reader| reader.stock(shop, &filter);
    let (levels, behind) = hub.reports.call(find).await?;
    let next = levels.last().filter(|_| levels.len() == limit);
    Ok(Json(StockLevels {
        next: next.map(|level| level.sku.clone()),
        levels,
        behind,
    }))
}

async fn shop_of(hub: &Hub, caller: &Caller, named: Option<String>) -> Result<ShopId, ApiError> {
    let Some(named) = named else {
        let missing = ApiError::new(Code::BadRequest, "`shop` is missing: whose stock?")
            .hint("`counterfoil-hub shop list` shows names and ids");
        return caller.shop.ok_or(missing);
    };
    let shop = shop_named(hub, named).await?;
    match caller.sees(shop) {
        true => Ok(shop),
        false => Err(another_shop(hub, caller, "stock").await),
    }
}
