//! The local API (E3): everything the command line does, for tills and programs on this machine.
//!
//! `documents` records, `employees` sign in, `catalog` reads and edits, `conflicts` shows and decides, `undo` takes back, `clients` takes batches and tells what has changed, `control` shows and steers,
//! `stock` shows levels, `pairing` pairs lanes in trial, `parked` parks carts and lists them, `escrow` moves rights, `pages` decides
//! which web pages may ask.

mod catalog;
mod clients;
mod conflicts;
mod control;
mod documents;
mod employees;
mod escrow;
mod openapi;
mod pages;
mod pairing;
mod parked;
mod probes;
mod stock;
mod undo;

pub use openapi::description;

use crate::limits::WHO_CHARS_MAX;
use crate::node::Node;
use crate::problem::Refusal;
use axum::Router;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Query, Request};
use axum::middleware;
use counterfoil_protocol::problem::{Code, Problem};
use http::StatusCode;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Largest body of a request: a batch of an import.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

fn bad_request(detail: impl Into<String>) -> Refusal {
    Problem::new(Code::BadRequest, detail).into()
}

/// What a request asks for behind its address.
fn asked<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Refusal> {
    let Query(asked) = query.map_err(|error| bad_request(error.body_text()))?;
    Ok(asked)
}

/// What the address of a request names.
fn named<T>(path: Result<Path<T>, PathRejection>) -> Result<T, Refusal> {
    let Path(named) = path.map_err(|error| bad_request(error.body_text()))?;
    Ok(named)
}

/// Whether a person can be called that in a log or an audit trail.
fn check_who(by: &str) -> Result<(), Refusal> {
    let is_name = !by.trim().is_empty()
        && by.chars().count() <= WHO_CHARS_MAX
        && !by.chars().any(char::is_control);
    if is_name {
        return Ok(());
    }
    let detail = format!("`by` is a name of 1 to {WHO_CHARS_MAX} characters");
    Err(Problem::new(Code::Invalid, detail).into())
}

/// How many a page holds: what is asked for, or all that it may.
fn page_size<T>(limit: Option<T>, max: T) -> Result<T, Refusal>
where
    T: Copy + PartialOrd + Display + From<u8>,
{
    let limit = limit.unwrap_or(max);
    match (T::from(1)..=max).contains(&limit) {
        true => Ok(limit),
        false => Err(bad_request(format!("`limit` is 1 to {max}"))),
    }
}

/// Every call, with its description.
fn calls() -> OpenApiRouter<Node> {
    OpenApiRouter::new()
        .routes(routes!(probes::health))
        .routes(routes!(probes::ready))
        .routes(routes!(probes::metrics))
        .routes(routes!(openapi::openapi))
        .routes(routes!(control::status))
        .routes(routes!(control::queue))
        .routes(routes!(control::logs))
        .routes(routes!(control::sync))
        .routes(routes!(control::activate))
        .routes(routes!(control::hub))
        .routes(routes!(control::fence))
        .routes(routes!(pairing::pair, pairing::leave))
        .routes(routes!(pairing::revoke))
        .routes(routes!(control::receipts))
        .routes(routes!(documents::sale))
        .routes(routes!(documents::refund))
        .routes(routes!(documents::stock, stock::levels))
        .routes(routes!(stock::changes))
        .routes(routes!(stock::reconcile))
        .routes(routes!(documents::expense))
        .routes(routes!(documents::ledger))
        .routes(routes!(documents::order))
        .routes(routes!(documents::cash))
        .routes(routes!(parked::park, parked::list))
        .routes(routes!(parked::discard))
        .routes(routes!(escrow::order, escrow::list))
        .routes(routes!(documents::close_day))
        .routes(routes!(documents::import))
        .routes(routes!(employees::sign_in))
        .routes(routes!(employees::sign_out))
        .routes(routes!(employees::approve))
        .routes(routes!(employees::no_sale))
        .routes(routes!(employees::set_pin))
        .routes(routes!(catalog::set, catalog::get))
        .routes(routes!(catalog::digest))
        .routes(routes!(catalog::merge))
        .routes(routes!(catalog::unmerge))
        .routes(routes!(clients::operations))
        .routes(routes!(clients::changes))
        .routes(routes!(conflicts::policies))
        .routes(routes!(conflicts::list))
        .routes(routes!(conflicts::show))
        .routes(routes!(conflicts::resolve))
        .routes(routes!(conflicts::put_back))
        .routes(routes!(undo::undo))
}

/// The API of a node.
pub fn router(node: Node) -> Router {
    let (router, _) = calls().split_for_parts();
    router
        .fallback(no_such_call)
        .method_not_allowed_fallback(no_such_call)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(node.clone(), pages::guard))
        .with_state(node)
}

async fn no_such_call(request: Request) -> Refusal {
    let (method, path) = (request.method(), request.uri().path());
    let detail = format!("a till has no call {method} {path}");
    Problem::new(Code::NotFound, detail).into()
}

/// A JSON body; what cannot be read is answered as a problem.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(refused(&rejection)),
        }
    }
}

fn refused(rejection: &JsonRejection) -> Refusal {
    let code = match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        _ => Code::BadRequest,
    };
    Refusal(Problem::new(code, rejection.body_text()))
}
