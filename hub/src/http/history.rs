//! The operator's calls about the past of a database.

use super::ApiError;
use super::access::{OWNER, READ_CHAIN};
use super::bodies::read_json;
use super::calls::Calls;
use super::sync::Segments;
use crate::copies::CopyKey;
use crate::history::{Past, RestoreFailure, RestoredFile};
use crate::hub::Hub;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use counterfoil_domain::NodeId;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::history::{
    GenerationRow, HistoryRow, RestoreMoment, RestoreRequest, Restored,
};
use counterfoil_replica::history::{HistoryError, Moment};
use counterfoil_replica::{Copy, RestoreError};
use http::HeaderMap;
use std::path::PathBuf;
use std::sync::Arc;
use utoipa_axum::routes;

type Hubs = State<Arc<Hub>>;
type Answer<T> = Result<Json<T>, ApiError>;

pub(super) fn calls() -> Calls {
    Calls::new()
        .add(READ_CHAIN, routes!(histories))
        .add(READ_CHAIN, routes!(catalog))
        .add(OWNER, routes!(restore_catalog))
        .add(READ_CHAIN, routes!(book))
        .add(OWNER, routes!(restore_book))
        .add(READ_CHAIN, routes!(database))
        .add(OWNER, routes!(restore_database))
}

/// Lists what is kept of the past of each database.
#[utoipa::path(
    get,
    path = "/v1/admin/history",
    tag = "history",
    responses((status = 200, body = Vec<HistoryRow>)),
)]
async fn histories(State(hub): Hubs) -> Answer<Vec<HistoryRow>> {
    let rows = hub.histories().await;
    rows.map(Json).map_err(|error| ApiError::internal(&error))
}

async fn book_past(hub: &Hub, segments: &Segments) -> Result<Past, ApiError> {
    let named = segments.text("node");
    let refused = || ApiError::new(Code::BadRequest, format!("`{named}` is not a node id"));
    let node: NodeId = named.parse().map_err(|_| refused())?;
    let nodes = hub.lookups.call(|reader| reader.node_ids()).await?;
    if !nodes.contains(&node) {
        let error = ApiError::new(Code::NotFound, format!("there is no node {node}"));
        return Err(error.hint("`counterfoil-hub node list` shows the ids"));
    }
    Ok(Past::Pushed(CopyKey::Book(node)))
}

async fn database_past(hub: &Hub, segments: &Segments) -> Result<Past, ApiError> {
    let named = segments.text("database").to_owned();
    let databases = hub.lookups.call(|reader| reader.databases()).await?;
    let found = databases
        .into_iter()
        .find(|database| database.name.as_str() == named);
    let missing = || {
        ApiError::new(Code::NotFound, format!("there is no database `{named}`"))
            .hint("`counterfoil-hub database list` shows the names")
    };
    let folder = found.ok_or_else(missing)?.folder;
    Ok(Past::Pushed(CopyKey::Database { folder }))
}

/// Lists the generations of the catalog.
#[utoipa::path(
    get,
    path = "/v1/admin/history/catalog",
    tag = "history",
    responses((status = 200, body = Vec<GenerationRow>)),
)]
async fn catalog(State(hub): Hubs) -> Answer<Vec<GenerationRow>> {
    generations(&hub, &Past::Catalog).await
}

/// Lists the generations of a book.
#[utoipa::path(
    get,
    path = "/v1/admin/history/nodes/{node}",
    tag = "history",
    responses((status = 200, body = Vec<GenerationRow>)),
)]
async fn book(State(hub): Hubs, segments: Segments) -> Answer<Vec<GenerationRow>> {
    generations(&hub, &book_past(&hub, &segments).await?).await
}

/// Lists the generations of a free-standing database.
#[utoipa::path(
    get,
    path = "/v1/admin/history/databases/{database}",
    tag = "history",
    responses((status = 200, body = Vec<GenerationRow>)),
)]
async fn database(State(hub): Hubs, segments: Segments) -> Answer<Vec<GenerationRow>> {
    generations(&hub, &database_past(&hub, &segments).await?).await
}

async fn generations(hub: &Hub, past: &Past) -> Answer<Vec<GenerationRow>> {
    let held = hub.copies.held(past).await?;
    let rows = hub
        .copies
        .work(held, |copy: &mut Copy| Ok(copy.history()))
        .await?;
    let rows = rows.map_err(|error| refused(&RestoreFailure::Restore(error)))?;
    let last = rows.len().saturating_sub(1);
    let rows = rows.into_iter().enumerate().map(|(index, row)| {
        let counterfoil_replica::history::GenerationRow {
            generation,
            end_frame,
            bytes,
            first_ms,
            last_ms,
        } = row;
        GenerationRow {
            generation,
            end_frame,
            first_ms,
            last_ms,
            bytes,
            open: index == last,
        }
    });
    Ok(Json(rows.collect()))
}

/// Writes the catalog as it was at a moment to a new file at the hub.
#[utoipa::path(
    post,
    path = "/v1/admin/history/catalog",
    tag = "history",
    request_body = RestoreRequest,
    responses((status = 200, body = Restored)),
)]
async fn restore_catalog(State(hub): Hubs, headers: HeaderMap, body: Body) -> Answer<Restored> {
    restore(&hub, &Past::Catalog, read_json(&headers, body).await?).await
}

/// Writes a book as it was at a moment to a new file at the hub.
#[utoipa::path(
    post,
    path = "/v1/admin/history/nodes/{node}",
    tag = "history",
    request_body = RestoreRequest,
    responses((status = 200, body = Restored)),
)]
async fn restore_book(
    State(hub): Hubs,
    segments: Segments,
    headers: HeaderMap,
    body: Body,
) -> Answer<Restored> {
    let past = book_past(&hub, &segments).await?;
    restore(&hub, &past, read_json(&headers, body).await?).await
}

/// Writes a free-standing database as it was at a moment to a new file at the hub.
#[utoipa::path(
    post,
    path = "/v1/admin/history/databases/{database}",
    tag = "history",
    request_body = RestoreRequest,
    responses((status = 200, body = Restored)),
)]
async fn restore_database(
    State(hub): Hubs,
    segments: Segments,
    headers: HeaderMap,
    body: Body,
) -> Answer<Restored> {
    let past = database_past(&hub, &segments).await?;
    restore(&hub, &past, read_json(&headers, body).await?).await
}

async fn restore(hub: &Hub, past: &Past, request: RestoreRequest) -> Answer<Restored> {
    let to = PathBuf::from(&request.to);
    if !to.is_absolute() {
        let detail = format!("`{}` is not an absolute path", request.to);
        return Err(ApiError::new(Code::BadRequest, detail));
    }
    let moment = match request.moment {
        RestoreMoment::AtMs(at_ms) => Moment::At(at_ms),
        RestoreMoment::Frame { generation, frame } => Moment::Frame { generation, frame },
    };
    let restored = hub.restore(past, moment, to.clone()).await;
    let RestoredFile {
        commit,
        at_ms,
        journal_seq,
    } = restored.map_err(|error| refused(&error))?;
    tracing::info!(?past, ?commit, to = %to.display(), "restored");
    // The file was closed a moment ago; its size is told for comfort.
    let size_bytes = std::fs::metadata(&to).map_or(0, |file| file.len());
    Ok(Json(Restored {
        generation: commit.generation,
        frame: commit.frame,
        at_ms,
        to: request.to,
        size_bytes,
        journal_seq,
    }))
}

fn refused(error: &RestoreFailure) -> ApiError {
    const RANGE: &str = "`counterfoil-hub history` with the same database shows what is kept";
    match error {
        RestoreFailure::Restore(RestoreError::Off) => {
            ApiError::new(Code::NotFound, "this hub keeps no history")
                .hint("`counterfoil-hub run --history-days 30` keeps one from then on")
        }
        RestoreFailure::Restore(RestoreError::History(history)) => match history {
            HistoryError::TooEarly | HistoryError::NotKept { .. } => {
                ApiError::new(Code::NotFound, history.to_string()).hint(RANGE)
            }
            HistoryError::Target { path, source } => {
                let detail = format!("cannot write {}: {source}", path.display());
                ApiError::new(Code::Conflict, detail)
                    .hint("choose a file that is not there yet, in a folder that the hub can write")
            }
            HistoryError::Folding { .. } => ApiError::new(Code::Conflict, history.to_string()),
            HistoryError::File { .. } | HistoryError::Damaged { .. } | HistoryError::Wal(_) => {
                ApiError::internal(error)
            }
        },
        _ => ApiError::internal(error),
    }
}
