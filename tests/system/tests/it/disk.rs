//! A full disk refuses the sale before it is acknowledged, and nothing that was sold is hurt.

use crate::process::{Daemon, request, till};
use crate::store::{assert_whole, receipt_ids};
use counterfoil_domain::env::document_id;
use counterfoil_testkit::{SeededRandom, TempDir};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// A file system of two megabytes in memory; unmounted when it is dropped.
struct SmallDisk<'d>(&'d Path);

impl<'d> SmallDisk<'d> {
    /// `None` where this user may not mount.
    fn mount(path: &'d Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(path)
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self(path))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // A mount that stays is removed with the machine.
        let _left = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_the_sale_and_keeps_what_was_sold() {
    let dir = TempDir::new("disk");
    let Some(_disk) = SmallDisk::mount(dir.path()) else {
        // Past the harness, which keeps what a test prints when it passes.
        let notice =
            "a_full_disk_refuses_the_sale: NOT RUN, this user may not mount a file system\n";
        std::io::stderr()
            .write_all(notice.as_bytes())
            .expect("stderr");
        return;
    };
    till(dir.path());
    let random = SeededRandom::new(14);
    let daemon = Daemon::node(dir.path());
    let mut acknowledged = BTreeSet::new();
    let mut refused = 0;
    for _ in 0..400 {
        let id = document_id(1, &random).to_string();
        let line = json!({"sku": "TEA", "quantity": "1", "unit_price": "1", "description": "x".repeat(300)});
        let sale = json!({"id": id, "tender": "cash", "lines": vec![line; 20]});
        let (status, answer) = daemon.post("/v1/sales", &sale).expect("an answer");
        if status == 200 {
            acknowledged.insert(id);
        } else {
            assert_eq!(
                (status, &answer["code"]),
                (507, &"storage_full".into()),
                "{answer}"
            );
            refused += 1;
            if refused > 5 {
                break;
            }
        }
    }
    println!("{} sales until the disk was full", acknowledged.len());
    assert!(refused > 5 && !acknowledged.is_empty());
    let (status, ready) = request(&daemon.url, "GET", "/readyz", &[], b"").expect("an answer");
    assert_eq!((status, &ready["code"]), (503, &"not_ready".into()));
    let why = ready["detail"].as_str().expect("words");
    assert!(why.contains("database: it cannot be written"), "{why}");
    assert!(why.contains("disk: "), "{why}");
    daemon.kill();
    assert_eq!(receipt_ids(&dir.join("book.db")), acknowledged);
    assert_whole(&dir.join("book.db"));
}

#[test]
fn damage_to_a_file_that_can_be_had_again_does_not_keep_a_till_from_selling() {
    use crate::process::{eventually, join_code, node};
    let dir = TempDir::new("damage");
    let (hub_data, data) = (dir.join("hub"), dir.join("till"));
    let _hub = Daemon::hub(&hub_data);
    till(&data);
    node(
        &data,
        &[
            "catalog",
            "set",
            "products",
            "tea",
            "name=Tea",
            "price=2.55",
        ],
    )
    .succeeds();
    node(
        &data,
        &["activate", "--join", &join_code(&hub_data, "France")],
    )
    .succeeds();
    for file in ["book.db-sync", "catalog.db-sync", "local.db", "catalog.db"] {
        std::fs::write(
            data.join(file),
            b"garbage, not a database and no record either",
        )
        .expect("written");
        node(&data, &["sell", "--line", "MILK:1@0.99"]).succeeds();
        node(&data, &["sync", "now"]).succeeds();
        // What the hub holds is back, prices too.
        eventually("the catalog is back", || {
            node(&data, &["sync", "now"]).succeeds();
            node(&data, &["sell", "--line", "TEA:1"]).code == Some(0)
        });
    }
    eventually("all sales are consolidated", || {
        node(&data, &["sync", "now"]).succeeds();
        crate::store::hub_receipt_ids(&hub_data) == receipt_ids(&data.join("book.db"))
    });
    assert_whole(&data.join("book.db"));
}
