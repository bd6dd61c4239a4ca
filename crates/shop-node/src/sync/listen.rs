//! Listening: one open answer of the hub, on which it says that the catalog has news.
//!
//! It only makes the poll sooner. Whatever goes wrong here costs time until the next poll, nothing
//! else: a line that is lost is opened again, one that is silent for too long counts as lost.

use super::link::{ANSWER_BYTES_MAX, ANSWER_WITHIN, HubLink, offline, refusal};
use super::wait::Pace;
use super::{Phase, SyncError};
use crate::node::Node;
use crate::problem::chain;
use counterfoil_protocol::wire::events::{CATALOG_DATABASE, EVENTS_PATH, Event, EventReader};
use counterfoil_replica::env::{HttpError, HttpRequest, HttpStream};
use http::{Method, StatusCode};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a hub may promise as its longest silence; another promise counts as the nearest of these. A till
/// that believed in hours would never give up a line that is dead.
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
const HEARTBEAT_MAX: Duration = Duration::from_secs(120);

/// A line that held for this long was a good one: what failed before it does not count any more.
const GOOD_LINE: Duration = Duration::from_secs(60);

/// How far the catalog is: its generation, and a frame of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) generation: u64,
    pub(crate) frame: u64,
}

/// What the listener and the sync loop tell each other.
#[derive(Default)]
pub(crate) struct News {
    places: Mutex<Places>,
    /// The hub has told of a place.
    told: Notify,
    /// A line to the hub was opened.
    opened: Notify,
    /// A run reached the hub.
    reached: Notify,
    /// The shop, the hub's address or the token is another one.
    bound: Notify,
    /// The same, for the other lanes.
    rebound: Notify,
}

#[derive(Default)]
struct Places {
    told: Option<Place>,
    pulled: Option<Place>,
}

impl News {
    /// Waits until the hub tells of something that is not here yet.
    pub(super) async fn told(&self) {
        loop {
            self.told.notified().await;
            let places = self.places();
            if places.told != places.pulled {
                return;
            }
        }
    }

    /// Waits until a line to the hub is opened.
    pub(super) async fn opened(&self) {
        self.opened.notified().await;
    }

    /// A run has brought the catalog here.
    pub(super) fn pulled(&self, place: Place) {
        self.places().pulled = Some(place);
    }

    /// A run went through.
    pub(super) fn reached(&self) {
        self.reached.notify_one();
    }

    /// Where the hub is, or who we are there, has changed.
    pub(crate) fn bound(&self) {
        self.bound.notify_one();
        self.rebound.notify_one();
    }

    /// Waits until one of them is another one.
    pub(crate) async fn rebound(&self) {
        self.rebound.notified().await;
    }

    fn tell(&self, place: Place) {
        self.places().told = Some(place);
        self.told.notify_one();
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Places> {
        // Plain values: what a panicking holder left is as good as any.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens whenever the node belongs to a shop. Ends only with the task.
pub(super) async fn run(node: &Node) {
    let inner = &node.inner;
    let mut pace = Pace::new(&inner.config);
    loop {
        if !node.is_bound().await {
            inner.news.bound.notified().await;
            continue;
        }
        let opened = Instant::now();
        let ended = tokio::select! {
            biased;
            () = inner.news.bound.notified() => None,
            error = listen(node) => Some(error),
        };
        let was_listening = std::mem::take(&mut node.state().listening);
        let Some(error) = ended else {
            pace.rest();
            continue;
        };
        if was_listening {
            tracing::info!(error = %chain(&error), "the hub cannot be heard any more");
        } else {
            tracing::debug!(error = %chain(&error), "the hub cannot be heard");
        }
        if opened.elapsed() >= GOOD_LINE {
            pace.rest();
        }
        pace.failed(inner.env.random.as_ref());
        pause(node, &pace, error.phase()).await;
    }
}

/// Waits until it is worth trying again.
async fn pause(node: &Node, pace: &Pace, phase: Phase) {
    let news = &node.inner.news;
    // A run that goes through shows that the hub is back, or takes the token after all.
    let run_helps = matches!(phase, Phase::Offline | Phase::AuthRefused);
    let least = pace.pause().min(pace.first());
    let again = async {
        tokio::time::sleep(least).await;
        if run_helps {
            news.reached.notified().await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = news.bound.notified() => {}
        () = again => {}
        () = tokio::time::sleep(pace.pause()) => {}
    }
}

/// Opens a line and listens until it ends; says why it did.
async fn listen(node: &Node) -> SyncError {
    match open(node).await {
        Ok((url, stream)) => hear(node, &url, stream).await,
        Err(error) => error,
    }
}

async fn open(node: &Node) -> Result<(String, HttpStream), SyncError> {
    let hub = HubLink::open(node).await?;
    let request = HttpRequest {
        method: Method::GET,
        url: format!("{}{EVENTS_PATH}", hub.url),
        headers: hub.headers()?,
        body: bytes::Bytes::new(),
        timeout: ANSWER_WITHIN,
        response_bytes_max: ANSWER_BYTES_MAX,
    };
    let failed = |error: HttpError| offline(&hub.url, chain(&error));
    let stream = node.inner.env.http().open(request).await.map_err(failed)?;
    if stream.status == StatusCode::OK {
        return Ok((hub.url, stream));
    }
    let answer = tokio::time::timeout(ANSWER_WITHIN, stream.whole(ANSWER_BYTES_MAX)).await;
    let answer = answer.map_err(|_| offline(&hub.url, "its refusal breaks off".to_owned()))?;
    Err(refusal(&hub.url, &answer.map_err(failed)?))
}

async fn hear(node: &Node, url: &str, mut stream: HttpStream) -> SyncError {
    let mut reader = EventReader::default();
    let mut patience = ANSWER_WITHIN;
    loop {
        let bytes = match stream.next(patience).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return offline(url, "the hub has ended the line".to_owned()),
            Err(error) => return offline(url, chain(&error)),
        };
        let events = match reader.read(&bytes) {
            Ok(events) => events,
            Err(error) => return offline(url, chain(&error)),
        };
        for event in events {
            match event {
                Event::Listening { heartbeat_ms } => {
                    let heartbeat = Duration::from_millis(heartbeat_ms);
                    // Two may be late; three are not.
                    patience = heartbeat.clamp(HEARTBEAT_MIN, HEARTBEAT_MAX) * 5 / 2;
                    node.state().listening = true;
                    node.inner.news.opened.notify_waiters();
                    tracing::info!(%url, "listening for news");
                }
                Event::Notice(notice) if notice.database == CATALOG_DATABASE => {
                    tracing::debug!(?notice, "the hub has news");
                    let (generation, frame) = (notice.generation, notice.frame);
                    node.inner.news.tell(Place { generation, frame });
                }
                Event::Notice(_) => {}
            }
        }
    }
}
