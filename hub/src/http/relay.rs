//! What lanes bring of another lane's journal (X7), and the list of it for people.

use super::ApiError;
use super::access::READ_SHOP;
use super::bodies::{read_json, read_json_of};
use super::caller::Caller;
use super::calls::Calls;
use crate::consolidator::{ConsolidateError, log};
use crate::copies::CopyKey;
use crate::hub::Hub;
use crate::limits::RELAY_BYTES_MAX;
use crate::store::{AuthedNode, Lane, Reader, Relayed, Store};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use counterfoil_domain::NodeId;
use counterfoil_domain::lineage::Point;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::lane::ORIGINS_MAX;
use counterfoil_protocol::wire::relay::{
    RELAY_ENDS_PATH, RELAY_PATH, RelayEnd, RelayEnds, RelayEndsRequest, RelayRequest, RelayedRow,
};
use http::HeaderMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa_axum::routes;

pub(super) fn calls() -> Calls {
    Calls::new().add(READ_SHOP, routes!(relays))
}

/// Tells a lane how far the hub has the journals of other lanes of its shop.
#[utoipa::path(
    post,
    path = RELAY_ENDS_PATH,
    tag = "nodes",
    request_body = RelayEndsRequest,
    responses((status = 200, body = RelayEnds)),
)]
pub(crate) async fn ends(
    State(hub): State<Arc<Hub>>,
    by: AuthedNode,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RelayEnds>, ApiError> {
    let request: RelayEndsRequest = read_json(&headers, body).await?;
    if request.holds.len() > ORIGINS_MAX {
        let detail = format!("{ORIGINS_MAX} journals can be asked about at once");
        return Err(ApiError::new(Code::TooLarge, detail));
    }
    let holds: BTreeMap<NodeId, Point> =
        request.holds.iter().map(|it| (it.origin, it.end)).collect();
    let mut journals = Vec::with_capacity(holds.len());
    for (origin, end) in holds {
        // Of what is not of the shop nothing is said.
        let Some(lane) = lane_of(&hub, by, origin).await? else {
            continue;
        };
        match end_of(&hub, by, (origin, lane), end).await {
            Ok(end) => journals.push(end),
            // A copy that cannot be read keeps no other journal back.
            Err(error) => log(&error),
        }
    }
    Ok(Json(RelayEnds { journals }))
}

async fn lane_of(hub: &Hub, by: AuthedNode, id: NodeId) -> Result<Option<Lane>, ApiError> {
    let find = move |reader: &mut Reader| reader.lane_of(by.shop, id);
    Ok(hub.lookups.call(find).await?)
}

async fn end_of(
    hub: &Hub,
    by: AuthedNode,
    (origin, lane): (NodeId, Lane),
    end: Point,
) -> Result<RelayEnd, ConsolidateError> {
    let (held, book) = hub.held_book(origin).await?.unzip();
    let now_ms = hub.now_ms();
    let find = move |store: &mut Store| store.relay_end(&by, (lane, book.as_ref()), end, now_ms);
    hub.on_book(held, find).await
}

/// Takes entries of another lane of the shop from one that holds them.
#[utoipa::path(
    post,
    path = RELAY_PATH,
    tag = "nodes",
    request_body = RelayRequest,
    responses((status = 200, body = RelayEnd)),
)]
pub(crate) async fn relay(
    State(hub): State<Arc<Hub>>,
    by: AuthedNode,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RelayEnd>, ApiError> {
    let request: RelayRequest = read_json_of(&headers, body, RELAY_BYTES_MAX).await?;
    let read = request.read();
    let (origin, entries) =
        read.map_err(|error| ApiError::new(Code::Invalid, error.to_string()))?;
    let count = entries.len();
    if origin == by.id {
        let detail = "a till pushes its own book";
        return Err(ApiError::new(Code::Invalid, detail));
    }
    let Some(lane) = lane_of(&hub, by, origin).await? else {
        hub.refused(&by.id.to_string(), "relay").await;
        let detail = "the entries are of no lane of this till's shop";
        return Err(ApiError::new(Code::Forbidden, detail));
    };
    let (held, book) = hub.held_book(origin).await?.unzip();
    let now_ms = hub.now_ms();
    let keep = move |store: &mut Store| store.relay(&by, (lane, book.as_ref()), &entries, now_ms);
    match hub.on_book(held, keep).await? {
        Relayed::Taken { known, new } => {
            if new {
                tracing::info!(node = %origin, by = %by.id, entries = count, "a lane brought another one's entries");
                hub.arrived(&CopyKey::Book(origin)).await;
            }
            let diverged = false;
            Ok(Json(RelayEnd {
                origin,
                known,
                diverged,
            }))
        }
        Relayed::Gap { known } => {
            let detail = format!(
                "entries before these are missing: the hub has them up to {}",
                known.seq
            );
            Err(ApiError::new(Code::Conflict, detail).hint("ask for the ends again"))
        }
        Relayed::Diverged { known } => {
            let detail = format!(
                "the hub has other entries at these places, up to {}: two books went on under one name",
                known.seq
            );
            Err(ApiError::new(Code::Diverged, detail).hint("the operator of the hub is told"))
        }
    }
}

/// Lists entries that reached the hub by another lane, newest first, at most a thousand rows.
#[utoipa::path(
    get,
    path = "/v1/admin/relays",
    tag = "status",
    responses((status = 200, body = Vec<RelayedRow>)),
)]
async fn relays(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
) -> Result<Json<Vec<RelayedRow>>, ApiError> {
    let find = move |reader: &mut Reader| reader.relayed(caller.shop);
    Ok(Json(hub.reports.call(find).await?))
}
