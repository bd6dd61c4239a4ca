//! Tills whose pushes are made beforehand: a hub gets real books, and little else is busy meanwhile.
#![expect(clippy::expect_used, reason = "a benchmark may stop")]

use crate::daemon::Api;
use crate::sales::Seller;
use counterfoil_domain::env::Clock as _;
use counterfoil_protocol::wire::hub::book_path;
use counterfoil_replica::env::{HttpClient, HttpRequest, SystemClock};
use counterfoil_replica::{Durability, Wal, compress};
use counterfoil_shop_store::Paths;
use counterfoil_testkit::TempDir;
use http::{HeaderMap, Method, header};
use serde_json::{Value, json};
use sha2::Digest as _;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long a hub may take over anything.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Books that are made at once.
const MAKERS: usize = 4;

/// A till whose pushes are made beforehand, so that sending them costs little beside what the hub does.
pub struct Till {
    id: u64,
    book: String,
    token: String,
    /// What it sends, in order.
    pub pushes: Vec<Push>,
    /// Entries of its journal when all is sent.
    pub entries: u64,
}

/// One request's worth of frames.
pub struct Push {
    range: String,
    body: Vec<u8>,
}

impl Till {
    /// A book that was written and pushed so many times; its folder is gone afterwards. The writing says how
    /// many entries it made.
    ///
    /// # Panics
    /// When the book cannot be written.
    #[must_use]
    pub fn make(seed: u64, pushes: usize, write: impl Fn(&mut Seller) -> usize) -> Self {
        let dir = TempDir::new("bench-pushes");
        let mut seller = Seller::open(dir.path(), seed);
        let mut wal = Wal::open(&Paths::of(dir.path()).book, Durability::Full).expect("opens");
        let mut till = Self {
            id: seed,
            book: book_path(seller.node()),
            token: format!("token of till {seed}"),
            pushes: Vec::new(),
            entries: 0,
        };
        let mut first = 1;
        for _ in 0..pushes {
            till.entries += u64::try_from(write(&mut seller)).expect("small");
            let last = wal.position().expect("read").frames;
            let mut body = Vec::new();
            let read = wal.read(|it| it.frames_into(first, last, &mut body));
            read.expect("read");
            till.pushes.push(Push {
                range: format!("sync/1/{first}/{}", last + 1),
                body: compress::encode(&body).expect("memory"),
            });
            first = last + 1;
        }
        till
    }

    /// Binds it to a shop of its own.
    ///
    /// # Panics
    /// When the hub does not take it.
    pub async fn activate(&self, hub: &Api) {
        let hash = sha2::Sha256::digest(self.token.as_bytes());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let (_, node) = self.book.rsplit_once('/').expect("a path");
        let shop = json!({"name": format!("shop {}", self.id), "phone": "1"});
        let body = json!({"node": node, "token_hash": hash,
            "admission": {"registration": shop}, "schemas": counterfoil_hub::HubConfig::new("").schemas});
        hub.ask(Method::POST, "/v1/activate", None, &body).await;
    }

    /// Sends one of its pushes.
    ///
    /// # Panics
    /// When the hub does not take it.
    pub async fn push(&self, http: &HttpClient, url: &str, push: &Push) {
        let mut headers = HeaderMap::new();
        let bearer = format!("Bearer {}", self.token);
        headers.insert(header::AUTHORIZATION, bearer.parse().expect("plain text"));
        let zstd = http::HeaderValue::from_static("zstd");
        headers.insert(header::CONTENT_ENCODING, zstd);
        let request = HttpRequest {
            method: Method::POST,
            url: format!("{url}{}/{}", self.book, push.range),
            headers,
            body: push.body.clone().into(),
            timeout: PATIENCE,
            response_bytes_max: 1_000_000,
        };
        let response = http.send(request).await.expect("an answer");
        assert!(response.status.is_success(), "{response:?}");
        let answer: Value = serde_json::from_slice(&response.body).expect("JSON");
        assert_eq!(answer["status"], "ok", "{answer}");
    }

    /// How far the hub has consolidated this till's journal.
    ///
    /// # Panics
    /// When it does not say.
    pub async fn consolidated(&self, hub: &Api) -> u64 {
        let body = json!({"schemas": counterfoil_hub::HubConfig::new("").schemas, "catalog_revision": 0,
            "now_ms": SystemClock.now_ms()});
        let hello = hub
            .ask(Method::POST, "/v1/hello", Some(&self.token), &body)
            .await;
        assert_eq!(hello["halted"], Value::Null, "{hello}");
        hello["consolidated_seq"].as_u64().expect("a number")
    }
}

/// Makes tills from the seeds 1 to `count`, a few at once.
///
/// # Panics
/// When one cannot be made.
pub async fn many(count: u64, make: impl Fn(u64) -> Till + Clone + Send + 'static) -> Vec<Till> {
    let (mut making, mut made) = (JoinSet::new(), Vec::new());
    for seed in 1..=count {
        if making.len() == MAKERS {
            made.push(making.join_next().await.expect("one").expect("made"));
        }
        let make = make.clone();
        making.spawn_blocking(move || make(seed));
    }
    while let Some(one) = making.join_next().await {
        made.push(one.expect("made"));
    }
    made
}
