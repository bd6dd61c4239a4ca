//! How a command reaches its node: through the daemon's API when one runs on the directory, else
//! through the same API in this process. Either way it is one request.

use crate::api;
use crate::config::{Config, ConfigError};
use crate::node::{Node, NodeOptions, OpenNodeError};
use axum::Router;
use axum::body::Body;
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_replica::env::{Env, HttpRequest};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tower::ServiceExt as _;

/// How long a command waits for another one that holds the directory.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// Pause between two looks at the lock.
const LOCK_POLL: Duration = Duration::from_millis(20);
/// How long a request may take; a sync of a long backlog does.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(600);
/// Largest answer of the API.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The daemon's file with its address, beside its lock.
pub const ADDRESS_FILE: &str = "node.json";
const LOCK_FILE: &str = "node.lock";

/// A data directory that cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// There is no node in the directory.
    #[error("there is no node in {0}")]
    NoNode(PathBuf),
    /// The directory cannot be locked.
    #[error("cannot lock {path}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Somebody holds the directory and does not answer.
    #[error("another process holds {0} and does not answer")]
    Held(PathBuf),
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node cannot be opened.
    #[error("cannot open the node")]
    Open(#[from] OpenNodeError),
}

/// The lock of a data directory; one process at a time.
pub struct DirectoryLock(
    #[expect(dead_code, reason = "the lock is held until it is dropped")] File,
);

/// Takes the lock of a data directory, or says that somebody holds it.
///
/// # Errors
/// [`ReachError::Lock`].
pub fn lock(data: &Path) -> Result<Option<DirectoryLock>, ReachError> {
    let path = data.join(LOCK_FILE);
    let error = |source| ReachError::Lock {
        path: path.clone(),
        source,
    };
    std::fs::create_dir_all(data).map_err(error)?;
    let mut options = OpenOptions::new();
    let file = options
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(error)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(DirectoryLock(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(error(source)),
    }
}

/// A way to the node of a data directory.
pub enum LocalClient {
    /// No daemon runs: the node is open in this process.
    Embedded {
        /// Its API.
        router: Router,
        /// The node; dropped before the lock.
        node: Node,
        /// Keeps others out.
        lock: DirectoryLock,
    },
    /// The daemon's API.
    Daemon {
        /// Its base URL.
        url: String,
        /// What the outside world supplies.
        env: Env,
    },
}

impl LocalClient {
    /// Reaches the node of a directory; waits while another command holds it.
    ///
    /// # Errors
    /// [`ReachError`].
    pub async fn reach(data: &Path, env: Env) -> Result<Self, ReachError> {
        if !data.join("book.db").exists() {
            return Err(ReachError::NoNode(data.to_owned()));
        }
        let mut waited = Duration::ZERO;
        loop {
            if let Some(lock) = lock(data)? {
                let config = Config::load(data)?;
                let node = Node::open(data, config, env, &NodeOptions::default())?;
                return Ok(Self::Embedded {
                    router: api::router(node.clone()),
                    node,
                    lock,
                });
            }
            if let Some(url) = daemon_url(data, &env).await {
                return Ok(Self::Daemon { url, env });
            }
            if waited >= LOCK_WAIT {
                return Err(ReachError::Held(data.to_owned()));
            }
            tokio::time::sleep(LOCK_POLL).await;
            waited += LOCK_POLL;
        }
    }

    /// One request of the API.
    ///
    /// # Errors
    /// The problem that the API answered, or that the daemon cannot be reached.
    pub async fn call<B: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<A, Problem> {
        let unreadable = |error: serde_json::Error| Problem::new(Code::Internal, error.to_string());
        let body = match body {
            Some(body) => serde_json::to_vec(body).map_err(unreadable)?,
            None => Vec::new(),
        };
        let (ok, answer) = match self {
            Self::Embedded { router, .. } => in_process(router, method, path, body).await?,
            Self::Daemon { url, env } => {
                over_socket(env, method, format!("{url}{path}"), body).await?
            }
        };
        if ok {
            return serde_json::from_slice(&answer).map_err(unreadable);
        }
        Err(serde_json::from_slice(&answer).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(&answer).into_owned();
            Problem::new(Code::Internal, format!("the node answered: {text}"))
        }))
    }
}

async fn in_process(
    router: &Router,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<(bool, Vec<u8>), Problem> {
    let internal = |error: &dyn std::error::Error| Problem::new(Code::Internal, error.to_string());
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body))
        .map_err(|error| internal(&error))?;
    let response = match router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let ok = response.status().is_success();
    let answer = response
        .into_body()
        .collect()
        .await
        .map_err(|error| internal(&error))?;
    Ok((ok, answer.to_bytes().to_vec()))
}

async fn over_socket(
    env: &Env,
    method: Method,
    url: String,
    body: Vec<u8>,
) -> Result<(bool, Vec<u8>), Problem> {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    let request = HttpRequest {
        method,
        url,
        headers,
        body: body.into(),
        timeout: REQUEST_TIMEOUT,
        response_bytes_max: ANSWER_BYTES_MAX,
    };
    let response = env.http().send(request).await.map_err(|error| {
        Problem::new(
            Code::Internal,
            format!("the daemon does not answer: {error}"),
        )
        .hint("repeat the command; with the same --id nothing is recorded twice")
    })?;
    Ok((response.status.is_success(), response.body.to_vec()))
}

/// Address of the daemon, if one answers.
async fn daemon_url(data: &Path, env: &Env) -> Option<String> {
    let text = std::fs::read_to_string(data.join(ADDRESS_FILE)).ok()?;
    let url = serde_json::from_str::<serde_json::Value>(&text)
        .ok()?
        .get("url")?
        .as_str()?
        .to_owned();
    let request = HttpRequest {
        method: Method::GET,
        url: format!("{url}/healthz"),
        headers: HeaderMap::new(),
        body: Vec::new().into(),
        timeout: Duration::from_secs(2),
        response_bytes_max: 1024,
    };
    let response = env.http().send(request).await.ok()?;
    response.status.is_success().then_some(url)
}
