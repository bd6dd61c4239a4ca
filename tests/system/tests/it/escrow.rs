//! Scarce products as processes: two lanes cannot both sell the last one, whether they see each other or not.

use crate::process::{eventually, node};
use crate::shop::{Lane, Shop};
use crate::store::column;
use crate::world::{copy, replace};
use serde_json::{Value, json};

const PATIENT: &str = "escrow_wait_ms = 50_000\n";

fn sell(lane: &Lane) -> (u16, Value) {
    let line = json!({"sku": "LAMP", "quantity": "1", "unit_price": "9.00"});
    let sale = json!({"lines": [line], "tender": "cash"});
    lane.daemon.post("/v1/sales", &sale).expect("an answer")
}

fn is_refused(lane: &Lane, says: &str) {
    let (status, refused) = sell(lane);
    let detail = refused["detail"].as_str().unwrap_or_default();
    assert_eq!(
        (status, &refused["code"]),
        (409, &json!("no_rights")),
        "{refused}"
    );
    assert!(detail.contains(says), "{says}: {refused}");
}

/// What a lane knows that each may sell, by lane number.
fn rights(lane: &Lane) -> Vec<(i64, i64)> {
    let answer = lane.daemon.get("/v1/escrow");
    let lanes = answer["escrows"][0]["lanes"].as_array().cloned();
    let number = |row: &Value, name: &str| row[name].as_i64().unwrap_or(-1);
    let mut rights: Vec<(i64, i64)> = lanes
        .unwrap_or_default()
        .iter()
        .map(|row| (number(row, "lane"), number(row, "rights_milli")))
        .collect();
    rights.sort_unstable();
    rights
}

fn are(lane: &Lane, expected: [(i64, i64); 2]) {
    eventually("it is known who may sell how many", || {
        rights(lane) == expected
    });
}

/// Two lanes without internet, of which the first has the right to sell so many.
fn shop(name: &str, pieces: &str) -> (Shop, Lane, Lane) {
    let mut shop = Shop::new(name);
    let [one, other] = shop.lanes("France");
    for data in [&one, &other] {
        node(data, &["catalog", "set", "products", "LAMP", "price=9.00"]).succeeds();
        crate::shop::settings(data, PATIENT);
    }
    shop.internet_is_gone();
    let other = Lane::start(&other, &[]);
    let one = Lane::start(&one, &[&other.url]);
    one.is_connected(1);
    let begin = ["escrow", "--begin", "LAMP", "--quantity", pieces];
    node(&one.data, &begin).succeeds();
    let milli = pieces.parse::<i64>().expect("a number") * 1000;
    for lane in [&one, &other] {
        are(lane, [(1, milli), (2, 0)]);
    }
    (shop, one, other)
}

fn sold(lane: &Lane) -> i64 {
    let sql = "SELECT coalesce(sum(quantity_milli), 0) FROM receipt_item WHERE sku = 'LAMP'";
    column(&lane.data.join("book.db"), sql)[0]
}

#[test]
fn the_last_piece_is_sold_once_by_lanes_that_cannot_see_each_other() {
    let (_shop, one, other) = shop("escrow-apart", "1");
    // They are cut from each other: each alone.
    let (data, other_data) = (one.data.clone(), other.data.clone());
    drop((one.daemon, other.daemon));
    let (one, other) = (Lane::start(&data, &[]), Lane::start(&other_data, &[]));
    is_refused(&other, "lane 1 has 1");
    assert_eq!(sell(&one).0, 200);
    is_refused(&one, "no lane has any");
    is_refused(&other, "lane 1 has 1");
    // An ordinary product waits for nobody.
    other.sell();
    let listed = node(&other.data, &["escrow"]);
    listed.succeeds();
    assert!(
        listed.stdout.contains("LAMP") && listed.stdout.contains("this lane"),
        "{listed:?}"
    );
    drop(one.daemon);
    let one = Lane::start(&data, &[&other.url]);
    one.is_connected(1);
    are(&other, [(1, 0), (2, 0)]);
    is_refused(&other, "no lane has any");
    assert_eq!((sold(&one), sold(&other)), (1000, 0));
}

#[test]
fn a_connected_lane_gives_the_right_and_dies_and_nothing_is_sold_twice() {
    let (mut shop, one, other) = shop("escrow-given", "2");
    let (status, answer) = sell(&other);
    assert_eq!(status, 200, "it was given: {answer}");
    assert!(one.has_logged("escrow_given", "LAMP"));
    // Right after giving.
    let data = one.data.clone();
    one.daemon.kill();
    // Else it would be asked, and waited for.
    other.is_connected(0);
    is_refused(&other, "lane 1 has 1");
    let one = Lane::start(&data, &[]);
    assert_eq!(sell(&one).0, 200, "the other one is its own");
    is_refused(&one, "no lane has any");
    drop(one.daemon);
    // What comes back is sold where it came.
    let line = json!({"sku": "LAMP", "quantity": "1", "unit_price": "9.00"});
    let refund = json!({"lines": [line], "tender": "cash"});
    assert_eq!(
        other
            .daemon
            .post("/v1/refunds", &refund)
            .expect("an answer")
            .0,
        200
    );
    let one = Lane::start(&data, &[&other.url]);
    one.is_connected(1);
    are(&one, [(1, 0), (2, 1000)]);
    assert_eq!(sell(&one).0, 200, "the other way round");
    assert_eq!(sold(&one) + sold(&other), 2000);
    shop.internet_is_back();
    for lane in [&one, &other] {
        let synced = || node(&lane.data, &["sync", "now"]).code == Some(0);
        eventually("it has synced", synced);
    }
    let hub = shop.hub_data.join("hub.db");
    let count = |sql: &str| -> Vec<i64> { column(&hub, sql) };
    eventually("the hub has all of it", || {
        count("SELECT count(*) FROM document WHERE topic = 14") == [4]
            && count("SELECT sum(quantity_milli) FROM receipt_line WHERE sku = 'LAMP'") == [2000]
    });
    assert_eq!(count("SELECT count(*) FROM quarantine"), [0]);
}

#[test]
fn a_restored_till_does_not_sell_twice_what_it_sold_after_the_backup() {
    let (shop, one, other) = shop("escrow-restored", "1");
    let data = one.data.clone();
    one.daemon.kill();
    let backup = shop.dir.join("backup");
    copy(&data, &backup);
    let one = Lane::start(&data, &[&other.url]);
    one.is_connected(1);
    assert_eq!(sell(&one).0, 200);
    one.is_heard_by(&other);
    one.daemon.kill();
    replace(&data, &backup);
    // Its mark, or its peer, knows better than its folder.
    let one = Lane::start(&data, &[&other.url]);
    is_refused(&one, "was restored or copied");
    assert_eq!(rights(&other), [(1, 0), (2, 0)]);
    is_refused(&other, "no lane has any");
}
