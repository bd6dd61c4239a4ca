//! libSQL's sync protocol, per database (`crates/replica/DESIGN.md`).

use super::auth::OwnCopy;
use super::bodies::{self, Encoding, accepts_zstd, binary};
use super::gate;
use super::noted::{Ran, ran};
use super::{ApiError, bodies::encoding};
use crate::copies::{CopyFailure, Held};
use crate::hub::Hub;
use crate::limits::{PUSH_PLAIN_BYTES_MAX, PUSH_TIMEOUT, PUSH_WIRE_BYTES_MAX};
use crate::store::AuthedNode;
use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::response::{IntoResponse, Response};
use counterfoil_domain::hex::array_from_hex;
use counterfoil_protocol::gate::{Gate, gate};
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::replication::{
    CHAIN_BEFORE_HEADER, CHAIN_HEADER, FRAMES_HEADER, GenerationAnswer, GoneAnswer, Info,
};
use counterfoil_replica::limits::FRAME_BYTES;
use counterfoil_replica::{
    Chain, DeltaFrames, PagesOutcome, PullOutcome, Push, PushOutcome, delta,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

type Hubs = State<Arc<Hub>>;
type Answer = Result<Response, ApiError>;

/// The named parts of the address.
pub(crate) struct Segments(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let refused = |_| ApiError::new(Code::BadRequest, "the address is malformed");
        let path = Path::<BTreeMap<String, String>>::from_request_parts(parts, state).await;
        path.map(|Path(segments)| Self(segments)).map_err(refused)
    }
}

impl Segments {
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }
}

pub(super) fn number(segments: &Segments, name: &str) -> Result<u64, ApiError> {
    let text = segments.text(name);
    // Not a 400: a stock client takes every 400 for the end of a generation.
    let refused = |_| ApiError::new(Code::Invalid, format!("`{text}` is not a {name} number"));
    text.parse().map_err(refused)
}

fn chain_header(headers: &HeaderMap, name: &str) -> Result<Option<Chain>, ApiError> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let bytes = value.to_str().ok().and_then(array_from_hex::<32>);
    let refused = || ApiError::new(Code::BadRequest, format!("{name} is 64 hexadecimal digits"));
    Ok(Some(Chain(bytes.ok_or_else(refused)?)))
}

/// Holds the catalog back from a node that cannot read it (L4); a stock client does not say.
pub(super) async fn catalog(
    hub: &Hub,
    caller: &AuthedNode,
    headers: &HeaderMap,
) -> Result<Held, ApiError> {
    if let Some(has) = gate::stated(headers)?
        && gate(hub.config.schemas, has) == Gate::UpdateRequired
    {
        let meanwhile = "sales go on";
        return Err(gate::update_required(hub, caller.id, has, meanwhile).await);
    }
    if !hub.catalog_is_whole.load(Ordering::Acquire) {
        let detail = "the hub writes its catalog again, which was lost";
        return Err(ApiError::new(Code::Busy, detail)
            .hint("the till asks again by itself; it sells with the catalog it has"));
    }
    Ok(hub.copies.catalog().await?)
}

async fn info(hub: &Hub, held: Held) -> Result<Info, CopyFailure> {
    hub.copies
        .work(held, |copy| Ok(copy.info()?.to_wire()))
        .await
}

/// A stock client shows the body, so it says what to do.
pub(super) fn gone(generation: u64) -> Response {
    let (detail, hint) = (
        "what was asked for is of a generation that has ended",
        "this replica missed the end of its generation: begin a new one in an empty folder",
    );
    let body = GoneAnswer {
        generation,
        detail: detail.to_owned(),
        hint: hint.to_owned(),
    };
    (StatusCode::GONE, Json(body)).into_response()
}

async fn pull(hub: &Hub, held: Held, segments: &Segments, headers: &HeaderMap) -> Answer {
    let zstd = accepts_zstd(headers);
    let before = match bodies::accepts(headers, delta::ENCODING) {
        true => chain_header(headers, CHAIN_BEFORE_HEADER)?,
        false => None,
    };
    let generation = number(segments, "generation")?;
    let (start, end) = (number(segments, "start")?, number(segments, "end")?);
    let work = move |copy: &mut counterfoil_replica::Copy| {
        if let Some(before) = before
            && let Some(frames) = copy.pull_delta(generation, start, end, before)?
        {
            return Ok(Ok(delta_frames(frames)));
        }
        Ok(match copy.pull(generation, start, end)? {
            PullOutcome::Frames(frames) => {
                let count = whole_frames(frames.len());
                let answer = binary(bodies::encode(frames, zstd));
                Ok(sent(answer, count))
            }
            other => Err(other),
        })
    };
    Ok(match hub.copies.work(held, work).await? {
        Ok(response) => response,
        Err(PullOutcome::Ended { generation }) => (
            StatusCode::BAD_REQUEST,
            Json(GenerationAnswer { generation }),
        )
            .into_response(),
        Err(PullOutcome::Gone { generation }) => gone(generation),
        Err(PullOutcome::BadRequest | PullOutcome::Frames(_)) => {
            return Err(ApiError::new(
                Code::Invalid,
                "the range of frames makes no sense",
            ));
        }
    })
}

/// Frames in a plain body.
fn whole_frames(bytes: usize) -> usize {
    bytes.div_euclid(FRAME_BYTES)
}

fn sent(response: Response, frames: usize) -> Response {
    let frames = u64::try_from(frames).unwrap_or(u64::MAX);
    let refused = None;
    ran(response, Ran { frames, refused })
}

fn delta_frames(frames: DeltaFrames) -> Response {
    let mut response = sent(binary((frames.bytes, Encoding::Delta)), frames.frames);
    let chain = HeaderValue::from_str(&frames.chain.to_string());
    let headers = response.headers_mut();
    headers.insert(FRAMES_HEADER, HeaderValue::from(frames.frames));
    if let Ok(chain) = chain {
        headers.insert(CHAIN_HEADER, chain);
    }
    response
}

/// Tells what the copy holds.
#[utoipa::path(get, path = "/info", tag = "replication", responses((status = 200, body = Info)))]
pub(crate) async fn own_info(
    State(hub): Hubs,
    OwnCopy(key): OwnCopy,
) -> Result<Json<Info>, ApiError> {
    let held = hub.copies.pushed(&key).await?;
    Ok(Json(info(&hub, held).await?))
}

/// Gives out frames of the copy.
#[utoipa::path(
    get,
    path = "/sync/{generation}/{start}/{end}",
    tag = "replication",
    responses(
        (status = 200, content_type = "application/octet-stream"),
        (
            status = 400,
            description = "The generation has ended just there, or there is nothing new; or the request is malformed.",
            content((GenerationAnswer = "application/json"), (Problem = "application/problem+json"))
        ),
        (status = 410, description = "The frames are not to be had any more.", body = GoneAnswer),
    ),
)]
pub(crate) async fn own_pull(
    State(hub): Hubs,
    OwnCopy(key): OwnCopy,
    segments: Segments,
    headers: HeaderMap,
) -> Answer {
    let place = (
        number(&segments, "generation")?,
        number(&segments, "start")?,
    );
    let held = hub.copies.pushed(&key).await?;
    let held = hub.lead_over(&key, held, place).await?;
    pull(&hub, held, &segments, &headers).await
}

/// A refusal for a stock client. It shows the body of a 409, and of a `"status": "conflict"` only
/// "server returned a conflict" with two numbers.
fn in_words(outcome: &PushOutcome) -> Option<ApiError> {
    let what = match outcome {
        PushOutcome::Accepted { .. }
        | PushOutcome::BadRequest(_)
        | PushOutcome::SendWhole { .. } => return None,
        PushOutcome::Conflict { .. } => {
            "another client wrote to this database first; nothing of this push was taken".to_owned()
        }
        PushOutcome::Closed { generation, .. } => format!(
            "these frames are of a generation that has ended, generation {generation} is current; \
             nothing of this push was taken"
        ),
        PushOutcome::Unknown { generation } => format!(
            "these frames are of a generation that the hub never had or has lost, generation \
             {generation} is current; nothing of this push was taken"
        ),
    };
    Some(ApiError::new(Code::Conflict, what).hint(
        "this replica cannot sync any more: begin a new one in an empty folder, then write to it \
         again what this one alone has",
    ))
}

/// Why nothing of a push was taken, in a word; our own client knows what to do.
fn refusal(outcome: &PushOutcome) -> &'static str {
    match outcome {
        PushOutcome::Accepted { .. } => "",
        PushOutcome::BadRequest(_) => "the request makes no sense",
        PushOutcome::SendWhole { .. } => "whole frames are asked for",
        PushOutcome::Conflict { .. } => "the frames do not follow what is there",
        PushOutcome::Closed { .. } => "the generation has ended",
        PushOutcome::Unknown { .. } => "the generation is not known",
    }
}

/// Takes in frames, whole transactions only.
#[utoipa::path(
    post,
    path = "/sync/{generation}/{start}/{end}",
    tag = "replication",
    request_body(content_type = "application/octet-stream"),
    responses((status = 200, body = Object)),
)]
pub(crate) async fn own_push(
    State(hub): Hubs,
    OwnCopy(key): OwnCopy,
    segments: Segments,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    gate::take_book(&hub, &key, &headers).await?;
    let generation = number(&segments, "generation")?;
    let (start, end) = (number(&segments, "start")?, number(&segments, "end")?);
    let before = chain_header(&headers, CHAIN_BEFORE_HEADER)?;
    let (chain, encoding) = (chain_header(&headers, CHAIN_HEADER)?, encoding(&headers)?);
    let stock = chain.is_none();
    let body = bodies::read(&headers, body, PUSH_WIRE_BYTES_MAX, PUSH_TIMEOUT).await?;
    // A slow body must not hold the copy, so it is taken only now.
    let mut held = hub.copies.pushed(&key).await?;
    if stock {
        held = hub.lead_over(&key, held, (generation, start)).await?;
    }
    let turn = hub.pushes.acquire().await;
    let turn = turn.map_err(|_| ApiError::new(Code::Internal, "the hub is stopping"))?;
    let now_ms = hub.now_ms();
    let work = move |copy: &mut counterfoil_replica::Copy| {
        let push = |body| Push {
            generation,
            start,
            end,
            body,
            chain,
            before,
        };
        let outcome = match encoding {
            Encoding::Delta => copy.push_delta(&push(&body))?,
            Encoding::Identity | Encoding::Zstd => {
                match bodies::decode(encoding, body, PUSH_PLAIN_BYTES_MAX) {
                    Ok(plain) => copy.push(&push(&plain))?,
                    Err(refused) => return Ok(Err(refused)),
                }
            }
        };
        if matches!(outcome, PushOutcome::Accepted { .. }) {
            copy.note_time(now_ms)?;
        }
        Ok(Ok(outcome))
    };
    let outcome = hub.copies.work(held, work).await??;
    drop(turn);
    if let PushOutcome::BadRequest(refusal) = outcome {
        return Err(ApiError::new(Code::BadRequest, refusal.to_string()));
    }
    if stock && let Some(refusal) = in_words(&outcome) {
        return Err(refusal);
    }
    let mut done = Ran::default();
    match outcome {
        PushOutcome::Accepted { .. } => {
            done.frames = end.saturating_sub(start);
            hub.arrived(&key).await;
        }
        _ => done.refused = Some(refusal(&outcome)),
    }
    Ok(ran(Json(outcome.to_wire()).into_response(), done))
}

/// Gives out a digest of each page of the copy.
#[utoipa::path(
    get,
    path = "/pages/{generation}/{frame}",
    tag = "replication",
    responses(
        (status = 200, content_type = "application/octet-stream"),
        (status = 410, description = "The copy stands elsewhere by now.", body = GoneAnswer),
    ),
)]
pub(crate) async fn own_pages(
    State(hub): Hubs,
    OwnCopy(key): OwnCopy,
    segments: Segments,
) -> Answer {
    let generation = number(&segments, "generation")?;
    let frame = number(&segments, "frame")?;
    let held = hub.copies.pushed(&key).await?;
    let pages = hub
        .copies
        .work(held, move |copy| copy.pages(generation, frame));
    Ok(match pages.await? {
        PagesOutcome::Digests(digests) => binary((digests, Encoding::Identity)),
        PagesOutcome::Gone { generation } => gone(generation),
    })
}

/// Tells what the catalog holds.
#[utoipa::path(get, path = "/info", tag = "replication", responses((status = 200, body = Info)))]
pub(crate) async fn catalog_info(
    State(hub): Hubs,
    node: AuthedNode,
    headers: HeaderMap,
) -> Result<Json<Info>, ApiError> {
    let held = catalog(&hub, &node, &headers).await?;
    Ok(Json(info(&hub, held).await?))
}

/// Gives out frames of the catalog.
#[utoipa::path(
    get,
    path = "/sync/{generation}/{start}/{end}",
    tag = "replication",
    responses(
        (status = 200, content_type = "application/octet-stream"),
        (
            status = 400,
            description = "The generation has ended just there, or there is nothing new; or the request is malformed.",
            content((GenerationAnswer = "application/json"), (Problem = "application/problem+json"))
        ),
        (status = 410, description = "The frames are not to be had any more.", body = GoneAnswer),
    ),
)]
pub(crate) async fn catalog_pull(
    State(hub): Hubs,
    node: AuthedNode,
    segments: Segments,
    headers: HeaderMap,
) -> Answer {
    let held = catalog(&hub, &node, &headers).await?;
    pull(&hub, held, &segments, &headers).await
}

/// Refuses frames for the catalog: it is the hub's, and a till proposes changes in its book.
#[utoipa::path(
    post,
    path = "/sync/{generation}/{start}/{end}",
    tag = "replication",
    responses((status = 403, description = "Always.")),
)]
pub(crate) async fn catalog_refuse(State(hub): Hubs, node: AuthedNode) -> ApiError {
    hub.alert(
        "catalog_write",
        Some(node.id),
        "a till tried to write the catalog",
    )
    .await;
    ApiError::new(Code::Forbidden, "the catalog is written by the hub alone")
        .hint("propose the change with `counterfoil-node catalog set`")
}
