//! For programs that watch the till: is it alive, may it be given work, figures.

use super::control;
use crate::node::Node;
use crate::problem::Refusal;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::node::Health;
use counterfoil_shop_store::StoreError;
use counterfoil_shop_store::delivery::Reader;
use http::header;

/// What Prometheus is told that it gets.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What programs ask for most, beside how it is (P8).
async fn health_of(node: &Node, status: &str) -> Result<axum::Json<Health>, Refusal> {
    let read = node.store(|store| -> Result<i64, StoreError> {
        Ok(store.journal_seq() - store.watermark(Reader::HubReceived)?)
    });
    let pending = read.await?;
    let mesh = node.inner.mesh.status();
    let reconciled = mesh.as_ref().and_then(|mesh| mesh.reconciliation.as_ref());
    Ok(axum::Json(Health {
        status: status.to_owned(),
        instance: node.inner.instance.clone(),
        connections: mesh.as_ref().map_or(0, |mesh| mesh.connections),
        pending,
        last_synced_ms: node.state().last_synced_ms,
        reconciled_ms: reconciled.map(|it| it.at_ms),
        reconciliation_open: reconciled.map_or(0, |it| it.open.len()),
    }))
}

fn not_ready(wrong: &[String]) -> Refusal {
    let problem = Problem::new(Code::NotReady, wrong.join("; "));
    Refusal(problem.hint("`counterfoil-node status` and the till's log say more"))
}

/// Answers when the store does, and while the sync turns.
#[utoipa::path(get, path = "/healthz", tag = "status", responses((status = 200, body = Health)))]
pub(super) async fn health(State(node): State<Node>) -> Result<axum::Json<Health>, Refusal> {
    match node.dead() {
        None => health_of(&node, "ok").await,
        Some(dead) => Err(not_ready(&[dead])),
    }
}

/// Whether a sale could be recorded now. A hub that is away is no reason against it.
#[utoipa::path(get, path = "/readyz", tag = "status", responses((status = 200, body = Health)))]
pub(super) async fn ready(State(node): State<Node>) -> Result<axum::Json<Health>, Refusal> {
    let wrong = node.unready().await;
    if wrong.is_empty() {
        return health_of(&node, "ready").await;
    }
    Err(not_ready(&wrong))
}

/// Figures for Prometheus, in the OpenMetrics text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "status",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")),
)]
pub(super) async fn metrics(State(node): State<Node>) -> Result<Response, Refusal> {
    let status = control::status_of(&node).await?;
    let text = node.metrics(&status).await;
    let text = text.map_err(|error| Refusal(crate::problem::internal(&error)))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
