//! A till that was offline delivers: our client and the stock one, to one hub, in turns.
//!
//! `cargo bench -p foreign-clients` prints the table. Each book is new, holds the same number of sales
//! by the same code, and was in sync before them. The hub is a process of its own. A second table has the bytes
//! that go up, of the backlog and of single sales, counted on the line with the heads of the requests.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::expect_used, reason = "a benchmark may stop")]
#![expect(clippy::float_arithmetic, reason = "rates and ratios are for people")]

use counterfoil_replica::env::Env;
use counterfoil_replica::{BookReplica, OpenGate, Remote, Supersede};
use counterfoil_shop_store::Paths;
use counterfoil_testkit::TempDir;
use foreign_clients::hub::{Access, Hub};
use hyper_014::client::HttpConnector;
use libsql::Builder;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use system_tests::sales::{LINES, Seller};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ROUNDS: u64 = 5;
/// In the book before the line was cut: rows of every product, pages of every table.
const EARLIER: usize = 3_000;
const BACKLOG: usize = 3_000;
const ALONE: usize = 50;

#[tokio::main]
async fn main() {
    let dir = TempDir::new("bench-backlog");
    let program = Path::new(env!("CARGO_BIN_EXE_foreign-hub"));
    let hub = Hub::start(program, &dir.join("hub")).expect("a hub");
    println!("a backlog of {BACKLOG} sales of {LINES} lines, sales a second, durable at the hub\n");
    println!(
        "{:<8} {:>10} {:>10} {:>7}",
        "round", "ours", "stock", "ratio"
    );
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let bench = |name: &str| {
            let name = format!("{name}{round}");
            let access: Access = hub.command(&["database", "add", &name]).expect("added");
            let folder = dir.join(&name);
            std::fs::create_dir_all(&folder).expect("a folder");
            (name, access, folder)
        };
        let (name, access, folder) = bench("ours");
        let ours = rate(deliver(Ours::open(&access, &folder), &folder, round).await);
        check(&hub, &name).await;
        let (name, access, folder) = bench("stock");
        let stock = rate(deliver(Stock::open(&access, &folder).await, &folder, round).await);
        check(&hub, &name).await;
        println!(
            "{round:<8} {ours:>10.0} {stock:>10.0} {:>7.1}",
            ours / stock
        );
        ratios.push(ours / stock);
    }
    ratios.sort_by(f64::total_cmp);
    println!("{:<29} {:>7.1}", "median", ratios[ratios.len() >> 1]);
    println!("\nbytes up a sale, with the heads of the requests\n");
    println!("{:<20} {:>10} {:>10}", "", "backlog", "alone");
    for name in ["ours", "stock"] {
        let access: Access = hub
            .command(&["database", "add", &format!("{name}-line")])
            .expect("added");
        let (line, access) = Line::to(&access).await;
        let folder = dir.join(&format!("{name}-line"));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (backlog, alone) = match name {
            "ours" => bytes(Ours::open(&access, &folder), &folder, &line).await,
            _ => bytes(Stock::open(&access, &folder).await, &folder, &line).await,
        };
        println!("{name:<20} {backlog:>10} {alone:>10}");
    }
}

fn rate(took: Duration) -> f64 {
    f64::from(u32::try_from(BACKLOG).expect("small")) / took.as_secs_f64()
}

/// Something that brings a book to the hub.
trait Pushes {
    async fn push(&self);
}

struct Ours {
    replica: BookReplica,
    remote: Remote,
}

impl Ours {
    fn open(access: &Access, folder: &Path) -> Self {
        let (env, book) = (Env::system(), Paths::of(folder).book);
        let replica = BookReplica::open(&book, Arc::clone(&env.files), env.execution);
        let token = Some(access.auth_token.clone());
        Self {
            replica: replica.expect("opens"),
            remote: Remote::new(&env.http(), &access.sync_url, token),
        }
    }
}

impl Pushes for Ours {
    async fn push(&self) {
        let replica = &self.replica;
        let pushed = replica.push(&self.remote, &OpenGate, &|_| {}, Supersede::Never);
        pushed.await.expect("pushed");
    }
}

struct Stock {
    client: libsql::Database,
    /// Also keeps the WAL from being folded.
    _connection: libsql::Connection,
}

impl Stock {
    async fn open(access: &Access, folder: &Path) -> Self {
        let (url, token) = (access.sync_url.clone(), access.auth_token.clone());
        let client = Builder::new_synced_database(Paths::of(folder).book, url, token)
            .connector(HttpConnector::new())
            .build()
            .await
            .expect("opens");
        let _connection = client.connect().expect("connects");
        let stock = Self {
            client,
            _connection,
        };
        stock.push().await;
        stock
    }
}

impl Pushes for Stock {
    async fn push(&self) {
        // The first call may meet a connection that idled away meanwhile.
        if self.client.sync().await.is_err() {
            self.client.sync().await.expect("synced");
        }
    }
}

/// How long the backlog takes.
async fn deliver(client: impl Pushes, folder: &Path, seed: u64) -> Duration {
    let mut seller = Seller::open(folder, seed);
    seller.sell(EARLIER);
    client.push().await;
    seller.sell(BACKLOG);
    let started = Instant::now();
    client.push().await;
    started.elapsed()
}

/// Bytes up for a sale of the backlog, and for a sale alone, the median.
async fn bytes(client: impl Pushes, folder: &Path, line: &Line) -> (u64, u64) {
    let mut seller = Seller::open(folder, 1);
    seller.sell(EARLIER);
    client.push().await;
    let mut before = line.up();
    let mut since = || {
        let bytes = line.up() - before;
        before = line.up();
        bytes
    };
    seller.sell(BACKLOG);
    client.push().await;
    let backlog = since().div_euclid(u64::try_from(BACKLOG).expect("small"));
    let mut alone = Vec::new();
    for _ in 0..ALONE {
        seller.sell(1);
        client.push().await;
        alone.push(since());
    }
    alone.sort_unstable();
    (backlog, alone[ALONE >> 1])
}

/// A line to the hub that counts what goes up.
struct Line(Arc<AtomicU64>);

impl Line {
    /// The line, and the database's address at this end of it.
    async fn to(access: &Access) -> (Self, Access) {
        let address = access.sync_url.strip_prefix("http://").expect("an address");
        let (hub, path) = address.split_once('/').expect("a path");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = listener.local_addr().expect("bound");
        let access = Access {
            sync_url: format!("http://{near}/{path}"),
            auth_token: access.auth_token.clone(),
        };
        let (up, hub) = (Arc::new(AtomicU64::new(0)), hub.to_owned());
        let line = Self(Arc::clone(&up));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let hub = TcpStream::connect(&hub).await.expect("the hub listens");
                let up = Arc::clone(&up);
                tokio::spawn(carry(client, hub, up));
            }
        });
        (line, access)
    }

    fn up(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

async fn carry(client: TcpStream, hub: TcpStream, up: Arc<AtomicU64>) {
    let (mut from, mut back) = client.into_split();
    let (mut answers, mut to) = hub.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(size @ 1..) = from.read(&mut buffer).await {
        up.fetch_add(u64::try_from(size).expect("small"), Ordering::SeqCst);
        if to.write_all(&buffer[..size]).await.is_err() {
            return;
        }
    }
}

/// Everything is at the hub: a push that did not send it all has no figure.
async fn check(hub: &Hub, name: &str) {
    let removed: Value = hub.command(&["database", "remove", name]).expect("removed");
    let kept = Path::new(removed["kept"].as_str().expect("text"));
    let opened = Builder::new_local(kept.join("database.db"));
    let connection = opened
        .build()
        .await
        .expect("opens")
        .connect()
        .expect("opens");
    let mut rows = connection
        .query("SELECT count(*) FROM receipt", ())
        .await
        .expect("a query");
    let row = rows.next().await.expect("a row").expect("a row");
    let count = row.get::<i64>(0).expect("a number");
    assert_eq!(usize::try_from(count), Ok(EARLIER + BACKLOG));
}
