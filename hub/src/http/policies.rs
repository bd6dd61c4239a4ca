//! The operator's calls about how conflicts are settled.

use super::ApiError;
use super::access::{OWNER, READ_CHAIN, READ_SHARED};
use super::admin::no_table;
use super::bodies::read_json;
use super::caller::Caller;
use super::calls::Calls;
use super::sync::Segments;
use crate::hub::Hub;
use crate::limits::REHEARSAL_DAYS_MAX;
use crate::store::{PolicyError, WantedPolicy};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use counterfoil_domain::merge::Policy;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::policies::{
    PolicyRow, PolicySet, PolicySetRequest, Rehearsal, RehearseRequest,
};
use http::HeaderMap;
use std::sync::Arc;
use utoipa_axum::routes;

type Hubs = State<Arc<Hub>>;
type Answer<T> = Result<Json<T>, ApiError>;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

pub(super) fn calls() -> Calls {
    Calls::new()
        .add(READ_SHARED, routes!(list))
        .add(OWNER, routes!(set))
        .add(READ_CHAIN, routes!(rehearse))
}

/// Lists how conflicts are settled, by table and column.
#[utoipa::path(
    get,
    path = "/v1/admin/policies",
    tag = "policies",
    responses((status = 200, body = Vec<PolicyRow>)),
)]
async fn list(State(hub): Hubs) -> Answer<Vec<PolicyRow>> {
    Ok(Json(hub.reports.call(|reader| reader.policies()).await?))
}

fn wanted(segments: &Segments, policy: Policy) -> WantedPolicy {
    let mut columns: Vec<String> = Vec::new();
    for column in segments.text("columns").split(',').map(str::trim) {
        if !columns.iter().any(|known| known == column) {
            columns.push(column.to_owned());
        }
    }
    WantedPolicy {
        table: segments.text("table").to_owned(),
        columns,
        policy,
    }
}

fn refusal(table: &str, error: PolicyError) -> ApiError {
    match error {
        PolicyError::NoTable => no_table(table),
        PolicyError::Refused(reason) => ApiError::new(Code::Invalid, reason),
    }
}

/// Sets how conflicts of some columns, joined by commas, are settled from now on: all of them or none.
#[utoipa::path(
    post,
    path = "/v1/admin/policies/{table}/{columns}",
    tag = "policies",
    request_body = PolicySetRequest,
    responses((status = 200, body = PolicySet)),
)]
async fn set(
    State(hub): Hubs,
    caller: Caller,
    segments: Segments,
    headers: HeaderMap,
    body: Body,
) -> Answer<PolicySet> {
    let PolicySetRequest { policy, by } = read_json(&headers, body).await?;
    let wanted = wanted(&segments, policy);
    let (table, column) = (wanted.table.clone(), wanted.named());
    let set = hub.set_policy(wanted, caller.decides(by)?).await?;
    let (changed, revision) = set.map_err(|error| refusal(&table, error))?;
    tracing::info!(table, column, policy = policy.name(), changed, "policy set");
    Ok(Json(PolicySet {
        table,
        column,
        policy,
        changed,
        revision,
    }))
}

/// Shows what another policy would have decided; changes nothing.
#[utoipa::path(
    post,
    path = "/v1/admin/policies/{table}/{columns}/rehearse",
    tag = "policies",
    request_body = RehearseRequest,
    responses((status = 200, body = Rehearsal)),
)]
async fn rehearse(
    State(hub): Hubs,
    segments: Segments,
    headers: HeaderMap,
    body: Body,
) -> Answer<Rehearsal> {
    let RehearseRequest { policy, days } = read_json(&headers, body).await?;
    if !(1..=REHEARSAL_DAYS_MAX).contains(&days) {
        let detail = format!("a rehearsal goes back 1 to {REHEARSAL_DAYS_MAX} days");
        return Err(ApiError::new(Code::Invalid, detail));
    }
    let since_ms = hub.now_ms().saturating_sub(i64::from(days) * DAY_MS);
    let wanted = wanted(&segments, policy);
    let table = wanted.table.clone();
    let rehearsal = hub
        .reports
        .call(move |reader| reader.rehearse(&wanted, since_ms))
        .await?;
    Ok(Json(rehearsal.map_err(|error| refusal(&table, error))?))
}
