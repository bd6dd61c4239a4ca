//! Lanes of one shop without internet: from a sale at one to what another shows.
//!
//! `cargo bench -p system-tests --bench lanes` prints the table for 2 lanes; `-- 32` for 32. Every lane is a process and
//! connected with every other over the loopback; the hub is away. The last lane is asked for its level again
//! and again until it shows the sale. Then it is stopped, misses entries, and is started again.
//!
//! `-- overtake` prints what a sale waits for while another lane catches up over a narrow line, and how many bytes that takes;
//! `-- overtake PROGRAM` the same of another build of `system-node`. Bytes do not depend on how it was built.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::expect_used, reason = "a benchmark may stop")]

use counterfoil_migrate::{Connection, Durability};
use counterfoil_testkit::TempDir;
use http::Method;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use system_tests::daemon::{ANY_PORT, Daemon, command, till_folder};
use system_tests::figures::milliseconds;

const HUB: &str = env!("CARGO_BIN_EXE_system-hub");
const NODE: &str = env!("CARGO_BIN_EXE_system-node");
const LANES: usize = 2;
const SALES: usize = 300;
/// Between two sales.
const PAUSE: Duration = Duration::from_millis(10);
/// Entries that a lane misses.
const MISSED: usize = 10_000;
/// What somebody counts at the beginning.
const COUNTED: i64 = 1_000_000;
/// Products of which two lanes compare their stock, and every how many of them one has counted wrong.
const PRODUCTS: usize = 65_000;
const EVERY: usize = 671;
/// Entries that a lane catches up on, and bytes of a second of its line: 1 Mbit.
const LONG: usize = 10_000;
const NARROW: u64 = 125_000;
/// Sales meanwhile.
const MEANWHILE: usize = 5;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if std::env::args().any(|it| it == "reconcile") {
        return runtime.block_on(reconciliation());
    }
    if std::env::args().any(|it| it == "overtake") {
        let other = std::env::args().find(|it| it.contains("system-node"));
        return runtime.block_on(overtake(other.as_deref().unwrap_or(NODE)));
    }
    let asked = std::env::args().skip(1).find_map(|it| it.parse().ok());
    let lanes: usize = asked.unwrap_or(LANES).max(2);
    runtime.block_on(bench(lanes));
}

async fn bench(count: usize) {
    let dir = TempDir::new("bench-lanes");
    let folders: Vec<PathBuf> = (0..=count)
        .map(|it| dir.join(&format!("lane-{it}")))
        .collect();
    let (alone, folders) = folders.split_last().expect("some");
    let hub = Daemon::start(HUB, &dir.join("hub"));
    let token = std::fs::read_to_string(dir.join("hub/admin.token")).expect("it is there");
    let mut lanes: Vec<Daemon> = Vec::new();
    for data in folders {
        let lane = start(data, &addresses(&lanes).await);
        activate(&hub, token.trim(), &lane).await;
        lanes.push(lane);
    }
    let alone = start(alone, &[]);
    activate(&hub, token.trim(), &alone).await;
    drop(hub);
    for lane in &lanes {
        let others = count as u64 - 1;
        lane.until(|status| status["mesh"]["connections"].as_u64() == Some(others))
            .await;
    }
    let mut left = COUNTED;
    let counted = json!({"sku": "TEA", "quantity": COUNTED.to_string(), "count": true});
    lanes[0]
        .ask(Method::POST, "/v1/stock", None, &counted)
        .await;
    let mut last = lanes.pop().expect("a lane");
    until_level(&last, left).await;

    println!("{count} lanes, {SALES} sales of one line, milliseconds\n");
    println!("| | median | 99 of 100 |\n|---|---|---|");
    let mut receipts = sell(&alone, None, &mut 0).await.0;
    row("receipt of a lane by itself", &mut receipts);
    let (mut receipts, mut shown) = sell(&lanes[0], Some(&last), &mut left).await;
    row("receipt with a second copy", &mut receipts);
    row("from the request until the last lane shows it", &mut shown);

    let peers = addresses(&lanes).await;
    drop(last);
    let entry = json!({"sku": "TEA", "quantity": "-1", "reason": "tasting"});
    let entries = Value::Array(vec![entry; 1_000]);
    for _ in 0..MISSED.div_euclid(1_000) {
        lanes[0]
            .ask(Method::POST, "/v1/stock", None, &entries)
            .await;
    }
    left -= i64::try_from(MISSED).expect("small");
    last = start(&folders[count - 1], &peers);
    let started = Instant::now();
    until_level(&last, left).await;
    let took = started.elapsed().as_millis();
    println!(
        "\n{MISSED} entries that the last lane missed are there and counted {took} ms after its start"
    );
    drop((last, alone));
}

async fn reconciliation() {
    let dir = TempDir::new("bench-reconciliation");
    let hub = Daemon::start(HUB, &dir.join("hub"));
    let token = std::fs::read_to_string(dir.join("hub/admin.token")).expect("it is there");
    let (first, second) = (dir.join("first"), dir.join("second"));
    let one = start(&first, &[]);
    activate(&hub, token.trim(), &one).await;
    let peers = addresses(std::slice::from_ref(&one)).await;
    let other = start(&second, &peers);
    activate(&hub, token.trim(), &other).await;
    drop(hub);
    let sku = |number: usize| format!("{number:05}");
    for from in (0..PRODUCTS).step_by(500) {
        let count = |number| json!({"sku": sku(number), "quantity": "12", "count": true});
        let counts: Vec<Value> = (from..(from + 500).min(PRODUCTS)).map(count).collect();
        let counts = Value::Array(counts);
        one.ask(Method::POST, "/v1/stock", None, &counts).await;
    }
    let last = format!("/v1/stock?sku={}", sku(PRODUCTS - 1));
    let is_there = |answer: &Value| answer["levels"][0]["level_milli"] == 12_000;
    other.until_there(&last, is_there).await;
    println!(
        "| {PRODUCTS} products at two lanes | products that differ | round trips | bytes both ways | ms |\n|---|---|---|---|---|"
    );
    compare("equal", &other).await;
    drop(other);
    let conn = Connection::open_existing(second.join("local.db"), Durability::Full);
    let conn = conn.expect("it opens");
    let sql =
        format!("UPDATE stock_level SET level_milli = 0 WHERE CAST(sku AS INTEGER) % {EVERY} = 7");
    conn.execute(&sql, ()).expect("changed");
    conn.abandon();
    let other = start(&second, &peers);
    other
        .until(|status| status["mesh"]["connections"] == 1)
        .await;
    compare("some counted wrong, found and counted again", &other).await;
    let (mut bytes, mut after) = (0, String::new());
    loop {
        let path = format!("/v1/stock?after={after}");
        let page = other.ask(Method::GET, &path, None, &Value::Null).await;
        bytes += page["levels"].to_string().len();
        let Some(next) = page["next"].as_str() else {
            break;
        };
        next.clone_into(&mut after);
    }
    println!("| the whole inventory, as `GET /v1/stock` gives it | | | {bytes} | |");
}

async fn overtake(program: &str) {
    println!("{LONG} sales of one line to catch up on, 1 Mbit/s, dev build\n");
    println!(
        "| | bytes on the line | a sale meanwhile is at the other lane after, ms |\n|---|---|---|"
    );
    for (what, is_own) in [("another lane's journal", false), ("its own journal", true)] {
        let dir = TempDir::new("bench-overtake");
        let hub = Daemon::start(HUB, &dir.join("hub"));
        let token = std::fs::read_to_string(dir.join("hub/admin.token")).expect("it is there");
        let one = start_as(program, &dir.join("one"), &[]);
        activate(&hub, token.trim(), &one).await;
        let other = start_as(program, &dir.join("other"), &[]);
        activate(&hub, token.trim(), &other).await;
        drop(other);
        let third = start_as(
            program,
            &dir.join("third"),
            &addresses(std::slice::from_ref(&one)).await,
        );
        activate(&hub, token.trim(), &third).await;
        drop(hub);
        let line = json!({"sku": "TEA", "quantity": "1", "unit_price": "2.55"});
        let sale = json!({"lines": [line], "tender": "cash"});
        let writer = if is_own { &one } else { &third };
        for _ in 0..LONG {
            writer.ask(Method::POST, "/v1/sales", None, &sale).await;
        }
        if !is_own {
            one.until(|status| held(status) >= LONG as u64).await;
        }
        drop(third);
        let (narrow, passed) = narrow(&addresses(std::slice::from_ref(&one)).await[0]);
        let other = start_as(program, &dir.join("other"), &[narrow]);
        other.until(|status| held(status) >= 200).await;
        let mut waits = Vec::new();
        while waits.len() < MEANWHILE {
            let began = Instant::now();
            let sold = one.ask(Method::POST, "/v1/sales", None, &sale).await;
            let seq = sold["seq"].as_u64();
            let has = |status: &Value| {
                let peers = status["mesh"]["peers"].as_array();
                let mut seqs = peers
                    .into_iter()
                    .flatten()
                    .map(|row| &row["acknowledged_seq"]);
                seqs.any(|has| has.as_u64() >= seq)
            };
            patiently(&one, has).await;
            waits.push(began.elapsed().as_millis().to_string());
        }
        patiently(&other, |status| held(status) >= LONG as u64).await;
        let bytes = passed.load(Ordering::Relaxed);
        println!("| {what} | {bytes} | {} |", waits.join(", "));
    }
}

/// Waits for as long as it takes.
async fn patiently(lane: &Daemon, is_so: impl Fn(&Value) -> bool) {
    let path = "/v1/status";
    while !is_so(&lane.ask(Method::GET, path, None, &Value::Null).await) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// How many entries a lane holds of the longest journal of others.
fn held(status: &Value) -> u64 {
    let rows = status["mesh"]["journals"].as_array();
    let seqs = rows
        .into_iter()
        .flatten()
        .map(|row| row["held_seq"].as_u64());
    seqs.flatten().max().unwrap_or(0)
}

/// A narrow line to a lane, from it; its address, and the bytes that came over it.
fn narrow(to: &str) -> (String, Arc<AtomicU64>) {
    let to = to.trim_start_matches("ws://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    let passed: Arc<AtomicU64> = Arc::default();
    let counts = Arc::clone(&passed);
    thread::spawn(move || {
        for from in listener.incoming().flatten() {
            let Ok(to) = TcpStream::connect(&to) else {
                continue;
            };
            let (from_too, to_too) = (from.try_clone().expect("one"), to.try_clone().expect("one"));
            let counts = Arc::clone(&counts);
            thread::spawn(move || pass(from, to, &AtomicU64::new(0)));
            thread::spawn(move || pass(to_too, from_too, &counts));
        }
    });
    (url, passed)
}

fn pass(mut from: TcpStream, mut to: TcpStream, counts: &AtomicU64) {
    let mut bytes = [0; 1_024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let passed = u64::try_from(count).expect("small");
        thread::sleep(Duration::from_micros(
            (passed * 1_000_000).div_euclid(NARROW),
        ));
        counts.fetch_add(passed, Ordering::Relaxed);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // The other end may be gone.
    let _gone = to.shutdown(Shutdown::Both);
}

async fn compare(what: &str, lane: &Daemon) {
    let began = Instant::now();
    let path = "/v1/stock/reconciliation";
    let found = lane.ask(Method::POST, path, None, &Value::Null).await;
    let took = began.elapsed().as_millis();
    let (differing, requests, bytes) = (&found["differing"], &found["requests"], &found["bytes"]);
    println!("| {what} | {differing} | {requests} | {bytes} | {took} |");
    assert_eq!(found["open"], json!([]), "{found}");
}

fn start(data: &Path, peers: &[String]) -> Daemon {
    start_as(NODE, data, peers)
}

fn start_as(program: &str, data: &Path, peers: &[String]) -> Daemon {
    if !data.exists() {
        till_folder(data, "");
    }
    let mut arguments = vec!["run", "--listen", ANY_PORT, "--peer-listen", ANY_PORT];
    arguments.extend(peers.iter().flat_map(|peer| ["--peer", peer]));
    Daemon::announced(command(program, data, &arguments))
}

async fn addresses(lanes: &[Daemon]) -> Vec<String> {
    let mut addresses = Vec::with_capacity(lanes.len());
    for lane in lanes {
        let status = lane
            .ask(Method::GET, "/v1/status", None, &Value::Null)
            .await;
        let address = status["mesh"]["listen"].as_str().expect("an address");
        addresses.push(address.to_owned());
    }
    addresses
}

/// Binds a lane to the one shop.
async fn activate(hub: &Daemon, token: &str, lane: &Daemon) {
    let shop = json!({"name": "France", "existing": true});
    let made = hub
        .ask(Method::POST, "/v1/admin/shops", Some(token), &shop)
        .await;
    let join = json!({"join": made["join_code"], "hub": hub.url});
    lane.ask(Method::POST, "/v1/activate", None, &join).await;
}

/// How long receipts took, and how long it took from each request until another lane showed it.
async fn sell(
    at: &Daemon,
    other: Option<&Daemon>,
    left: &mut i64,
) -> (Vec<Duration>, Vec<Duration>) {
    let line = json!({"sku": "TEA", "quantity": "1", "unit_price": "2.55"});
    let request = json!({"lines": [line], "tender": "cash"});
    let (mut receipts, mut shown) = (Vec::new(), Vec::new());
    for _ in 0..SALES {
        tokio::time::sleep(PAUSE).await;
        let asked = Instant::now();
        at.ask(Method::POST, "/v1/sales", None, &request).await;
        receipts.push(asked.elapsed());
        *left -= 1;
        if let Some(other) = other {
            until_level(other, *left).await;
            shown.push(asked.elapsed());
        }
    }
    (receipts, shown)
}

async fn until_level(lane: &Daemon, units: i64) {
    let is_it = |answer: &Value| answer["levels"][0]["level_milli"] == units * 1_000;
    lane.until_there("/v1/stock?sku=TEA", is_it).await;
}

fn row(what: &str, times: &mut [Duration]) {
    let (median, most) = (milliseconds(times, 50), milliseconds(times, 99));
    println!("| {what} | {median:.2} | {most:.2} |");
}
