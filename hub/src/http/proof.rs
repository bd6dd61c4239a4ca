//! The proof of a business day (X9).

use super::ApiError;
use super::access::READ_SHOP;
use super::caller::Caller;
use super::calls::Calls;
use crate::hub::Hub;
use axum::Json;
use axum::extract::State;
use counterfoil_domain::closure::Day;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::closure::Proof;
use http::Uri;
use std::sync::Arc;
use utoipa_axum::routes;

pub(super) fn calls() -> Calls {
    Calls::new().add(READ_SHOP, routes!(proof))
}

/// Proves a business day from what was consolidated.
#[utoipa::path(
    get,
    path = "/v1/admin/proof",
    tag = "proof",
    params(("day" = Day, Query, description = "The business day")),
    responses((status = 200, body = Proof)),
)]
async fn proof(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<Proof>, ApiError> {
    let query = uri.query().unwrap_or_default();
    let day = query
        .strip_prefix("day=")
        .and_then(|text| text.parse::<Day>().ok());
    let refused = || ApiError::new(Code::BadRequest, "`day` is written YYYY-MM-DD");
    let day = day.ok_or_else(refused)?;
    let proof = hub
        .reports
        .call(move |reader| reader.proof(day, caller.shop));
    Ok(Json(proof.await?))
}
