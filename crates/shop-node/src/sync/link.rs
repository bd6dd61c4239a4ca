//! Requests to the hub.

use crate::limits::{RELAY_WITHIN, UNDO_WITHIN, UNDONE_BYTES_MAX};
use crate::node::Node;
use crate::problem::chain;
use crate::sync::SyncError;
use counterfoil_domain::NodeId;
use counterfoil_protocol::gate::SCHEMA_HEADER;
use counterfoil_protocol::wire::decisions::{UNDO_PATH, UndoRequest, Undone};
use counterfoil_protocol::wire::hub::{HELLO_PATH, HelloAnswer, HelloRequest};
use counterfoil_protocol::wire::relay::{RELAY_PATH, RelayEnd, RelayRequest};
use counterfoil_replica::Remote;
use counterfoil_replica::env::{HttpRequest, HttpResponse};
use counterfoil_shop_store::{Binding, StoreError};
use http::{HeaderMap, HeaderValue, Method, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long the hub may take to answer a small request.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Largest small answer.
pub(super) const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// How long an answer may take and how large it may be.
#[derive(Clone, Copy)]
struct Within {
    timeout: Duration,
    bytes_max: usize,
}

const SMALL: Within = Within {
    timeout: ANSWER_WITHIN,
    bytes_max: ANSWER_BYTES_MAX,
};

/// The hub as one run of sync sees it.
pub(super) struct HubLink<'n> {
    node: &'n Node,
    /// Whom the hub is asked as.
    pub(super) node_id: NodeId,
    /// Base URL of the hub.
    pub(super) url: String,
    token: String,
}

impl<'n> HubLink<'n> {
    pub(super) async fn open(node: &'n Node) -> Result<Self, SyncError> {
        let node_id = node.store(|store| store.node()).await;
        Self::open_as(node, node_id).await
    }

    /// Under one of the node's identities.
    pub(super) async fn open_as(node: &'n Node, node_id: NodeId) -> Result<Self, SyncError> {
        let binding: Option<Binding> = node.store(|store| store.binding().cloned()).await;
        let binding = binding.ok_or(SyncError::NotActivated)?;
        crate::activation::check_way(node, &binding.hub_url).map_err(SyncError::Way)?;
        let credentials = node.inner.credentials.of(node_id);
        let token = credentials.token()?.ok_or(SyncError::NoToken)?;
        Ok(Self {
            node,
            node_id,
            url: binding.hub_url,
            token,
        })
    }

    /// The same hub, asked with another token.
    pub(super) fn with_token(&self, token: String) -> Self {
        Self {
            node: self.node,
            node_id: self.node_id,
            url: self.url.clone(),
            token,
        }
    }

    /// Whether the hub is asked with this token.
    pub(super) fn has_token(&self, token: Option<&str>) -> bool {
        token == Some(self.token.as_str())
    }

    pub(super) fn remote(&self, path: &str) -> Remote {
        let url = format!("{}{path}", self.url);
        let remote = Remote::new(&self.node.inner.env.http(), url, Some(self.token.clone()));
        remote.with_header(SCHEMA_HEADER, &self.node.inner.schemas.to_header())
    }

    pub(super) fn headers(&self) -> Result<HeaderMap, SyncError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, bearer(&self.token)?);
        Ok(headers)
    }

    pub(super) async fn hello(&self, catalog_revision: i64) -> Result<HelloAnswer, SyncError> {
        // Before the clock is read: what is recorded from here on was not there.
        let book_seq = self.node.store(|store| store.journal_seq()).await;
        let (waiting, failed) = self.node.undelivered().await?;
        let request = HelloRequest {
            schemas: self.node.inner.schemas,
            catalog_revision,
            now_ms: self.node.now_ms(),
            round_trip_ms: self.node.state().round_trip_ms,
            book_seq: Some(book_seq),
            waiting,
            failed,
        };
        let answer = self.post(HELLO_PATH, &request).await?;
        self.node
            .state()
            .heard(&answer, request.now_ms, self.node.now_ms());
        Ok(answer)
    }

    /// Posts a small document with the token.
    pub(super) async fn post<B: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<A, SyncError> {
        post(self.node, &self.url, path, Some(&self.token), body).await
    }

    /// Brings entries of another lane's journal.
    pub(super) async fn relay(&self, request: &RelayRequest) -> Result<RelayEnd, SyncError> {
        let within = Within {
            timeout: RELAY_WITHIN,
            ..SMALL
        };
        let to = (self.url.as_str(), RELAY_PATH);
        post_within(self.node, to, Some(&self.token), request, within).await
    }

    /// Has the hub take back what this shop wrote.
    pub(super) async fn undo(&self, request: &UndoRequest) -> Result<Undone, SyncError> {
        let within = Within {
            timeout: UNDO_WITHIN,
            bytes_max: UNDONE_BYTES_MAX,
        };
        let to = (self.url.as_str(), UNDO_PATH);
        post_within(self.node, to, Some(&self.token), request, within).await
    }
}

impl HubLink<'_> {
    /// Gets a document of at most so many bytes.
    pub(super) async fn get<A: DeserializeOwned>(
        &self,
        path: &str,
        response_bytes_max: usize,
    ) -> Result<A, SyncError> {
        let request = HttpRequest {
            method: Method::GET,
            url: format!("{}{path}", self.url),
            headers: self.headers()?,
            body: bytes::Bytes::new(),
            timeout: ANSWER_WITHIN,
            response_bytes_max,
        };
        exchange(self.node, &self.url, request).await
    }
}

/// Posts a small document to the hub, on a way that the settings allow.
///
/// # Errors
/// [`SyncError::Offline`], [`SyncError::Refused`].
pub(crate) async fn post<B: Serialize, A: DeserializeOwned>(
    node: &Node,
    hub_url: &str,
    path: &str,
    token: Option<&str>,
    body: &B,
) -> Result<A, SyncError> {
    post_within(node, (hub_url, path), token, body, SMALL).await
}

async fn post_within<B: Serialize, A: DeserializeOwned>(
    node: &Node,
    (hub_url, path): (&str, &str),
    token: Option<&str>,
    body: &B,
    within: Within,
) -> Result<A, SyncError> {
    crate::activation::check_way(node, hub_url).map_err(SyncError::Way)?;
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Some(token) = token {
        headers.insert(header::AUTHORIZATION, bearer(token)?);
    }
    let body = serde_json::to_vec(body).map_err(StoreError::from)?;
    let request = HttpRequest {
        method: Method::POST,
        url: format!("{hub_url}{path}"),
        headers,
        body: body.into(),
        timeout: within.timeout,
        response_bytes_max: within.bytes_max,
    };
    exchange(node, hub_url, request).await
}

async fn exchange<A: DeserializeOwned>(
    node: &Node,
    hub_url: &str,
    request: HttpRequest,
) -> Result<A, SyncError> {
    let response = node
        .inner
        .env
        .http()
        .send(request)
        .await
        .map_err(|error| offline(hub_url, chain(&error)))?;
    // A captive portal answers 200 with a page: anything that is not our document is no hub.
    if response.status.is_success() {
        return serde_json::from_slice(&response.body)
            .map_err(|_| offline(hub_url, "something that is not a hub answered".to_owned()));
    }
    Err(refusal(hub_url, &response))
}

fn bearer(token: &str) -> Result<HeaderValue, SyncError> {
    HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| SyncError::NoToken)
}

pub(super) fn offline(hub_url: &str, reason: String) -> SyncError {
    SyncError::Offline {
        url: counterfoil_protocol::hub_url::shown(hub_url),
        reason,
    }
}

/// What an answer that is no success says.
pub(super) fn refusal(hub_url: &str, response: &HttpResponse) -> SyncError {
    match serde_json::from_slice(&response.body) {
        Ok(problem) => SyncError::Refused(problem),
        Err(_) => offline(
            hub_url,
            format!("something answered with status {}", response.status),
        ),
    }
}
