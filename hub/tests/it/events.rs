use crate::hub::{Client, TestHub};
use crate::till::Till;
use counterfoil_hub::HubConfig;
use counterfoil_protocol::wire::events::{CATALOG_DATABASE, Event, EventReader, Notice};
use counterfoil_protocol::wire::replication::Info;
use counterfoil_replica::env::{HttpError, HttpRequest, HttpStream};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;

/// A till that listens.
struct Listener {
    stream: HttpStream,
    reader: EventReader,
    heard: VecDeque<Event>,
    /// Pieces that held no event.
    heartbeats: u32,
}

impl Listener {
    async fn of(client: &Client, token: &str) -> Self {
        let mut headers = HeaderMap::new();
        let bearer = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        headers.insert("authorization", bearer);
        let request = HttpRequest {
            method: Method::GET,
            url: format!("{}/v1/events", client.url),
            headers,
            body: bytes::Bytes::new(),
            timeout: Duration::from_secs(60),
            response_bytes_max: 0,
        };
        let stream = client.env.http().open(request).await.unwrap();
        assert_eq!(stream.status, StatusCode::OK);
        Self {
            stream,
            reader: EventReader::default(),
            heard: VecDeque::new(),
            heartbeats: 0,
        }
    }

    /// The next event; `None` when the stream has ended in an orderly way.
    async fn next(&mut self) -> Result<Option<Event>, HttpError> {
        while self.heard.is_empty() {
            let Some(bytes) = self.stream.next(Duration::from_secs(60)).await? else {
                return Ok(None);
            };
            let events = self.reader.read(&bytes).unwrap();
            self.heartbeats += u32::from(events.is_empty());
            self.heard.extend(events);
        }
        Ok(self.heard.pop_front())
    }

    async fn notice(&mut self) -> Notice {
        match self.next().await.unwrap() {
            Some(Event::Notice(notice)) => notice,
            other => unreachable!("not a notice: {other:?}"),
        }
    }

    /// What every stream begins with.
    async fn opening(&mut self) -> (u64, Notice) {
        match self.next().await.unwrap() {
            Some(Event::Listening { heartbeat_ms }) => (heartbeat_ms, self.notice().await),
            other => unreachable!("not the beginning: {other:?}"),
        }
    }
}

async fn catalog_at(client: &Client, till: &Till) -> Notice {
    let answer = client.get("/v1/db/catalog/info", Some(&till.token)).await;
    let info: Info = crate::hub::parse(&answer);
    Notice {
        database: CATALOG_DATABASE.to_owned(),
        generation: info.current_generation,
        frame: info.max_frame_no,
    }
}

async fn edit(client: &Client, name: &str) {
    let body = json!({"columns": {"name": name, "price_mills": "4500"}});
    let _row: Value = client.admin_post("catalog/products/TEA", &body).await;
}

#[tokio::test]
async fn who_listens_is_told_how_things_stand_and_what_changes() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "A", 1).await;
    let mut listener = Listener::of(&client, &till.token).await;
    let before = catalog_at(&client, &till).await;
    assert_eq!(listener.opening().await, (15_000, before.clone()));
    edit(&client, "tea").await;
    let after = listener.notice().await;
    assert_eq!(after, catalog_at(&client, &till).await);
    assert!(after.frame > before.frame, "{after:?}");
}

#[tokio::test]
async fn a_new_generation_of_the_catalog_is_news() {
    let tight = |config: &mut HubConfig| config.wal_limit_bytes = 0;
    let hub = TestHub::start_with(tight).await;
    let client = hub.client();
    let till = Till::of(&client, "A", 1).await;
    let mut listener = Listener::of(&client, &till.token).await;
    let (_, before) = listener.opening().await;
    edit(&client, "tea").await;
    let after = catalog_at(&client, &till).await;
    assert!(after.generation > before.generation, "{before:?} {after:?}");
    // The hub's first sweep may begin one as well.
    while listener.notice().await != after {}
}

#[tokio::test]
async fn silence_is_broken_by_heartbeats() {
    let quick = |config: &mut HubConfig| config.heartbeat = Duration::from_millis(20);
    let hub = TestHub::start_with(quick).await;
    let client = hub.client();
    let till = Till::of(&client, "A", 1).await;
    let mut listener = Listener::of(&client, &till.token).await;
    assert_eq!(listener.opening().await.0, 20);
    while listener.heartbeats < 3 {
        let bytes = listener.stream.next(Duration::from_secs(60)).await.unwrap();
        assert_eq!(bytes.as_deref(), Some(&b":\n\n"[..]));
        listener.heartbeats += 1;
    }
}

#[tokio::test]
async fn a_revoked_till_hears_nothing_more() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (till, other) = (
        Till::of(&client, "A", 1).await,
        Till::of(&client, "A", 2).await,
    );
    let mut revoked = Listener::of(&client, &till.token).await;
    let mut listener = Listener::of(&client, &other.token).await;
    revoked.opening().await;
    listener.opening().await;
    let path = format!("nodes/{}/revoke", till.id);
    let _row: Value = client.admin_post(&path, &Value::Null).await;
    assert_eq!(revoked.next().await.unwrap(), None);
    edit(&client, "tea").await;
    listener.notice().await;
}

#[tokio::test]
async fn a_till_that_listens_again_ends_its_earlier_stream() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "A", 1).await;
    let mut first = Listener::of(&client, &till.token).await;
    first.opening().await;
    let mut second = Listener::of(&client, &till.token).await;
    second.opening().await;
    assert_eq!(first.next().await.unwrap(), None);
    edit(&client, "tea").await;
    second.notice().await;
}

#[tokio::test]
async fn a_hub_that_stops_ends_the_streams_instead_of_waiting_for_them() {
    let mut hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "A", 1).await;
    let mut listener = Listener::of(&client, &till.token).await;
    listener.opening().await;
    hub.stop().await;
    // A stream that is cut off when the hub's patience ends would be an error.
    assert_eq!(listener.next().await.unwrap(), None);
}
