//! What sales cost on the line: a till's book pushed to a hub, beside the same sales as JSON.
//!
//! `cargo bench -p system-tests --bench wire` prints a table. Bytes are those of HTTP bodies; the
//! same frames whole and compressed, and the same sales as gzipped JSON, are made in the same run.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::expect_used, reason = "a benchmark may stop")]
#![expect(clippy::float_arithmetic, reason = "averages are for people")]

use axum::Extension;
use axum::extract::ConnectInfo;
use counterfoil_domain::NodeId;
use counterfoil_hub::{Hub, HubConfig, Peer, router};
use counterfoil_protocol::join::JoinCode;
use counterfoil_protocol::wire::hub::book_path;
use counterfoil_replica::env::{Env, HttpRequest};
use counterfoil_replica::{
    BookReplica, Durability, OpenGate, PushReport, Remote, Supersede, Wal, compress,
};
use counterfoil_shop_store::Paths;
use counterfoil_testkit::TempDir;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::Digest as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use system_tests::sales::{LINES, Seller};

const BACKLOG: usize = 3_000;
const ALONE: usize = 300;
const TOKEN: &str = "token-of-a-benchmark";
/// Frames of one push.
const BATCH_FRAMES: u64 = 1_024;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let dir = TempDir::new("bench-wire");
    let (url, node) = hub(&dir.join("hub")).await;
    let mut till = Till::open(&dir.join("till"), &url, node);
    // The first contact, and rows of every product in earlier pages.
    till.seller.sell(BACKLOG);
    till.push().await;
    let before = till.frames();
    let json = till.seller.sell(BACKLOG);
    let whole = till.whole_bytes(before);
    let started = Instant::now();
    let report = till.push().await;
    let took = started.elapsed();
    assert_eq!((report.deltas_refused, report.difference_pages), (0, None));
    println!("a backlog of {BACKLOG} sales of {LINES} lines, bytes a sale\n");
    let each = |bytes: u64| figure(bytes) / figure(json.len());
    row(
        "the newest pages, as the till sends them",
        each(report.bytes_up),
    );
    row("each frame whole, zstd", each(whole));
    row(
        "JSON, each sale gzipped",
        each(json.iter().map(|it| gzip(it)).sum()),
    );
    row(
        "JSON, all sales gzipped together",
        each(gzip(&json.concat())),
    );
    println!(
        "{:<42} {:>10.0}\n",
        "sales a second, durable at the hub",
        figure(BACKLOG) / took.as_secs_f64()
    );

    let (mut sent, mut wholes, mut jsons, mut times) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ALONE {
        let before = till.frames();
        let json = till.seller.sell(1);
        wholes.push(till.whole_bytes(before));
        let started = Instant::now();
        let report = till.push().await;
        times.push(started.elapsed());
        assert_eq!((report.deltas_refused, report.difference_pages), (0, None));
        sent.push(report.bytes_up);
        jsons.push(gzip(&json[0]));
    }
    println!("one sale of {LINES} lines alone, median of {ALONE}, bytes\n");
    row(
        "delta frames, as the till sends them",
        figure(median(&mut sent)),
    );
    row("each frame whole, zstd", figure(median(&mut wholes)));
    row("JSON, gzipped", figure(median(&mut jsons)));
    let took: Duration = median(&mut times);
    println!(
        "{:<38} {:>5.2} ms",
        "from commit until durable at the hub",
        took.as_secs_f64() * 1e3
    );
}

fn row(name: &str, bytes: f64) {
    println!("{name:<42} {bytes:>10.0}");
}

fn figure(number: impl TryInto<u32>) -> f64 {
    f64::from(number.try_into().ok().expect("small"))
}

fn median<T: Ord + Copy>(values: &mut [T]) -> T {
    values.sort_unstable();
    values[values.len() >> 1]
}

fn gzip(bytes: &[u8]) -> u64 {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    u64::try_from(encoder.finish().expect("memory").len()).expect("small")
}

struct Till {
    replica: BookReplica,
    wal: Wal,
    seller: Seller,
    remote: Remote,
}

impl Till {
    fn open(dir: &Path, url: &str, node: NodeId) -> Self {
        std::fs::create_dir_all(dir).expect("a folder");
        let (env, paths) = (Env::system(), Paths::of(dir));
        let replica =
            BookReplica::open(&paths.book, Arc::clone(&env.files), env.execution).expect("opens");
        let wal = Wal::open(&paths.book, Durability::Full).expect("opens");
        Self {
            replica,
            wal,
            seller: Seller::open(dir, 1),
            remote: Remote::new(
                &env.http(),
                format!("{url}{}", book_path(node)),
                Some(TOKEN.to_owned()),
            ),
        }
    }

    async fn push(&self) -> PushReport {
        let pushed = self
            .replica
            .push(&self.remote, &OpenGate, &|_| {}, Supersede::Never);
        pushed.await.expect("pushed")
    }

    fn frames(&mut self) -> u64 {
        self.wal.position().expect("read").frames
    }

    /// The frames since, whole and compressed as they would be sent.
    fn whole_bytes(&mut self, since: u64) -> u64 {
        let last = self.frames();
        let (mut first, mut bytes) = (since + 1, 0);
        while first <= last {
            let stop = last.min(first + BATCH_FRAMES - 1);
            let mut body = Vec::new();
            let read = self.wal.read(|it| it.frames_into(first, stop, &mut body));
            read.expect("read");
            bytes += compress::encode(&body).expect("memory").len();
            first = stop + 1;
        }
        u64::try_from(bytes).expect("small")
    }
}

/// A hub on loopback and a node that it knows.
async fn hub(data: &Path) -> (String, NodeId) {
    let hub = Hub::open(HubConfig::new(data), Env::system())
        .await
        .expect("it opens");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let peer = ConnectInfo(Peer(SocketAddr::from(([127, 0, 0, 1], 1))));
    let app = router(hub).layer(Extension(peer));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let admin = std::fs::read_to_string(data.join("admin.token")).expect("it is there");
    let shop = json!({"name": "one"});
    let added = post(&url, Some(admin.trim()), "/v1/admin/shops", &shop).await;
    let code: JoinCode = added["join_code"]
        .as_str()
        .expect("text")
        .parse()
        .expect("a code");
    let node = NodeId::from_uuid(uuid::Uuid::from_u128(7));
    let hash = sha2::Sha256::digest(TOKEN.as_bytes());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let activation = json!({"node": node, "token_hash": hash,
        "admission": {"join_secret": code.secret}, "schemas": counterfoil_hub::HubConfig::new("").schemas});
    post(&url, None, "/v1/activate", &activation).await;
    (url, node)
}

async fn post(url: &str, token: Option<&str>, path: &str, body: &Value) -> Value {
    let mut headers = http::HeaderMap::new();
    if let Some(token) = token {
        let bearer = format!("Bearer {token}").parse().expect("plain text");
        headers.insert(http::header::AUTHORIZATION, bearer);
    }
    let request = HttpRequest {
        method: http::Method::POST,
        url: format!("{url}{path}"),
        headers,
        body: body.to_string().into(),
        timeout: Duration::from_secs(60),
        response_bytes_max: 1_000_000,
    };
    let response = Env::system().http().send(request).await.expect("an answer");
    assert!(response.status.is_success(), "{response:?}");
    serde_json::from_slice(&response.body).expect("JSON")
}
