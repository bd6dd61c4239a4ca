//! Reaches the admin API: of the running hub, or of one opened here for a single request.

use super::Failure;
use super::signed_in::Place;
use crate::config::HubConfig;
use crate::datadir::{DataDir, Ownership};
use crate::http::router;
use crate::hub::Hub;
use crate::limits::{ANSWER_BYTES_MAX, COMMAND_RETRY, COMMAND_TIMEOUT, COMMAND_WAIT};
use axum::body::Body;
use bytes::Bytes;
use counterfoil_protocol::hub_url::HubUrl;
use counterfoil_protocol::problem::Problem;
use counterfoil_replica::env::{Env, HttpError, HttpRequest};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::time::Instant;
use tower::ServiceExt as _;

/// One request of a command.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Below the hub's base URL, encoded.
    pub(super) path: String,
    pub(super) body: Vec<u8>,
    /// Whether it may set up a hub in an empty folder.
    pub(super) sets_up: bool,
}

/// Which hub, and as whom.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) hub: Whereabouts,
    /// Where the session with it is kept.
    pub(super) place: Place,
    /// Token of a machine, handed in by the environment.
    pub(super) token: Option<String>,
}

/// How a hub is reached.
#[derive(Clone, Debug)]
pub(super) enum Whereabouts {
    /// Through its folder on this machine.
    Folder(PathBuf),
    /// Over the network.
    Url(HubUrl),
}

impl Target {
    /// The token to show: of the environment, or of who signed in.
    fn token(&self) -> Result<Option<String>, Failure> {
        if let Some(token) = &self.token {
            return Ok(Some(token.clone()));
        }
        Ok(self.place.kept()?.map(|session| session.token))
    }
}

/// What a folder can be reached through now.
enum Way {
    /// Nobody works on it: it is ours.
    Own(Ownership),
    /// A hub listens.
    Running { url: String, token: String },
    /// Another command works on it, or a hub is starting.
    Busy,
}

fn way(dir: &DataDir, env: &Env) -> Result<Way, Failure> {
    if let Some(ownership) = dir.own()? {
        return Ok(Way::Own(ownership));
    }
    let (running, token) = (dir.running(env)?, dir.existing_token()?);
    Ok(match (running, token) {
        (Some(running), Some(token)) => Way::Running {
            url: running.url,
            token,
        },
        _ => Way::Busy,
    })
}

/// Waits until the folder is ours; a failure when a hub runs on it.
pub(super) async fn own(dir: &DataDir, env: &Env) -> Result<Ownership, Failure> {
    dir.create()?;
    let deadline = Instant::now() + COMMAND_WAIT;
    loop {
        match way(dir, env)? {
            Way::Own(ownership) => return Ok(ownership),
            Way::Running { url, .. } if Instant::now() > deadline || answers(env, &url).await => {
                return Err(Failure::unusable(format!(
                    "a hub runs on this folder already, at {url}"
                ))
                .hint("stop it first, or use another --data"));
            }
            Way::Busy if Instant::now() > deadline => return Err(in_use()),
            Way::Running { .. } | Way::Busy => tokio::time::sleep(COMMAND_RETRY).await,
        }
    }
}

fn in_use() -> Failure {
    Failure::unreachable("another command works on this folder").hint("try again in a moment")
}

async fn answers(env: &Env, url: &str) -> bool {
    let request = HttpRequest {
        method: Method::GET,
        url: format!("{url}/healthz"),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        timeout: COMMAND_WAIT,
        response_bytes_max: ANSWER_BYTES_MAX,
    };
    env.http().send(request).await.is_ok()
}

/// Makes one request, with or without a running hub.
pub(super) async fn call<T: DeserializeOwned>(
    target: &Target,
    env: &Env,
    call: &Call,
) -> Result<T, Failure> {
    let (status, body) = match &target.hub {
        Whereabouts::Folder(data) => by_folder(data, target, env, call).await?,
        Whereabouts::Url(url) => {
            let token = target.token()?;
            let answer = over_tcp(env, call, &url.to_string(), token.as_deref()).await?;
            let failure = || Failure::unreachable(format!("the hub at {url} does not answer"));
            answer.ok_or_else(failure)?
        }
    };
    if !status.is_success() {
        let problem = serde_json::from_slice::<Problem>(&body);
        let unknown = |_| Failure::failed(format!("the hub answered {status}"));
        return Err(problem.map_or_else(unknown, Failure::from));
    }
    serde_json::from_slice(&body).map_err(|error| Failure::from_chain(&error))
}

/// Through the hub's folder: to the hub that runs on it, or to one opened here.
async fn by_folder(
    data: &Path,
    target: &Target,
    env: &Env,
    call: &Call,
) -> Result<(StatusCode, Bytes), Failure> {
    let dir = DataDir::new(data);
    if call.sets_up {
        dir.create()?;
    } else {
        dir.require()?;
    }
    let deadline = Instant::now() + COMMAND_WAIT;
    let token = target.token()?;
    loop {
        match way(&dir, env)? {
            Way::Own(ownership) => {
                let hub = Hub::open_owned(HubConfig::new(data), env.clone(), ownership).await?;
                return in_process(hub, call, token).await;
            }
            Way::Running { url, token: admin } => {
                match over_tcp(env, call, &url, Some(token.as_ref().unwrap_or(&admin))).await? {
                    Some(answer) => return Ok(answer),
                    None if Instant::now() > deadline => {
                        return Err(Failure::unreachable(format!(
                            "the hub at {url} does not answer"
                        ))
                        .hint("it may be starting or stopping; try again"));
                    }
                    None => {}
                }
            }
            Way::Busy if Instant::now() > deadline => return Err(in_use()),
            Way::Busy => {}
        }
        tokio::time::sleep(COMMAND_RETRY).await;
    }
}

async fn in_process(
    hub: Arc<Hub>,
    call: &Call,
    token: Option<String>,
) -> Result<(StatusCode, Bytes), Failure> {
    let token = token.unwrap_or_else(|| hub.admin_token.clone());
    let request = Request::builder()
        .method(call.method.clone())
        .uri(&call.path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::from(call.body.clone()));
    let request = request.map_err(|error| Failure::from_chain(&error))?;
    // The router's services cannot fail; the answer says what went wrong.
    let response = match router(std::sync::Arc::clone(&hub)).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await;
    hub.write_runs()
        .await
        .map_err(|error| Failure::from_chain(&error))?;
    Ok((
        head.status,
        body.map_err(|error| Failure::from_chain(&error))?,
    ))
}

/// `None` when nobody listens there any more.
async fn over_tcp(
    env: &Env,
    call: &Call,
    url: &str,
    token: Option<&str>,
) -> Result<Option<(StatusCode, Bytes)>, Failure> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
        let bearer = bearer.map_err(|error| Failure::from_chain(&error))?;
        headers.insert(header::AUTHORIZATION, bearer);
    }
    let request = HttpRequest {
        method: call.method.clone(),
        url: format!("{url}{}", call.path),
        headers,
        body: call.body.clone().into(),
        timeout: COMMAND_TIMEOUT,
        response_bytes_max: ANSWER_BYTES_MAX,
    };
    match env.http().send(request).await {
        Ok(answer) => Ok(Some((answer.status, answer.body))),
        // A change may have been made before the line broke: only a request that never arrived, or
        // one that changes nothing, is sent again.
        Err(error @ HttpError::Connection { .. })
            if call.method == Method::GET || never_connected(&error) =>
        {
            Ok(None)
        }
        Err(error) => Err(Failure {
            exit_code: 4,
            ..Failure::from_chain(&error)
        }),
    }
}

fn never_connected(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        cause = error.source();
    }
    false
}

/// A text as one segment of an address.
pub(super) fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) && text.len() > 2 {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(encoded, "%{byte:02X}").ok();
        }
    }
    encoded
}
