//! The operator's calls about free-standing databases, and who may sync with one.

use super::ApiError;
use super::access::{OWNER, READ_CHAIN};
use super::admin::checked_url;
use super::auth::bearer;
use super::bodies::read_json;
use super::caller::Caller;
use super::calls::Calls;
use super::sync::Segments;
use crate::copies::{CopyFailure, CopyKey};
use crate::history::Past;
use crate::hub::Hub;
use crate::limits::{DATABASES_MAX, SEEN_INTERVAL_MS};
use crate::secrets;
use crate::store::{Database, DatabaseAddOutcome};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use counterfoil_domain::hex::to_hex;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::database::{
    DatabaseAccess, DatabaseAddRequest, DatabaseFoldRequest, DatabaseFolded, DatabaseName,
    DatabaseRemoved, DatabaseRow, DatabaseTokenRequest, database_path,
};
use counterfoil_replica::{Copy, CopyInfo, Rotation};
use http::HeaderMap;
use http::request::Parts;
use std::sync::Arc;
use utoipa_axum::routes;

type Hubs = State<Arc<Hub>>;
type Answer<T> = Result<Json<T>, ApiError>;

pub(super) fn calls() -> Calls {
    Calls::new()
        .add(READ_CHAIN, routes!(list))
        .add(OWNER, routes!(add))
        .add(OWNER, routes!(new_token))
        .add(OWNER, routes!(remove))
        .add(OWNER, routes!(fold))
}

/// Lets a client at the database that its token is for.
pub(super) async fn own_database(
    hub: &Hub,
    parts: &Parts,
    named: &str,
) -> Result<CopyKey, ApiError> {
    let Some(token) = bearer(&parts.headers) else {
        hub.alert(
            "unauthorized",
            None,
            "a database was asked for without a token",
        )
        .await;
        let detail = "this call needs the database's token";
        return Err(ApiError::new(Code::Unauthorized, detail)
            .hint("pass the auth_token that `counterfoil-hub database add` printed"));
    };
    let hash = secrets::hash(token);
    let found = hub
        .lookups
        .call(move |reader| reader.database_of_token(&hash))
        .await?;
    let Some(database) = found else {
        hub.alert(
            "unauthorized",
            None,
            "a database was asked for with an unknown token",
        )
        .await;
        let detail = "the hub does not know this token: it was replaced, or its database removed";
        return Err(ApiError::new(Code::Unauthorized, detail)
            .hint("`counterfoil-hub database token NAME` makes a new one"));
    };
    if database.name.as_str() != named {
        let detail = format!(
            "the token of database {} was used for another",
            database.name
        );
        hub.alert("foreign_database", None, &detail).await;
        let detail = "this token is for another database";
        return Err(ApiError::new(Code::Forbidden, detail));
    }
    let now_ms = hub.now_ms();
    let fresh = |seen_ms: i64| (seen_ms..=seen_ms + SEEN_INTERVAL_MS).contains(&now_ms);
    let folder = database.folder;
    if !database.seen_ms.is_some_and(fresh) {
        let folder = folder.clone();
        hub.writer
            .call(move |store| store.database_seen(&folder, now_ms))
            .await?;
    }
    Ok(CopyKey::Database { folder })
}

fn name_of(segments: &Segments) -> Result<DatabaseName, ApiError> {
    checked(segments.text("database"))
}

fn checked(text: &str) -> Result<DatabaseName, ApiError> {
    text.parse::<DatabaseName>()
        .map_err(|refused| ApiError::new(Code::Invalid, refused.to_string()))
}

fn missing(name: &DatabaseName) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is no database `{name}`"))
        .hint("`counterfoil-hub database list` shows the names")
}

/// The URL that a database's clients sync with.
async fn sync_url(
    hub: &Hub,
    hub_url: Option<String>,
    name: &DatabaseName,
) -> Result<String, ApiError> {
    let hub_url = checked_url(hub, hub_url).await?;
    // Stock clients know no pin: they ask the operating system whom to trust.
    let hub_url = hub_url.without_pin();
    Ok(format!("{hub_url}{}", database_path(name)))
}

/// Makes a free-standing database and its token.
#[utoipa::path(
    post,
    path = "/v1/admin/databases",
    tag = "databases",
    request_body = DatabaseAddRequest,
    responses((status = 200, body = DatabaseAccess)),
)]
async fn add(
    State(hub): Hubs,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Answer<DatabaseAccess> {
    let request: DatabaseAddRequest = read_json(&headers, body).await?;
    let name = checked(&request.name)?;
    let sync_url = sync_url(&hub, request.hub_url, &name).await?;
    let random = &*hub.env.random;
    let auth_token = secrets::secret(random);
    let mut suffix = [0_u8; 8];
    random.fill(&mut suffix);
    let folder = format!("{name}-{}", to_hex(&suffix));
    let key = CopyKey::Database {
        folder: folder.clone(),
    };
    let new = Database {
        name: name.clone(),
        folder: folder.clone(),
        created_ms: hub.now_ms(),
        seen_ms: None,
    };
    let (hash, by) = (secrets::hash(&auth_token), caller.name());
    let added = hub
        .writer
        .call(move |store| store.add_database(&new, &hash, DATABASES_MAX, &by))
        .await?;
    match added {
        DatabaseAddOutcome::Added => {}
        DatabaseAddOutcome::Exists => {
            let detail = format!("there is a database `{name}` already");
            return Err(ApiError::new(Code::Conflict, detail).hint(format!(
                "for a new token of it: `counterfoil-hub database token {name}`"
            )));
        }
        DatabaseAddOutcome::TooMany => {
            let detail = format!("a hub has at most {DATABASES_MAX} databases");
            return Err(ApiError::new(Code::Invalid, detail)
                .hint("remove one with `counterfoil-hub database remove NAME`"));
        }
    }
    hub.dir
        .create_database(&folder)
        .map_err(|error| ApiError::internal(&error))?;
    // Opened now, so that a disk that takes no file is told to the operator and not to a client.
    drop(hub.copies.pushed(&key).await?);
    tracing::info!(%name, folder, "database made");
    Ok(Json(DatabaseAccess {
        sync_url,
        auth_token,
    }))
}

/// Replaces the token of a database.
#[utoipa::path(
    post,
    path = "/v1/admin/databases/{database}/token",
    tag = "databases",
    request_body = DatabaseTokenRequest,
    responses((status = 200, body = DatabaseAccess)),
)]
async fn new_token(
    State(hub): Hubs,
    caller: Caller,
    segments: Segments,
    headers: HeaderMap,
    body: Body,
) -> Answer<DatabaseAccess> {
    let request: DatabaseTokenRequest = read_json(&headers, body).await?;
    let name = name_of(&segments)?;
    let sync_url = sync_url(&hub, request.hub_url, &name).await?;
    let auth_token = secrets::secret(&*hub.env.random);
    let (hash, wanted) = (secrets::hash(&auth_token), name.clone());
    let (by, now_ms) = (caller.name(), hub.now_ms());
    let replaced = hub
        .writer
        .call(move |store| store.replace_database_token(&wanted, &hash, (&by, now_ms)))
        .await?;
    if !replaced {
        return Err(missing(&name));
    }
    tracing::info!(%name, "database token replaced");
    Ok(Json(DatabaseAccess {
        sync_url,
        auth_token,
    }))
}

/// Lists the free-standing databases.
#[utoipa::path(
    get,
    path = "/v1/admin/databases",
    tag = "databases",
    responses((status = 200, body = Vec<DatabaseRow>)),
)]
async fn list(State(hub): Hubs) -> Answer<Vec<DatabaseRow>> {
    let databases = hub.reports.call(|reader| reader.databases()).await?;
    let mut rows = Vec::with_capacity(databases.len());
    for database in databases {
        rows.push(row(&hub, database).await);
    }
    Ok(Json(rows))
}

/// A database that cannot be read is listed too: that is when somebody looks.
async fn row(hub: &Hub, database: Database) -> DatabaseRow {
    let key = CopyKey::Database {
        folder: database.folder,
    };
    let known = match hub.copies.pushed(&key).await {
        Ok(held) => hub.copies.work(held, |copy| copy.info()).await,
        Err(error) => Err(error),
    };
    let failure = known.as_ref().err().map(|error| {
        tracing::error!(error = error as &dyn std::error::Error, %key, "cannot read");
        error.to_string()
    });
    let info: Option<CopyInfo> = known.ok();
    let file_bytes = std::fs::metadata(hub.copies.path(&key)).map_or(0, |file| file.len());
    let wal_bytes = info.as_ref().map_or(0, |info| info.wal_bytes);
    DatabaseRow {
        name: database.name,
        size_bytes: file_bytes + wal_bytes,
        wal_bytes,
        generation: info.as_ref().map_or(0, |info| info.generation),
        frames: info.as_ref().map_or(0, |info| info.committed_frame_no),
        created_ms: database.created_ms,
        seen_ms: database.seen_ms,
        failure,
    }
}

/// Ends the access to a database and keeps its file.
#[utoipa::path(
    post,
    path = "/v1/admin/databases/{database}/remove",
    tag = "databases",
    responses((status = 200, body = DatabaseRemoved)),
)]
async fn remove(State(hub): Hubs, caller: Caller, segments: Segments) -> Answer<DatabaseRemoved> {
    let name = name_of(&segments)?;
    let (wanted, by, now_ms) = (name.clone(), caller.name(), hub.now_ms());
    let removed = hub
        .writer
        .call(move |store| store.remove_database(&wanted, (&by, now_ms)))
        .await?;
    let Database { folder, .. } = removed.ok_or_else(|| missing(&name))?;
    let key = CopyKey::Database {
        folder: folder.clone(),
    };
    // One file is easier to keep than two. Access is gone already, so a failure only leaves a WAL.
    if let Err(error) = begin_generation(&hub, &key).await {
        tracing::warn!(error = &error as &dyn std::error::Error, %key, "not folded");
    }
    hub.copies.close(&key).await;
    let kept = hub.dir.databases().join(&folder);
    let kept = std::path::absolute(&kept).unwrap_or(kept);
    tracing::info!(%name, kept = %kept.display(), "database removed");
    Ok(Json(DatabaseRemoved {
        name,
        kept: kept.display().to_string(),
    }))
}

async fn begin_generation(hub: &Hub, key: &CopyKey) -> Result<Rotation, CopyFailure> {
    let held = hub.copies.pushed(key).await?;
    hub.copies.work(held, Copy::begin_generation).await
}

/// Folds the frames of a database into its file and begins a generation.
#[utoipa::path(
    post,
    path = "/v1/admin/databases/{database}/fold",
    tag = "databases",
    request_body = DatabaseFoldRequest,
    responses((status = 200, body = DatabaseFolded)),
)]
async fn fold(
    State(hub): Hubs,
    segments: Segments,
    headers: HeaderMap,
    body: Body,
) -> Answer<DatabaseFolded> {
    let DatabaseFoldRequest { in_sync } = read_json(&headers, body).await?;
    let name = name_of(&segments)?;
    let wanted = name.clone();
    let found = hub
        .reports
        .call(move |reader| reader.database(&wanted))
        .await?;
    let Database { folder, .. } = found.ok_or_else(|| missing(&name))?;
    let key = CopyKey::Database { folder };
    let held = hub.copies.pushed(&key).await?;
    let work = move |copy: &mut Copy| {
        if copy.has_stock_writer() && !in_sync {
            return Ok(None);
        }
        let generation = copy.info()?.generation;
        Ok(Some((copy.begin_generation()?, generation)))
    };
    match hub.copies.work(held, work).await? {
        None => {
            let detail = format!(
                "the clients of `{name}` must be in sync when it is folded: one that has frames to \
                 send, or has not pulled the newest, cannot sync any more"
            );
            Err(ApiError::new(Code::Conflict, detail).hint(format!(
                "stop writing, sync every client, then `counterfoil-hub database fold {name} \
                 --in-sync`, then sync every client again"
            )))
        }
        Some((
            rotation @ Rotation::Rotated {
                ended, generation, ..
            },
            _,
        )) => {
            hub.rotated(&Past::Pushed(key), rotation).await;
            tracing::info!(%name, generation, frames = ended.end_frame, "database folded");
            Ok(Json(DatabaseFolded {
                generation,
                frames: ended.end_frame,
            }))
        }
        Some((Rotation::NotNeeded, generation)) => Ok(Json(DatabaseFolded {
            generation,
            frames: 0,
        })),
        Some((Rotation::Busy, _)) => {
            let detail = format!("somebody reads `{name}` at the hub");
            Err(ApiError::new(Code::Conflict, detail).hint("try again in a moment"))
        }
    }
}
