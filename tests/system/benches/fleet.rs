//! A hub with many tills: its memory and file handles, and pushes from all of them at once.
//!
//! `cargo bench -p system-tests --bench fleet` prints the tables. The hub is a process of its own; it is
//! pinned with `taskset` to one core and then to two.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::expect_used, reason = "a benchmark may stop")]
#![expect(clippy::float_arithmetic, reason = "figures for people")]

use counterfoil_protocol::wire::hub::book_path;
use counterfoil_replica::env::{Env, HttpClient, HttpRequest};
use counterfoil_replica::{Durability, Wal, compress};
use counterfoil_shop_store::Paths;
use counterfoil_testkit::TempDir;
use http::{HeaderMap, Method, header};
use serde_json::{Value, json};
use sha2::Digest as _;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use system_tests::daemon::{Daemon, run};
use system_tests::sales::Seller;

const HUB: &str = env!("CARGO_BIN_EXE_system-hub");
const BOOKS: u64 = 2_000;
const ACTIVE: usize = 50;
const ROUNDS: usize = 10;
const NODES: u64 = 200;
/// Pushes of each node, one after the other, and sales in each.
const PUSHES: usize = 10;
const SALES: usize = 10;
/// Books that are made at once.
const MAKERS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        many_books().await;
        all_at_once().await;
    });
}

/// A till whose pushes are made beforehand, so that sending them costs little beside what the hub does.
struct Till {
    id: u64,
    book: String,
    token: String,
    pushes: Vec<Push>,
    sales: usize,
}

struct Push {
    range: String,
    body: Vec<u8>,
}

impl Till {
    /// A book that was sold into and pushed so many times; its folder is gone afterwards.
    fn make(seed: u64, pushes: usize) -> Self {
        let dir = TempDir::new("bench-fleet");
        let mut seller = Seller::open(dir.path(), seed);
        let mut wal = Wal::open(&Paths::of(dir.path()).book, Durability::Full).expect("opens");
        let mut till = Self {
            id: seed,
            book: book_path(seller.node()),
            token: format!("token of till {seed}"),
            pushes: Vec::new(),
            sales: 0,
        };
        let mut first = 1;
        for _ in 0..pushes {
            till.sales += seller.sell(SALES).len();
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

    async fn activate(&self, hub: &Daemon) {
        let hash = sha2::Sha256::digest(self.token.as_bytes());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let (_, node) = self.book.rsplit_once('/').expect("a path");
        let shop = json!({"name": format!("shop {}", self.id), "phone": "1"});
        let body = json!({"node": node, "token_hash": hash,
            "admission": {"registration": shop}, "schemas": counterfoil_hub::HubConfig::new("").schemas});
        hub.ask(Method::POST, "/v1/activate", None, &body).await;
    }

    async fn push(&self, http: &HttpClient, url: &str, push: &Push) {
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

    /// How far the hub has counted this till's journal.
    async fn consolidated(&self, hub: &Daemon) -> u64 {
        let body = json!({"schemas": counterfoil_hub::HubConfig::new("").schemas, "catalog_revision": 0, "now_ms": 0});
        let hello = hub
            .ask(Method::POST, "/v1/hello", Some(&self.token), &body)
            .await;
        assert_eq!(hello["halted"], Value::Null, "{hello}");
        hello["consolidated_seq"].as_u64().expect("a number")
    }
}

/// Makes tills, a few at once, and lets the hub know each.
async fn tills(hub: &Daemon, count: u64, pushes: usize) -> Vec<Till> {
    let (mut making, mut made) = (tokio::task::JoinSet::new(), Vec::new());
    for seed in 1..=count {
        if making.len() == MAKERS {
            made.push(making.join_next().await.expect("one").expect("made"));
        }
        making.spawn_blocking(move || Till::make(seed, pushes));
    }
    while let Some(one) = making.join_next().await {
        made.push(one.expect("made"));
    }
    for till in &made {
        till.activate(hub).await;
    }
    made
}

/// Memory and file handles of a hub that has many books, of which few are in use.
async fn many_books() {
    let dir = TempDir::new("bench-books");
    let data = dir.join("hub");
    let hub = Daemon::start(HUB, &data);
    run(HUB, &data, &["status"]);
    println!("{BOOKS} books of {SALES} sales, then {ACTIVE} of them in use\n");
    println!("{:<44} {:>10} {:>10}", "", "memory, MB", "handles");
    handles(&hub, "the hub before");
    let mut all = tills(&hub, BOOKS, 2).await;
    handles(&hub, "it knows each till");
    let http = Env::system().http();
    for till in &all {
        till.push(&http, &hub.url, &till.pushes[0]).await;
    }
    handles(&hub, "each has pushed");
    let last = all.split_off(all.len() - ACTIVE);
    for till in &last {
        till.push(&http, &hub.url, &till.pushes[1]).await;
    }
    for _ in 0..ROUNDS {
        for till in &last {
            // The same frames once more: the hub opens the book, compares them and answers.
            till.push(&http, &hub.url, &till.pushes[1]).await;
        }
    }
    handles(&hub, "some go on");
    tokio::time::sleep(Duration::from_secs(10)).await;
    handles(&hub, "10 seconds later");
    println!("{:<44} {:>10.1}\n", "at its peak", hub.memory("VmHWM"));
}

fn handles(hub: &Daemon, name: &str) {
    let open = std::fs::read_dir(format!("/proc/{}/fd", hub.id())).expect("Linux");
    println!(
        "{name:<44} {:>10.1} {:>10}",
        hub.memory("VmRSS"),
        open.count()
    );
}

/// Pushes from all nodes at once, against a hub on one core and on two.
async fn all_at_once() {
    println!("{NODES} nodes push at once, {PUSHES} times {SALES} sales each\n");
    println!(
        "{:<14} {:>12} {:>14} {:>14} {:>10} {:>16}",
        "hub on", "sales/s", "median node, s", "slowest, s", "ratio", "consolidated, s"
    );
    for (name, cores) in [("one core", "0"), ("two cores", "0,1")] {
        let dir = TempDir::new("bench-nodes");
        let hub = Arc::new(Daemon::start(HUB, &dir.join("hub")));
        let pinned = Command::new("taskset")
            .args(["--all-tasks", "--cpu-list", "--pid", cores])
            .arg(hub.id().to_string())
            .output()
            .expect("taskset is there");
        assert!(pinned.status.success(), "{pinned:?}");
        let all: Vec<Arc<Till>> = tills(&hub, NODES, PUSHES)
            .await
            .into_iter()
            .map(Arc::new)
            .collect();
        let sales: usize = all.iter().map(|till| till.sales).sum();
        let started = Instant::now();
        let mut pushing = tokio::task::JoinSet::new();
        for till in &all {
            let (till, hub) = (Arc::clone(till), Arc::clone(&hub));
            pushing.spawn(async move {
                let http = Env::system().http();
                for push in &till.pushes {
                    till.push(&http, &hub.url, push).await;
                }
                started.elapsed()
            });
        }
        let mut times = pushing.join_all().await;
        times.sort();
        let (median, slowest) = (times[times.len() >> 1], times[times.len() - 1]);
        for till in &all {
            while till.consolidated(&hub).await < till.sales as u64 {
                assert!(started.elapsed() < PATIENCE, "not consolidated");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let rate = f64::from(u32::try_from(sales).expect("small")) / slowest.as_secs_f64();
        println!(
            "{name:<14} {rate:>12.0} {:>14.2} {:>14.2} {:>10.2} {:>16.2}",
            median.as_secs_f64(),
            slowest.as_secs_f64(),
            slowest.as_secs_f64() / median.as_secs_f64(),
            started.elapsed().as_secs_f64()
        );
    }
}
