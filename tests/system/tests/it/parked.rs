//! Parked sales of a shop, as processes: started at one lane, finished at another.

use crate::process::{eventually, node, request};
use crate::shop::{Lane, Shop};
use crate::store::column;
use serde_json::{Value, json};

fn park(lane: &Lane) -> String {
    let line = json!({"sku": "TEA", "quantity": "2", "unit_price": "2.55"});
    let cart = json!({"lines": [line], "note": "blue coat", "employee": "JO"});
    let (status, answer) = lane.daemon.post("/v1/parked", &cart).expect("an answer");
    assert_eq!(status, 200, "{answer}");
    answer["id"].as_str().expect("an id").to_owned()
}

fn parked(lane: &Lane) -> Vec<String> {
    let answer = lane.daemon.get("/v1/parked");
    let rows = answer["parked"].as_array().expect("a list");
    let id = |row: &Value| row["id"].as_str().expect("an id").to_owned();
    rows.iter().map(id).collect()
}

fn finish(lane: &Lane, parked: &str) -> (u16, Value) {
    let sale = json!({"tender": "cash", "parked": parked});
    lane.daemon.post("/v1/sales", &sale).expect("an answer")
}

#[test]
fn a_sale_parked_at_a_lane_that_dies_is_finished_at_another_without_the_hub() {
    let mut shop = Shop::new("parked-finish");
    let [one, other] = shop.lanes("France");
    shop.internet_is_gone();
    let other = Lane::start(&other, &[]);
    let one = Lane::start(&one, &[&other.url]);
    one.is_connected(1);
    let (first, second) = (park(&one), park(&one));
    eventually("it is known at the other", || {
        parked(&other) == [first.clone(), second.clone()]
    });
    let (status, sold) = finish(&other, &first);
    assert_eq!((status, &sold["total_minor"]), (200, &json!(510)), "{sold}");
    eventually("it is finished everywhere", || {
        parked(&one) == [second.clone()]
    });
    let (status, refused) = finish(&one, &first);
    let said = refused["detail"].as_str().unwrap_or_default();
    let receipt = "finished at lane 2 with receipt L1-1";
    assert!(status == 409 && said.contains(receipt), "{refused}");
    // For good: nothing more comes of it.
    one.daemon.kill();
    std::fs::remove_dir_all(&one.data).expect("burnt");
    let list = node(&other.data, &["parked"]);
    list.succeeds();
    for told in [&second, "blue coat", "TEA:2", "JO", "5.10"] {
        assert!(list.stdout.contains(told), "{told}: {list:?}");
    }
    // More is bought than was parked, of what has no price in the catalog.
    let unpriced = ["sell", "--parked", &second, "--line", "TEA:3"];
    node(&other.data, &unpriced).fails(1, "has no price");
    let more = ["sell", "--parked", &second, "--line", "TEA:3@2.55"];
    let sold = node(&other.data, &more);
    sold.succeeds();
    assert!(sold.stdout.contains("7.65"), "{sold:?}");
    assert_eq!(parked(&other), Vec::<String>::new());
    let again = node(&other.data, &["parked", "--discard", &second]);
    again.fails(1, "finished at lane 2 with receipt L1-2");
}

#[test]
fn a_parked_sale_is_discarded_once_and_the_id_again_answers_what_was_recorded() {
    let mut shop = Shop::new("parked-discard");
    let [one] = shop.lanes("France");
    shop.internet_is_gone();
    let one = Lane::start(&one, &[]);
    let cart = park(&one);
    let id = "0198c0de-0000-7000-8000-000000000001";
    let discard = json!({"id": id, "parked": cart, "employee": "EVE"});
    let post = |body: &Value| {
        one.daemon
            .post("/v1/parked/discard", body)
            .expect("an answer")
    };
    let (status, first) = post(&discard);
    assert_eq!(
        (status, &first["repeated"]),
        (200, &json!(false)),
        "{first}"
    );
    let (status, again) = post(&discard);
    assert_eq!((status, &again["repeated"]), (200, &json!(true)), "{again}");
    let (status, refused) = post(&json!({"parked": cart}));
    assert_eq!(
        (status, &refused["code"]),
        (409, &json!("conflict")),
        "{refused}"
    );
    assert_eq!(finish(&one, &cart).0, 409);
    let (status, unknown) = finish(&one, id);
    assert_eq!(
        (status, &unknown["code"]),
        (404, &json!("not_found")),
        "{unknown}"
    );
    let (status, long) =
        request(&one.daemon.url, "GET", "/v1/parked?limit=5000", &[], b"").expect("an answer");
    assert_eq!(status, 400, "{long}");
    let who = "SELECT payload ->> 'employee' FROM journal WHERE topic = 13";
    let who: Vec<String> = column(&one.data.join("book.db"), who);
    assert_eq!(who, ["EVE"], "it stands under a name");
}

#[test]
fn a_sale_that_two_lanes_finished_apart_is_told_at_both_and_the_hub_counts_both_once_each() {
    let mut shop = Shop::new("parked-twice");
    let [one, other] = shop.lanes("France");
    shop.internet_is_gone();
    let other = Lane::start(&other, &[]);
    let one = Lane::start(&one, &[&other.url]);
    one.is_connected(1);
    let cart = park(&one);
    eventually("it is known at the other", || {
        parked(&other) == [cart.clone()]
    });
    other.daemon.kill();
    assert_eq!(finish(&one, &cart).0, 200);
    let other = Lane::start(&other.data, &[]);
    assert_eq!(finish(&other, &cart).0, 200, "nobody has said anything");
    one.daemon.kill();
    let one = Lane::start(&one.data, &[&other.url]);
    one.is_connected(1);
    let is_told = |lane: &Lane| lane.has_logged("parked_sold_twice", &cart);
    eventually("it is told at both", || is_told(&one) && is_told(&other));
    assert_eq!((parked(&one), parked(&other)), (vec![], vec![]));
    shop.internet_is_back();
    for lane in [&one, &other] {
        let synced = || node(&lane.data, &["sync", "now"]).code == Some(0);
        eventually("it has synced", synced);
    }
    let hub = shop.hub_data.join("hub.db");
    let count = |sql: &str| -> Vec<i64> { column(&hub, sql) };
    eventually("both sales are consolidated", || {
        count("SELECT count(*) FROM receipt WHERE parked IS NOT NULL") == [2]
            && count("SELECT count(*) FROM document WHERE topic = 12") == [1]
    });
    assert_eq!(count("SELECT count(*) FROM quarantine"), [0]);
    assert_eq!(count("SELECT sum(total_minor) FROM receipt"), [1020]);
    let told = "SELECT count(*) FROM alert WHERE kind = 'parked_sold_twice'";
    eventually("the hub tells it", || count(told) == [1]);
}
