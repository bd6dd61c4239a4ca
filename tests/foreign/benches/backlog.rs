//! A till that was offline delivers: our client and the stock one, to one hub, in turns.
//!
//! `cargo bench -p foreign-clients` prints the table. Each book is new, holds the same number of sales
//! by the same code, and was in sync before them. The hub is a process of its own.
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
use std::time::{Duration, Instant};
use system_tests::sales::{LINES, Seller};

const ROUNDS: u64 = 5;
/// In the book before the line was cut: rows of every product, pages of every table.
const EARLIER: usize = 3_000;
const BACKLOG: usize = 3_000;

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
        let ours = rate(ours(&access, &folder, round).await);
        check(&hub, &name).await;
        let (name, access, folder) = bench("stock");
        let stock = rate(stock(&access, &folder, round).await);
        check(&hub, &name).await;
        println!(
            "{round:<8} {ours:>10.0} {stock:>10.0} {:>7.1}",
            ours / stock
        );
        ratios.push(ours / stock);
    }
    ratios.sort_by(f64::total_cmp);
    println!("{:<29} {:>7.1}", "median", ratios[ratios.len() >> 1]);
}

fn rate(took: Duration) -> f64 {
    f64::from(u32::try_from(BACKLOG).expect("small")) / took.as_secs_f64()
}

async fn ours(access: &Access, folder: &Path, seed: u64) -> Duration {
    let (env, book) = (Env::system(), Paths::of(folder).book);
    let replica = BookReplica::open(&book, Arc::clone(&env.files), env.execution).expect("opens");
    let remote = Remote::new(
        &env.http(),
        &access.sync_url,
        Some(access.auth_token.clone()),
    );
    let push = || async {
        let pushed = replica.push(&remote, &OpenGate, &|_| {}, Supersede::Never);
        pushed.await.expect("pushed");
    };
    let mut seller = Seller::open(folder, seed);
    seller.sell(EARLIER);
    push().await;
    seller.sell(BACKLOG);
    let started = Instant::now();
    push().await;
    started.elapsed()
}

async fn stock(access: &Access, folder: &Path, seed: u64) -> Duration {
    let (url, token) = (access.sync_url.clone(), access.auth_token.clone());
    let client = Builder::new_synced_database(Paths::of(folder).book, url, token)
        .connector(HttpConnector::new())
        .build()
        .await
        .expect("opens");
    // Also keeps the WAL from being folded.
    let _connection = client.connect().expect("connects");
    client.sync().await.expect("synced");
    let mut seller = Seller::open(folder, seed);
    seller.sell(EARLIER);
    client.sync().await.expect("synced");
    seller.sell(BACKLOG);
    let started = Instant::now();
    client.sync().await.expect("synced");
    started.elapsed()
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
