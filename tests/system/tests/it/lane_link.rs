//! The link between two lanes: what is packed on it, what goes first, and what happens at each of its limits.

use crate::lane_liar::{BYTES, Liar, TEXT, robbed};
use crate::lane_tls::{secured, wss};
use crate::process::{eventually, pause};
use crate::shop::{Lane, Shop, own};
use counterfoil_domain::mesh::pace::PACE_BYTES_MIN;
use counterfoil_protocol::wire::lane::{FRAME_BYTES_MAX, Frame, read};
use counterfoil_replica::compress::stream::{Packer, Unpacker};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

/// Connections of strangers that a lane has at once.
const STRANGERS: usize = 16;

/// Entries of a lane that another one brings: several times as much as may ever be on its way.
const LONG: usize = 12_000;

/// Writes so many entries.
fn write(lane: &Lane, count: usize) {
    let entry = json!({"sku": "TEA", "quantity": "-1", "reason": "a tasting, as there is one every other day"});
    for from in (0..count).step_by(1_000) {
        let entries = Value::Array(vec![entry.clone(); (count - from).min(1_000)]);
        let (status, answer) = lane.daemon.post("/v1/stock", &entries).expect("an answer");
        assert_eq!(status, 200, "{answer}");
    }
}

/// A lane that holds the long journal of another one, which is gone, and a third one whose key was stolen.
fn with_a_long_journal(name: &str) -> (Shop, Lane, String, (String, PathBuf)) {
    let mut shop = Shop::new(name);
    let [one, other, robbed] = shop.lanes("France");
    let (one, other) = (secured(&one, &[]), secured(&other, &[]));
    let robbed = secured(&robbed, &[]);
    let thief = (robbed.id(), robbed.data.clone());
    robbed.daemon.kill();
    write(&other, LONG);
    let (long, data) = (other.id(), other.data.clone());
    other.daemon.kill();
    shop.internet_is_gone();
    let other = Lane::start_at(&data, "wss://127.0.0.1:0", &[&wss(&one)]);
    eventually("the journal is there", || {
        held(&one, &long) >= i64::try_from(LONG).expect("small")
    });
    other.daemon.kill();
    one.is_connected(0);
    (shop, one, long, thief)
}

/// How far a lane holds another one's journal.
fn held(lane: &Lane, of: &str) -> i64 {
    let status = lane.daemon.get("/v1/status");
    let rows = status["mesh"]["journals"]
        .as_array()
        .expect("a list")
        .clone();
    let row = rows.iter().find(|row| row["node_id"] == of);
    row.map_or(0, |row| row["held_seq"].as_i64().expect("a number"))
}

/// Comes in under the name that was stolen, and holds nothing.
fn comes_in(lane: &Lane, (id, data): &(String, PathBuf), compress: &Value) -> Liar {
    let mut liar = Liar::with_certificate_of(id, data, lane);
    liar.hello_with(id, compress);
    liar.say(&json!({"type": "holds", "holds": []}));
    liar.hear("holds");
    liar
}

fn wants(liar: &mut Liar, origin: &str, after: usize) {
    liar.say(&json!({"type": "want", "origin": origin, "after": after}));
}

#[test]
fn a_sale_overtakes_the_long_journal_of_another_lane() {
    let (_shop, one, long, thief) = with_a_long_journal("link-overtakes");
    let mut liar = comes_in(&one, &thief, &json!([]));
    wants(&mut liar, &one.id(), own(&one.data).len());
    wants(&mut liar, &long, 0);
    let (mut bytes, mut largest) = (0, 0);
    let mut has_sold = false;
    loop {
        let (kind, text) = liar.frame();
        let text = String::from_utf8(text).expect("a text");
        if kind != TEXT {
            continue;
        }
        let Ok(Frame::Entry(entry)) = read(&text) else {
            continue;
        };
        if entry.origin.to_string() == one.id() {
            break;
        }
        bytes += entry.size();
        largest = largest.max(entry.size());
        // It acknowledges nothing: the sale does not wait for that either.
        if !has_sold {
            one.sell();
            has_sold = true;
        }
    }
    let most = PACE_BYTES_MIN + largest;
    assert!(bytes > 0 && bytes <= most, "{bytes} bytes before the sale");
}

#[test]
fn what_a_lane_says_is_packed_for_one_that_takes_that_and_for_no_other() {
    let (_shop, one, long, thief) = with_a_long_journal("link-packed");
    for (compress, is_packed) in [(json!([]), false), (json!(["lz9", "zstd"]), true)] {
        let mut liar = comes_in(&one, &thief, &compress);
        wants(&mut liar, &long, 0);
        let mut unpacker = Unpacker::new().expect("memory");
        let (mut entries, mut plain, mut came) = (0, 0, 0);
        while entries < 40 {
            let (kind, bytes) = liar.frame();
            came += bytes.len();
            let text = match kind {
                TEXT => bytes,
                BYTES => unpacker.unpack(&bytes, FRAME_BYTES_MAX).expect("packed"),
                _ => continue,
            };
            plain += text.len();
            let text = String::from_utf8(text).expect("a text");
            if let Frame::Entry(entry) = read(&text).expect("a frame") {
                assert_eq!(
                    (kind == BYTES, entry.origin.to_string()),
                    (is_packed, long.clone())
                );
                entries += 1;
            }
        }
        assert_eq!(came * 3 < plain, is_packed, "{came} of {plain} bytes");
        drop(liar);
        one.is_connected(0);
    }
}

#[test]
fn two_lanes_pack_what_they_say_and_tell_how_much_it_was() {
    let mut shop = Shop::new("link-lanes");
    let [one, other] = shop.lanes("France");
    let one = secured(&one, &[]);
    shop.internet_is_gone();
    write(&one, 2_000);
    let other = secured(&other, &[&wss(&one)]);
    one.is_heard_by(&other);
    one.sell();
    one.is_heard_by(&other);
    assert_eq!(crate::shop::held(&other.data, &one.id()), own(&one.data));
    let status = one.daemon.get("/v1/status");
    let row = &status["mesh"]["peers"][0];
    let bytes = |name: &str| row[name].as_u64().expect("a number");
    let (sent, plain) = (bytes("sent_bytes"), bytes("sent_plain_bytes"));
    assert!(plain > 1_000_000 && sent * 3 < plain, "{sent} of {plain}");
    let figures = one.daemon.get("/metrics");
    let figures = figures.as_str().expect("a text");
    for (name, bytes) in [("sent", sent), ("plain", plain)] {
        let line = format!("counterfoil_node_lanes_{name}_bytes_total {bytes}");
        assert!(figures.contains(&line), "{line} in {figures}");
    }
}

#[test]
fn bytes_that_are_no_frames_end_the_connection_with_malformed() {
    let (_shop, one, thief) = robbed("link-garbage");
    let packed = |text: &[u8]| {
        let packed = Packer::new().and_then(|mut packer| packer.pack(text));
        packed.expect("packed")
    };
    let want = json!({"type": "dance", "steps": "left right ".repeat(100)}).to_string();
    let whole = packed(want.as_bytes());
    let takes = json!(["zstd"]);
    // What is understood stands between what is not.
    let mut liar = comes_in(&one, &thief, &takes);
    liar.send(BYTES, &whole).expect("sent");
    one.is_connected(1);
    let bomb = packed(&vec![b' '; FRAME_BYTES_MAX + 1]);
    for (compress, bytes, says) in [
        (&takes, bomb, "longer than"),
        (&takes, whole[..whole.len() - 3].to_vec(), "not a frame"),
        (&takes, vec![7; 300], "no part of one zstd stream"),
        (&json!([]), whole.clone(), "bytes instead of text"),
    ] {
        let mut liar = comes_in(&one, &thief, compress);
        liar.send(BYTES, &bytes).expect("sent");
        let refused = liar.hear("refused");
        assert_eq!(refused["code"], "malformed", "{refused}");
        let detail = refused["detail"].as_str().expect("a text");
        assert!(detail.contains(says), "{says}: {detail}");
        one.is_connected(0);
        eventually("it is told", || one.has_logged("lane_refused", says));
    }
    // Of somebody who is not let in yet nothing is unpacked.
    let (id, data) = &thief;
    let mut stranger = Liar::with_certificate_of(id, data, &one);
    stranger.hello_with(id, &takes);
    stranger.send(BYTES, &whole).expect("sent");
    let refused = stranger.hear("refused");
    assert_eq!(refused["detail"], "it sent bytes instead of text");
}

#[test]
fn a_frame_that_is_too_long_ends_the_connection_before_it_has_come() {
    let (_shop, one, thief) = robbed("link-long");
    let mut liar = comes_in(&one, &thief, &json!([]));
    one.is_connected(1);
    liar.announce(FRAME_BYTES_MAX + 1);
    let refused = liar.hear("refused");
    assert_eq!(refused["code"], "malformed", "{refused}");
    one.is_connected(0);
}

#[test]
fn a_frame_that_takes_longer_than_silence_may_last_is_waited_for() {
    let (_shop, one, thief) = robbed("link-drip");
    let mut liar = comes_in(&one, &thief, &json!([]));
    // After the first thing that is said silence may last for five seconds.
    let dance = json!({"type": "dance", "steps": "left right ".repeat(10_000)}).to_string();
    liar.say(&json!({"type": "dance", "steps": []}));
    liar.say_slowly(&dance, 20, Duration::from_millis(400));
    one.sell();
    wants(&mut liar, &one.id(), own(&one.data).len() - 1);
    loop {
        let (kind, text) = liar.frame();
        let text = String::from_utf8(text).expect("a text");
        if kind == TEXT && matches!(read(&text), Ok(Frame::Entry(_))) {
            break;
        }
    }
    assert!(!one.has_logged("lane_lost", "nothing was heard"));
}

#[test]
fn a_peer_that_asks_and_never_reads_is_put_out() {
    let (_shop, one, long, thief) = with_a_long_journal("link-deaf");
    let liar = RefCell::new(comes_in(&one, &thief, &json!([])));
    let want = json!({"type": "want", "origin": long, "after": 0}).to_string();
    eventually("it is put out", || {
        // Each time it gets the same once more.
        for _ in 0..50 {
            if liar.borrow_mut().send(TEXT, want.as_bytes()).is_err() {
                break;
            }
        }
        one.has_logged("lane_lost", "takes nothing that is sent to it")
    });
    assert_eq!(one.connections(), 0);
    one.sell();
}

#[test]
fn of_strangers_there_are_only_so_many_at_once() {
    let mut shop = Shop::new("link-strangers");
    let [one, other] = shop.lanes("France");
    let one = secured(&one, &[]);
    shop.internet_is_gone();
    let address = one.url.strip_prefix("ws://").expect("an address");
    let come = || TcpStream::connect(address).expect("it listens");
    let strangers: Vec<TcpStream> = (0..STRANGERS).map(|_| come()).collect();
    eventually("one more is closed at once", || {
        let mut one_more = come();
        let wait = Duration::from_millis(300);
        one_more.set_read_timeout(Some(wait)).expect("set");
        let is_closed = match one_more.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        is_closed && strangers.iter().all(is_open)
    });
    drop(strangers);
    pause(Duration::from_millis(100));
    let other = secured(&other, &[&wss(&one)]);
    other.is_connected(1);
}

/// Whether the other end has not closed it.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("set");
    let peeked = stream.peek(&mut [0]);
    matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
}
