//! Lanes at the two ends of a line on which everything takes its time, and somebody who connects and says nothing.

use crate::lane_tls::{SOON, secured, wss};
use crate::process::{length_of, pause};
use crate::shop::{Lane, Shop, held, own, settings};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What a byte takes from one end to the other, each way.
const DELAY: Duration = Duration::from_secs(2);

/// Longer than a lane waits for a sign of life of another.
const QUIET: Duration = Duration::from_secs(20);

/// A line to a lane; its address.
fn slow_line(lane: &Lane) -> String {
    let to = lane
        .url
        .strip_prefix("ws://")
        .expect("an address")
        .to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("wss://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for from in listener.incoming().flatten() {
            let to = TcpStream::connect(&to).expect("the lane is there");
            let copies = (from.try_clone(), to.try_clone());
            delay(from, copies.1.expect("a copy"));
            delay(to, copies.0.expect("a copy"));
        }
    });
    url
}

/// Hands on each piece after the delay, in order, however many are on their way.
#[expect(clippy::disallowed_methods, reason = "real processes run in real time")]
fn delay(mut from: TcpStream, mut to: TcpStream) {
    let (give, take) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut bytes = [0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let due = Instant::now() + DELAY;
            if give.send((due, bytes[..count].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        while let Ok((due, piece)) = take.recv() {
            pause(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        // The other end may be gone.
        let _gone = to.shutdown(Shutdown::Both);
    });
}

#[test]
fn lanes_meet_and_stay_connected_when_everything_between_them_takes_two_seconds_each_way() {
    let mut shop = Shop::new("lanes-slow");
    let [one, other] = shop.lanes("France");
    for data in [&one, &other] {
        settings(data, SOON);
    }
    let one = secured(&one, &[]);
    let other = secured(&other, &[&slow_line(&one)]);
    shop.internet_is_gone();
    one.sell();
    other.sell();
    one.is_heard_by(&other);
    other.is_heard_by(&one);
    // Nothing is said that is not a sign of life.
    pause(QUIET);
    assert_eq!((one.connections(), other.connections()), (1, 1));
    for lane in [&one, &other] {
        assert!(!lane.has_logged("lane_lost", ""), "over one connection");
    }
    // And once more, with nothing that lacks on either side.
    let data = other.data.clone();
    other.daemon.kill();
    one.is_connected(0);
    let other = Lane::start_at(&data, "wss://127.0.0.1:0", &[&slow_line(&one)]);
    one.is_connected(1);
    pause(QUIET);
    assert_eq!((one.connections(), other.connections()), (1, 1));
    other.sell();
    other.is_heard_by(&one);
    assert_eq!(held(&one.data, &other.id()), own(&other.data));
    assert_eq!(one.count("lane_lost"), 1, "the kill");
}

#[test]
fn who_connects_and_says_nothing_or_not_enough_is_put_out_soon() {
    let shop = Shop::new("lanes-silent");
    let [one, other] = shop.lanes("France");
    let one = secured(&one, &[]);
    let address = one.url.strip_prefix("ws://").expect("an address");
    for said in [&b""[..], b"\x16\x03\x01", b"GET / HTTP/1.1\r\n"] {
        let mut stranger = TcpStream::connect(address).expect("it listens");
        stranger.write_all(said).expect("said");
        let took = length_of(|| {
            let mut rest = Vec::new();
            let _closed = stranger.read_to_end(&mut rest);
        });
        assert!(took < Duration::from_secs(10), "{took:?} after {said:?}");
    }
    let other = secured(&other, &[&wss(&one)]);
    other.is_connected(1);
}
