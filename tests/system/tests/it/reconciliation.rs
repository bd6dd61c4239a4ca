//! Lanes that compare their stock, as processes: what one has counted wrong is found and put right, and a journal that is damaged
//! is had again.

use crate::process::{eventually, node, request};
use crate::shop::{Lane, Shop, held, own, settings};
use crate::store::open;
use serde_json::{Value, json};
use std::path::Path;

fn spoil(data: &Path, sql: &[&str]) {
    let conn = open(&data.join("local.db"));
    conn.execute("PRAGMA foreign_keys = OFF", ()).expect("set");
    for sql in sql {
        let changed = conn.execute(sql, ()).expect("spoiled");
        assert!(changed > 0, "{sql} changed nothing");
    }
    conn.abandon();
}

fn level(lane: &Lane, sku: &str) -> Option<i64> {
    let answer = lane.daemon.get("/v1/stock");
    assert_eq!(answer["behind"], 0, "{answer}");
    let levels = answer["levels"].as_array().expect("a list");
    let of = levels.iter().find(|level| level["sku"] == sku);
    of.and_then(|level| level["level_milli"].as_i64())
}

fn reconcile(lane: &Lane) -> Value {
    node(&lane.data, &["reconcile", "--json"]).json()
}

/// Two lanes that know of ten of everything.
fn two_lanes(name: &str) -> (Shop, Lane, Lane) {
    let mut shop = Shop::new(name);
    let [one, other] = shop.lanes("France");
    shop.internet_is_gone();
    let other = Lane::start(&other, &[]);
    let one = Lane::start(&one, &[&other.url]);
    one.is_connected(1);
    for number in 0..40 {
        let count = json!({"sku": format!("CUP{number:02}"), "quantity": "10", "count": true});
        let (status, answer) = other.daemon.post("/v1/stock", &count).expect("an answer");
        assert_eq!(status, 200, "{answer}");
    }
    one.sell();
    eventually("both know all", || {
        let knows = |lane: &Lane| (level(lane, "CUP39"), level(lane, "TEA"));
        knows(&one) == knows(&other) && knows(&one) == (Some(10_000), Some(-2_000))
    });
    (shop, one, other)
}

#[test]
fn what_a_lane_counted_wrong_is_found_by_comparing_and_counted_again() {
    let (_shop, one, other) = two_lanes("reconcile");
    let equal = reconcile(&one);
    assert_eq!(
        (
            &equal["products"],
            &equal["lanes"],
            &equal["differing"],
            &equal["requests"]
        ),
        (&json!(41), &json!(1), &json!(0), &json!(1)),
        "{equal}"
    );
    let peer = other.url.clone();
    one.daemon.kill();
    spoil(
        &one.data,
        &[
            "UPDATE stock_level SET level_milli = 3000 WHERE sku = 'CUP17'",
            "DELETE FROM inventory_changes WHERE sku = 'TEA'",
            "DELETE FROM stock_level WHERE sku = 'TEA'",
        ],
    );
    let one = Lane::start(&one.data, &[&peer]);
    one.is_connected(1);
    assert_eq!(
        (level(&one, "CUP17"), level(&one, "TEA")),
        (Some(3_000), None)
    );
    // The lane that is right stays as it is, and says of whom it differs.
    let found = reconcile(&other);
    assert_eq!(
        (&found["corrected"], &found["open"]),
        (&json!(0), &json!(["CUP17", "TEA"])),
        "{found}"
    );
    assert_eq!(level(&other, "CUP17"), Some(10_000));
    let mended = reconcile(&one);
    assert_eq!(
        (&mended["differing"], &mended["corrected"], &mended["open"]),
        (&json!(2), &json!(2), &json!([])),
        "{mended}"
    );
    assert_eq!(
        (level(&one, "CUP17"), level(&one, "TEA")),
        (Some(10_000), Some(-2_000))
    );
    assert_eq!(reconcile(&one)["differing"], 0);
    let changes = node(&one.data, &["levels", "CUP17", "--changes", "--json"]).json();
    assert_eq!(changes[0]["topic"], "reconciliation", "{changes}");
    for event in [
        "inventory_reconciliation_request",
        "inventory_reconciliation_complete",
    ] {
        assert!(one.count(event) >= 2, "{event} is on record");
    }
    let status = node(&one.data, &["status"]);
    status.succeeds();
    assert!(
        status.stdout.contains("stock compared with 1 lanes"),
        "{status:?}"
    );
    // What is sold from now on counts once.
    one.sell();
    eventually("both know it", || {
        (level(&one, "TEA"), level(&other, "TEA")) == (Some(-4_000), Some(-4_000))
    });
}

#[test]
fn lanes_compare_their_stock_by_themselves() {
    let (_shop, one, other) = two_lanes("reconcile-itself");
    one.daemon.kill();
    spoil(
        &one.data,
        &["UPDATE stock_level SET level_milli = 3000 WHERE sku = 'CUP17'"],
    );
    settings(
        &one.data,
        "reconcile_after_start_s = 0\nreconcile_pause_s = 1\n",
    );
    let one = Lane::start(&one.data, &[&other.url]);
    eventually("it is put right", || level(&one, "CUP17") == Some(10_000));
    eventually("the other one was told", || {
        other.has_logged("lane_event", r#""corrected":1"#)
    });
    let (status, refused) =
        request(&one.daemon.url, "GET", "/v1/stock/reconciliation", &[], b"").expect("an answer");
    assert_eq!(status, 404, "{refused}");
}

#[test]
fn a_damaged_copy_of_a_dead_lanes_journal_is_had_again_from_another_lane() {
    let mut shop = Shop::new("reconcile-damaged");
    let [dead, hurt, third] = shop.lanes("France");
    shop.internet_is_gone();
    let third = Lane::start(&third, &[]);
    let hurt = Lane::start(&hurt, &[&third.url]);
    let dead = Lane::start(&dead, &[&hurt.url, &third.url]);
    for _ in 0..12 {
        dead.sell();
    }
    let whole = |lane: &Lane| level(lane, "TEA") == Some(-24_000);
    eventually("all know all", || {
        whole(&hurt) && whole(&third) && whole(&dead)
    });
    let id = dead.id();
    dead.daemon.kill();
    let journal = own(&dead.data);
    hurt.daemon.kill();
    // As after a bad sector: entries changed and gone, and the levels have to be counted anew.
    spoil(
        &hurt.data,
        &[
            "UPDATE peer_entry SET document = replace(document, '\"lines\"', '\"limes\"') WHERE seq = 3",
            "DELETE FROM peer_entry WHERE seq IN (5, 6)",
            "DELETE FROM stock_level",
            "DELETE FROM inventory_changes",
            "DELETE FROM stock_journal",
        ],
    );
    assert_ne!(held(&hurt.data, &id).len(), journal.len());
    let hurt = Lane::start(&hurt.data, &[&third.url]);
    eventually("it counts all of it", || {
        let answer = hurt.daemon.get("/v1/stock");
        answer["behind"] == 0 && answer["levels"][0]["level_milli"] == -24_000
    });
    assert!(hurt.has_logged("stock_unreadable", &id), "it was told");
    hurt.daemon.kill();
    assert_eq!(held(&hurt.data, &id), journal);
}
