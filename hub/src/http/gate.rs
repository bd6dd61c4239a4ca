//! The schema gate: what a till of other schemas may do, and the operator's calls about it.

use super::ApiError;
use super::access::{OWNER, READ_CHAIN};
use super::bodies::read_json;
use super::caller::Caller;
use super::calls::Calls;
use crate::copies::CopyKey;
use crate::hub::Hub;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use counterfoil_domain::NodeId;
use counterfoil_protocol::gate::{Gate, SCHEMA_HEADER, Schemas, gate};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::gate::{
    GateRehearsal, GateRehearseRequest, GateReport, GateSet, GateSetRequest,
};
use http::HeaderMap;
use std::sync::Arc;
use utoipa_axum::routes;

type Hubs = State<Arc<Hub>>;
type Answer<T> = Result<Json<T>, ApiError>;

pub(super) fn calls() -> Calls {
    Calls::new()
        .add(READ_CHAIN, routes!(show))
        .add(OWNER, routes!(set))
        .add(READ_CHAIN, routes!(rehearse))
}

/// Shows what is taken from tills of other schemas, and what waits for whom.
#[utoipa::path(
    get,
    path = "/v1/admin/gate",
    tag = "nodes",
    responses((status = 200, body = GateReport)),
)]
async fn show(State(hub): Hubs) -> Answer<GateReport> {
    let schemas = hub.config.schemas;
    let report = hub.reports.call(move |reader| reader.gate_report(schemas));
    Ok(Json(report.await?))
}

/// Sets what is taken from tills that are older than the hub.
#[utoipa::path(
    post,
    path = "/v1/admin/gate",
    tag = "nodes",
    request_body = GateSetRequest,
    responses((status = 200, body = GateSet)),
)]
async fn set(State(hub): Hubs, caller: Caller, headers: HeaderMap, body: Body) -> Answer<GateSet> {
    let GateSetRequest { policy, by } = read_json(&headers, body).await?;
    let (who, now_ms) = (caller.decides(by)?, hub.now_ms());
    let set = hub
        .writer
        .call(move |store| store.set_gate_policy(policy, &who, now_ms));
    let changed = set.await?;
    tracing::info!(policy = policy.name(), changed, "schema gate set");
    // Tills that wait for the catalog ask at once, and hear what holds for them now.
    hub.news.repeat();
    Ok(Json(GateSet { policy, changed }))
}

/// Shows for which tills another policy would make a difference; changes nothing.
#[utoipa::path(
    post,
    path = "/v1/admin/gate/rehearse",
    tag = "nodes",
    request_body = GateRehearseRequest,
    responses((status = 200, body = GateRehearsal)),
)]
async fn rehearse(State(hub): Hubs, headers: HeaderMap, body: Body) -> Answer<GateRehearsal> {
    let GateRehearseRequest { policy } = read_json(&headers, body).await?;
    let schemas = hub.config.schemas;
    let found = hub
        .reports
        .call(move |reader| reader.rehearse_gate(schemas, policy));
    Ok(Json(found.await?))
}

/// What a node says of its schemas; a stock client does not.
pub(super) fn stated(headers: &HeaderMap) -> Result<Option<Schemas>, ApiError> {
    let Some(stated) = headers.get(SCHEMA_HEADER) else {
        return Ok(None);
    };
    let refused = || ApiError::new(Code::BadRequest, format!("{SCHEMA_HEADER} is malformed"));
    let stated = stated.to_str().ok().and_then(Schemas::from_header);
    stated.map(Some).ok_or_else(refused)
}

/// Refuses what an older node asks for, and puts it on record.
pub(super) async fn update_required(
    hub: &Hub,
    node: NodeId,
    has: Schemas,
    meanwhile: &str,
) -> ApiError {
    let own = hub.config.schemas;
    let detail = format!(
        "schema version mismatch, update required: this till has book {} and catalog {}, \
         the hub has book {} and catalog {}",
        has.book, has.catalog, own.book, own.catalog
    );
    hub.alert("update_required", Some(node), &detail).await;
    let hint = format!("install the hub's version of counterfoil-node; {meanwhile}");
    ApiError::new(Code::UpdateRequired, detail).hint(hint)
}

/// Lets frames of a book in, unless its node is older than the hub and the policy is `strict` (L4). Who does not say
/// what it has counts as what it said last.
pub(super) async fn take_book(
    hub: &Hub,
    key: &CopyKey,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    let &CopyKey::Book(node) = key else {
        return Ok(());
    };
    let (own, stated) = (hub.config.schemas, stated(headers)?);
    if stated.is_some_and(|has| gate(own, has) == Gate::Open) {
        return Ok(());
    }
    let look_up = move |reader: &mut crate::store::Reader| {
        let has = match stated {
            Some(has) => Some(has),
            None => reader.said_schemas(node)?,
        };
        Ok::<_, crate::store::StoreError>((reader.gate_policy()?, has))
    };
    match hub.lookups.call(look_up).await? {
        (policy, Some(has)) if !policy.takes_book(gate(own, has)) => {
            let meanwhile = "sales go on and are kept on the till";
            Err(update_required(hub, node, has, meanwhile).await)
        }
        _ => Ok(()),
    }
}
