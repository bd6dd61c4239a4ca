//! The local API (E3): everything the command line does, for tills and programs on this machine.
//!
//! `documents` records, `catalog` reads and edits, `conflicts` shows and decides, `control` shows and steers.

mod catalog;
mod conflicts;
mod control;
mod documents;

use crate::node::Node;
use crate::problem::Refusal;
use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use counterfoil_protocol::problem::{Code, Problem};
use http::{StatusCode, header};
use serde::de::DeserializeOwned;

/// Largest body of a request: a batch of an import.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The API of a node.
pub fn router(node: Node) -> Router {
    Router::new()
        .route("/healthz", get(control::health))
        .route("/v1/status", get(control::status))
        .route("/v1/queue", get(control::queue))
        .route("/v1/logs", get(control::logs))
        .route("/v1/sync", post(control::sync))
        .route("/v1/activate", post(control::activate))
        .route("/v1/hub", put(control::hub))
        .route("/v1/receipts", get(control::receipts))
        .route("/v1/sales", post(documents::sale))
        .route("/v1/refunds", post(documents::refund))
        .route("/v1/stock", post(documents::stock))
        .route("/v1/expenses", post(documents::expense))
        .route("/v1/ledger", post(documents::ledger))
        .route("/v1/orders", post(documents::order))
        .route("/v1/cash", post(documents::cash))
        .route("/v1/close-day", post(documents::close_day))
        .route("/v1/import", post(documents::import))
        .route(
            "/v1/catalog/{table}/{id}",
            put(catalog::set).get(catalog::get),
        )
        .route("/v1/policies", get(conflicts::policies))
        .route("/v1/conflicts", get(conflicts::list))
        .route("/v1/conflicts/{conflict}", get(conflicts::show))
        .route("/v1/conflicts/{conflict}/resolve", post(conflicts::resolve))
        .route(
            "/v1/conflicts/{conflict}/put-back",
            post(conflicts::put_back),
        )
        .route("/v1/catalog-digest", get(catalog::digest))
        .fallback(|| async { Refusal(Problem::new(Code::NotFound, "there is no such path")) })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(same_origin))
        .with_state(node)
}

/// A page in a browser may not steer the till: requests that a page makes carry an `Origin`, and a
/// name that was rebound to this machine shows in `Host`.
async fn same_origin(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let local = |host: &str| {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        matches!(name, "localhost" | "[::1]") || name.parse::<std::net::IpAddr>().is_ok()
    };
    let host = headers
        .get(header::HOST)
        .map(|host| host.to_str().unwrap_or("?"));
    if headers.contains_key(header::ORIGIN) || host.is_some_and(|host| !local(host)) {
        let detail = "requests from web pages and under foreign names are refused";
        return Refusal(Problem::new(Code::Forbidden, detail)).into_response();
    }
    next.run(request).await
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
