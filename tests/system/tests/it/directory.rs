//! One directory, one till, however many commands come at once.

use crate::process::{Daemon, NODE, command, node, till};
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
