//! The operator's calls about conflicts, and the trail of what was decided.

use super::ApiError;
use super::access::{READ_CHAIN, READ_SHOP, Subject, another_shop, decide_own, read_own};
use super::bodies::read_json;
use super::caller::Caller;
use super::calls::Calls;
use super::sync::Segments;
use crate::hub::Hub;
use crate::limits::PAGE_ROWS_MAX;
use crate::store::{ConflictFilter, DecideError, What};
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use counterfoil_domain::ShopId;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::decisions::{
    AuditPage, ConflictDecided, ConflictPage, ConflictRow, ConflictState, Deciding, ResolveRequest,
};
use http::HeaderMap;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;
use utoipa_axum::routes;

type Hubs = State<Arc<Hub>>;
type Answer<T> = Result<Json<T>, ApiError>;
pub(super) type Asked<T> = Result<Query<T>, QueryRejection>;

const CONFLICT: Subject = Subject::Conflict;

pub(super) fn calls() -> Calls {
    Calls::new()
        .add(READ_SHOP, routes!(list))
        .add(read_own(CONFLICT), routes!(show))
        .add(decide_own(CONFLICT), routes!(resolve))
        .add(decide_own(CONFLICT), routes!(put_back))
        .add(READ_CHAIN, routes!(audit))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only in this state.
    state: Option<ConflictState>,
    /// Only of this table.
    table: Option<String>,
    /// Only where this shop wrote one of the values.
    shop: Option<String>,
    /// The `next` of the page before.
    #[serde(default)]
    after: i64,
    /// Largest number of rows.
    limit: Option<i64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// The `next` of the page before.
    #[serde(default)]
    pub(super) after: i64,
    /// Largest number of rows.
    pub(super) limit: Option<i64>,
}

pub(super) fn asked<T>(query: Asked<T>) -> Result<T, ApiError> {
    match query {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => Err(ApiError::new(Code::BadRequest, rejection.body_text())),
    }
}

pub(super) fn page_size(limit: Option<i64>) -> Result<i64, ApiError> {
    let limit = limit.unwrap_or(PAGE_ROWS_MAX);
    if !(1..=PAGE_ROWS_MAX).contains(&limit) {
        let detail = format!("`limit` is 1 to {PAGE_ROWS_MAX}");
        return Err(ApiError::new(Code::BadRequest, detail));
    }
    Ok(limit)
}

/// The shop of that name or id.
pub(super) async fn shop_named(hub: &Hub, named: String) -> Result<ShopId, ApiError> {
    let missing = ApiError::new(Code::NotFound, format!("there is no shop `{named}`"))
        .hint("`counterfoil-hub shop list` shows names and ids");
    let find = move |reader: &mut crate::store::Reader| reader.shop_named(&named);
    hub.reports.call(find).await?.ok_or(missing)
}

/// Lists conflicts, oldest first.
#[utoipa::path(
    get,
    path = "/v1/admin/conflicts",
    tag = "conflicts",
    params(ListQuery),
    responses((status = 200, body = ConflictPage)),
)]
async fn list(State(hub): Hubs, caller: Caller, query: Asked<ListQuery>) -> Answer<ConflictPage> {
    let ListQuery {
        state,
        table,
        shop,
        after,
        limit,
    } = asked(query)?;
    let limit = page_size(limit)?;
    let shop = match shop {
        None => None,
        Some(named) => Some(shop_named(&hub, named).await?),
    };
    let shop = match (shop, caller.shop) {
        (None, own) => own,
        (Some(asked), _) if caller.sees(asked) => Some(asked),
        (Some(_), _) => return Err(another_shop(&hub, &caller, "conflicts").await),
    };
    let filter = ConflictFilter {
        state,
        table,
        shop,
        after,
        limit,
    };
    let page = hub.reports.call(move |reader| reader.conflicts(&filter));
    Ok(Json(page.await?))
}

fn number(segments: &Segments) -> Result<i64, ApiError> {
    let named = segments.text("conflict");
    let refused = |_| {
        ApiError::new(
            Code::BadRequest,
            format!("`{named}` is not a conflict's number"),
        )
    };
    named.parse().map_err(refused)
}

fn no_conflict(id: i64) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is no conflict {id}"))
        .hint("`counterfoil-hub conflicts list` shows the numbers")
}

/// Shows a conflict with both values.
#[utoipa::path(
    get,
    path = "/v1/admin/conflicts/{conflict}",
    tag = "conflicts",
    responses((status = 200, body = ConflictRow)),
)]
async fn show(State(hub): Hubs, segments: Segments) -> Answer<ConflictRow> {
    let id = number(&segments)?;
    let row = hub.reports.call(move |reader| reader.conflict(id)).await?;
    Ok(Json(row.ok_or_else(|| no_conflict(id))?))
}

/// Settles a conflict by a choice: the winner, the loser or a third value.
#[utoipa::path(
    post,
    path = "/v1/admin/conflicts/{conflict}/resolve",
    tag = "conflicts",
    request_body = ResolveRequest,
    responses((status = 200, body = ConflictDecided)),
)]
async fn resolve(
    State(hub): Hubs,
    caller: Caller,
    segments: Segments,
    headers: HeaderMap,
    body: Body,
) -> Answer<ConflictDecided> {
    let ResolveRequest { choice, deciding } = read_json(&headers, body).await?;
    let id = number(&segments)?;
    decide(&hub, id, What::Resolve(choice), deciding, &caller).await
}

/// Makes the value that lost current again.
#[utoipa::path(
    post,
    path = "/v1/admin/conflicts/{conflict}/put-back",
    tag = "conflicts",
    request_body = Deciding,
    responses((status = 200, body = ConflictDecided)),
)]
async fn put_back(
    State(hub): Hubs,
    caller: Caller,
    segments: Segments,
    headers: HeaderMap,
    body: Body,
) -> Answer<ConflictDecided> {
    let deciding = read_json(&headers, body).await?;
    decide(&hub, number(&segments)?, What::PutBack, deciding, &caller).await
}

async fn decide(
    hub: &Hub,
    id: i64,
    what: What,
    deciding: Deciding,
    caller: &Caller,
) -> Answer<ConflictDecided> {
    let who = caller.decides(deciding.by.clone())?;
    match hub.decide_conflict(id, what, deciding, who).await? {
        Ok((made, revision)) => {
            tracing::info!(conflict = id, repeated = made.repeated, "conflict decided");
            Ok(Json(ConflictDecided {
                conflict: made.conflict,
                revision,
                repeated: made.repeated,
            }))
        }
        Err(DecideError::NoConflict) => Err(no_conflict(id)),
        Err(DecideError::IdUsed) => Err(ApiError::new(
            Code::Conflict,
            "the id belongs to another decision",
        )
        .hint("make a new id for each decision")),
        Err(DecideError::Settled(row)) => Err(settled(&row)),
        Err(DecideError::Changed(row)) => Err(changed(&row)),
        Err(DecideError::Refused(reason)) => Err(ApiError::new(Code::Invalid, reason)),
    }
}

/// What a field holds now, and whose it is.
fn present(row: &ConflictRow) -> String {
    let writer = match (&row.current.shop, row.current.lane) {
        (Some(shop), Some(lane)) => format!("{shop}/{lane}"),
        (Some(shop), None) => shop.clone(),
        (None, _) => "the hub".to_owned(),
    };
    let ConflictRow {
        table,
        row: id,
        column,
        current,
        ..
    } = row;
    format!(
        "{table} {id} {column} is {} now, by {writer}, version {}",
        current.value, current.stamp
    )
}

fn settled(row: &ConflictRow) -> ApiError {
    let (id, present) = (row.id, present(row));
    let detail = match row.state {
        ConflictState::ByChoice => format!("conflict {id} is settled by a choice: {present}"),
        ConflictState::ByEdit => format!("conflict {id} is settled by a later edit: {present}"),
        ConflictState::ByAgreement => format!("conflict {id} is settled, both agree: {present}"),
        ConflictState::Open | ConflictState::ByPolicy => {
            format!("the value that lost in conflict {id} is there already: {present}")
        }
    };
    ApiError::new(Code::AlreadySettled, detail).hint(format!(
        "`counterfoil-hub conflicts put-back {id}` makes the value that lost current all the same"
    ))
}

fn changed(row: &ConflictRow) -> ApiError {
    let detail = format!("something newer is there: {}", present(row));
    ApiError::new(Code::ChangedMeanwhile, detail).hint(format!(
        "to decide over that value, repeat with --seen {}",
        row.current.stamp
    ))
}

/// Lists what people decided, oldest first.
#[utoipa::path(
    get,
    path = "/v1/admin/audit",
    tag = "conflicts",
    params(PageQuery),
    responses((status = 200, body = AuditPage)),
)]
async fn audit(State(hub): Hubs, query: Asked<PageQuery>) -> Answer<AuditPage> {
    let PageQuery { after, limit } = asked(query)?;
    let limit = page_size(limit)?;
    let page = hub.reports.call(move |reader| reader.audit(after, limit));
    Ok(Json(page.await?))
}
