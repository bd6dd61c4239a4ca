//! The operator's calls. Every command of the program is one of them.

use super::ApiError;
use super::access::{OWNER, READ_CHAIN, READ_SHARED, READ_SHOP};
use super::admission::checked_name;
use super::bodies::{read_json, read_json_if_any};
use super::caller::Caller;
use super::calls::Calls;
use super::conflicts::{Asked, asked};
use super::sync::Segments;
use crate::hub::Hub;
use crate::limits::JOIN_CODE_MINUTES;
use crate::secrets;
use crate::store::{Grouping, HubEditError, NewCode, Reader, ShopAdd, ShopAddOutcome, StoreError};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use counterfoil_domain::env::uuid_v7;
use counterfoil_domain::{NodeId, ShopId};
use counterfoil_protocol::hub_url::{HubUrl, ParseHubUrlError, Pin};
use counterfoil_protocol::join::JoinCode;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::aliases::MergeAnswer;
use counterfoil_protocol::wire::hub::{
    CatalogExport, CatalogSetAnswer, CatalogSetRequest, HubStatus, JoinCodeRequest, MergeRequest,
    NodeRow, SalesGroup, ShopAddRequest, ShopAdded, ShopRow, UnmergeRequest,
};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::IntoParams;
use utoipa_axum::routes;

type Hubs = State<Arc<Hub>>;
type Answer<T> = Result<Json<T>, ApiError>;

pub(super) fn calls() -> Calls {
    Calls::new()
        .add(READ_SHOP, routes!(status))
        .add(READ_SHOP, routes!(shops))
        .add(OWNER, routes!(add_shop))
        .add(OWNER, routes!(add_join_code))
        .add(READ_SHOP, routes!(nodes))
        .add(OWNER, routes!(revoke))
        .add(READ_SHARED, routes!(export_table))
        .add(OWNER, routes!(set_row))
        .add(OWNER, routes!(merge))
        .add(OWNER, routes!(unmerge))
        .add(READ_CHAIN, routes!(report_sales))
        .add(OWNER, routes!(consolidate))
}

async fn read<T: Send + 'static>(
    hub: &Hub,
    question: impl FnOnce(&mut Reader) -> Result<T, StoreError> + Send + 'static,
) -> Answer<T> {
    Ok(Json(hub.reports.call(question).await?))
}

/// The hub at a glance.
#[utoipa::path(
    get,
    path = "/v1/admin/status",
    tag = "status",
    responses((status = 200, body = HubStatus)),
)]
async fn status(State(hub): Hubs, caller: Caller) -> Answer<HubStatus> {
    let (id, url) = (hub.id, hub.url.get().cloned());
    read(&hub, move |reader| reader.status(id, url, caller.shop)).await
}

/// Lists the shops.
#[utoipa::path(
    get,
    path = "/v1/admin/shops",
    tag = "shops",
    responses((status = 200, body = Vec<ShopRow>)),
)]
async fn shops(State(hub): Hubs, caller: Caller) -> Answer<Vec<ShopRow>> {
    let Json(mut rows) = read(&hub, |reader| reader.shops()).await?;
    rows.retain(|row| caller.sees(row.shop_id));
    Ok(Json(rows))
}

/// Lists the nodes with how far each is consolidated.
#[utoipa::path(
    get,
    path = "/v1/admin/nodes",
    tag = "nodes",
    responses((status = 200, body = Vec<NodeRow>)),
)]
async fn nodes(State(hub): Hubs, caller: Caller) -> Answer<Vec<NodeRow>> {
    let mut rows = node_rows(&hub).await?;
    rows.retain(|row| caller.sees(row.shop_id));
    Ok(Json(rows))
}

/// Adds up the consolidated sales.
#[utoipa::path(
    get,
    path = "/v1/admin/reports/sales",
    tag = "reports",
    params(SalesQuery),
    responses((status = 200, body = Vec<SalesGroup>)),
)]
async fn report_sales(State(hub): Hubs, query: Asked<SalesQuery>) -> Answer<Vec<SalesGroup>> {
    let SalesQuery { by } = asked(query)?;
    read(&hub, move |reader| reader.sales_by(by)).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SalesQuery {
    /// What the sums are of.
    #[param(inline)]
    by: Grouping,
}

/// Gives out a table of the catalog, deleted rows included.
#[utoipa::path(
    get,
    path = "/v1/admin/catalog/{table}",
    tag = "catalog",
    responses((status = 200, body = CatalogExport)),
)]
async fn export_table(State(hub): Hubs, segments: Segments) -> Answer<CatalogExport> {
    let table = segments.text("table").to_owned();
    let missing = no_table(&table);
    let rows = hub
        .reports
        .call(move |reader| reader.catalog_table(&table))
        .await?;
    Ok(Json(rows.ok_or(missing)?))
}

pub(super) fn no_table(table: &str) -> ApiError {
    ApiError::new(
        Code::NotFound,
        format!("the catalog has no table `{table}`"),
    )
    .hint("`counterfoil-hub status` lists the tables")
}

/// The URL under which others reach the hub: the one that was given, or the hub's own idea.
pub(super) async fn checked_url(hub: &Hub, given: Option<String>) -> Result<HubUrl, ApiError> {
    let own = hub.join_url().await?;
    let read = |url: &str| {
        url.parse()
            .map_err(|error: ParseHubUrlError| ApiError::new(Code::Invalid, error.to_string()))
    };
    let Some(given) = given else {
        return read(&own);
    };
    let given: HubUrl = read(&given)?;
    if given.pin().is_some() {
        return Ok(given);
    }
    Ok(match read(&own)?.pin() {
        Some(pin) => given.with_pin(pin),
        None => given,
    })
}

struct NewJoinCode {
    name: String,
    hub_url: Option<String>,
    valid_minutes: Option<i64>,
    may_be_new: bool,
    may_exist: bool,
    by: String,
}

async fn make_join_code(hub: &Hub, wanted: NewJoinCode) -> Answer<ShopAdded> {
    let name = checked_name(&wanted.name)?;
    let minutes = wanted.valid_minutes.unwrap_or(JOIN_CODE_MINUTES);
    if !(0..=JOIN_CODE_MINUTES * 365).contains(&minutes) {
        return Err(ApiError::new(
            Code::Invalid,
            "a join code holds 0 minutes to one year",
        ));
    }
    let hub_url = checked_url(hub, wanted.hub_url).await?;
    let now_ms = hub.now_ms();
    let expires_ms = now_ms.saturating_add(minutes * 60_000);
    let random = &*hub.env.random;
    let secret = secrets::secret(random);
    let secret_hash = secrets::hash(&secret);
    let add = ShopAdd {
        name: name.clone(),
        new_id: wanted
            .may_be_new
            .then(|| ShopId::from_uuid(uuid_v7(now_ms, random))),
        existing: wanted.may_exist,
        code: NewCode {
            secret_hash,
            created_ms: now_ms,
            expires_ms,
        },
        by: wanted.by,
    };
    match hub.writer.call(move |store| store.add_shop(&add)).await? {
        ShopAddOutcome::Added(shop_id) => {
            tracing::info!(%shop_id, name, "join code made");
            let join_code = JoinCode {
                certificate: hub_url.pin().map(Pin::to_hex),
                hub_url: hub_url.without_pin().to_string(),
                secret,
            }
            .to_string();
            Ok(Json(ShopAdded {
                shop_id,
                join_code,
                expires_ms,
            }))
        }
        ShopAddOutcome::Exists => {
            let detail = format!("there is a shop `{name}` already");
            Err(ApiError::new(Code::Conflict, detail).hint(format!(
                "for one more till of it: `counterfoil-hub shop join \"{name}\"`"
            )))
        }
        ShopAddOutcome::Missing => {
            let detail = format!("there is no shop `{name}`");
            let hint = format!("make it with `counterfoil-hub shop add \"{name}\"`");
            Err(ApiError::new(Code::NotFound, detail).hint(hint))
        }
    }
}

/// Makes a shop and a join code for its first lane.
#[utoipa::path(
    post,
    path = "/v1/admin/shops",
    tag = "shops",
    request_body = ShopAddRequest,
    responses((status = 200, body = ShopAdded)),
)]
async fn add_shop(
    State(hub): Hubs,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Answer<ShopAdded> {
    let request: ShopAddRequest = read_json(&headers, body).await?;
    let ShopAddRequest {
        name,
        hub_url,
        valid_minutes,
        existing,
    } = request;
    let wanted = NewJoinCode {
        name,
        hub_url,
        valid_minutes,
        may_be_new: true,
        may_exist: existing,
        by: caller.name(),
    };
    make_join_code(&hub, wanted).await
}

/// Makes a join code for a further lane of a shop.
#[utoipa::path(
    post,
    path = "/v1/admin/join-codes",
    tag = "shops",
    request_body = JoinCodeRequest,
    responses((status = 200, body = ShopAdded)),
)]
async fn add_join_code(
    State(hub): Hubs,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Answer<ShopAdded> {
    let JoinCodeRequest {
        name,
        hub_url,
        valid_minutes,
    } = read_json(&headers, body).await?;
    let wanted = NewJoinCode {
        name,
        hub_url,
        valid_minutes,
        may_be_new: false,
        may_exist: true,
        by: caller.name(),
    };
    make_join_code(&hub, wanted).await
}

/// Ends the access of a node.
#[utoipa::path(
    post,
    path = "/v1/admin/nodes/{node}/revoke",
    tag = "nodes",
    responses((status = 200, body = NodeRow)),
)]
async fn revoke(State(hub): Hubs, caller: Caller, segments: Segments) -> Answer<NodeRow> {
    let node = named_node(&segments)?;
    let (by, now_ms) = (caller.name(), hub.now_ms());
    if hub
        .writer
        .call(move |store| store.revoke(node, (&by, now_ms)))
        .await?
    {
        hub.news.end(node);
        tracing::info!(%node, "node revoked");
    }
    node_row(&hub, node).await
}

/// The node that an address names.
pub(super) fn named_node(segments: &Segments) -> Result<NodeId, ApiError> {
    let named = segments.text("node");
    let refused = |_| ApiError::new(Code::BadRequest, format!("`{named}` is not a node id"));
    named.parse().map_err(refused)
}

/// All nodes, as of now: a token may have expired.
async fn node_rows(hub: &Hub) -> Result<Vec<NodeRow>, ApiError> {
    let (schemas, now_ms) = (hub.config.schemas, hub.now_ms());
    let Json(mut rows) = read(hub, move |reader| reader.nodes(schemas)).await?;
    for row in &mut rows {
        let has_expired = row.token_expires_ms.is_some_and(|end_ms| end_ms <= now_ms);
        if has_expired && row.state != "revoked" {
            "token_expired".clone_into(&mut row.state);
        }
    }
    Ok(rows)
}

/// A node as the list shows it.
pub(super) async fn node_row(hub: &Hub, node: NodeId) -> Answer<NodeRow> {
    let rows = node_rows(hub).await?;
    let missing = || {
        ApiError::new(Code::NotFound, format!("there is no node {node}"))
            .hint("`counterfoil-hub node list` shows the ids")
    };
    let row = rows.into_iter().find(|row| row.node_id == node);
    Ok(Json(row.ok_or_else(missing)?))
}

/// Edits a row of the catalog at the hub.
#[utoipa::path(
    post,
    path = "/v1/admin/catalog/{table}/{row}",
    tag = "catalog",
    request_body = CatalogSetRequest,
    responses((status = 200, body = CatalogSetAnswer)),
)]
async fn set_row(
    State(hub): Hubs,
    caller: Caller,
    segments: Segments,
    headers: HeaderMap,
    body: Body,
) -> Answer<CatalogSetAnswer> {
    let request: CatalogSetRequest = read_json(&headers, body).await?;
    let by = caller.decides(request.by)?;
    let (table, row) = (
        segments.text("table").to_owned(),
        segments.text("row").to_owned(),
    );
    let edited = hub
        .edit_catalog(table.clone(), row, request.columns, by)
        .await?;
    edited.map(Json).map_err(|error| match error {
        HubEditError::NoTable => no_table(&table),
        HubEditError::Refused(reason) => ApiError::new(Code::Invalid, reason),
    })
}

/// Merges a customer or product into another one, which stands for it from now on.
#[utoipa::path(
    post,
    path = "/v1/admin/catalog/{table}/{row}/merge",
    tag = "catalog",
    request_body = MergeRequest,
    responses((status = 200, body = MergeAnswer)),
)]
async fn merge(
    State(hub): Hubs,
    caller: Caller,
    segments: Segments,
    headers: HeaderMap,
    body: Body,
) -> Answer<MergeAnswer> {
    let request: MergeRequest = read_json(&headers, body).await?;
    let by = caller.decides(request.by)?;
    merged(&hub, &segments, Some(request.into), by).await
}

/// Takes a merge back.
#[utoipa::path(
    post,
    path = "/v1/admin/catalog/{table}/{row}/unmerge",
    tag = "catalog",
    request_body = Option<UnmergeRequest>,
    responses((status = 200, body = MergeAnswer)),
)]
async fn unmerge(
    State(hub): Hubs,
    caller: Caller,
    segments: Segments,
    headers: HeaderMap,
    body: Body,
) -> Answer<MergeAnswer> {
    let request: UnmergeRequest = read_json_if_any(&headers, body).await?;
    let by = caller.decides(request.by)?;
    merged(&hub, &segments, None, by).await
}

async fn merged(
    hub: &Hub,
    segments: &Segments,
    into: Option<String>,
    who: String,
) -> Answer<MergeAnswer> {
    let table = segments.text("table").to_owned();
    let row = segments.text("row").to_owned();
    let merged = hub.merge_rows(table.clone(), row, into, who).await?;
    merged.map(Json).map_err(|error| match error {
        HubEditError::NoTable => no_table(&table),
        HubEditError::Refused(reason) => ApiError::new(Code::Invalid, reason),
    })
}

/// Consolidates now what every copy holds.
#[utoipa::path(
    post,
    path = "/v1/admin/consolidate",
    tag = "nodes",
    responses((status = 200, body = Object)),
)]
async fn consolidate(State(hub): Hubs) -> Answer<Value> {
    let swept = hub.consolidate_everything().await;
    // Whoever sweeps by hand wants to see what it came to, also when that failed.
    let watched = hub.watch().await;
    swept?;
    watched?;
    Ok(Json(json!({})))
}
