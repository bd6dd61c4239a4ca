//! Certificates for the lanes of a shop (P10).

use super::ApiError;
use super::bodies::read_json;
use crate::hub::Hub;
use crate::lanes::{LaneAuthority, LaneAuthorityError};
use crate::store::{Applicant, AuthedNode, Certified, Reader, Store};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use counterfoil_domain::ShopId;
use counterfoil_domain::hex::array_from_hex;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::certificate::{
    LANE_CERTIFICATE_PATH, LaneCertificate, LaneCertificateRequest, LaneStanding, REVOKED_LISTS_MAX,
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

/// Who asks, with what the shop's authority has signed. What somebody else signed says nothing here.
fn applicant(
    authority: &LaneAuthority,
    node: &AuthedNode,
    key: [u8; 32],
    request: &LaneCertificateRequest,
) -> Result<Applicant, ApiError> {
    let mut lists = Vec::new();
    for signed in request.lists.iter().take(REVOKED_LISTS_MAX) {
        let list = authority.read(signed).map_err(|error| not_made(&error))?;
        lists.extend(list);
    }
    Ok(Applicant {
        node: node.id,
        shop: node.shop,
        key,
        lists,
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
    let authority = hub.lanes.of(node.shop);
    let (applicant, now_ms) = (applicant(&authority, &node, key, &request)?, hub.now_ms());
    let certify = move |store: &mut Store| store.certify(&applicant, now_ms);
    let (revoked, begins_ms) = match hub.writer.call(certify).await? {
        Certified::Given { revoked, begins_ms } => (revoked, begins_ms),
        Certified::KeyRefused => {
            let detail =
                "this key was certified before the till was revoked: somebody else may have it";
            return Err(
                ApiError::new(Code::Conflict, detail).hint("make another key and ask again")
            );
        }
        Certified::Revoked => {
            let detail = "this till's access was revoked at the hub, before the hub was restored from a backup";
            return Err(ApiError::new(Code::Unauthorized, detail)
                .hint("activate the till again with a new join code"));
        }
    };
    let (random, when) = (&*hub.env.random, (begins_ms, now_ms));
    let given = authority.issue((node.id, key), &revoked, random, when);
    let given = given.map_err(|error| not_made(&error))?;
    tracing::info!(node = %node.id, expires_ms = given.expires_ms, "a lane has a certificate");
    Ok(Json(given))
}
