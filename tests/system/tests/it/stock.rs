//! Stock of a shop at its lanes, as processes: what one sells is missing on the shelf of all.

use crate::process::{eventually, node, request};
use crate::shop::{Lane, PATIENT, Shop, settings};
use crate::store::column;
use serde_json::{Value, json};

fn stock(lane: &Lane, request: &Value) {
    let (status, answer) = lane.daemon.post("/v1/stock", request).expect("an answer");
    assert_eq!(status, 200, "{answer}");
}

fn count(lane: &Lane, quantity: &str) {
    stock(
        lane,
        &json!({"sku": "TEA", "quantity": quantity, "count": true}),
    );
}

/// Thousandths of the tea that is there, by a lane; `None` as long as it knows of none.
fn known_tea(lane: &Lane) -> Option<i64> {
    let answer = lane.daemon.get("/v1/stock");
    assert_eq!(answer["behind"], 0, "{answer}");
    answer["levels"][0]["level_milli"].as_i64()
}

fn tea(lane: &Lane) -> i64 {
    known_tea(lane).expect("a level")
}

#[test]
fn what_one_lane_sells_is_missing_at_all_as_soon_as_its_receipt_is_printed() {
    let mut shop = Shop::new("stock-at-once");
    let [one, other] = shop.lanes("France");
    shop.internet_is_gone();
    settings(&one, PATIENT);
    let other = Lane::start(&other, &[]);
    let one = Lane::start(&one, &[&other.url]);
    one.is_connected(1);
    count(&other, "10");
    eventually("the count is everywhere", || {
        known_tea(&one) == Some(10_000)
    });
    for sold in 1..=5 {
        // Two of them; its receipt waits for the second copy.
        one.sell();
        assert_eq!(tea(&other), 10_000 - sold * 2_000);
    }
    assert_eq!(tea(&one), 0);
    // Killed in the middle of whatever it does, a lane counts nothing twice.
    other.daemon.kill();
    let other = Lane::start(&other.data, &[&one.url]);
    other.is_connected(1);
    assert_eq!((tea(&one), tea(&other)), (0, 0));
    // The shelf is empty, and a customer has one in the hand: it is sold, and a person is told.
    one.sell();
    eventually("it is told", || {
        other.has_logged("oversold", "TEA") && one.has_logged("oversold", "TEA")
    });
    let list = node(&one.data, &["levels", "--oversold"]);
    list.succeeds();
    assert!(list.stdout.contains("oversold: count it again"), "{list:?}");
    assert_eq!(one.daemon.get("/v1/status")["oversold"], 1);
    let changes = node(&other.data, &["levels", "TEA", "--changes", "--json"]).json();
    let changes = changes.as_array().expect("a list");
    assert_eq!(changes.len(), 7, "a count and six sales, each once");
    assert_eq!(changes[0]["level_milli"], -2_000);
    count(&one, "0");
    eventually("nobody has to look any more", || {
        let left = other.daemon.get("/v1/stock?oversold=true");
        left["levels"] == json!([])
    });
}

#[test]
fn lanes_that_sold_apart_agree_on_what_is_left_when_they_meet_again() {
    let mut shop = Shop::new("stock-apart");
    let [one, other] = shop.lanes("France");
    shop.internet_is_gone();
    let other = Lane::start(&other, &[]);
    let one = Lane::start(&one, &[&other.url]);
    one.is_connected(1);
    count(&other, "10");
    eventually("the count is everywhere", || {
        known_tea(&one) == Some(10_000)
    });
    other.daemon.kill();
    // The one counts again what the other has not sold from yet; then both sell the last ones.
    count(&one, "4");
    one.sell();
    let other = Lane::start(&other.data, &[]);
    other.sell();
    other.sell();
    assert_eq!((tea(&one), tea(&other)), (2_000, 6_000));
    one.daemon.kill();
    let one = Lane::start(&one.data, &[&other.url]);
    one.is_connected(1);
    eventually("both know all", || {
        (known_tea(&one), known_tea(&other)) == (Some(-2_000), Some(-2_000))
    });
    for lane in [&one, &other] {
        let sql = "SELECT count(*) || ' of ' || count(DISTINCT origin || '/' || seq || '/' || item) FROM inventory_changes";
        let noted: Vec<String> = column(&lane.data.join("local.db"), sql);
        assert_eq!(noted, ["5 of 5"], "each change left one row");
    }
}

#[test]
fn a_product_that_nobody_knows_and_a_page_that_is_too_long_are_refused_with_words() {
    let mut shop = Shop::new("stock-refused");
    let [one] = shop.lanes("France");
    shop.internet_is_gone();
    let one = Lane::start(&one, &[]);
    let unknown = node(&one.data, &["levels", "NOPE"]);
    unknown.fails(1, "nobody has counted it");
    let (status, long) =
        request(&one.daemon.url, "GET", "/v1/stock?limit=5000", &[], b"").expect("an answer");
    assert_eq!(
        (status, long["detail"].as_str()),
        (400, Some("`limit` is 1 to 1000"))
    );
    let empty = one.daemon.get("/v1/stock");
    assert_eq!(
        (&empty["levels"], &empty["behind"]),
        (&json!([]), &json!(0))
    );
}

#[test]
fn a_receipt_of_another_lane_is_taken_back_once_and_twice_is_told_when_they_were_apart() {
    let mut shop = Shop::new("stock-refunds");
    let [one, other] = shop.lanes("France");
    shop.internet_is_gone();
    settings(&one, PATIENT);
    let other = Lane::start(&other, &[]);
    let one = Lane::start(&one, &[&other.url]);
    one.is_connected(1);
    let refund = |lane: &Lane, sale: &Value| {
        let line = json!({"sku": "TEA", "quantity": "2", "unit_price": "2.55"});
        let request = json!({"lines": [line], "tender": "cash", "refund_of": sale["id"]});
        lane.daemon
            .post("/v1/refunds", &request)
            .expect("an answer")
    };
    let (first, second) = (one.sell(), one.sell());
    assert_eq!(
        refund(&other, &first).0,
        200,
        "it has the receipt of the other lane"
    );
    eventually("both know it", || tea(&one) == -2_000);
    let (status, refused) = refund(&one, &first);
    assert_eq!(
        (status, &refused["code"]),
        (409, &json!("conflict")),
        "{refused}"
    );
    // Apart, nobody can know; a person is told.
    other.daemon.kill();
    assert_eq!(refund(&one, &second).0, 200);
    let other = Lane::start(&other.data, &[]);
    assert_eq!(refund(&other, &second).0, 200);
    one.daemon.kill();
    let one = Lane::start(&one.data, &[&other.url]);
    one.is_connected(1);
    let id = second["id"].as_str().expect("an id");
    let is_told = |lane: &Lane| lane.has_logged("refunded_twice", id);
    eventually("it is told on both", || is_told(&one) && is_told(&other));
}
