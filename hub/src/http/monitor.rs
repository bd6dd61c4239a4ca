//! How the hub is: for people, for Prometheus, and for whoever starts and stops it.

use super::ApiError;
use super::access::{ANYONE, OWNER, READ_CHAIN, READ_SHOP};
use super::bodies::read_json;
use super::caller::Caller;
use super::calls::Calls;
use super::conflicts::{Asked, asked, page_size};
use super::sync::Segments;
use crate::hub::Hub;
use crate::limits::PAGE_ROWS_MAX;
use crate::store::RunFilter;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use counterfoil_domain::NodeId;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::monitor::{AcknowledgeRequest, Acknowledged, AlertRow, RunPage};
use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::IntoParams;
use utoipa_axum::routes;

/// What Prometheus is told that it gets.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Hubs = State<Arc<Hub>>;
type Answer<T> = Result<Json<T>, ApiError>;

pub(super) fn calls() -> Calls {
    Calls::new()
        .add(ANYONE, routes!(health))
        .add(ANYONE, routes!(ready))
        .add(READ_CHAIN, routes!(metrics))
        .add(READ_CHAIN, routes!(runs))
        .add(READ_SHOP, routes!(alerts))
        .add(OWNER, routes!(acknowledge_all))
        .add(OWNER, routes!(acknowledge))
}

fn status(wrong: &[String], good: &str) -> Answer<Value> {
    if wrong.is_empty() {
        return Ok(Json(json!({ "status": good })));
    }
    Err(ApiError::new(Code::NotReady, wrong.join("; "))
        .hint("`counterfoil-hub alerts list --open` and the hub's log say more"))
}

/// Whether the process and its main loops are alive; if not, it should be started again.
#[utoipa::path(get, path = "/healthz", tag = "status", responses((status = 200, body = Object)))]
async fn health(State(hub): Hubs) -> Answer<Value> {
    status(&hub.dead().await, "ok")
}

/// Whether the hub can take in sales and consolidate them now.
#[utoipa::path(get, path = "/readyz", tag = "status", responses((status = 200, body = Object)))]
async fn ready(State(hub): Hubs) -> Answer<Value> {
    status(&hub.unready().await, "ready")
}

/// Figures for Prometheus, in the OpenMetrics text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "status",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")),
)]
async fn metrics(State(hub): Hubs) -> Result<Response, ApiError> {
    let text = hub.metrics().await?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RunQuery {
    /// Only of this till.
    node: Option<NodeId>,
    /// The `next` of the page before.
    before: Option<i64>,
    /// Largest number of rows.
    limit: Option<i64>,
}

/// Lists runs of sync, newest first.
#[utoipa::path(
    get,
    path = "/v1/admin/runs",
    tag = "status",
    params(RunQuery),
    responses((status = 200, body = RunPage)),
)]
async fn runs(State(hub): Hubs, query: Asked<RunQuery>) -> Answer<RunPage> {
    let RunQuery {
        node,
        before,
        limit,
    } = asked(query)?;
    let filter = RunFilter {
        node,
        before: before.unwrap_or(i64::MAX),
        limit: page_size(limit)?,
    };
    // Those of the last second too.
    hub.write_runs().await?;
    let page = hub.reports.call(move |reader| reader.runs(filter));
    Ok(Json(page.await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AlertQuery {
    /// Only those that ask for somebody.
    #[serde(default)]
    open: bool,
}

/// Lists the newest alerts, newest first.
#[utoipa::path(
    get,
    path = "/v1/admin/alerts",
    tag = "status",
    params(AlertQuery),
    responses((status = 200, body = Vec<AlertRow>)),
)]
async fn alerts(
    State(hub): Hubs,
    caller: Caller,
    query: Asked<AlertQuery>,
) -> Answer<Vec<AlertRow>> {
    let AlertQuery { open } = asked(query)?;
    let rows = hub
        .reports
        .call(move |reader| reader.alerts(open, caller.shop, PAGE_ROWS_MAX));
    Ok(Json(rows.await?))
}

/// Says that somebody has seen an alert.
#[utoipa::path(
    post,
    path = "/v1/admin/alerts/{alert}/acknowledge",
    tag = "status",
    request_body = AcknowledgeRequest,
    responses((status = 200, body = Acknowledged)),
)]
async fn acknowledge(
    State(hub): Hubs,
    caller: Caller,
    segments: Segments,
    headers: HeaderMap,
    body: Body,
) -> Answer<Acknowledged> {
    let named = segments.text("alert");
    let refused = |_| {
        let detail = format!("`{named}` is not an alert's number");
        ApiError::new(Code::BadRequest, detail)
    };
    let id = named.parse().map_err(refused)?;
    let request = read_json(&headers, body).await?;
    seen(&hub, Some(id), request, &caller).await
}

/// Says that somebody has seen all alerts.
#[utoipa::path(
    post,
    path = "/v1/admin/alerts/acknowledge",
    tag = "status",
    request_body = AcknowledgeRequest,
    responses((status = 200, body = Acknowledged)),
)]
async fn acknowledge_all(
    State(hub): Hubs,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Answer<Acknowledged> {
    let request = read_json(&headers, body).await?;
    seen(&hub, None, request, &caller).await
}

async fn seen(
    hub: &Hub,
    id: Option<i64>,
    request: AcknowledgeRequest,
    caller: &Caller,
) -> Answer<Acknowledged> {
    let who = caller.decides(request.by)?;
    let now_ms = hub.now_ms();
    let acknowledge = move |store: &mut crate::store::Store| store.acknowledge(id, &who, now_ms);
    let acknowledged = hub.writer.call(acknowledge).await?;
    let missing = || {
        ApiError::new(Code::NotFound, "there is no alert of that number")
            .hint("`counterfoil-hub alerts list` shows the numbers")
    };
    let acknowledged = acknowledged.ok_or_else(missing)?;
    Ok(Json(Acknowledged { acknowledged }))
}
