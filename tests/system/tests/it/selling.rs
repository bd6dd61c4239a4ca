//! G1 and G4: SIGKILL in the middle of selling loses nothing that was acknowledged and leaves no
//! hole in the numbers.

use crate::process::{Daemon, NODE, command, length_of, node, pause, till};
use crate::store::{assert_whole, receipt_ids};
use counterfoil_domain::env::document_id;
use counterfoil_testkit::{SeededRandom, TempDir};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::mpsc;
use std::time::Duration;

/// Kills in each of the two tests below.
const KILLS: usize = 60;
/// When nothing was met until then, the machine is too strange to tell.
const KILLS_MAX: usize = 600;

fn sale(id: &str) -> Value {
    json!({"id": id, "tender": "cash", "lines": [
        {"sku": "TEA", "quantity": "2", "unit_price": "2.55"},
        {"sku": "MILK", "quantity": "1", "unit_price": "0.99"},
        {"sku": "BREAD", "quantity": "0.350", "unit_price": "12.99"},
        {"sku": "SALT", "quantity": "1", "unit_price": "0.005"},
    ]})
}

#[test]
fn a_daemon_killed_while_it_sells_loses_no_acknowledged_sale() {
    let dir = TempDir::new("kill-daemon");
    let random = SeededRandom::new(11);
    till(dir.path());
    let mut acknowledged = BTreeSet::new();
    let mut in_doubt = 0;
    let mut kills = 0;
    while kills < KILLS || in_doubt == 0 {
        assert!(kills < KILLS_MAX, "no kill met a sale under way");
        kills += 1;
        let daemon = Daemon::node(dir.path());
        let (url, pid) = (daemon.url.clone(), daemon.pid());
        let (sender, receiver) = mpsc::channel();
        let ids = SeededRandom::new(random.below(u64::MAX));
        let customer = std::thread::spawn(move || {
            loop {
                let id = document_id(1, &ids).to_string();
                let body = sale(&id).to_string();
                let path = "/v1/sales";
                let answer = crate::process::request(&url, "POST", path, &[], body.as_bytes());
                match answer {
                    Ok((200, _)) => sender.send(id).expect("the test listens"),
                    Ok(refused) => return (id, format!("{refused:?}")),
                    Err(error) => return (id, error.kind().to_string()),
                }
            }
        });
        pause(Duration::from_micros(2_000 + random.below(60_000)));
        assert_eq!(daemon.pid(), pid);
        daemon.kill();
        let (id, why) = customer.join().expect("the customer ends");
        acknowledged.extend(receiver.try_iter());
        // One that nobody accepted was not under way.
        in_doubt += usize::from(why != ErrorKind::ConnectionRefused.to_string());
        // The sale that was cut off is asked for again, under the same id.
        let daemon = Daemon::node(dir.path());
        let (status, _) = daemon.post("/v1/sales", &sale(&id)).expect("an answer");
        assert_eq!(status, 200, "cut off: {why}");
        acknowledged.insert(id);
        daemon.kill();
    }
    println!(
        "{kills} kills, {} sales, {in_doubt} cut off",
        acknowledged.len()
    );
    assert_whole(&dir.join("book.db"));
    assert_eq!(receipt_ids(&dir.join("book.db")), acknowledged);
}

#[test]
fn a_command_killed_while_it_sells_leaves_a_whole_sale_or_none() {
    let dir = TempDir::new("kill-command");
    let random = SeededRandom::new(12);
    till(dir.path());
    let mut asked = BTreeSet::new();
    let mut acknowledged = BTreeSet::new();
    let undisturbed = || node(dir.path(), &["sell", "--line", "TEA:1@1"]).succeeds();
    let mut length_us = u64::try_from(length_of(undisturbed).as_micros()).expect("short");
    let book = dir.join("book.db");
    // Of those that were asked for.
    let recorded = || receipt_ids(&book).len() - 1;
    let mut kills = 0;
    while kills < KILLS || recorded() == 0 || recorded() == asked.len() {
        assert!(kills < KILLS_MAX, "no kill came before or after a commit");
        let id = document_id(1, &random).to_string();
        let arguments = ["sell", "--line", "TEA:2@2.55", "MILK:1@0.99", "--id", &id];
        let mut child = command(NODE, dir.path(), &arguments)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the command starts");
        asked.insert(id.clone());
        pause(Duration::from_micros(random.below(length_us)));
        // A command that was faster than its killer is done.
        let _late = child.kill();
        if child.wait().expect("it is gone").success() {
            acknowledged.insert(id);
        } else {
            kills += 1;
        }
        // The machine may be slower by now than when the length was taken.
        if recorded() == 0 {
            length_us += length_us.div_ceil(16);
        }
    }
    // The next command works at once.
    assert_eq!(
        node(dir.path(), &["sell", "--line", "TEA:1@1"]).code,
        Some(0)
    );
    assert_whole(&dir.join("book.db"));
    let recorded = receipt_ids(&dir.join("book.db"));
    println!(
        "{kills} kills, {} acknowledged, {} recorded",
        acknowledged.len(),
        recorded.len()
    );
    assert!(acknowledged.is_subset(&recorded));
    assert_eq!(
        recorded.difference(&asked).count(),
        2,
        "nothing but what was asked for"
    );
}
