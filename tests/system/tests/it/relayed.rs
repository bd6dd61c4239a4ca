//! X7: what a lane has printed reaches the hub by another lane, when it does not come itself, and is counted once.

use crate::process::{eventually, hub};
use crate::relay::Relay;
use crate::shop::{Lane, Shop, another_code, settings};
use crate::store::assert_whole;
use crate::stub::{Asked, Stub};
use crate::world::{Account, at_hub, copy, replace, settle};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// A sale waits for its second copy until it is there, and what the hub lacks is looked for all the time.
const RELAYING: &str = "second_copy_wait_ms = 50_000\nrelay_pause_s = 1\n\
                        backoff_first_ms = 50\nbackoff_last_ms = 500\n";

/// Sells once; another lane has it before it is printed. The number on the receipt.
fn sell(lane: &Lane, account: &mut Account) -> String {
    let sale = lane.sell();
    assert_eq!(sale.get("single_copy"), None, "{sale}");
    note(&sale, account)
}

fn note(sale: &Value, account: &mut Account) -> String {
    let id = sale["id"].as_str().expect("an id").to_owned();
    let total = sale["total_minor"].as_i64().expect("a total");
    assert_eq!(account.0.insert(id, total), None, "a new receipt");
    format!("{}-{}", sale["series"], sale["number"])
}

/// Waits until the hub has counted what was sold, and finds each of it once.
fn is_counted_once(shop: &Shop, account: &Account) {
    eventually("the hub has every receipt", || {
        at_hub(&shop.hub_data).len() >= account.0.len()
    });
    account.assert_settled(&shop.hub_data);
    let report = ["report", "sales", "--by", "product", "--json"];
    let rows = hub(&shop.hub_data, &report).json();
    let count = i64::try_from(account.0.len()).expect("few");
    let total: i64 = account.0.values().sum();
    assert_eq!(rows[0]["count"], count, "{rows}");
    assert_eq!(rows[0]["total_minor"], total, "{rows}");
}

/// What the hub says it has of a lane by others.
fn relays_of(hub_data: &Path, id: &str) -> Vec<Value> {
    let rows = hub(hub_data, &["relays", "--json"]).json();
    let mut rows = rows.as_array().expect("a list").clone();
    rows.retain(|row| row["node"] == id);
    rows
}

fn alerts(hub_data: &Path) -> Vec<Value> {
    let status = hub(hub_data, &["status", "--json"]).json();
    status["alerts"].as_array().expect("a list").clone()
}

/// How far the hub has a journal, as a lane that holds it says.
fn hub_seq(lane: &Lane, id: &str) -> Option<i64> {
    let status = lane.daemon.get("/v1/status");
    let rows = status["mesh"]["journals"].as_array().expect("a list");
    let row = rows.iter().find(|row| row["node_id"] == id)?;
    row["hub_seq"].as_i64()
}

#[test]
fn a_lane_killed_for_good_right_after_it_printed_reaches_the_hub_by_a_peer() {
    let mut shop = Shop::new("relayed-gone");
    let [gone, other] = shop.lanes("France");
    settings(&gone, RELAYING);
    settings(&other, RELAYING);
    shop.internet_is_gone();
    let other = Lane::start(&other, &[]);
    let gone = Lane::start(&gone, &[&other.url]);
    gone.is_connected(1);
    gone.is_heard_by(&other);
    let mut account = Account::default();
    for _ in 0..3 {
        sell(&gone, &mut account);
    }
    let (id, data) = (gone.id(), gone.data.clone());
    let end = gone.daemon.get("/v1/status")["journal_seq"].clone();
    gone.daemon.kill();
    std::fs::remove_dir_all(&data).expect("removed");

    shop.internet_is_back();
    is_counted_once(&shop, &account);
    let relays = relays_of(&shop.hub_data, &id);
    assert_eq!(relays.len(), 1, "{relays:?}");
    assert_eq!(relays[0]["until_seq"], end);
    assert_eq!(relays[0]["by"], other.id());
    assert_eq!(
        (&relays[0]["lane"], &relays[0]["by_lane"]),
        (&1.into(), &2.into())
    );
    assert_eq!(relays[0]["sent_since"], false);
    eventually("it is logged", || other.has_logged("lane_relayed", &id));
    assert_eq!(hub_seq(&other, &id), end.as_i64());
    // What comes now goes as always.
    note(&other.sell(), &mut account);
    is_counted_once(&shop, &account);
    assert_eq!(relays_of(&shop.hub_data, &id), relays);
    assert!(relays_of(&shop.hub_data, &other.id()).is_empty());
}

#[test]
fn several_lanes_that_hold_the_journal_of_one_that_is_gone_bring_it_once() {
    let mut shop = Shop::new("relayed-by-several");
    let [gone, left, right] = shop.lanes("France");
    for data in [&gone, &left, &right] {
        settings(data, RELAYING);
    }
    shop.internet_is_gone();
    let left = Lane::start(&left, &[]);
    let right = Lane::start(&right, &[&left.url]);
    let gone = Lane::start(&gone, &[&left.url, &right.url]);
    let mut account = Account::default();
    for _ in 0..3 {
        note(&gone.sell(), &mut account);
    }
    gone.is_heard_by(&left);
    gone.is_heard_by(&right);
    let id = gone.id();
    let end = gone.daemon.get("/v1/status")["journal_seq"].as_i64();
    gone.daemon.kill();
    shop.internet_is_back();
    is_counted_once(&shop, &account);
    for lane in [&left, &right] {
        eventually("it knows that nothing lacks", || hub_seq(lane, &id) == end);
    }
    let relays = relays_of(&shop.hub_data, &id);
    assert_eq!(relays.len(), 1, "one of them brought it: {relays:?}");
    is_counted_once(&shop, &account);
}

#[test]
fn a_lane_that_comes_back_after_it_was_relayed_is_counted_once() {
    let mut shop = Shop::new("relayed-back");
    let [one, other] = shop.lanes("France");
    settings(&one, RELAYING);
    settings(&other, RELAYING);
    shop.internet_is_gone();
    let other = Lane::start(&other, &[]);
    let lane = Lane::start(&one, &[&other.url]);
    lane.is_connected(1);
    lane.is_heard_by(&other);
    let mut account = Account::default();
    for _ in 0..3 {
        sell(&lane, &mut account);
    }
    let id = lane.id();
    lane.daemon.kill();
    shop.internet_is_back();
    is_counted_once(&shop, &account);
    assert!(!relays_of(&shop.hub_data, &id).is_empty());

    let lane = Lane::start(&one, &[&other.url]);
    lane.is_connected(1);
    lane.is_heard_by(&other);
    sell(&lane, &mut account);
    eventually("nothing waits", || {
        lane.daemon
            .get("/v1/queue")
            .as_array()
            .is_some_and(Vec::is_empty)
    });
    is_counted_once(&shop, &account);
    assert_eq!(lane.id(), id, "it is the lane that it was");
    for row in relays_of(&shop.hub_data, &id) {
        assert_eq!(row["sent_since"], true, "{row}");
    }
    assert_eq!(alerts(&shop.hub_data), [] as [Value; 0]);
    assert_whole(&one.join("book.db"));
}

#[test]
fn a_lane_without_internet_is_relayed_by_one_that_has_it() {
    let shop = Shop::new("relayed-cut");
    let [other] = shop.lanes("France");
    let line = Relay::to(&shop.hub_url);
    let code = another_code(&shop.hub_data, "France");
    let cut = shop.lane("cut", &code, &line.url);
    settings(&cut, RELAYING);
    settings(&other, RELAYING);
    let other = Lane::start(&other, &[]);
    let cut = Lane::start(&cut, &[&other.url]);
    cut.is_connected(1);
    cut.is_heard_by(&other);
    let mut account = Account::default();
    sell(&cut, &mut account);
    is_counted_once(&shop, &account);

    line.go_dark();
    let first = cut.sell();
    note(&first, &mut account);
    sell(&cut, &mut account);
    is_counted_once(&shop, &account);
    let relays = relays_of(&shop.hub_data, &cut.id());
    assert!(!relays.is_empty());
    assert_eq!(
        cut.stage(&first),
        "peer_ack",
        "it has heard nothing of that"
    );
    // It goes on being connected, and so does what it sells.
    sell(&cut, &mut account);
    is_counted_once(&shop, &account);

    line.swallow();
    eventually("nothing waits", || {
        cut.daemon
            .get("/v1/queue")
            .as_array()
            .is_some_and(Vec::is_empty)
    });
    sell(&cut, &mut account);
    is_counted_once(&shop, &account);
    assert_eq!(alerts(&shop.hub_data), [] as [Value; 0]);
}

#[test]
fn a_lane_restored_behind_what_was_relayed_goes_on_under_a_new_identity() {
    let mut shop = Shop::new("relayed-restored");
    let [one, other] = shop.lanes("France");
    settings(&one, RELAYING);
    settings(&other, RELAYING);
    let mut account = Account::default();
    let mut printed = BTreeSet::new();
    let other = Lane::start(&other, &[]);
    let lane = Lane::start(&one, &[&other.url]);
    lane.is_connected(1);
    lane.is_heard_by(&other);
    printed.insert(sell(&lane, &mut account));
    is_counted_once(&shop, &account);
    lane.daemon.kill();
    let backup = shop.dir.join("backup");
    copy(&one, &backup);

    shop.internet_is_gone();
    let lane = Lane::start(&one, &[&other.url]);
    lane.is_connected(1);
    lane.is_heard_by(&other);
    for _ in 0..3 {
        assert!(printed.insert(sell(&lane, &mut account)), "{printed:?}");
    }
    let id = lane.id();
    lane.daemon.kill();
    replace(&one, &backup);
    shop.internet_is_back();
    is_counted_once(&shop, &account);
    assert!(!relays_of(&shop.hub_data, &id).is_empty());

    let lane = Lane::start(&one, &[&other.url]);
    let number = note(&lane.sell(), &mut account);
    assert!(printed.insert(number), "{printed:?}");
    settle(&one);
    assert_ne!(lane.id(), id, "the hub has more of it than it has itself");
    let number = note(&lane.sell(), &mut account);
    assert!(printed.insert(number), "{printed:?}");
    settle(&one);
    is_counted_once(&shop, &account);
    assert_whole(&one.join("book.db"));
}

/// What a hub says that has nothing of a journal.
fn nothing_of(held: &Value) -> Value {
    let known = json!({"seq": 0, "chain": "0".repeat(64)});
    json!({"origin": held["origin"], "known": known, "diverged": false})
}

/// What a hub says that has one entry, and not the one that is held; it sees that when it is asked about that one.
fn another_of(held: &Value) -> Value {
    let known = json!({"seq": 1, "chain": "1".repeat(64)});
    json!({"origin": held["origin"], "known": known, "diverged": held["end"]["seq"] == 1})
}

/// A hub that has nothing, or of one journal another entry, and takes every journal but that one.
fn hub_without(origin: &str, diverged: bool) -> impl Fn(&Asked) -> (u16, Value) + use<> {
    let origin = origin.to_owned();
    move |(path, body): &Asked| match path.as_str() {
        "/v1/relay/ends" => {
            let rows = body["holds"].as_array().expect("a list").iter();
            let rows = rows.map(|held| match diverged && held["origin"] == *origin {
                true => another_of(held),
                false => nothing_of(held),
            });
            (200, json!({"journals": rows.collect::<Vec<_>>()}))
        }
        "/v1/relay" if body["entries"][0]["fromTerminal"] == *origin => refused(422, "invalid"),
        "/v1/relay" => {
            let entries = body["entries"].as_array().expect("a list");
            let last = entries.last().expect("one at least");
            let payload = &last["payload"];
            let known = json!({"seq": payload["seq"], "chain": payload["chain"]});
            let end = json!({"origin": last["fromTerminal"], "known": known, "diverged": false});
            (200, end)
        }
        _ => refused(503, "busy"),
    }
}

fn refused(status: u16, code: &str) -> (u16, Value) {
    let problem = json!({"code": code, "status": status, "detail": "so it is told"});
    (status, problem)
}

/// How often something of a journal was logged.
fn count(lane: &Lane, event: &str, origin: &str) -> usize {
    let rows = lane.daemon.get("/v1/logs?limit=10000");
    let rows = rows.as_array().expect("a list");
    let is_of = |row: &&Value| row["event"] == event && row["detail"]["origin"] == origin;
    rows.iter().filter(is_of).count()
}

#[test]
fn a_hub_that_refuses_one_journal_gets_the_others_and_is_heard_once() {
    let mut shop = Shop::new("relayed-refused");
    let [one, two, other] = shop.lanes("France");
    settings(&other, RELAYING);
    shop.internet_is_gone();
    let other = Lane::start(&other, &[]);
    let [one, two] = [one, two].map(|data| {
        let lane = Lane::start(&data, &[&other.url]);
        lane.sell();
        lane.is_heard_by(&other);
        let id = lane.id();
        lane.daemon.kill();
        id
    });
    // A hub of before has no such call.
    let hub = Stub::at(&shop.hub_url, |_: &Asked| refused(404, "not_found"));
    let looks = |times: usize| {
        eventually("it looks again", || {
            hub.asked("/v1/relay/ends").len() >= times
        });
    };
    looks(2);
    assert!(hub.asked("/v1/relay").is_empty());
    assert_eq!(hub_seq(&other, &one), None);

    hub.says(hub_without(&one, false));
    eventually("the other one is brought", || {
        count(&other, "lane_relayed", &two) == 1
    });
    looks(4);
    assert_eq!(count(&other, "relay_refused", &one), 1, "it is told once");
    assert_eq!(count(&other, "lane_relayed", &one), 0);
    assert!(hub_seq(&other, &two) > Some(0));
    let sent = hub.asked("/v1/relay");
    let of = |id: &str| {
        sent.iter()
            .filter(|body| body["entries"][0]["fromTerminal"] == *id)
            .count()
    };
    assert!(of(&one) >= 3, "it is tried at each look");
    assert_eq!(of(&two), 1);
    let last = hub.asked("/v1/relay/ends").pop().expect("it looked");
    let asked = last["holds"].as_array().expect("a list");
    assert!(asked.iter().all(|held| held["origin"] == *one), "{last}");

    hub.says(hub_without(&one, true));
    looks(3);
    // What was on its way has come.
    let sent = hub.asked("/v1/relay").len();
    eventually("it is told here", || {
        count(&other, "relay_diverged", &one) == 1
    });
    looks(7);
    assert_eq!(count(&other, "relay_diverged", &one), 1, "once");
    assert_eq!(hub.asked("/v1/relay").len(), sent, "nothing of it is sent");
    let asked = hub.asked("/v1/relay/ends");
    let at_parting = |body: &Value| body["holds"][0]["end"]["seq"] == 1;
    assert!(asked.iter().any(at_parting), "and the hub hears of it");
    assert_eq!(count(&other, "relay_refused", &one), 1);

    // The hub has it by another way: nothing is left to ask.
    hub.says(hub_without("", false));
    eventually("it is brought", || count(&other, "lane_relayed", &one) == 1);
    let looked = hub.asked("/v1/relay/ends").len();
    other.sell();
    // Several looks long.
    eventually("syncs are tried", || hub.asked("/v1/hello").len() >= 12);
    assert_eq!(hub.asked("/v1/relay/ends").len(), looked);
}
