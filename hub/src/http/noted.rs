//! Notes each request of a till as a run of sync: how long, how much, how it ended.

use crate::hub::Hub;
use crate::monitor::{Began, milliseconds};
use crate::store::NewRun;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use counterfoil_domain::NodeId;
use counterfoil_protocol::problem::Problem;
use counterfoil_protocol::wire::hub::{CATALOG_PATH, HELLO_PATH};
use counterfoil_protocol::wire::monitor::{RunKind, RunResult};
use http::request::Parts;
use http::{HeaderMap, Method, header};
use std::sync::{Arc, OnceLock};

/// Which till called, as soon as that is known. Stands in the request for whoever finds out.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted(Arc<OnceLock<NodeId>>);

impl Noted {
    /// Says that the caller has proved to be a till.
    pub(super) fn caller_is(parts: &Parts, node: NodeId) {
        if let Some(Self(caller)) = parts.extensions.get() {
            // A request has one caller.
            caller.set(node).ok();
        }
    }
}

/// What a call did; stands in its answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ran {
    /// Frames that came up or went down.
    pub(super) frames: u64,
    /// Why nothing was taken, when the answer is no problem all the same.
    pub(super) refused: Option<&'static str>,
}

/// Puts into an answer what was done.
pub(super) fn ran(mut response: Response, ran: Ran) -> Response {
    response.extensions_mut().insert(ran);
    response
}

/// What kind of run a request is, and which book it names.
fn kind_of(method: &Method, path: &str) -> Option<RunKind> {
    if path == HELLO_PATH {
        return Some(RunKind::Hello);
    }
    let below = path
        .strip_prefix("/v1/db/book/")
        .and_then(|rest| rest.split_once('/').map(|(_, call)| call))
        .or_else(|| path.strip_prefix(CATALOG_PATH)?.strip_prefix('/'))?;
    let is_data = below.starts_with("sync/") || below.starts_with("export/");
    match *method {
        Method::POST if below.starts_with("sync/") => Some(RunKind::Push),
        Method::GET if is_data => Some(RunKind::Pull),
        _ => None,
    }
}

/// A run that is under way. When nobody waits for the answer any more it is dropped, and noted as failed.
struct Noting<'h> {
    hub: &'h Hub,
    kind: RunKind,
    caller: Noted,
    began: Began,
    up: u64,
    ended: bool,
}

impl Noting<'_> {
    fn end(&mut self, ran: Ran, down: u64, result: RunResult, detail: String) {
        self.ended = true;
        let took = self.began.at.elapsed();
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let run = NewRun {
            node: self.caller.0.get().copied(),
            kind: self.kind,
            started_ms: self.began.at_ms,
            duration_ms: milliseconds(took),
            requests: 1,
            rows: whole(ran.frames),
            bytes: whole(self.up.saturating_add(down)),
            result,
            detail,
        };
        let metrics = &self.hub.monitor.metrics;
        metrics.count_request(&run, self.up, down, took);
        self.hub.monitor.note(run);
    }
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let detail = "the caller went away".to_owned();
            self.end(Ran::default(), 0, RunResult::Failed, detail);
        }
    }
}

fn length(headers: &HeaderMap) -> u64 {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
    length.unwrap_or(0)
}

/// See the module.
pub(super) async fn noted(
    State(hub): State<Arc<Hub>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(kind) = kind_of(request.method(), request.uri().path()) else {
        return next.run(request).await;
    };
    let caller = Noted::default();
    request.extensions_mut().insert(caller.clone());
    let mut noting = Noting {
        hub: &hub,
        kind,
        caller,
        began: hub.began(),
        up: length(request.headers()),
        ended: false,
    };
    let response = next.run(request).await;
    let ran = response.extensions().get::<Ran>().copied();
    let ran = ran.unwrap_or_default();
    let down = axum::body::HttpBody::size_hint(response.body());
    let down = down.exact().unwrap_or(0);
    let (result, detail) = match (response.extensions().get::<Problem>(), ran.refused) {
        (Some(problem), _) if problem.status >= 500 => (RunResult::Failed, problem.detail.clone()),
        (Some(problem), _) => (RunResult::Refused, problem.detail.clone()),
        (None, Some(why)) => (RunResult::Refused, why.to_owned()),
        (None, None) => (RunResult::Done, String::new()),
    };
    noting.end(ran, down, result, detail);
    drop(noting);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_moves_data_or_says_hello_is_a_run() {
        let book = "/v1/db/book/0193-7";
        let cases = [
            (Method::POST, HELLO_PATH.to_owned(), Some(RunKind::Hello)),
            (
                Method::POST,
                format!("{book}/sync/1/2/3"),
                Some(RunKind::Push),
            ),
            (
                Method::POST,
                format!("{book}/sync/1/2/3/b"),
                Some(RunKind::Push),
            ),
            (
                Method::GET,
                format!("{book}/sync/1/2/3"),
                Some(RunKind::Pull),
            ),
            (
                Method::GET,
                format!("{CATALOG_PATH}/sync/1/2/3"),
                Some(RunKind::Pull),
            ),
            (
                Method::GET,
                format!("{CATALOG_PATH}/export/1/0/9"),
                Some(RunKind::Pull),
            ),
            (
                Method::POST,
                format!("{CATALOG_PATH}/sync/1/2/3"),
                Some(RunKind::Push),
            ),
            (Method::GET, format!("{book}/info"), None),
            (Method::GET, format!("{book}/pages/1/2"), None),
            (Method::GET, "/v1/db/database/x/sync/1/2/3".to_owned(), None),
            (Method::GET, "/healthz".to_owned(), None),
        ];
        for (method, path, kind) in cases {
            assert_eq!(kind_of(&method, &path), kind, "{method} {path}");
        }
    }
}
