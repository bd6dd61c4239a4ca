//! Showing and steering: status, queue, log, sync, activation.

use crate::activation;
use crate::api::{Json, check_who};
use crate::mesh::pairing;
use crate::node::Node;
use crate::problem::Refusal;
use crate::sync::{self, Phase, notice};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use counterfoil_protocol::hub_url::{self, ParseHubUrlError};
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::fence::{FenceRequest, Fenced};
use counterfoil_protocol::wire::hub::ActivateAnswer;
use counterfoil_protocol::wire::mesh::MeshStatus;
use counterfoil_protocol::wire::node::{
    ActivateCommand, HubMoved, LogRow, NodeStatus, ReceiptRow, SyncReport,
};
use counterfoil_protocol::wire::queue::QueueRow;
use counterfoil_shop_store::delivery::Reader;
use counterfoil_shop_store::{Pins, ShopStore, StoreError};
use serde::Deserialize;
use utoipa::IntoParams;

/// Rows in a list when the caller does not say.
const ROWS_DEFAULT: i64 = 100;
/// Rows in a list at most.
const ROWS_MAX: i64 = 10_000;

/// Which part of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Largest number of rows.
    limit: Option<i64>,
    /// Rows to pass over first.
    offset: Option<i64>,
}

impl Page {
    fn limit(&self) -> i64 {
        self.limit.unwrap_or(ROWS_DEFAULT).clamp(0, ROWS_MAX)
    }
}

fn page(query: Result<Query<Page>, QueryRejection>) -> Result<Page, Refusal> {
    match query {
        Ok(Query(page)) => Ok(page),
        Err(rejection) => Err(Problem::new(Code::BadRequest, rejection.body_text()).into()),
    }
}

/// Where this till stands.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "status",
    responses((status = 200, body = NodeStatus)),
)]
pub(super) async fn status(State(node): State<Node>) -> Result<axum::Json<NodeStatus>, Refusal> {
    Ok(axum::Json(status_of(&node).await?))
}

/// Where the node stands.
pub(super) async fn status_of(node: &Node) -> Result<NodeStatus, Refusal> {
    let mut status = node.store(stored_status).await?;
    let state = node.state().clone();
    if status.sync_enabled {
        let phase = if state.phase == Phase::Trial {
            Phase::Offline
        } else {
            state.phase
        };
        let given_up = phase == Phase::Failed
            && state.halted.is_none()
            && state.retry_count < node.inner.config.attempts_max;
        status.sync = if given_up { "retrying" } else { phase.name() }.to_owned();
        status.notice = notice(phase, &state).or_else(|| state.token_notice(node.now_ms()));
    }
    if state.keeps_failing(node.inner.config.attempts_max) {
        status.failed = status.pending;
    }
    status.listening = state.listening;
    status.quarantined = state.quarantined;
    status.retry_count = state.retry_count;
    status.last_error = state.last_error;
    status.last_healed = state.last_healed;
    status.last_synced_ms = state.last_synced_ms;
    status.clock_offset_ms = state.clock_offset_ms;
    status.token_expires_ms = state.token_expires_ms;
    status.bytes_up = state.bytes_up;
    status.bytes_down = state.bytes_down;
    status.pairing = pairing::status(node).await?;
    let identity = node.inner.trust.held().identity;
    status.mesh = node.inner.mesh.status().map(|mesh| MeshStatus {
        certificate_expires_ms: identity.map(|it| it.expires_ms),
        ..mesh
    });
    Ok(status)
}

/// The part of the status that the databases know.
fn stored_status(store: &mut ShopStore) -> Result<NodeStatus, StoreError> {
    let binding = store.binding().cloned();
    let received = store.watermark(Reader::HubReceived)?;
    let totals = store.totals()?;
    let tier = match (&binding, store.pending_activation()?) {
        (Some(_), _) => "active",
        (None, Some(_)) => "activating",
        (None, None) => "local_trial",
    };
    Ok(NodeStatus {
        node_id: store.node(),
        tier: tier.to_owned(),
        sync_enabled: binding.is_some(),
        sync: Phase::Trial.name().to_owned(),
        listening: false,
        notice: None,
        shop_id: binding.as_ref().map(|binding| binding.shop),
        shop_name: binding.as_ref().map(|binding| binding.shop_name.clone()),
        lane: binding.as_ref().map(|binding| binding.lane),
        formers: store.formers().to_vec(),
        series: store.series(),
        fenced: store.fenced()?,
        pins_missing: store.pins()? == Pins::Missing,
        hub_url: binding.map(|binding| binding.hub_url),
        journal_seq: store.journal_seq(),
        hub_received_seq: received,
        hub_consolidated_seq: store.watermark(Reader::HubConsolidated)?,
        pending: store.journal_seq() - received,
        stages: store.stages()?,
        pending_by_priority: store.pending_by_priority()?,
        failed: 0,
        quarantined: 0,
        pending_edits: store.pending_edits()?,
        catalog_revision: store.catalog_revision()?,
        retry_count: 0,
        last_error: None,
        last_healed: None,
        last_synced_ms: None,
        clock_offset_ms: None,
        token_expires_ms: None,
        mesh: None,
        pairing: None,
        oversold: store.oversold()?,
        receipts: totals.receipts,
        total_minor: totals.total_minor,
        bytes_up: 0,
        bytes_down: 0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Lists what the hub does not have, or has not consolidated.
#[utoipa::path(
    get,
    path = "/v1/queue",
    tag = "sync",
    params(Page),
    responses((status = 200, body = Vec<QueueRow>)),
)]
pub(super) async fn queue(
    State(node): State<Node>,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<axum::Json<Vec<QueueRow>>, Refusal> {
    let limit = page(query)?.limit();
    node.keep_marks().await;
    let mut rows = node.store(move |store| store.queue(limit)).await?;
    let state = node.state().clone();
    for row in rows.iter_mut().filter(|row| row.state == "pending") {
        row.retry_count = state.retry_count;
        row.last_error.clone_from(&state.last_error);
        if state.phase == Phase::Syncing {
            "syncing".clone_into(&mut row.state);
        } else if state.retry_count >= node.inner.config.attempts_max {
            "failed".clone_into(&mut row.state);
        }
    }
    Ok(axum::Json(rows))
}

/// Lists what the sync loop did, newest first.
#[utoipa::path(
    get,
    path = "/v1/logs",
    tag = "sync",
    params(Page),
    responses((status = 200, body = Vec<LogRow>)),
)]
pub(super) async fn logs(
    State(node): State<Node>,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<axum::Json<Vec<LogRow>>, Refusal> {
    let limit = page(query)?.limit();
    Ok(axum::Json(
        node.store(move |store| store.logs(limit)).await?,
    ))
}

/// Lists sales and refunds, newest first.
#[utoipa::path(
    get,
    path = "/v1/receipts",
    tag = "documents",
    params(Page),
    responses((status = 200, body = Vec<ReceiptRow>)),
)]
pub(super) async fn receipts(
    State(node): State<Node>,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<axum::Json<Vec<ReceiptRow>>, Refusal> {
    let page = page(query)?;
    let (limit, offset) = (page.limit(), page.offset.unwrap_or(0).max(0));
    Ok(axum::Json(
        node.store(move |store| store.receipts(limit, offset))
            .await?,
    ))
}

/// Syncs now; also what a person does to retry what failed.
#[utoipa::path(post, path = "/v1/sync", tag = "sync", responses((status = 200, body = SyncReport)))]
pub(super) async fn sync(State(node): State<Node>) -> Result<axum::Json<SyncReport>, Refusal> {
    let outcome = sync::sync_once(&node).await;
    node.nudge();
    outcome
        .map(axum::Json)
        .map_err(|error| Refusal(error.problem()))
}

/// Binds this till to a shop.
#[utoipa::path(
    post,
    path = "/v1/activate",
    tag = "sync",
    request_body = ActivateCommand,
    responses((status = 200, body = ActivateAnswer)),
)]
pub(super) async fn activate(
    State(node): State<Node>,
    Json(command): Json<ActivateCommand>,
) -> Result<axum::Json<ActivateAnswer>, Refusal> {
    let pending = activation::plan(&command)?;
    Ok(axum::Json(activation::activate(&node, pending).await?))
}

/// Tells the till that its folder was restored from a backup, or is a copy: from here on receipts are numbered in a series
/// that no copy made before has, online or not. Made again it costs one more series and nothing else.
#[utoipa::path(
    post,
    path = "/v1/fence",
    tag = "sync",
    request_body = FenceRequest,
    responses((status = 200, body = Fenced)),
)]
pub(super) async fn fence(
    State(node): State<Node>,
    Json(request): Json<FenceRequest>,
) -> Result<axum::Json<Fenced>, Refusal> {
    check_who(&request.by)?;
    let (why, now_ms) = (format!("{} says so", request.by), node.now_ms());
    let fenced = node.store(move |store| store.fence(&why, now_ms)).await?;
    node.inner.to_mark.notify_one();
    Ok(axum::Json(fenced))
}

/// Tells the till that its hub has moved to another address.
#[utoipa::path(
    put,
    path = "/v1/hub",
    tag = "sync",
    request_body = HubMoved,
    responses((status = 200, body = HubMoved)),
)]
pub(super) async fn hub(
    State(node): State<Node>,
    Json(moved): Json<HubMoved>,
) -> Result<axum::Json<HubMoved>, Refusal> {
    let given = activation::parse_url(&moved.url)?;
    activation::check_way(&node, &moved.url)?;
    let stored = node.store(move |store| -> Result<String, Refusal> {
        let no_hub = || Problem::new(Code::NotActivated, "this till is in trial: it has no hub");
        let held = &store.binding().ok_or_else(no_hub)?.hub_url;
        let url = match given.pin() {
            Some(_) => given,
            // A hub that moved is the same hub: what is pinned goes along.
            None => match hub_url::pin_of(held).map_err(|error| damaged(&error))? {
                Some(pin) => given.with_pin(pin),
                None => given,
            },
        };
        let url = url.to_string();
        store.set_hub_url(&url)?;
        Ok(url)
    });
    let url = stored.await?;
    tracing::info!(%url, "the hub has moved");
    node.inner.news.bound();
    node.nudge();
    Ok(axum::Json(HubMoved { url }))
}

/// Nobody can tell which certificate this till pinned: it asks whom the operating system trusts only if a person says
/// so, by a join code that pins nothing.
fn damaged(error: &ParseHubUrlError) -> Problem {
    Problem::new(Code::Invalid, error.to_string()).hint(
        "give the new address with its certificate, https://sha256-...@host:port, or activate the till with a new \
         join code; selling goes on",
    )
}
