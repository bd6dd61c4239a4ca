//! `GET /v1/events`: a till listens for news, so that it need not ask.

use super::ApiError;
use super::auth::bearer;
use crate::hub::Hub;
use crate::news::{Listener, Place};
use crate::secrets;
use crate::store::{AuthedNode, Credential};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::events::{
    CATALOG_DATABASE, EVENTS_MEDIA_TYPE, EVENTS_PATH, Event, HEARTBEAT, Notice,
};
use http::{HeaderMap, HeaderValue, header};
use std::convert::Infallible;
use std::sync::Arc;

/// An open stream.
struct Stream {
    hub: Arc<Hub>,
    listener: Listener,
    token_hash: Vec<u8>,
    /// What it begins with.
    head: Option<String>,
}

/// Keeps the answer open and sends a notice when a database has news.
#[utoipa::path(
    get,
    path = EVENTS_PATH,
    tag = "nodes",
    responses((status = 200, content_type = "text/event-stream")),
)]
pub(crate) async fn events(
    State(hub): State<Arc<Hub>>,
    node: AuthedNode,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let full = || {
        let detail = "no more tills can listen at this hub now";
        ApiError::new(Code::Busy, detail).hint("the till asks for news by itself, less often")
    };
    let listener = hub.news.listen(node.id).ok_or_else(full)?;
    let heartbeat_ms = u64::try_from(hub.config.heartbeat.as_millis()).unwrap_or(u64::MAX);
    let head = Event::Listening { heartbeat_ms }.to_text() + &notice(listener.told());
    let token_hash = secrets::hash(bearer(&headers).unwrap_or_default());
    tracing::debug!(node = %node.id, listeners = hub.news.listeners(), "a till listens");
    let stream = Stream {
        hub,
        listener,
        token_hash,
        head: Some(head),
    };
    let body = futures_util::stream::unfold(stream, |mut stream| async {
        let text = stream.next().await?;
        Some((Ok::<_, Infallible>(text), stream))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    let media = HeaderValue::from_static(EVENTS_MEDIA_TYPE);
    headers.insert(header::CONTENT_TYPE, media);
    // Also for a proxy in between, which must not gather what is meant for now.
    let fresh = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, fresh);
    Ok(response)
}

impl Stream {
    /// What is sent next, once there is something; `None` ends the stream.
    async fn next(&mut self) -> Option<String> {
        if let Some(head) = self.head.take() {
            return Some(head);
        }
        let silence = tokio::time::timeout(self.hub.config.heartbeat, self.listener.news());
        let text = match silence.await {
            Ok(news) => notice(news?),
            Err(_elapsed) => HEARTBEAT.to_owned(),
        };
        self.is_allowed().await.then_some(text)
    }

    /// A token that was taken back, or replaced, hears nothing more.
    async fn is_allowed(&self) -> bool {
        let (hash, now_ms) = (self.token_hash.clone(), self.hub.now_ms());
        let asked = self
            .hub
            .lookups
            .call(move |reader| reader.credential(&hash, now_ms));
        match asked.await {
            Ok(Credential::Good(_)) => true,
            Ok(_) => false,
            Err(error) => {
                // The till comes again, and asks in the meantime.
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "cannot tell whether a till may go on listening");
                false
            }
        }
    }
}

fn notice(place: Place) -> String {
    let notice = Notice {
        database: CATALOG_DATABASE.to_owned(),
        generation: place.generation,
        frame: place.frame,
    };
    Event::Notice(notice).to_text()
}
