//! What a till says of itself, against what was sold and what was taken from it.

use crate::process::{Daemon, eventually, node, request};
use crate::world::{World, settle};
use counterfoil_migrate::{Connection, Durability, SqlError};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::channel;

/// The figures that a till exposes by name and labels, and the types by name.
fn exposed(daemon: &Daemon) -> (BTreeMap<String, f64>, BTreeSet<(String, String)>) {
    let text = daemon.get("/metrics");
    let text = text.as_str().expect("a text");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let (mut samples, mut types) = (BTreeMap::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').expect("a type");
            types.insert((name.to_owned(), kind.to_owned()));
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            let name = name.trim_start_matches("counterfoil_node_");
            samples.insert(name.to_owned(), value.parse().expect("a number"));
        }
    }
    (samples, types)
}

fn documented() -> BTreeSet<(String, String)> {
    let text = include_str!("../../../../docs/metrics.md");
    let (_, node) = text.split_once("## The node").expect("its part");
    let rows = node.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let mut cells = row.split('|').map(str::trim);
        let name = cells.next().expect("a name").trim_end_matches('`');
        let kind = cells.next().expect("a kind").to_owned();
        let suffix = if kind == "counter" { "_total" } else { "" };
        (
            name.strip_suffix(suffix).expect("its suffix").to_owned(),
            kind,
        )
    })
    .collect()
}

#[test]
fn the_figures_of_a_till_are_what_was_sold_and_what_waits() {
    let mut world = World::new("figures");
    let daemon = Daemon::node(&world.till);
    world.account.sell(&world.till, 3);
    settle(&world.till);
    let (figures, types) = exposed(&daemon);
    assert_eq!(types, documented());
    let sold = f64::from(u32::try_from(world.account.0.len()).expect("few"));
    assert_eq!(figures["receipts"], sold);
    assert_eq!(figures["received_entries"], figures["journal_entries"]);
    assert_eq!(figures["pending_entries{priority=\"high\"}"], 0.0);
    assert!(figures["frames_sent_total"] > 0.0 && figures["sent_bytes_total"] > 0.0);
    assert!(
        figures["sync_runs_total{phase=\"online\"}"] >= 1.0,
        "{figures:?}"
    );
    assert!(figures["last_synced_timestamp_seconds"] > 1.0e9);
    assert!(figures["database_bytes{database=\"book\"}"] >= 4096.0);

    world.stop_hub();
    world.account.sell(&world.till, 2);
    eventually("the hub is away", || {
        exposed(&daemon).0["sync_phase{phase=\"offline\"}"] == 1.0
    });
    let (figures, _) = exposed(&daemon);
    assert_eq!(figures["pending_entries{priority=\"high\"}"], 2.0);
    assert_eq!(figures["receipts"], sold + 2.0);
    let status = daemon.get("/v1/status");
    assert_eq!(status["pending_by_priority"]["high"], 2, "{status}");
    assert_eq!(
        (&status["pending"], &status["failed"]),
        (&2.into(), &0.into())
    );
    let log = node(&world.till, &["logs", "--json"]).json();
    let log = log.as_array().expect("a list");
    let synced = log.iter().filter(|row| row["event"] == "sync");
    let took: Vec<&Value> = synced.map(|row| &row["detail"]["took_ms"]).collect();
    assert!(
        !took.is_empty() && took.iter().all(|it| it.is_u64()),
        "{log:?}"
    );
}

/// What keeps a till from being ready.
fn wrong(daemon: &Daemon) -> String {
    let (status, body) = request(&daemon.url, "GET", "/readyz", &[], b"").expect("an answer");
    assert_eq!(
        (status, &body["code"]),
        (503, &"not_ready".into()),
        "{body}"
    );
    body["detail"].as_str().expect("words").to_owned()
}

#[test]
fn a_till_is_ready_without_a_hub_and_not_when_it_could_not_record_a_sale() {
    let mut world = World::new("ready");
    world.stop_hub();
    let daemon = Daemon::node(&world.till);
    assert_eq!(daemon.get("/readyz")["status"], "ready");
    assert_eq!(daemon.get("/healthz")["status"], "ok");

    // Somebody else writes the book and does not come to an end.
    let (come, came) = channel();
    let (leave, left) = channel::<()>();
    let book = world.till.join("book.db");
    let writes = std::thread::spawn(move || {
        let db = Connection::open_existing(book, Durability::Full).expect("it opens");
        let held: Result<(), SqlError> = db.transaction(|_| {
            come.send(()).expect("it is waited for");
            left.recv().expect("it is told");
            Ok(())
        });
        held.expect("nothing was written");
        db.abandon();
    });
    came.recv().expect("it holds the book");
    let why = wrong(&daemon);
    assert!(why.contains("database: it cannot be written"), "{why}");
    leave.send(()).expect("it waits");
    writes.join().expect("it ended");
    assert_eq!(daemon.get("/readyz")["status"], "ready");
    daemon.kill();

    let settings = "disk_limit_mib = 9000000000000\n";
    std::fs::write(world.till.join("node.toml"), settings).expect("written");
    let daemon = Daemon::node(&world.till);
    let why = wrong(&daemon);
    assert!(why.starts_with("disk: "), "{why}");
    assert_eq!(daemon.get("/healthz")["status"], "ok", "it lives and sells");
    world.account.sell(&world.till, 1);
}
