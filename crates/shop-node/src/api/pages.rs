//! Pages in a browser: they reach the API only from the origins that `node.toml` names, and there only what
//! other clients need. No page steers the till.

use crate::node::Node;
use crate::problem::Refusal;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use counterfoil_protocol::problem::{Code, Problem};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

/// What a page may call, with what is below it: `docs/clients.md` and the status.
const OPEN_TO_PAGES: [&str; 11] = [
    "/v1/operations",
    "/v1/changes",
    "/v1/conflicts",
    "/v1/policies",
    "/v1/status",
    "/v1/parked",
    "/v1/sign-in",
    "/v1/sign-out",
    "/v1/approvals",
    "/v1/no-sale",
    "/v1/openapi.json",
];

/// Asked by browsers before a page of the internet speaks to an address of this machine or its network.
const REQUEST_PRIVATE_NETWORK: &str = "access-control-request-private-network";
const ALLOW_PRIVATE_NETWORK: &str = "access-control-allow-private-network";

/// How long a browser may remember the answer, in seconds: an origin that was taken out of `node.toml` is refused
/// at the request itself anyhow.
const REMEMBERED_SECONDS: &str = "600";

/// Refuses requests that a page makes, which carry an `Origin`, except those of pages that are allowed, and
/// requests under a foreign name, which show in `Host` when a name was rebound to this machine.
pub(super) async fn guard(State(node): State<Node>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(header::HOST);
    if host.is_some_and(|host| !is_local(host.to_str().unwrap_or("?"))) {
        let detail = "requests under foreign names are refused";
        return Refusal(Problem::new(Code::Forbidden, detail)).into_response();
    }
    let Some(origin) = headers.get(header::ORIGIN).cloned() else {
        return next.run(request).await;
    };
    let allowed = &node.inner.config.allowed_origins;
    if !allowed.iter().any(|known| origin == known.as_str()) {
        let detail = "requests of this web page are refused";
        return Refusal(Problem::new(Code::Forbidden, detail).hint(
            "for a till in a browser, add the page's origin to `allowed_origins` in node.toml",
        ))
        .into_response();
    }
    let path = request.uri().path();
    let is_open = OPEN_TO_PAGES.iter().any(|open| {
        path.strip_prefix(open)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let mut response = if !is_open {
        let detail = "web pages may not call this; docs/clients.md says what they may";
        Refusal(Problem::new(Code::Forbidden, detail)).into_response()
    } else if request.method() == Method::OPTIONS {
        preflight(headers)
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    response
}

/// What a browser asks before the request that the page wants to make.
fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "content-type, x-counterfoil-session, x-counterfoil-approval",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, REMEMBERED_SECONDS),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if asked.contains_key(REQUEST_PRIVATE_NETWORK) {
        headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    response
}

fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "localhost" | "[::1]") || name.parse::<std::net::IpAddr>().is_ok()
}
