//! Lanes of one shop as processes: what one sells is on another's disk, whatever dies, and strangers stay out.

use crate::process::{Daemon, NODE, eventually, fence_dir, length_of, node, pause, till};
use crate::relay::Relay;
use crate::shop::{Lane, PATIENT, Shop, another_code, before_certificates, held, own, settings};
use crate::store::{assert_whole, column};
use crate::world::{copy, replace};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

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
    assert!(lane.has_logged("lane_behind", &lane.id()), "it has less");
    assert!(
        !lane.has_logged("lane_unreadable", ""),
        "nothing is damaged"
    );
}

#[test]
fn a_lane_killed_between_keeping_and_acknowledging_loses_and_doubles_nothing() {
    let mut shop = Shop::new("lanes-killed");
    let [one, other] = shop.lanes("France");
    settings(&one, "second_copy_wait_ms = 700\n");
    shop.internet_is_gone();
    let other = Lane::start(&other, &[]);
    let line = Relay::to(&other.url.replace("ws://", "http://"));
    let one = Lane::start(&one, &[&line.url.replace("http://", "ws://")]);
    one.is_connected(1);
    one.is_heard_by(&other);
    let id = one.id();

    // What the other lane says from now on is not heard: the sale waits for as long as it should, and goes on.
    line.stop_after(0);
    let mut sale = Value::Null;
    let waited = length_of(|| sale = one.sell());
    assert_eq!(sale["single_copy"], true);
    assert!(waited >= Duration::from_millis(700), "{waited:?}");
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
    let mesh = |lane: &Lane| lane.daemon.get("/v1/status")["mesh"].clone();
    assert_eq!(mesh(&one)["listen"], Value::Null);
    let why = mesh(&one)["listen_error"].to_string();
    assert!(why.contains(&listen), "the status says why: {why}");
    let told = node(&one.data, &["status"]).stdout;
    assert!(told.contains("no other lane reaches this one"), "{told}");
    drop(taken);
    eventually("the port is open", || mesh(&one)["listen"] == *one.url);
    assert_eq!(mesh(&one)["listen_error"], Value::Null);
    let other = Lane::start(&other, &[&one.url]);
    one.is_heard_by(&other);
}

#[test]
fn a_till_meets_the_others_as_soon_as_it_is_activated() {
    let shop = Shop::new("lanes-trial");
    let [one] = shop.lanes("France");
    let one = Lane::start(&one, &[]);
    let line = Relay::to(&one.url.replace("ws://", "http://"));
    let trial = shop.dir.join("trial");
    till(&trial);
    // Nothing that comes by the clock leads to it.
    settings(&trial, "sync_interval_ms = 3_600_000\n");
    let trial = Lane::start(&trial, &[&line.url.replace("http://", "ws://")]);
    for _ in 0..5 {
        trial.sell();
        pause(Duration::from_millis(200));
    }
    assert_eq!(line.opened(), 0, "in trial nobody is asked");
    let code = another_code(&shop.hub_data, "France");
    node(&trial.data, &["activate", "--join", &code]).succeeds();
    trial.is_heard_by(&one);
    assert_eq!(line.opened(), 1, "the first call was answered");
    assert_eq!(
        held(&one.data, &trial.id()),
        own(&trial.data),
        "what trial left behind too"
    );
}

/// Connections that a lane was called on and that are open, as the kernel has them.
fn open_at(url: &str) -> usize {
    let (_, port) = url.rsplit_once(':').expect("a port");
    let port: u16 = port.parse().expect("a port");
    let local = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let rows = table.lines().map(|row| row.split_whitespace().collect());
    let is_open = |row: &Vec<&str>| row[1].ends_with(&local) && row[3] == "01";
    rows.skip(1).filter(is_open).count()
}

#[test]
fn lanes_that_dial_each_other_keep_one_connection() {
    let mut shop = Shop::new("lanes-crossed");
    let [one, other] = shop.lanes("France");
    shop.internet_is_gone();
    for data in [&one, &other] {
        settings(data, "backoff_first_ms = 50\nbackoff_last_ms = 100\n");
    }
    let first = Lane::start(&one, &[]);
    let listen = first.url.replace("ws://", "");
    first.daemon.kill();
    let url = format!("ws://{listen}");
    let other = Lane::start(&other, &[&url]);
    // One that dials itself too: one list may serve all lanes.
    let one = Lane::start_at(&one, &listen, &[&other.url, &url]);
    one.is_heard_by(&other);
    other.is_heard_by(&one);
    let open = || open_at(&one.url) + open_at(&other.url);
    eventually("one of the two calls is over", || open() == 1);
    let met = || [&one, &other].map(|lane| lane.count("lane_connected"));
    let before = met();
    // Many times as long as either waits before it calls again.
    for _ in 0..20 {
        one.sell();
        other.sell();
        pause(Duration::from_millis(100));
        assert_eq!(met(), before, "they met anew");
    }
    assert_eq!(open(), 1);
    one.is_heard_by(&other);
    other.is_heard_by(&one);
    assert_eq!((one.connections(), other.connections()), (1, 1));
    assert_eq!(held(&one.data, &other.id()), own(&other.data));
    assert_eq!(held(&other.data, &one.id()), own(&one.data));
}

#[test]
fn a_stranger_who_announces_much_is_refused_before_it_has_said_it() {
    let mut shop = Shop::new("lanes-flood");
    let [one] = shop.lanes("France");
    shop.internet_is_gone();
    let one = Lane::start(&one, &[]);
    let address = one.url.replace("ws://", "");
    let mut stranger = TcpStream::connect(&address).expect("connected");
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stranger.write_all(request.as_bytes()).expect("asked");
    let mut answer = BufReader::new(stranger.try_clone().expect("the same line"));
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        answer.read_line(&mut line).expect("an answer");
    }
    // A text of 8 MiB less one byte, of which a part comes, and then no more.
    let size: u64 = 8 * 1024 * 1024 - 1;
    let head = [&[0x81, 0xff], &size.to_be_bytes()[..], &[0; 4]].concat();
    stranger.write_all(&head).expect("announced");
    // It may be closed meanwhile.
    let _sent = stranger.write_all(&vec![b' '; 1024 * 1024]);
    let says = "it says too much before it is known";
    eventually("it is refused", || one.has_logged("lane_refused", says));
    assert_eq!(one.connections(), 0);
}
