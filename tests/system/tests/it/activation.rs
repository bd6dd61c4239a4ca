//! T2: activation killed at any point and run again binds the till once, and what trial left behind
//! arrives once.

use crate::process::{Daemon, NODE, command, eventually, hub, join_code, node, till};
use crate::relay::{Relay, kill_until_through};
use crate::store::{assert_whole, column, hub_receipt_ids, receipt_ids};
use counterfoil_testkit::{SeededRandom, TempDir};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

/// Tills that are activated under fire; each is killed at least once.
const TILLS: usize = 30;

#[test]
fn activation_killed_at_any_answer_binds_once_and_delivers_once() {
    let dir = TempDir::new("kill-activation");
    let random = SeededRandom::new(13);
    let hub_data = dir.join("hub");
    let daemon = Daemon::hub(&hub_data);
    let line = Relay::to(&daemon.url);
    let mut sold = BTreeSet::new();
    let mut kills = 0;
    for number in 0..TILLS {
        let data = dir.join(&format!("till{number}"));
        till(&data);
        let selling = ["sell", "--line", "TEA:2@2.55", "--json"];
        let sale = node(&data, &selling).json();
        sold.insert(sale["id"].as_str().expect("an id").to_owned());
        let code = join_code(&hub_data, "France");
        kills += activate_under_fire(&data, &code, &line, &random);
        let status = node(&data, &["status", "--json"]).json();
        assert_eq!(status["tier"], "active");
        assert_eq!(status["shop_name"], "France");
    }
    eventually("all is consolidated", || {
        hub_receipt_ids(&hub_data).len() >= TILLS
    });
    drop(daemon);
    println!("{kills} kills over {TILLS} activations");
    assert!(kills >= TILLS, "each till is killed at least once");
    assert_eq!(hub_receipt_ids(&hub_data), sold);
    let trial: Vec<i64> = column(
        &hub_data.join("hub.db"),
        "SELECT DISTINCT trial FROM receipt",
    );
    assert_eq!(trial, [1], "all of them are marked as trial");
    let nodes = hub(&hub_data, &["node", "list", "--json"]).json();
    assert_eq!(nodes.as_array().map(Vec::len), Some(TILLS));
    for number in 0..TILLS {
        let book = dir.join(&format!("till{number}")).join("book.db");
        assert_whole(&book);
        let activations: Vec<i64> = column(&book, "SELECT count(*) FROM activation");
        assert_eq!(activations, [1], "one activation, however often it was run");
        assert_eq!(receipt_ids(&book).len(), 1);
    }
}

/// Activates a till that is killed at one answer after the other, then once more, which changes nothing.
/// Returns the number of kills.
fn activate_under_fire(data: &Path, code: &str, line: &Relay, random: &SeededRandom) -> usize {
    let arguments = ["activate", "--join", code, "--hub", &line.url];
    let kills = kill_until_through(line, random, || {
        let mut command = command(NODE, data, &arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    });
    let again = node(data, &["activate", "--join", code, "--json"]).json();
    assert_eq!(again["shop_name"], Value::from("France"));
    kills
}

#[test]
fn a_daemon_completes_an_activation_that_was_cut_off() {
    let dir = TempDir::new("resume");
    let (hub_data, data) = (dir.join("hub"), dir.join("till"));
    let daemon = Daemon::hub(&hub_data);
    let code = join_code(&hub_data, "Spain");
    let url = daemon.kill();
    till(&data);
    // The hub is away: the till says so and remembers what it was asked.
    node(&data, &["activate", "--join", &code]).fails(4, "cannot be reached");
    let status = node(&data, &["status", "--json"]).json();
    assert_eq!(status["tier"], "activating");
    node(&data, &["sell", "--line", "TEA:2@2.55"]).succeeds();
    let till = Daemon::node(&data);
    let address = url.strip_prefix("http://").expect("an address");
    let _hub = Daemon::start(crate::process::HUB, &hub_data, address);
    eventually("the daemon activates by itself and delivers", || {
        let status = till.get("/v1/status");
        status["tier"] == "active" && status["hub_consolidated_seq"] == status["journal_seq"]
    });
    assert_eq!(hub_receipt_ids(&hub_data).len(), 1);
}

#[test]
fn a_running_daemon_activates_once_the_hub_is_there_and_takes_a_better_code_meanwhile() {
    let dir = TempDir::new("later");
    let (hub_data, data) = (dir.join("hub"), dir.join("till"));
    let code = join_code(&hub_data, "Spain");
    till(&data);
    let till = Daemon::node(&data);
    node(
        &data,
        &[
            "activate",
            "--hub",
            "http://127.0.0.1:9",
            "--name",
            "x",
            "--phone",
            "1",
        ],
    )
    .fails(4, "cannot be reached");
    let hub = Daemon::hub(&hub_data);
    node(&data, &["activate", "--join", &code, "--hub", &hub.url]).succeeds();
    node(&data, &["sell", "--line", "TEA:2@2.55"]).succeeds();
    eventually("the sale is delivered", || {
        let status = till.get("/v1/status");
        status["sync"] == "online" && status["hub_consolidated_seq"] == status["journal_seq"]
    });
}

#[test]
fn a_till_in_trial_sells_and_never_opens_a_connection() {
    let dir = TempDir::new("trial");
    till(dir.path());
    let daemon = Daemon::node(dir.path());
    node(dir.path(), &["sell", "--line", "TEA:2@2.55"]).succeeds();
    let status = daemon.get("/v1/status");
    assert_eq!(
        (&status["tier"], &status["sync_enabled"]),
        (&"local_trial".into(), &false.into())
    );
    node(dir.path(), &["sync", "now"]).fails(1, "in trial");
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", daemon.pid())).expect("Linux");
    let sockets = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("own process");
    let inodes: BTreeSet<String> = sockets
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|target| {
            let name = target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?
                .to_owned();
            Some(name)
        })
        .collect();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (state, inode) = (fields[3], fields[9]);
        // 01 is an established connection, 02 one being opened.
        let remote_is_api = fields[1].ends_with(&port_hex(&daemon.url));
        assert!(
            !inodes.contains(inode) || !["01", "02"].contains(&state) || remote_is_api,
            "{line}"
        );
    }
}

fn port_hex(url: &str) -> String {
    let port: u16 = url
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    format!(":{port:04X}")
}
