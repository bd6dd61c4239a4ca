//! The hub's figures: consolidation beside raw SQL, and how long an activation takes to settle.
//!
//! `cargo bench -p system-tests` prints the tables. Consolidation and `sqlite3` (the program, which
//! must be installed) move the same rows out of the same book in one run on one disk.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::expect_used, clippy::panic, reason = "a benchmark may stop")]
#![expect(clippy::float_arithmetic, reason = "rates and ratios are for people")]

use axum::Extension;
use axum::extract::ConnectInfo;
use counterfoil_hub::{Hub, HubConfig, Peer, router};
use counterfoil_replica::env::{Env, HttpRequest};
use counterfoil_testkit::TempDir;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const INVOICES: usize = 15_000;
const LINES: usize = 20;
const ROUNDS: usize = 3;
const TRIAL_SALES: usize = 200;
const NODE: &str = env!("CARGO_BIN_EXE_system-node");
const HUB: &str = env!("CARGO_BIN_EXE_system-hub");

fn main() {
    let dir = TempDir::new("bench-figures");
    let file = dir.join("invoices.csv");
    write_invoices(&file);
    println!("consolidation of {INVOICES} receipts with {LINES} lines each\n");
    println!(
        "{:<40} {:>9} {:>12} {:>7}",
        "", "seconds", "rows/s", "ratio"
    );
    for round in 0..ROUNDS {
        let (ours, book) = consolidate(&dir.join(&format!("round{round}")), &file);
        let theirs = raw(&dir.join(&format!("raw{round}")), &book);
        let rows = INVOICES * (LINES + 2);
        let line = |name: &str, took: Duration| {
            let seconds = took.as_secs_f64();
            println!(
                "{name:<40} {seconds:>9.3} {:>12.0}",
                rows_per_second(rows, seconds)
            );
        };
        line("Counterfoil hub (checks, watermark)", ours);
        line("sqlite3, INSERT ... SELECT", theirs);
        println!(
            "{:<63} {:>6.2}",
            "",
            ours.as_secs_f64() / theirs.as_secs_f64()
        );
    }
    println!("\n{TRIAL_SALES} trial sales, then activation, real daemons");
    for round in 0..ROUNDS {
        let took = activate(&dir.join(&format!("activation{round}")));
        println!(
            "activated, delivered and consolidated after {:.3} s",
            took.as_secs_f64()
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rows_per_second(rows: usize, seconds: f64) -> f64 {
    rows as f64 / seconds
}

fn write_invoices(file: &Path) {
    let mut text = String::from(
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n",
    );
    for invoice in 0..INVOICES {
        for line in 0..LINES {
            writeln!(
                text,
                "{},SKU{line},PRODUCT NUMBER {line},{},2011-03-04 10:00:00,2.55,17850.0,France",
                100_000 + invoice,
                1 + (invoice + line) % 12
            )
            .expect("memory");
        }
    }
    std::fs::write(file, text).expect("the file is written");
}

fn node(data: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(NODE);
    command
        .args(arguments)
        .arg("--data")
        .arg(data)
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .env("COUNTERFOIL_FENCE_DIR", data.with_extension("fence"));
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A hub that takes pushes and consolidates only when it is told to; returns how long that took
/// and the book's file at the hub.
fn consolidate(data: &Path, file: &Path) -> (Duration, std::path::PathBuf) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let hub_data = data.join("hub");
    let (hub, url) = runtime.block_on(async {
        let hub = Hub::open(HubConfig::new(&hub_data), Env::system())
            .await
            .expect("it opens");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let peer = ConnectInfo(Peer(SocketAddr::from(([127, 0, 0, 1], 1))));
        let app = router(hub.clone()).layer(Extension(peer));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (hub, url)
    });
    let till = data.join("till");
    node(&till, &["init"]);
    node(&till, &["import", file.to_str().expect("text")]);
    node(
        &till,
        &[
            "activate", "--hub", &url, "--name", "France", "--phone", "1",
        ],
    );
    let admin = std::fs::read_to_string(hub_data.join("admin.token")).expect("it is there");
    let started = Instant::now();
    runtime.block_on(async {
        let mut headers = http::HeaderMap::new();
        let bearer = format!("Bearer {}", admin.trim());
        headers.insert(
            http::header::AUTHORIZATION,
            bearer.parse().expect("plain text"),
        );
        let request = HttpRequest {
            method: http::Method::POST,
            url: format!("{url}/v1/admin/consolidate"),
            headers,
            body: Vec::new().into(),
            timeout: Duration::from_secs(600),
            response_bytes_max: 1_000_000,
        };
        let response = Env::system().http().send(request).await.expect("an answer");
        assert!(response.status.is_success(), "{response:?}");
    });
    let took = started.elapsed();
    drop(hub);
    let books = std::fs::read_dir(hub_data.join("books")).expect("books");
    let is_book = |path: &std::path::PathBuf| path.extension().is_some_and(|it| it == "db");
    let book = books
        .map(|entry| entry.expect("an entry").path())
        .find(is_book)
        .expect("a book");
    (took, book)
}

/// The same rows with plain SQL, into the same tables.
fn raw(data: &Path, book: &Path) -> Duration {
    std::fs::create_dir_all(data).expect("a directory");
    let target = data.join("raw.db");
    let schema = include_str!("../../../migrations/hub/V1__init.sql");
    sqlite(&target, &format!("PRAGMA journal_mode = WAL; {schema}"));
    let copy = data.join("book.db");
    for file in ["db", "db-wal"] {
        std::fs::copy(book.with_extension(file), copy.with_extension(file)).expect("a copy");
    }
    let script = format!(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; ATTACH '{}' AS book; BEGIN IMMEDIATE;
         INSERT INTO receipt (node, seq, id, topic, hlc, trial, series, number, at_ms, currency,
             total_minor, customer, employee, refund_of, external_ref, corrected_ms)
         SELECT 1, seq, id, topic, hlc, trial, series, number, at_ms, currency, total_minor,
             customer, employee, refund_of, external_ref, at_ms
         FROM book.journal WHERE number IS NOT NULL;
         INSERT INTO receipt_line SELECT 1, key >> 16, key & 32767, sku, description, quantity_milli,
             unit_price_mills, amount_minor FROM book.receipt_item WHERE key & 32768 = 0;
         INSERT INTO payment SELECT 1, key >> 16, key & 32767, tender, amount_minor
         FROM book.receipt_item WHERE key & 32768 <> 0;
         COMMIT; SELECT count(*) FROM receipt_line;",
        copy.display()
    );
    let started = Instant::now();
    let printed = sqlite(&target, &script);
    let took = started.elapsed();
    let lines = (INVOICES * LINES).to_string();
    assert!(
        printed.lines().any(|line| line == lines),
        "all rows were moved: {printed}"
    );
    took
}

fn sqlite(file: &Path, script: &str) -> String {
    let mut child = Command::new("sqlite3")
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("sqlite3 must be installed: {error}"));
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(script.as_bytes())
        .expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may be gone already, which is what is wanted.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn daemon(program: &str, data: &Path) -> (Daemon, String) {
    let mut command = Command::new(program);
    command
        .args(["run", "--listen", "127.0.0.1:0", "--data"])
        .arg(data);
    command
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .env("COUNTERFOIL_LOG", "error")
        .env("COUNTERFOIL_FENCE_DIR", data.with_extension("fence"));
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout)
        .read_line(&mut line)
        .expect("its address");
    let url = line.trim().trim_start_matches("listening on ").to_owned();
    (Daemon(child), url)
}

/// From the activation command until the hub says that everything is consolidated.
fn activate(data: &Path) -> Duration {
    let (_hub, url) = daemon(HUB, &data.join("hub"));
    let till = data.join("till");
    node(&till, &["init"]);
    let (_node, _) = daemon(NODE, &till);
    let lines: Vec<String> = (0..4).map(|line| format!("SKU{line}:2@2.55")).collect();
    for _ in 0..TRIAL_SALES {
        let mut arguments = vec!["sell", "--line"];
        arguments.extend(lines.iter().map(String::as_str));
        node(&till, &arguments);
    }
    let started = Instant::now();
    node(
        &till,
        &[
            "activate", "--hub", &url, "--name", "France", "--phone", "1",
        ],
    );
    loop {
        let status: Value =
            serde_json::from_str(&node(&till, &["status", "--json"])).expect("a document");
        if status["hub_consolidated_seq"] == status["journal_seq"] {
            return started.elapsed();
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it does not settle: {status}"
        );
    }
}
