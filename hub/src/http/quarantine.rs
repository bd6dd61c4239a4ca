//! The operator's calls about records that stepped aside.

use super::ApiError;
use super::access::{OWNER, READ_SHOP, Subject, another_shop, decide_own, read_own};
use super::bodies::read_json;
use super::caller::Caller;
use super::calls::Calls;
use super::sync::Segments;
use crate::hub::Hub;
use crate::limits::REASON_CHARS_MAX;
use crate::store::{Decision, Listed, Ruled, Ruling};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use counterfoil_domain::{NodeId, Rule};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::quarantine::{
    QuarantineAnswer, QuarantineDetail, QuarantineRequest, QuarantineRow,
};
use http::{HeaderMap, Uri};
use std::sync::Arc;
use utoipa_axum::routes;

type Hubs = State<Arc<Hub>>;
type Answer<T> = Result<Json<T>, ApiError>;
type Decided = Answer<QuarantineAnswer>;

const NODE: Subject = Subject::Node;

pub(super) fn calls() -> Calls {
    Calls::new()
        .add(READ_SHOP, routes!(list))
        .add(OWNER, routes!(retry_all))
        .add(read_own(NODE), routes!(show))
        .add(decide_own(NODE), routes!(waive))
        .add(decide_own(NODE), routes!(fix))
        .add(decide_own(NODE), routes!(retry))
}

fn node_named(named: &str) -> Result<NodeId, ApiError> {
    let refused = |_| ApiError::new(Code::BadRequest, format!("`{named}` is not a node id"));
    named.parse().map_err(refused)
}

fn listed(uri: &Uri) -> Result<Listed, ApiError> {
    let mut listed = Listed::default();
    let query = uri.query().unwrap_or_default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("node", node)) => listed.node = Some(node_named(node)?),
            Some(("reason", code)) => {
                let rule = Rule::from_name(code).ok_or_else(|| {
                    let known = Rule::ALL.map(Rule::name).join(", ");
                    let detail = format!("`{code}` is no reason; there are {known}");
                    ApiError::new(Code::BadRequest, detail)
                })?;
                listed.code = Some(rule.name().to_owned());
            }
            Some(("open", "true")) => listed.open = true,
            Some(("open", "false")) => listed.open = false,
            _ => {
                let detail = "a list is asked for by node=ID, reason=CODE, open=true";
                return Err(ApiError::new(Code::BadRequest, detail));
            }
        }
    }
    Ok(listed)
}

/// Lists records that stepped aside.
#[utoipa::path(
    get,
    path = "/v1/admin/quarantine",
    tag = "quarantine",
    params(("node" = Option<NodeId>, Query, description = "Only of this node"), ("reason" = Option<String>, Query, description = "Only with this code"), ("open" = Option<bool>, Query, description = "Only those that stand in quarantine")),
    responses((status = 200, body = Vec<QuarantineRow>)),
)]
async fn list(State(hub): Hubs, caller: Caller, uri: Uri) -> Answer<Vec<QuarantineRow>> {
    let listed = Listed {
        shop: caller.shop,
        ..listed(&uri)?
    };
    let rows = hub.reports.call(move |reader| reader.quarantine(&listed));
    Ok(Json(rows.await?))
}

fn place(segments: &Segments) -> Result<(NodeId, i64), ApiError> {
    let (node, seq) = (node_named(segments.text("node"))?, segments.text("seq"));
    let refused = |_| ApiError::new(Code::BadRequest, format!("`{seq}` is no entry's number"));
    Ok((node, seq.parse().map_err(refused)?))
}

fn missing(node: NodeId, seq: i64) -> ApiError {
    let detail = format!("entry {seq} of node {node} is not in quarantine and never was");
    ApiError::new(Code::NotFound, detail).hint("`counterfoil-hub quarantine list` shows what is")
}

/// Shows a record with everything that belongs to it.
#[utoipa::path(
    get,
    path = "/v1/admin/quarantine/{node}/{seq}",
    tag = "quarantine",
    responses((status = 200, body = QuarantineDetail)),
)]
async fn show(State(hub): Hubs, caller: Caller, segments: Segments) -> Answer<QuarantineDetail> {
    let (node, seq) = place(&segments)?;
    let found = hub.quarantined((node, seq), caller.shop).await?;
    found.map(Json).ok_or_else(|| missing(node, seq))
}

/// Takes a record in as it is.
#[utoipa::path(
    post,
    path = "/v1/admin/quarantine/{node}/{seq}/waive",
    tag = "quarantine",
    request_body = QuarantineRequest,
    responses((status = 200, body = QuarantineAnswer)),
)]
async fn waive(hub: Hubs, caller: Caller, at: Segments, it: HeaderMap, body: Body) -> Decided {
    rule(hub, &caller, &at, (Decision::Waive, &it, body)).await
}

/// Takes a record in with other fields.
#[utoipa::path(
    post,
    path = "/v1/admin/quarantine/{node}/{seq}/fix",
    tag = "quarantine",
    request_body = QuarantineRequest,
    responses((status = 200, body = QuarantineAnswer)),
)]
async fn fix(hub: Hubs, caller: Caller, at: Segments, it: HeaderMap, body: Body) -> Decided {
    rule(hub, &caller, &at, (Decision::Fix, &it, body)).await
}

/// Judges a record in quarantine again.
#[utoipa::path(
    post,
    path = "/v1/admin/quarantine/{node}/{seq}/retry",
    tag = "quarantine",
    request_body = QuarantineRequest,
    responses((status = 200, body = QuarantineAnswer)),
)]
async fn retry(hub: Hubs, caller: Caller, at: Segments, it: HeaderMap, body: Body) -> Decided {
    rule(hub, &caller, &at, (Decision::Retry, &it, body)).await
}

/// Decides about one record.
async fn rule(
    State(hub): Hubs,
    caller: &Caller,
    segments: &Segments,
    asked: (Decision, &HeaderMap, Body),
) -> Decided {
    let ruling = ruling(caller, asked).await?;
    decide(&hub, caller, segments, ruling).await
}

/// Judges all records in quarantine again.
#[utoipa::path(
    post,
    path = "/v1/admin/quarantine/retry",
    tag = "quarantine",
    request_body = QuarantineRequest,
    responses((status = 200, body = QuarantineAnswer)),
)]
async fn retry_all(State(hub): Hubs, caller: Caller, headers: HeaderMap, body: Body) -> Decided {
    let ruling = ruling(&caller, (Decision::Retry, &headers, body)).await?;
    let taken_in = hub.retry_quarantine(ruling).await?;
    answer(&hub, &caller, None, taken_in).await
}

async fn ruling(
    caller: &Caller,
    (decision, headers, body): (Decision, &HeaderMap, Body),
) -> Result<Ruling, ApiError> {
    let QuarantineRequest { who, why, changes } = read_json(headers, body).await?;
    let (who, why) = (caller.decides(Some(who.trim().to_owned()))?, why.trim());
    let why = why.to_owned();
    let invalid = |detail: &str| Err(ApiError::new(Code::Invalid, detail));
    if why.chars().count() > REASON_CHARS_MAX || why.contains('\0') {
        return invalid("why it is decided is too long");
    }
    match decision {
        Decision::Waive | Decision::Fix if why.is_empty() => {
            return invalid("why it is decided is missing");
        }
        Decision::Fix if changes.is_empty() => return invalid("no field is set"),
        Decision::Waive | Decision::Retry | Decision::Follow if !changes.is_empty() => {
            return invalid("only a fix sets fields");
        }
        _ => {}
    }
    Ok(Ruling {
        decision,
        who,
        why,
        changes,
        crosses_shops: caller.shop.is_none(),
    })
}

async fn decide(
    hub: &Hub,
    caller: &Caller,
    segments: &Segments,
    ruling: Ruling,
) -> Answer<QuarantineAnswer> {
    let (node, seq) = place(segments)?;
    let (who, decision) = (ruling.who.clone(), ruling.decision);
    let (ruled, taken_in) = hub.decide(node, seq, ruling).await?;
    tracing::info!(%node, seq, who, ?decision, ?ruled, "decided");
    match ruled {
        Ruled::TakenIn | Ruled::Repeated | Ruled::Still => {
            answer(hub, caller, Some((node, seq)), taken_in).await
        }
        Ruled::Missing => Err(missing(node, seq)),
        Ruled::Settled { how, .. } => {
            let detail = format!("entry {seq} of node {node} was {how} before; it is consolidated");
            Err(ApiError::new(Code::Conflict, detail)
                .hint("`counterfoil-hub quarantine show` says who decided what"))
        }
        Ruled::Refused(reason) => Err(ApiError::new(Code::Invalid, reason)),
        Ruled::AnotherShop => {
            let what = format!("waive entry {seq} of node {node}");
            Err(another_shop(hub, caller, &what).await)
        }
        Ruled::NoRecord => {
            // A node or an entry that nobody has heard of is told apart from a lost copy.
            let known = hub
                .reports
                .call(move |reader| reader.quarantined((node, seq), None));
            if known.await?.is_none() {
                return Err(missing(node, seq));
            }
            let detail = format!("the hub's copy of the book does not give entry {seq} now");
            Err(ApiError::new(Code::Conflict, detail)
                .hint("the till sends its book again at its next contact; then decide again"))
        }
    }
}

async fn answer(
    hub: &Hub,
    caller: &Caller,
    about: Option<(NodeId, i64)>,
    taken_in: i64,
) -> Answer<QuarantineAnswer> {
    let shop = caller.shop;
    let read = move |reader: &mut crate::store::Reader| {
        let found = match about {
            Some(place) => reader.quarantined(place, shop)?,
            None => None,
        };
        let (row, open) = (found.map(|found| found.row), reader.quarantine_size(shop)?);
        Ok(QuarantineAnswer {
            row,
            taken_in,
            open,
        })
    };
    let answer: Result<_, crate::store::StoreError> = hub.reports.call(read).await;
    Ok(Json(answer?))
}
