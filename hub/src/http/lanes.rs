//! Certificates for the lanes of a shop (P10).

use super::ApiError;
use super::bodies::read_json;
use crate::hub::Hub;
use crate::lanes::LaneAuthorityError;
use crate::store::{AuthedNode, Reader, Store};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use counterfoil_domain::ShopId;
use counterfoil_domain::hex::array_from_hex;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::certificate::{
    LANE_CERTIFICATE_PATH, LaneCertificate, LaneCertificateRequest, LaneStanding,
};
use http::HeaderMap;
use std::sync::Arc;

fn not_made(error: &LaneAuthorityError) -> ApiError {
    let error: &dyn std::error::Error = error;
    tracing::error!(error, "the authority of a shop's lanes does not work");
    ApiError::new(Code::Internal, "no certificate can be made now")
}

/// What a till hears of the authority of its shop at each hello.
pub(super) async fn standing(hub: &Hub, shop: ShopId) -> Result<LaneStanding, ApiError> {
    let find = move |reader: &mut Reader| reader.revocations_number(shop);
    let revocations = hub.lookups.call(find).await?;
    let authority_key = hub.lanes.of(shop).public_key();
    Ok(LaneStanding {
        authority_key: authority_key.map_err(|error| not_made(&error))?,
        revocations,
    })
}

/// Gives the caller a certificate by which the other lanes of its shop know it.
#[utoipa::path(
    post,
    path = LANE_CERTIFICATE_PATH,
    tag = "nodes",
    request_body = LaneCertificateRequest,
    responses((status = 200, body = LaneCertificate)),
)]
pub(crate) async fn certificate(
    State(hub): State<Arc<Hub>>,
    node: AuthedNode,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<LaneCertificate>, ApiError> {
    let request: LaneCertificateRequest = read_json(&headers, body).await?;
    let malformed = || ApiError::new(Code::Invalid, "public_key is 64 hexadecimal digits");
    let key = array_from_hex(&request.public_key).ok_or_else(malformed)?;
    let (known, now_ms) = (request.revocations, hub.now_ms());
    let find = move |store: &mut Store| store.revocations(node.shop, known, now_ms);
    let revoked = hub.writer.call(find).await?;
    let random = &*hub.env.random;
    let given = hub.lanes.of(node.shop);
    let given = given.issue((node.id, key), &revoked, random, now_ms);
    let given = given.map_err(|error| not_made(&error))?;
    tracing::info!(node = %node.id, expires_ms = given.expires_ms, "a lane has a certificate");
    Ok(Json(given))
}
