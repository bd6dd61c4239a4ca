//! Tokens of machines, and the log of who was let in and refused.

use super::ApiError;
use super::access::{OWNER, READ_CHAIN};
use super::bodies::read_json;
use super::caller::Caller;
use super::calls::Calls;
use super::conflicts::{Asked, PageQuery, asked, page_size};
use super::sync::Segments;
use super::users::{checked_account, checked_shop};
use crate::hub::Hub;
use crate::limits::{MACHINE_DAYS_DEFAULT, MACHINE_DAYS_MAX};
use crate::secrets;
use crate::store::NewMachine;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::access::{AccessLogPage, MachineRow, TokenAddRequest, TokenAdded};
use http::HeaderMap;
use std::sync::Arc;
use utoipa_axum::routes;

type Hubs = State<Arc<Hub>>;
type Answer<T> = Result<Json<T>, ApiError>;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

pub(super) fn calls() -> Calls {
    Calls::new()
        .add(READ_CHAIN, routes!(list))
        .add(OWNER, routes!(add))
        .add(OWNER, routes!(revoke))
        .add(READ_CHAIN, routes!(access_log))
}

/// Lists the tokens of machines.
#[utoipa::path(
    get,
    path = "/v1/admin/tokens",
    tag = "access",
    responses((status = 200, body = Vec<MachineRow>)),
)]
async fn list(State(hub): Hubs) -> Answer<Vec<MachineRow>> {
    Ok(Json(hub.reports.call(|reader| reader.machines()).await?))
}

/// Makes a token for a machine, and tells it once.
#[utoipa::path(
    post,
    path = "/v1/admin/tokens",
    tag = "access",
    request_body = TokenAddRequest,
    responses((status = 200, body = TokenAdded)),
)]
async fn add(
    State(hub): Hubs,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Answer<TokenAdded> {
    let request: TokenAddRequest = read_json(&headers, body).await?;
    let name = checked_account(&request.name)?;
    let days = request.days.unwrap_or(MACHINE_DAYS_DEFAULT);
    if !(1..=MACHINE_DAYS_MAX).contains(&days) {
        let detail = format!("a token holds 1 to {MACHINE_DAYS_MAX} days");
        return Err(ApiError::new(Code::Invalid, detail));
    }
    let (now_ms, by) = (hub.now_ms(), caller.name());
    let token = format!("cfm_{}", secrets::secret(&*hub.env.random));
    let expires_ms = now_ms.saturating_add(days * DAY_MS);
    let new = NewMachine {
        name: name.clone(),
        role: request.role,
        shop: checked_shop(&hub, request.role, request.shop).await?,
        token_hash: secrets::hash(&token),
        expires_ms,
    };
    let added = hub
        .writer
        .call(move |store| store.add_machine(&new, (&by, now_ms)))
        .await?;
    if !added {
        let detail = format!("there is a token of that name already: `{name}`");
        return Err(ApiError::new(Code::Conflict, detail).hint(format!(
            "`counterfoil-hub token revoke {name}` takes it back; then add it again"
        )));
    }
    tracing::info!(name, role = request.role.name(), "machine token made");
    Ok(Json(TokenAdded {
        name,
        token,
        expires_ms,
    }))
}

/// Takes a machine's token back.
#[utoipa::path(
    post,
    path = "/v1/admin/tokens/{machine}/revoke",
    tag = "access",
    responses((status = 200, body = MachineRow)),
)]
async fn revoke(State(hub): Hubs, caller: Caller, segments: Segments) -> Answer<MachineRow> {
    let (name, by, now_ms) = (
        segments.text("machine").to_owned(),
        caller.name(),
        hub.now_ms(),
    );
    let of = name.clone();
    hub.writer
        .call(move |store| store.revoke_machine(&of, (&by, now_ms)))
        .await?;
    let rows = hub.reports.call(|reader| reader.machines()).await?;
    let row = rows.into_iter().find(|row| row.name == name);
    let missing = || {
        ApiError::new(Code::NotFound, format!("there is no token `{name}`"))
            .hint("`counterfoil-hub token list` shows the names")
    };
    let row = row.ok_or_else(missing)?;
    tracing::info!(name, "machine token revoked");
    Ok(Json(row))
}

/// Lists who signed in, and who was refused what, oldest first.
#[utoipa::path(
    get,
    path = "/v1/admin/access-log",
    tag = "access",
    params(PageQuery),
    responses((status = 200, body = AccessLogPage)),
)]
async fn access_log(State(hub): Hubs, query: Asked<PageQuery>) -> Answer<AccessLogPage> {
    let PageQuery { after, limit } = asked(query)?;
    let limit = page_size(limit)?;
    let page = hub
        .reports
        .call(move |reader| reader.access_log(after, limit));
    Ok(Json(page.await?))
}
