//! Calls to a till's local API.

use bytes::Bytes;
use counterfoil_protocol::problem::Problem;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Longest time for one call; a batch of invoices on a busy machine stays far below.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// Why a call brought no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer: the till may or may not have acted.
    #[error("no answer from {url}: {reason}")]
    NoAnswer {
        /// What was called.
        url: String,
        /// What happened.
        reason: String,
        /// Whether a connection was there; the till knows nothing of a request that had none.
        is_sent: bool,
    },
    /// The till said no.
    #[error("{url} refused: {problem}")]
    Refused {
        /// What was called.
        url: String,
        /// What it said.
        #[source]
        problem: Problem,
    },
    /// The answer makes no sense.
    #[error("{url} answered {status} with a body that is not as agreed: {body}")]
    Answer {
        /// What was called.
        url: String,
        /// HTTP status.
        status: u16,
        /// The body, as far as it is text.
        body: String,
    },
}

/// Calls JSON over HTTP; clones share their connections.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Default for Api {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
        }
    }
}

impl Api {
    /// Sends a body as JSON and reads the answer as JSON.
    pub async fn send<A: DeserializeOwned>(
        &self,
        method: Method,
        url: String,
        body: &(impl Serialize + Sync),
    ) -> Result<A, CallError> {
        let body = serde_json::to_vec(body).map_err(|error| no_answer(&url, &error, false))?;
        self.exchange(method, url, Bytes::from(body)).await
    }

    /// Reads JSON.
    pub async fn get<A: DeserializeOwned>(&self, url: String) -> Result<A, CallError> {
        self.exchange(Method::GET, url, Bytes::new()).await
    }

    async fn exchange<A: DeserializeOwned>(
        &self,
        method: Method,
        url: String,
        body: Bytes,
    ) -> Result<A, CallError> {
        let uri: Uri = url
            .parse()
            .map_err(|error| no_answer(&url, &error, false))?;
        let mut request = Request::builder().method(method).uri(uri);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| no_answer(&url, &error, false))?;
        let exchange = async {
            let answer = self
                .client
                .request(request)
                .await
                .map_err(|e| no_answer(&url, &e, !e.is_connect()))?;
            let status = answer.status();
            let body = answer
                .into_body()
                .collect()
                .await
                .map_err(|e| no_answer(&url, &e, true))?;
            Ok((status, body.to_bytes()))
        };
        let (status, body) = tokio::time::timeout(CALL_LIMIT, exchange)
            .await
            .map_err(|elapsed| no_answer(&url, &elapsed, true))??;
        if status.is_success()
            && let Ok(answer) = serde_json::from_slice(&body)
        {
            return Ok(answer);
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if !status.is_success() => Err(CallError::Refused { url, problem }),
            _ => {
                let body = String::from_utf8_lossy(&body).chars().take(400).collect();
                Err(CallError::Answer {
                    url,
                    status: status.as_u16(),
                    body,
                })
            }
        }
    }
}

fn no_answer(url: &str, reason: &dyn std::error::Error, is_sent: bool) -> CallError {
    let mut text = reason.to_string();
    let mut source = reason.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    CallError::NoAnswer {
        url: url.to_owned(),
        reason: text,
        is_sent,
    }
}
