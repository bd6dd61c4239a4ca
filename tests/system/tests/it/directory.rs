//! One directory, one till, however many commands come at once.

use crate::process::{Daemon, NODE, command, length_of, node, till};
use crate::store::{assert_whole, receipt_ids};
use counterfoil_testkit::TempDir;
use std::process::Stdio;

const COMMANDS: usize = 12;

fn sell_at_once(dir: &TempDir) {
    let children: Vec<_> = (0..COMMANDS)
        .map(|_| {
            command(NODE, dir.path(), &["sell", "--line", "TEA:2@2.55"])
                .stdout(Stdio::null())
                .spawn()
                .expect("the command starts")
        })
        .collect();
    for mut child in children {
        assert!(child.wait().expect("it ends").success());
    }
}

#[test]
fn commands_at_once_take_turns_without_a_daemon() {
    let dir = TempDir::new("at-once");
    till(dir.path());
    sell_at_once(&dir);
    assert_whole(&dir.join("book.db"));
    assert_eq!(receipt_ids(&dir.join("book.db")).len(), COMMANDS);
}

#[test]
fn commands_at_once_go_through_the_daemon() {
    let dir = TempDir::new("daemon");
    till(dir.path());
    let daemon = Daemon::node(dir.path());
    sell_at_once(&dir);
    assert_eq!(daemon.get("/v1/status")["receipts"], COMMANDS);
    drop(daemon);
    assert_whole(&dir.join("book.db"));
}

#[test]
fn a_second_daemon_on_a_directory_is_refused() {
    let dir = TempDir::new("second");
    till(dir.path());
    let _daemon = Daemon::node(dir.path());
    node(dir.path(), &["run", "--listen", "127.0.0.1:0"]).fails(7, "another process holds");
}

#[test]
fn a_directory_without_a_till_is_named_with_what_to_do() {
    let dir = TempDir::new("empty");
    node(&dir.join("nowhere"), &["sell", "--line", "TEA:1@1"]).fails(7, "counterfoil-node init");
}

#[test]
fn a_command_never_reaches_another_till_through_an_address_that_was_its_own() {
    let dir = TempDir::new("stale");
    let (mine, other) = (dir.join("mine"), dir.join("other"));
    till(&mine);
    till(&other);
    let url = Daemon::node(&mine).kill();
    let address = url.strip_prefix("http://").expect("an address");
    let stranger = Daemon::start(NODE, &other, address);
    let children: Vec<_> = (0..6)
        .map(|_| {
            command(NODE, &mine, &["sell", "--line", "TEA:2@2.55"])
                .stdout(Stdio::null())
                .spawn()
                .expect("the command starts")
        })
        .collect();
    for mut child in children {
        assert!(child.wait().expect("it ends").success());
    }
    assert_eq!(stranger.get("/v1/status")["receipts"], 0);
    assert_eq!(receipt_ids(&mine.join("book.db")).len(), 6);
}

#[test]
fn a_command_whose_daemon_dies_under_it_records_once() {
    let dir = TempDir::new("dies");
    till(dir.path());
    let daemon = Daemon::node(dir.path());
    let sale = ["sell", "--line", "TEA:2@2.55"];
    let length = length_of(|| node(dir.path(), &sale).succeeds());
    daemon.kill();
    let mut sold = 1;
    for round in 0..12 {
        let daemon = Daemon::node(dir.path());
        let child = command(NODE, dir.path(), &["sell", "--line", "TEA:2@2.55"])
            .stdout(Stdio::null())
            .spawn()
            .expect("the command starts");
        // From its start to its end, whatever the machine.
        crate::process::pause(length * round / 12);
        daemon.kill();
        let output = child.wait_with_output().expect("it ends");
        sold += usize::from(output.status.success());
    }
    assert_eq!(sold, 13, "the command goes on by itself");
    assert_eq!(receipt_ids(&dir.join("book.db")).len(), sold);
}

#[test]
fn a_sale_does_not_wait_for_a_sync_that_waits_for_a_silent_hub() {
    let dir = TempDir::new("silent");
    let hub_data = dir.join("hub");
    let data = dir.join("till");
    let hub = Daemon::hub(&hub_data);
    till(&data);
    let code = crate::process::join_code(&hub_data, "France");
    node(&data, &["activate", "--join", &code]).succeeds();
    // From now on something accepts on the hub's address and says nothing.
    let url = hub.kill();
    let address = url.strip_prefix("http://").expect("an address");
    let silent = std::net::TcpListener::bind(address).expect("the hub's port is free");
    let mut sync = command(NODE, &data, &["sync", "now"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts");
    let (_connection, _) = silent.accept().expect("the sync has begun");
    node(&data, &["sell", "--line", "TEA:2@2.55"]).succeeds();
    assert!(
        sync.try_wait().expect("its state").is_none(),
        "the sync is still waiting"
    );
    sync.kill().expect("it can be killed");
    sync.wait().expect("it is gone");
}

#[test]
fn an_id_of_a_sale_is_not_taken_for_a_refund() {
    let dir = TempDir::new("id");
    till(dir.path());
    let sale = node(dir.path(), &["sell", "--line", "TEA:2@2.55", "--json"]).json();
    let id = sale["id"].as_str().expect("an id");
    node(dir.path(), &["refund", "--line", "TEA:2@2.55", "--id", id]).fails(1, "taken by a sale");
    node(dir.path(), &["refund", "--line", "TEA:2@2.55", "--of", id]).succeeds();
    node(dir.path(), &["stock", "--line", "TEA:5", "TEA:x"]).fails(1, "not a number");
    assert_eq!(
        node(dir.path(), &["status", "--json"]).json()["journal_seq"],
        2
    );
}
