//! Lanes that a person pairs in trial, as processes: without a hub they know each other's sales, and nobody else is let in.

use crate::lane_tls::{SOON, kept};
use crate::middle::{Middle, Way};
use crate::process::{eventually, node, till};
use crate::shop::{Lane, Shop, another_code, held, own, settings};
use crate::store::column;
use crate::world::{at_hub, settle};
use counterfoil_testkit::TempDir;
use serde_json::{Value, json};
use std::path::Path;

const MINUTE_MS: i64 = 60_000;

/// The folders of lanes in trial, which try again soon what failed.
fn tills<const COUNT: usize>(dir: &TempDir) -> [std::path::PathBuf; COUNT] {
    std::array::from_fn(|number| {
        let data = dir.join(&format!("till-{number}"));
        till(&data);
        settings(&data, SOON);
        data
    })
}

fn address(lane: &Lane) -> String {
    let address = lane.url.strip_prefix("ws://");
    address.expect("an address").to_owned()
}

/// The code that a lane shows from now on.
fn code(lane: &Lane) -> String {
    let shown = node(&lane.data, &["pair", "--json"]).json();
    let code = shown["offer"]["code"].as_str().expect("a code");
    code.to_owned()
}

fn join(lane: &Lane, code: &str, with: &str) -> (u16, Value) {
    let request = json!({"code": code, "with": with});
    lane.daemon
        .post("/v1/pairing", &request)
        .expect("an answer")
}

fn pair(first: &Lane, other: &Lane) -> Value {
    let (status, answer) = join(other, &code(first), &address(first));
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Two lanes that were paired and are connected.
fn paired(dir: &TempDir) -> [Lane; 2] {
    let [one, other] = tills(dir);
    let lanes = [Lane::start(&one, &[]), Lane::start(&other, &[])];
    assert_eq!(pair(&lanes[0], &lanes[1])["lane"], 2);
    for lane in &lanes {
        lane.is_connected(1);
    }
    lanes
}

/// The same folder once more, where it was reached before.
fn again(lane: Lane) -> Lane {
    let (data, at) = (lane.data.clone(), address(&lane));
    lane.daemon.kill();
    Lane::start_at(&data, &at, &[])
}

fn is_not_paired(lane: &Lane) {
    let status = lane.daemon.get("/v1/status");
    assert_eq!(status["pairing"], Value::Null, "nothing was applied");
    let rows: Vec<i64> = column(
        &lane.data.join("local.db"),
        "SELECT count(*) FROM state WHERE key IN ('trial_shop', 'lane_certificate')",
    );
    assert_eq!((rows[0], kept(&lane.data)), (0, 0), "nothing was kept");
}

fn clock(data: &Path, ahead_ms: i64) {
    std::fs::write(data.with_extension("clock"), ahead_ms.to_string()).expect("written");
}

fn level(lane: &Lane) -> Value {
    let levels = node(&lane.data, &["levels", "TEA", "--json"]).json();
    levels["levels"][0]["level_milli"].clone()
}

#[test]
fn lanes_in_trial_that_were_paired_know_each_others_sales_without_a_hub() {
    let dir = TempDir::new("pairing");
    let [one, other] = paired(&dir);
    other.is_heard_by(&one);
    one.is_heard_by(&other);
    for lane in [&one, &other] {
        let status = lane.daemon.get("/v1/status");
        assert_eq!(status["tier"], "local_trial");
        assert_eq!(
            (&status["sync_enabled"], &status["sync"]),
            (&json!(false), &json!("trial"))
        );
        assert_eq!(status["hub_url"], Value::Null);
        assert!(lane.has_logged("lane_connected", "\"secured\":true"));
    }
    let sale = one.sell();
    assert_eq!(sale["trial"], true);
    one.is_heard_by(&other);
    assert_eq!(one.stage(&sale), "peer_ack");
    eventually("its stock is known", || level(&other) == json!(-2000));
    // The receipt can be taken back at the other lane, and not twice.
    let id = sale["id"].as_str().expect("an id");
    let refund = [
        "refund",
        "--of",
        id,
        "--line",
        "TEA:2@2.55",
        "--tender",
        "cash",
    ];
    node(&other.data, &refund).succeeds();
    assert_ne!(node(&other.data, &refund).code, Some(0));
    other.is_heard_by(&one);

    let [one, other] = [one, other].map(again);
    one.is_connected(1);
    other.sell();
    other.is_heard_by(&one);
    assert_eq!(held(&one.data, &other.id()), own(&other.data));
    assert_eq!(held(&other.data, &one.id()), own(&one.data));
}

#[test]
fn a_wrong_an_expired_or_a_used_code_lets_nobody_in() {
    let dir = TempDir::new("pairing-codes");
    let [one, other, third] = tills(&dir);
    let alone = node(&one, &["pair"]);
    alone.fails(1, "its daemon must run with `peer_listen`");
    let [one, other, third] = [one, other, third].map(|data| Lane::start(&data, &[]));
    let at = address(&one);
    let (status, answer) = join(&other, "2222-2222-2222-2222-2223", &at);
    assert_eq!((status, &answer["code"]), (400, &json!("bad_request")));
    // Nobody shows one yet: nobody is there.
    let wrong = code(&third);
    assert_eq!(join(&other, &wrong, &at).0, 503);

    let right = code(&one);
    for left in [4, 3, 2, 1] {
        let (status, answer) = join(&other, &wrong, &at);
        assert_eq!(
            (status, &answer["code"]),
            (403, &json!("join_code_refused"))
        );
        assert!(one.has_logged("pairing_refused", &format!("{left} more wrong ones")));
    }
    let pairing = one.daemon.get("/v1/status")["pairing"].clone();
    assert_eq!(pairing["wrong_codes"], 4, "{pairing}");
    assert_eq!(join(&other, &wrong, &at).0, 403);
    let (status, answer) = join(&other, &right, &at);
    assert_eq!(status, 403, "it is gone: {answer}");
    is_not_paired(&other);

    let old = code(&one);
    clock(&one.data, 10 * MINUTE_MS);
    let (status, answer) = join(&other, &old, &at);
    assert_eq!(status, 403, "{answer}");
    assert!(answer.to_string().contains("expired"), "{answer}");
    is_not_paired(&other);

    let good = code(&one);
    let (status, answer) = join(&other, &good, &at);
    assert_eq!(status, 200, "{answer}");
    node(&third.data, &["pair", "--forget"]).succeeds();
    let (status, answer) = join(&third, &good, &at);
    assert_eq!(status, 403, "it was used: {answer}");
    is_not_paired(&third);
    one.is_connected(1);
    // Codes are shown at the first lane alone.
    node(&other.data, &["pair"]).fails(1, "codes are shown at lane 1");
    // And typed at lanes in trial alone, which this one will be no longer.
    let shop = Shop::new("pairing-bound");
    let [bound] = shop.lanes("France");
    let bound = Lane::start(&bound, &[]);
    let (status, answer) = join(&bound, &code(&one), &at);
    assert_eq!(
        (status, &answer["code"]),
        (409, &json!("conflict")),
        "{answer}"
    );
    node(&bound.data, &["pair"]).fails(1, "this lane belongs to France");
}

#[test]
fn whoever_sits_between_two_lanes_gets_none_of_them_to_believe_him() {
    let dir = TempDir::new("pairing-middle");
    let [one, other] = tills(&dir);
    let (one, other) = (Lane::start(&one, &[]), Lane::start(&other, &[]));
    // His own key in place of the lane's.
    let middle = Middle::before(&one.url, |way, text| {
        let mut said: Value = serde_json::from_str(&text).expect("JSON");
        if way == Way::Up && said["type"] == "pair_request" {
            let request = json!({"public_key": "ab".repeat(32)});
            said["said"] = json!(request.to_string());
        }
        Some(said.to_string())
    });
    let shown = code(&one);
    let (status, answer) = join(&other, &shown, &middle.address);
    assert_eq!(status, 403, "{answer}");
    assert!(one.has_logged("pairing_refused", "the code is wrong"));
    is_not_paired(&other);
    // What was said is said again, to whoever shows the same code still.
    let heard = middle.said();
    middle.changes(move |way, text| {
        let fresh: Value = serde_json::from_str(&text).expect("JSON");
        let same = |it: &&(Way, String)| {
            let said: Value = serde_json::from_str(&it.1).expect("JSON");
            it.0 == way && said["type"] == fresh["type"]
        };
        let old = heard.iter().find(same).map(|it| it.1.clone());
        Some(if way == Way::Up {
            old.unwrap_or(text)
        } else {
            text
        })
    });
    let (status, answer) = join(&other, &shown, &middle.address);
    assert_eq!(status, 403, "{answer}");
    is_not_paired(&other);
    // His own authority in place of the lane's.
    middle.changes(|way, text| {
        let mut said: Value = serde_json::from_str(&text).expect("JSON");
        if way == Way::Down && said["type"] == "pair_grant" {
            let grant = said["said"].as_str().expect("a text");
            said["said"] = json!(grant.replace("\"lane\":2", "\"lane\":3"));
        }
        Some(said.to_string())
    });
    let (status, answer) = join(&other, &shown, &middle.address);
    assert_eq!(
        (status, &answer["code"]),
        (403, &json!("forbidden")),
        "{answer}"
    );
    assert!(other.has_logged("pairing_refused", "somebody in between"));
    is_not_paired(&other);
    assert_eq!((one.connections(), kept(&one.data)), (0, 0));
    // What he only hands on pairs the two, and he cannot read what they say after that.
    middle.changes(|_, text| Some(text));
    let (status, answer) = join(&other, &code(&one), &middle.address);
    assert_eq!((status, &answer["lane"]), (200, &json!(2)), "{answer}");
}

#[test]
fn a_lane_that_is_killed_while_it_is_paired_is_paired_again() {
    let dir = TempDir::new("pairing-killed");
    let [one, other] = tills(&dir);
    let (mut one, mut other) = (Lane::start(&one, &[]), Lane::start(&other, &[]));
    for stop in ["pair_request", "pair_grant"] {
        let stops = move |_, text: String| (!text.contains(stop)).then_some(text);
        let middle = Middle::before(&one.url, stops);
        let (shown, url) = (code(&one), other.daemon.url.clone());
        let request = json!({"code": shown, "with": middle.address}).to_string();
        let asks = std::thread::spawn(move || {
            let path = "/v1/pairing";
            crate::process::request(&url, "POST", path, &[], request.as_bytes())
        });
        eventually("it is said", || {
            middle.said().iter().any(|it| it.1.contains(stop))
        });
        if stop == "pair_grant" {
            other = again(other);
            one = again(one);
        } else {
            one = again(one);
            other = again(other);
        }
        // Nobody answers, or that the first lane is gone.
        let answer = asks.join().expect("it ends");
        assert!(matches!(answer, Err(_) | Ok((503, _))), "{answer:?}");
        is_not_paired(&other);
        assert_eq!(other.connections(), 0);
    }
    assert_eq!(pair(&one, &other)["lane"], 2);
    assert_eq!(pair(&one, &other)["lane"], 2, "it keeps its number");
    one.is_connected(1);
    let one = again(one);
    one.sell();
    one.is_heard_by(&other);
}

#[test]
fn lanes_that_were_paired_part_when_one_is_activated_and_meet_again_when_both_are() {
    let dir = TempDir::new("pairing-activated");
    let [one, other] = paired(&dir);
    one.sell();
    other.sell();
    one.is_heard_by(&other);
    other.is_heard_by(&one);
    let shop = Shop::new("pairing-shop");
    assert_eq!(at_hub(&shop.hub_data).len(), 0);
    let code = crate::process::join_code(&shop.hub_data, "France");
    node(&one.data, &["activate", "--join", &code]).succeeds();
    settle(&one.data);
    eventually("they part", || {
        one.connections() == 0 && other.connections() == 0
    });
    eventually("it is told", || other.count("lane_refused") > 0);
    // Of the other one it brings nothing: that one is of no shop yet.
    other.sell();
    assert_eq!(at_hub(&shop.hub_data).len(), 1);
    assert_eq!(one.count("lane_relayed") + one.count("relay_refused"), 0);

    let code = another_code(&shop.hub_data, "France");
    node(&other.data, &["activate", "--join", &code]).succeeds();
    settle(&other.data);
    one.is_connected(1);
    other.sell();
    other.is_heard_by(&one);
    one.sell();
    one.is_heard_by(&other);
    settle(&one.data);
    settle(&other.data);
    assert_eq!(held(&one.data, &other.id()), own(&other.data));
    assert_eq!(held(&other.data, &one.id()), own(&one.data));
    let rows: Vec<i64> = column(
        &shop.hub_data.join("hub.db"),
        "SELECT count(*) FROM receipt",
    );
    assert_eq!((rows[0], at_hub(&shop.hub_data).len()), (5, 5), "each once");
    let aside: Vec<String> = column(
        &shop.hub_data.join("hub.db"),
        "SELECT reason FROM quarantine",
    );
    assert_eq!(aside, [] as [String; 0]);
}

#[test]
fn a_lane_that_is_activated_into_another_shop_is_refused_and_takes_no_journal_along() {
    let dir = TempDir::new("pairing-other-shop");
    let [one, other] = paired(&dir);
    one.sell();
    one.is_heard_by(&other);
    let shop = Shop::new("pairing-two-shops");
    let [third] = shop.lanes("Spain");
    let third = Lane::start(&third, &[&other.url]);
    let code = another_code(&shop.hub_data, "Spain");
    node(&other.data, &["activate", "--join", &code]).succeeds();
    let code = crate::process::join_code(&shop.hub_data, "France");
    node(&one.data, &["activate", "--join", &code]).succeeds();
    settle(&one.data);
    settle(&other.data);
    third.is_connected(1);
    other.sell();
    other.is_heard_by(&third);
    eventually("the two are of two shops", || {
        one.count("lane_refused") + other.count("lane_refused") > 0
    });
    assert_eq!(one.connections(), 0);
    assert_eq!(held(&third.data, &one.id()), [] as [String; 0]);
    assert_eq!(held(&third.data, &other.id()), own(&other.data));
}

#[test]
fn a_lane_that_was_revoked_in_trial_stays_out_until_it_is_paired_with_another_key() {
    let dir = TempDir::new("pairing-revoked");
    let [one, other] = paired(&dir);
    node(&other.data, &["pair", "--revoke", "1"]).fails(1, "this is not lane 1");
    node(&one.data, &["pair", "--revoke", "3"]).fails(1, "no lane 3");
    node(&one.data, &["pair", "--revoke", "2"]).succeeds();
    eventually("it is out", || one.connections() == 0);
    eventually("it is told", || {
        one.has_logged("lane_refused", "has revoked it")
    });
    let (status, answer) = join(&other, &code(&one), &address(&one));
    assert_eq!(status, 409, "{answer}");
    assert!(answer.to_string().contains("pair --forget"), "{answer}");
    node(&other.data, &["pair", "--forget"]).succeeds();
    is_not_paired_any_more(&other);
    assert_eq!(pair(&one, &other)["lane"], 2);
    one.is_connected(1);
    other.sell();
    other.is_heard_by(&one);
}

fn is_not_paired_any_more(lane: &Lane) {
    let status = lane.daemon.get("/v1/status");
    assert_eq!(status["pairing"], Value::Null, "{status}");
    assert!(lane.count("pairing_left") > 0);
}
