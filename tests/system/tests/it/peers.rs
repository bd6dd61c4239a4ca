//! What lanes of a shop share of the catalog, as processes: what one enters without the internet the other sells.

use crate::process::{eventually, hub, node};
use crate::shop::{Lane, Shop};
use crate::world::settle;
use serde_json::{Value, json};
use std::path::Path;

fn set(data: &Path, row: [&str; 2], columns: &[&str]) {
    let arguments = [&["catalog", "set"], &row[..], columns].concat();
    node(data, &arguments).succeeds();
}

/// A row as a lane shows it; `None` when it has none.
fn row(lane: &Lane, [table, id]: [&str; 2]) -> Option<Value> {
    let found = node(&lane.data, &["catalog", "get", table, id, "--json"]);
    (found.code == Some(0)).then(|| found.json())
}

fn column(lane: &Lane, row: [&str; 2], column: &str) -> Value {
    self::row(lane, row).map_or(Value::Null, |row| row["columns"][column].clone())
}

fn is_everywhere(what: &str, lanes: [&Lane; 2], row: [&str; 2], name: &str, value: &Value) {
    eventually(what, || {
        lanes.iter().all(|lane| column(lane, row, name) == *value)
    });
}

const TEA: [&str; 2] = ["products", "TEA"];
const JAM: [&str; 2] = ["products", "JAM"];
const ANNA: [&str; 2] = ["customers", "ANNA"];
/// A price of a product that nobody enters.
const REFUSED: [&str; 2] = ["prices", "P9"];

#[test]
fn what_one_lane_enters_without_the_internet_is_sold_at_the_other_and_the_hub_agrees() {
    let mut shop = Shop::new("peers-catalog");
    let at_hub = [
        "catalog",
        "set",
        "products",
        "TEA",
        "name=Tea",
        "price_mills=2550",
    ];
    hub(&shop.hub_data, &at_hub).succeeds();
    let [one, other] = shop.lanes("France");
    settle(&one);
    settle(&other);
    shop.internet_is_gone();
    let other = Lane::start(&other, &[]);
    let one = Lane::start(&one, &[&other.url]);
    one.is_connected(1);
    enter_and_sell(&one, &other);
    // Who has seen a value replaces it, at whichever lane it was made.
    set(&other.data, TEA, &["price=2.10"]);
    is_everywhere(
        "it is corrected",
        [&one, &other],
        TEA,
        "price_mills",
        &json!(2100),
    );
    // One that the hub will refuse.
    set(&one.data, REFUSED, &["product=NOSUCH", "price=5"]);
    is_everywhere(
        "it is there",
        [&one, &other],
        REFUSED,
        "price_mills",
        &json!(5000),
    );
    // Apart, both name another price; together they show the one that was there before.
    other.daemon.kill();
    set(&one.data, JAM, &["price=3.20"]);
    let other = Lane::start(&other.data, &[]);
    set(&other.data, JAM, &["price=3.30"]);
    one.daemon.kill();
    let one = Lane::start(&one.data, &[&other.url]);
    one.is_connected(1);
    is_everywhere(
        "the earlier one stands",
        [&one, &other],
        JAM,
        "price_mills",
        &json!(3200),
    );

    shop.internet_is_back();
    settle(&one.data);
    settle(&other.data);
    eventually("the hub has decided", || {
        has_the_hubs_word(&one) && has_the_hubs_word(&other)
    });
    for lane in [&one, &other] {
        assert_eq!(column(lane, TEA, "name"), "Chai");
        assert_eq!(column(lane, TEA, "price_mills"), 2100);
        assert_eq!(column(lane, JAM, "price_mills"), 3200);
        assert_eq!(column(lane, ANNA, "name"), "Anna");
    }
    let listed = hub(&shop.hub_data, &["conflicts", "list", "--json"]).json();
    let rows = listed.as_array().expect("a list").iter();
    // What builds on an edit that came after it was a conflict until then, and was settled.
    let open: Vec<&Value> = rows
        .filter(|row| row["state"] == "open")
        .map(|row| &row["row"])
        .collect();
    assert_eq!(open, [&json!("JAM")], "{listed}");
}

/// Nothing waits, and what the hub refused is gone.
fn has_the_hubs_word(lane: &Lane) -> bool {
    node(&lane.data, &["sync", "now"]).succeeds();
    let rows = [TEA, JAM, ANNA].map(|name| row(lane, name));
    let waits = rows.iter().flatten().any(|row| row["pending"] == true);
    !waits && row(lane, REFUSED).is_none()
}

/// What one lane enters, the other sells: by its barcode, at the new price, to the new customer.
fn enter_and_sell(one: &Lane, other: &Lane) {
    set(&one.data, ANNA, &["name=Anna"]);
    set(&one.data, TEA, &["name=Chai", "price=2.00"]);
    set(&one.data, JAM, &["name=Jam", "price=3.10", "barcode=500"]);
    is_everywhere(
        "the last one is there",
        [one, other],
        JAM,
        "name",
        &json!("Jam"),
    );
    let lines = json!([{"sku": "500", "quantity": "1"}, {"sku": "TEA", "quantity": "1"}]);
    let sale = json!({"lines": lines, "tender": "cash", "customer": "ANNA"});
    let (status, sold) = other.daemon.post("/v1/sales", &sale).expect("an answer");
    assert_eq!((status, &sold["total_minor"]), (200, &json!(510)), "{sold}");
    assert_eq!(column(other, ANNA, "name"), "Anna");
}
