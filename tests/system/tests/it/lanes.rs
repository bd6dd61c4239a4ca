//! Lanes of one shop as processes: what one sells is on another's disk, whatever dies, and strangers stay out.

use crate::process::{Daemon, NODE, eventually, fence_dir, node, till};
use crate::relay::Relay;
use crate::shop::{Lane, PATIENT, Shop, another_code, before_certificates, held, own, settings};
use crate::store::{assert_whole, column};
use crate::world::{copy, replace};
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn a_sale_is_on_another_lanes_disk_before_the_receipt_while_the_internet_is_gone() {
    let mut shop = Shop::new("lanes-two-copies");
    let [one, other] = shop.lanes("France");
    shop.internet_is_gone();
    settings(&one, PATIENT);
    let one = Lane::start(&one, &[]);
    let alone = one.sell();
    assert_eq!(alone["single_copy"], true, "nobody else is there");
    assert_eq!(one.stage(&alone), "pending");
    let other = Lane::start(&other, &[&one.url]);
    one.is_connected(1);
    one.is_heard_by(&other);
    assert_eq!(one.stage(&alone), "peer_ack");
    for _ in 0..3 {
        let sale = one.sell();
        assert_eq!(sale.get("single_copy"), None, "{sale}");
        // The receipt is printed now: with a connection of our own, what the other lane has on its disk.
        assert_eq!(held(&other.data, &one.id()), own(&one.data));
        assert_eq!(one.stage(&sale), "peer_ack");
    }
    // And the other way round, over the same connection.
    let sale = other.sell();
    eventually("the sale is copied", || other.stage(&sale) == "peer_ack");
    assert_eq!(held(&one.data, &other.id()), own(&other.data));
    let status = other.daemon.get("/v1/status");
    assert_eq!(status["mesh"]["journals"][0]["node_id"], one.id());
}

#[test]
fn a_restored_lane_whose_peer_is_up_repeats_no_number_without_the_hub() {
    let mut shop = Shop::new("restored-lane");
    let [data, other] = shop.lanes::<2>("France");
    // However slow the machine is, the peer comes first.
    settings(&data, "first_peer_wait_ms = 50_000\n");
    shop.internet_is_gone();
    let mut peer = Lane::start(&other, &[]);
    let lane = Lane::start(&data, &[&peer.url]);
    let mut printed = BTreeSet::new();
    let mut number = |sale: &Value| {
        let number = format!("{}-{}", sale["series"], sale["number"]);
        assert!(printed.insert(number), "{sale}: {printed:?}");
    };
    number(&lane.sell());
    lane.is_heard_by(&peer);
    lane.daemon.kill();
    // The whole machine goes back, with what lies outside of the folder.
    let (marks, backup) = (fence_dir(&data), shop.dir.join("backup"));
    let backup_of_marks = shop.dir.join("backup-marks");
    copy(&data, &backup);
    copy(&marks, &backup_of_marks);
    let lane = Lane::start(&data, &[&peer.url]);
    number(&lane.sell());
    number(&lane.sell());
    lane.is_heard_by(&peer);
    lane.daemon.kill();
    replace(&data, &backup);
    replace(&marks, &backup_of_marks);

    let lane = Lane::start(&data, &[&peer.url]);
    number(&lane.sell());
    let status = lane.daemon.get("/v1/status");
    let why = status["fenced"]["why"].as_str().expect("a reason");
    assert!(
        why.contains("it holds more of this till's book"),
        "{status}"
    );
    for _ in 0..3 {
        number(&lane.sell());
        number(&lane.sell());
        // It goes on holding what it held, and says so again.
        let url = peer.daemon.kill();
        assert_ne!(url, "");
        peer = Lane::start_at(
            &other,
            peer.url.strip_prefix("ws://").expect("an address"),
            &[],
        );
        lane.is_connected(1);
    }
    let after = lane.daemon.get("/v1/status");
    assert_eq!(after["series"], status["series"], "once is enough");
    assert!(lane.has_logged("lane_diverged", "other entries"));
}

#[test]
fn a_lane_killed_between_keeping_and_acknowledging_loses_and_doubles_nothing() {
    let mut shop = Shop::new("lanes-killed");
    let [one, other] = shop.lanes("France");
    shop.internet_is_gone();
    let other = Lane::start(&other, &[]);
    let line = Relay::to(&other.url.replace("ws://", "http://"));
    let one = Lane::start(&one, &[&line.url.replace("http://", "ws://")]);
    one.is_connected(1);
    one.is_heard_by(&other);
    let id = one.id();

    // What the other lane says from now on is not heard.
    line.stop_after(0);
    let sale = one.sell();
    assert_eq!(sale["single_copy"], true);
    eventually("the sale is kept", || {
        held(&other.data, &id) == own(&one.data)
    });
    assert_eq!(one.stage(&sale), "pending");
    let (data, listen) = (other.data.clone(), other.url.replace("ws://", ""));
    other.daemon.kill();
    line.drop_held();
    assert_eq!(held(&data, &id), own(&one.data), "what was kept is kept");
    let second = one.sell();
    assert_eq!(one.stage(&second), "pending");

    let other = Lane::start_at(&data, &listen, &[]);
    one.is_heard_by(&other);
    assert_eq!(one.stage(&sale), "peer_ack");
    assert_eq!(one.stage(&second), "peer_ack");
    assert_eq!(held(&other.data, &id), own(&one.data));
    assert_whole(&one.data.join("book.db"));
}

#[test]
fn a_lane_that_joins_late_gets_a_dead_lanes_journal_from_another() {
    let mut shop = Shop::new("lanes-late");
    let [dead, between, late] = shop.lanes("France");
    shop.internet_is_gone();
    let between = Lane::start(&between, &[]);
    let dead = Lane::start(&dead, &[&between.url]);
    for _ in 0..20 {
        dead.sell();
    }
    dead.is_heard_by(&between);
    let (id, data) = (dead.id(), dead.data.clone());
    dead.daemon.kill();
    let late = Lane::start(&late, &[&between.url]);
    eventually("the late lane has it all", || {
        held(&late.data, &id) == own(&data)
    });
    assert!(own(&data).len() > 20, "the activation, and the sales");
    // What comes now takes the same way.
    between.sell();
    eventually("and what comes after", || {
        held(&late.data, &between.id()) == own(&between.data)
    });
}

#[test]
fn a_connection_that_is_half_open_is_found_and_made_anew() {
    let mut shop = Shop::new("lanes-half-open");
    let [one, other] = shop.lanes("France");
    shop.internet_is_gone();
    for data in [&one, &other] {
        settings(data, "peer_heartbeat_ms = 400\nbackoff_first_ms = 50\n");
    }
    let other = Lane::start(&other, &[]);
    let line = Relay::to(&other.url.replace("ws://", "http://"));
    let one = Lane::start(&one, &[&line.url.replace("http://", "ws://")]);
    one.is_connected(1);
    one.is_heard_by(&other);
    line.swallow();
    let sale = one.sell();
    eventually("the silence is noticed", || {
        one.has_logged("lane_lost", "nothing was heard")
    });
    eventually("the sale is copied after all", || {
        one.stage(&sale) == "peer_ack"
    });
    assert!(line.opened() > 1, "over another connection");
    assert_eq!(held(&other.data, &one.id()), own(&one.data));
}

#[test]
fn lanes_of_another_shop_and_lanes_without_the_secret_stay_out() {
    let mut shop = Shop::new("lanes-strangers");
    let [one, friend, unpaired, guessing] = shop.lanes("France");
    let [stranger] = shop.lanes("Spain");
    shop.internet_is_gone();
    for (data, secret) in [
        (&one, "s"),
        (&friend, "s"),
        (&stranger, "s"),
        (&guessing, "g"),
    ] {
        before_certificates(data);
        let file = data.join("lanes.secret");
        std::fs::write(&file, secret.repeat(40)).expect("written");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&file, private).expect("set");
        settings(data, "peer_secret_file = \"lanes.secret\"\n");
    }
    before_certificates(&unpaired);
    let one = Lane::start(&one, &[]);
    one.sell();
    for (data, says) in [
        (&stranger, "it is a lane of another shop"),
        (&unpaired, "the other has none"),
        (&guessing, "it does not know the secret"),
    ] {
        let refused = Lane::start(data, &[&one.url]);
        refused.sell();
        eventually("it is refused", || one.has_logged("lane_refused", says));
        eventually("and told so", || refused.has_logged("lane_refused", says));
        assert_eq!(refused.connections(), 0);
        assert_eq!(one.connections(), 0);
        let shown = one.daemon.get("/v1/status")["mesh"]["last_refusal"].to_string();
        assert!(shown.contains(says), "{shown}");
        for data in [data, &one.data] {
            let kept: Vec<i64> = column(&data.join("local.db"), "SELECT count(*) FROM peer_entry");
            assert_eq!(kept, [0], "nothing was applied");
        }
    }
    let friend = Lane::start(&friend, &[&one.url]);
    one.is_heard_by(&friend);
}

#[test]
fn a_lane_without_a_secret_is_not_opened_to_the_network_without_tls() {
    const SAYS: &str = "it came without TLS";
    let mut shop = Shop::new("lanes-open");
    let [one, other] = shop.lanes("France");
    shop.internet_is_gone();
    before_certificates(&one);
    before_certificates(&other);
    let one = Lane::start_at(&one, "0.0.0.0:0", &["ws://till.invalid"]);
    one.sell();
    let other = Lane::start(&other, &[&one.url.replace("0.0.0.0", "127.0.0.1")]);
    eventually("it is refused and told so", || {
        one.has_logged("lane_refused", SAYS) && other.has_logged("lane_refused", SAYS)
    });
    assert_eq!((one.connections(), other.connections()), (0, 0));
}

#[test]
fn a_till_whose_lane_port_is_taken_sells_and_meets_the_others_later() {
    let mut shop = Shop::new("lanes-taken");
    let [one, other] = shop.lanes("France");
    shop.internet_is_gone();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let listen = taken.local_addr().expect("an address").to_string();
    // A list that ends in a comma names nobody more.
    let arguments = ["--listen", "127.0.0.1:0", "--peer-listen", &listen];
    let arguments = [&arguments[..], &["--peer", "ws://127.0.0.1:1,"]].concat();
    let one = Lane {
        daemon: Daemon::start_with(NODE, &one, &arguments),
        data: one,
        url: format!("ws://{listen}"),
    };
    one.sell();
    let address = |lane: &Lane| lane.daemon.get("/v1/status")["mesh"]["listen"].clone();
    assert_eq!(address(&one), Value::Null);
    drop(taken);
    eventually("the port is open", || address(&one) == *one.url);
    let other = Lane::start(&other, &[&one.url]);
    one.is_heard_by(&other);
}

#[test]
fn a_till_meets_the_others_as_soon_as_it_is_activated() {
    let shop = Shop::new("lanes-trial");
    let [one] = shop.lanes("France");
    let one = Lane::start(&one, &[]);
    let trial = shop.dir.join("trial");
    till(&trial);
    let trial = Lane::start(&trial, &[&one.url]);
    trial.sell();
    assert_eq!(trial.connections(), 0, "in trial nobody is asked");
    let code = another_code(&shop.hub_data, "France");
    node(&trial.data, &["activate", "--join", &code]).succeeds();
    trial.is_heard_by(&one);
    assert_eq!(
        held(&one.data, &trial.id()),
        own(&trial.data),
        "what trial left behind too"
    );
}

#[test]
fn lanes_that_dial_each_other_keep_one_connection() {
    let mut shop = Shop::new("lanes-crossed");
    let [one, other] = shop.lanes("France");
    shop.internet_is_gone();
    let first = Lane::start(&one, &[]);
    let listen = first.url.replace("ws://", "");
    first.daemon.kill();
    let url = format!("ws://{listen}");
    let other = Lane::start(&other, &[&url]);
    // One that dials itself too: one list may serve all lanes.
    let one = Lane::start_at(&one, &listen, &[&other.url, &url]);
    for _ in 0..5 {
        one.sell();
        other.sell();
    }
    one.is_heard_by(&other);
    other.is_heard_by(&one);
    assert_eq!((one.connections(), other.connections()), (1, 1));
    assert_eq!(held(&one.data, &other.id()), own(&other.data));
    assert_eq!(held(&other.data, &one.id()), own(&one.data));
}
