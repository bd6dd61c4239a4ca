//! How a command reaches its node: through the daemon's API when one runs on the directory, else
//! through the same API in this process. Either way it is one request.

use crate::api;
use crate::config::{Config, ConfigError};
use crate::node::{Node, NodeOptions, OpenNodeError};
use axum::Router;
use axum::body::Body;
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::node::{Address, Health};
use counterfoil_replica::env::{Env, Files, HttpError, HttpRequest, create_folder};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
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

/// The file with the address of whoever serves the node, beside its lock.
const ADDRESS_FILE: &str = "node.json";
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
    /// Somebody holds the directory and does not let others in.
    #[error("another process holds {0}")]
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
    create_folder(data).map_err(error)?;
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

/// Waits for the lock of a data directory while a command holds it.
///
/// # Errors
/// [`ReachError::Held`] when a daemon holds it, or somebody for too long.
pub async fn wait_for_lock(data: &Path, env: &Env) -> Result<DirectoryLock, ReachError> {
    let mut waited = Duration::ZERO;
    loop {
        if let Some(lock) = lock(data)? {
            return Ok(lock);
        }
        let is_daemon = address(data, env)
            .await
            .is_some_and(|address| address.daemon);
        if is_daemon || waited >= LOCK_WAIT {
            return Err(ReachError::Held(data.to_owned()));
        }
        tokio::time::sleep(LOCK_POLL).await;
        waited += LOCK_POLL;
    }
}

/// The address file of a node that serves its API; removed when it is dropped.
pub struct Announcement {
    path: PathBuf,
    files: Arc<dyn Files>,
}

impl Announcement {
    /// Says where the API is.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(data: &Path, files: Arc<dyn Files>, address: &Address) -> std::io::Result<Self> {
        let path = data.join(ADDRESS_FILE);
        files.write_atomic(&path, serde_json::json!(address).to_string().as_bytes())?;
        Ok(Self { path, files })
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        if let Err(error) = self.files.remove_if_exists(&self.path) {
            tracing::warn!(%error, "node.json stays behind");
        }
    }
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The node refused.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The daemon went away: the request may have been carried out or not.
    #[error("the daemon went away before it answered")]
    Lost(#[source] HttpError),
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Problem(problem) => problem,
            CallError::Lost(_) => Self::new(Code::Internal, crate::problem::chain(&error)),
        }
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
    /// The API of whoever has the node open.
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
                let options = NodeOptions::of_machine(&config);
                let node = Node::open(data, config, env, &options)?;
                return Ok(Self::Embedded {
                    router: api::router(node.clone()),
                    node,
                    lock,
                });
            }
            if let Some(address) = address(data, &env).await {
                return Ok(Self::Daemon {
                    url: address.url,
                    env,
                });
            }
            if waited >= LOCK_WAIT {
                return Err(ReachError::Held(data.to_owned()));
            }
            tokio::time::sleep(LOCK_POLL).await;
            waited += LOCK_POLL;
        }
    }

    /// For a command that takes its time: lets others in through a socket meanwhile, so that a sale
    /// does not wait for it. Nothing to do when a daemon runs.
    ///
    /// # Errors
    /// From the socket or the address file.
    pub async fn share(&self, data: &Path) -> std::io::Result<Option<Shared>> {
        let Self::Embedded { router, node, .. } = self else {
            return Ok(None);
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = Address {
            url: format!("http://{}", listener.local_addr()?),
            instance: node.inner.instance.clone(),
            daemon: false,
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = axum::serve(listener, router.clone()).with_graceful_shutdown(async move {
            // Both a message and a dropped sender mean the end.
            stopped.await.ok();
        });
        let server = tokio::spawn(async move { served.await });
        let files = Arc::clone(&node.inner.env.files);
        let announcement = Announcement::write(data, files, &address)?;
        Ok(Some(Shared {
            announcement,
            stop,
            server,
        }))
    }

    /// One request of the API, by nobody who signed in.
    ///
    /// # Errors
    /// The problem that the API answered, or that the daemon went away.
    pub async fn call<B: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<A, CallError> {
        self.call_with(HeaderMap::new(), method, path, body).await
    }

    /// One request of the API, with headers of its own.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_with<B: Serialize, A: DeserializeOwned>(
        &self,
        mut headers: HeaderMap,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<A, CallError> {
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let unreadable = |error: serde_json::Error| Problem::new(Code::Internal, error.to_string());
        let body = match body {
            Some(body) => serde_json::to_vec(body).map_err(unreadable)?,
            None => Vec::new(),
        };
        let (ok, answer) = match self {
            Self::Embedded { router, node, .. } => {
                let answer = in_process(router, (method, headers), path, body).await?;
                node.keep_mark().await;
                answer
            }
            Self::Daemon { url, env } => {
                over_socket(env, (method, headers), format!("{url}{path}"), body)
                    .await
                    .map_err(CallError::Lost)?
            }
        };
        if ok {
            return Ok(serde_json::from_slice(&answer).map_err(unreadable)?);
        }
        let problem: Problem = serde_json::from_slice(&answer).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(&answer).into_owned();
            Problem::new(Code::Internal, format!("the node answered: {text}"))
        });
        Err(problem.into())
    }
}

/// A node that this process has open and lets others use.
pub struct Shared {
    announcement: Announcement,
    stop: tokio::sync::oneshot::Sender<()>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Shared {
    /// Lets nobody in any more, and waits until those who are in have their answers.
    pub async fn end(self) {
        drop(self.announcement);
        drop(self.stop);
        if let Ok(Err(error)) = self.server.await {
            tracing::warn!(%error, "the socket of this command failed");
        }
    }
}

async fn in_process(
    router: &Router,
    (method, headers): (Method, HeaderMap),
    path: &str,
    body: Vec<u8>,
) -> Result<(bool, Vec<u8>), Problem> {
    let internal = |error: &dyn std::error::Error| Problem::new(Code::Internal, error.to_string());
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::from(body))
        .map_err(|error| internal(&error))?;
    *request.headers_mut() = headers;
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
    (method, headers): (Method, HeaderMap),
    url: String,
    body: Vec<u8>,
) -> Result<(bool, Vec<u8>), HttpError> {
    let request = HttpRequest {
        method,
        url,
        headers,
        body: body.into(),
        timeout: REQUEST_TIMEOUT,
        response_bytes_max: ANSWER_BYTES_MAX,
    };
    let response = env.http().send(request).await?;
    Ok((response.status.is_success(), response.body.to_vec()))
}

/// Where the node's API is, if it is this node that answers there.
async fn address(data: &Path, env: &Env) -> Option<Address> {
    let text = std::fs::read_to_string(data.join(ADDRESS_FILE)).ok()?;
    let address: Address = serde_json::from_str(&text).ok()?;
    let request = HttpRequest {
        method: Method::GET,
        url: format!("{}/healthz", address.url),
        headers: HeaderMap::new(),
        body: Vec::new().into(),
        timeout: Duration::from_secs(2),
        response_bytes_max: 1024,
    };
    let response = env.http().send(request).await.ok()?;
    let health: Health = serde_json::from_slice(&response.body).ok()?;
    (health.instance == address.instance).then_some(address)
}
