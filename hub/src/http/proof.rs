//! The proof of a business day (X9).

use super::ApiError;
use super::auth::Operator;
use crate::hub::Hub;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use counterfoil_domain::closure::Day;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::closure::Proof;
use http::Uri;
use std::sync::Arc;

pub(super) fn router() -> Router<Arc<Hub>> {
    Router::new().route("/proof", get(proof))
}

async fn proof(
    State(hub): State<Arc<Hub>>,
    _: Operator,
    uri: Uri,
) -> Result<Json<Proof>, ApiError> {
    let query = uri.query().unwrap_or_default();
    let day = query
        .strip_prefix("day=")
        .and_then(|text| text.parse::<Day>().ok());
    let refused = || ApiError::new(Code::BadRequest, "`day` is written YYYY-MM-DD");
    let day = day.ok_or_else(refused)?;
    Ok(Json(
        hub.reports.call(move |reader| reader.proof(day)).await?,
    ))
}
