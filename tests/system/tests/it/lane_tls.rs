//! Lanes with certificates: what they say is for each other alone, and who has no right to be there stays out (P10).

use crate::process::{eventually, hub};
use crate::relay::Relay;
use crate::shop::{Lane, Shop, another_code, before_certificates, held, own, settings};
use crate::store::column;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const YEAR_MS: i64 = 365 * DAY_MS;
/// What failed is tried again at once.
pub(crate) const SOON: &str = "backoff_first_ms = 50\nbackoff_last_ms = 300\n";

/// A lane that speaks TLS only, with its certificate.
pub(crate) fn secured(data: &Path, peers: &[&str]) -> Lane {
    let lane = Lane::start_at(data, "wss://127.0.0.1:0", peers);
    eventually("it has a certificate", || has_certificate(&lane));
    lane
}

fn has_certificate(lane: &Lane) -> bool {
    lane.daemon.get("/v1/status")["mesh"]["certificate_expires_ms"].is_i64()
}

pub(crate) fn wss(lane: &Lane) -> String {
    lane.url.replace("ws://", "wss://")
}

fn is_secured(lane: &Lane) -> bool {
    lane.has_logged("lane_connected", "\"secured\":true")
}

/// Puts a clock ahead, or back; a program that runs sees it at once.
fn clock(data: &Path, ahead_ms: i64) {
    std::fs::write(data.with_extension("clock"), ahead_ms.to_string()).expect("written");
}

pub(crate) fn kept(data: &Path) -> i64 {
    let rows: Vec<i64> = column(&data.join("local.db"), "SELECT count(*) FROM peer_entry");
    rows[0]
}

/// What goes over a line between two lanes, as whoever listens there has it.
struct Recorder {
    url: String,
    said: Arc<Mutex<Vec<Vec<u8>>>>,
    /// The next byte that goes up is another one.
    tampers: Arc<AtomicBool>,
}

impl Recorder {
    fn to(lane: &Lane) -> Self {
        let to = lane
            .url
            .strip_prefix("ws://")
            .expect("an address")
            .to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("ws://{}", listener.local_addr().expect("bound"));
        let said: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let tampers: Arc<AtomicBool> = Arc::default();
        let (all, damages) = (Arc::clone(&said), Arc::clone(&tampers));
        thread::spawn(move || {
            for from in listener.incoming().flatten() {
                let to = TcpStream::connect(&to).expect("the lane is there");
                let copies = (from.try_clone(), to.try_clone());
                let (from_too, to_too) = (copies.0.expect("a copy"), copies.1.expect("a copy"));
                let (up, down) = (Arc::clone(&all), Arc::clone(&all));
                let damages = Arc::clone(&damages);
                thread::spawn(move || pass(from, to, &up, &damages));
                thread::spawn(move || pass(to_too, from_too, &down, &AtomicBool::new(false)));
            }
        });
        Self { url, said, tampers }
    }

    fn recorded(&self) -> Vec<Vec<u8>> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }

    /// Whether somebody who listened can read this.
    fn has_heard(&self, text: &str) -> bool {
        let has = |said: &Vec<u8>| said.windows(text.len()).any(|it| it == text.as_bytes());
        self.recorded().iter().any(has)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, said: &Mutex<Vec<Vec<u8>>>, tampers: &AtomicBool) {
    let number = {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.push(Vec::new());
        said.len() - 1
    };
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if tampers.swap(false, Ordering::SeqCst) {
            bytes[count - 1] ^= 1;
        }
        said.lock().unwrap_or_else(PoisonError::into_inner)[number].extend(&bytes[..count]);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // The other end is told that nothing more comes; it may be gone.
    let _gone = to.shutdown(Shutdown::Both);
}

#[test]
fn what_lanes_with_certificates_say_is_read_by_nobody_else() {
    let mut shop = Shop::new("tls-wire");
    let [one, other, plain, bare] = shop.lanes("France");
    let one = secured(&one, &[]);
    let line = Recorder::to(&one);
    let other = secured(&other, &[&line.url.replace("ws://", "wss://")]);
    shop.internet_is_gone();
    one.sell();
    other.sell();
    one.is_heard_by(&other);
    other.is_heard_by(&one);
    assert!(is_secured(&one) && is_secured(&other));
    assert_eq!(held(&other.data, &one.id()), own(&one.data));
    assert_eq!(held(&one.data, &other.id()), own(&other.data));
    let names = ["fromTerminal", "hello", "TEA", "counterfoil"].map(str::to_owned);
    for text in names.iter().chain(&[one.id(), other.id()]) {
        assert!(!line.has_heard(text), "{text} can be read on the way");
    }
    // The listener listens: lanes of one machine without certificates are heard.
    before_certificates(&plain);
    before_certificates(&bare);
    let plain = Lane::start(&plain, &[]);
    let line = Recorder::to(&plain);
    let _bare = Lane::start(&bare, &[&line.url]);
    eventually("it is heard", || line.has_heard("\"type\":\"hello\""));
}

#[test]
fn what_is_replayed_or_changed_on_the_way_is_refused_and_nothing_of_it_applied() {
    let mut shop = Shop::new("tls-replay");
    let [one, other] = shop.lanes("France");
    settings(&other, SOON);
    let one = secured(&one, &[]);
    let line = Recorder::to(&one);
    let other = secured(&other, &[&line.url.replace("ws://", "wss://")]);
    shop.internet_is_gone();
    other.sell();
    other.is_heard_by(&one);
    let before = kept(&one.data);
    let address = one.url.strip_prefix("ws://").expect("an address");
    for said in line.recorded() {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("set");
        // It may be closed before all of it is there.
        let _cut = stream.write_all(&said);
        let mut answer = Vec::new();
        let _closed = stream.read_to_end(&mut answer);
    }
    eventually("it is told", || {
        one.has_logged("lane_refused", "damaged, replayed or made up")
    });
    assert_eq!(kept(&one.data), before);
    assert_eq!(one.connections(), 1, "the one that was there");
    // One byte of a connection that was good so far.
    let told = || {
        let rows: Vec<i64> = column(
            &one.data.join("local.db"),
            "SELECT count(*) FROM sync_log WHERE event = 'lane_lost'",
        );
        rows[0]
    };
    let lost = told();
    line.tampers.store(true, Ordering::SeqCst);
    other.sell();
    eventually("the connection ends", || told() > lost);
    other.is_heard_by(&one);
    assert_eq!(held(&one.data, &other.id()), own(&other.data));
}

#[test]
fn a_lane_of_another_shop_and_one_without_a_certificate_stay_out() {
    let mut shop = Shop::new("tls-strangers");
    let [one, friend, bare] = shop.lanes("France");
    let [stranger] = shop.lanes("Spain");
    let one = secured(&one, &[]);
    let stranger = secured(&stranger, &[&one.url]);
    let friend = secured(&friend, &[]);
    shop.internet_is_gone();
    before_certificates(&bare);
    let bare = Lane::start(&bare, &[&one.url]);
    one.sell();
    for (refused, says, told) in [
        (&stranger, "not of this shop's authority", "not of"),
        (&bare, "it came without TLS", "it came without TLS"),
    ] {
        refused.sell();
        let stays_out = || {
            let either = one.has_logged("lane_refused", says)
                || one.has_logged("lane_refused", "not of its shop's authority");
            either && refused.has_logged("lane_refused", told)
        };
        eventually("it is refused and told so", stays_out);
        assert_eq!((one.connections(), refused.connections()), (0, 0));
        assert_eq!((kept(&one.data), kept(&refused.data)), (0, 0));
    }
    let address = friend
        .url
        .strip_prefix("ws://")
        .expect("an address")
        .to_owned();
    let data = friend.data.clone();
    friend.daemon.kill();
    let listen = format!("wss://{address}");
    let friend = Lane::start_at(&data, &listen, &[&wss(&one)]);
    one.is_heard_by(&friend);
}

#[test]
fn a_lane_whose_certificate_has_ended_is_refused_until_it_has_the_next() {
    let mut shop = Shop::new("tls-ended");
    let [one, late] = shop.lanes("France");
    settings(&late, SOON);
    // Long ago, by the hub's clock and its own.
    clock(&shop.hub_data, -200 * DAY_MS);
    clock(&late, -200 * DAY_MS);
    let late = secured(&late, &[]);
    let (data, address) = (late.data.clone(), wss(&late));
    late.daemon.kill();
    clock(&shop.hub_data, 0);
    clock(&data, 0);
    let one = secured(&one, &[&address]);
    shop.internet_is_gone();
    let late = Lane::start_at(&data, &address, &[]);
    one.sell();
    late.sell();
    eventually("it is refused", || {
        one.has_logged("lane_refused", "its certificate has ended")
    });
    eventually("and told so", || {
        late.has_logged("lane_refused", "this lane's certificate has ended")
    });
    assert_eq!((one.connections(), late.connections()), (0, 0));
    assert_eq!((kept(&one.data), kept(&late.data)), (0, 0));
    shop.internet_is_back();
    late.is_heard_by(&one);
    one.is_heard_by(&late);
}

#[test]
fn a_revoked_lane_is_put_out_also_by_a_lane_that_hears_of_it_from_another() {
    let mut shop = Shop::new("tls-revoked");
    let [one, revoked] = shop.lanes("France");
    let line = Relay::to(&shop.hub_url);
    let code = another_code(&shop.hub_data, "France");
    let far = shop.lane("far", &code, &line.url);
    for data in [&one, &revoked, &far] {
        settings(data, SOON);
    }
    let one = secured(&one, &[]);
    let far = secured(&far, &[&wss(&one)]);
    let revoked = secured(&revoked, &[&wss(&one), &wss(&far)]);
    one.is_connected(2);
    far.is_connected(2);
    // The internet is gone for this one alone.
    line.go_dark();
    let id = revoked.id();
    hub(&shop.hub_data, &["node", "revoke", &id]).succeeds();
    one.sell();
    for lane in [&one, &far] {
        eventually("it is put out", || lane.connections() == 1);
        eventually("and it is said why", || {
            lane.has_logged("lanes_revoked", &id)
                && lane.has_logged("lane_refused", "the hub has revoked it")
        });
    }
    revoked.sell();
    eventually("it is told so", || {
        revoked.has_logged("lane_refused", "the hub has revoked it")
    });
    let journal = own(&revoked.data).len();
    for lane in [&one, &far] {
        assert!(held(&lane.data, &id).len() < journal, "nothing more of it");
    }
    // A restart forgets nothing, also without the hub.
    shop.internet_is_gone();
    let data = far.data.clone();
    far.daemon.kill();
    let far = Lane::start_at(&data, "wss://127.0.0.1:0", &[&wss(&one), &wss(&revoked)]);
    eventually("still", || {
        far.has_logged("lane_refused", "the hub has revoked it") && far.connections() == 1
    });
}

#[test]
fn certificates_are_renewed_while_lanes_are_connected_and_nothing_is_lost() {
    let mut shop = Shop::new("tls-renewed");
    let [one, other] = shop.lanes("France");
    let one = secured(&one, &[]);
    let other = secured(&other, &[&wss(&one)]);
    one.is_connected(1);
    let expires = |lane: &Lane| {
        let status = lane.daemon.get("/v1/status");
        status["mesh"]["certificate_expires_ms"]
            .as_i64()
            .expect("one")
    };
    let before = [expires(&one), expires(&other)];
    clock(&shop.hub_data, 40 * DAY_MS);
    for _ in 0..5 {
        one.sell();
        other.sell();
    }
    for (lane, before) in [&one, &other].into_iter().zip(before) {
        eventually("it has the next", || expires(lane) > before + 39 * DAY_MS);
    }
    one.is_heard_by(&other);
    other.is_heard_by(&one);
    assert_eq!((one.connections(), other.connections()), (1, 1));
    assert!(!one.has_logged("lane_lost", ""), "over one connection");
    shop.internet_is_gone();
    let (data, peer) = (other.data.clone(), wss(&one));
    other.daemon.kill();
    let other = Lane::start_at(&data, "wss://127.0.0.1:0", &[&peer]);
    other.sell();
    other.is_heard_by(&one);
    assert_eq!(held(&one.data, &other.id()), own(&other.data));
}

#[test]
fn a_certificate_comes_though_the_answer_with_the_first_is_lost_and_is_of_the_same_key() {
    let shop = Shop::new("tls-lost");
    let line = Relay::to(&shop.hub_url);
    let code = crate::process::join_code(&shop.hub_data, "France");
    line.lose_answer_of("/v1/lane-certificate");
    let data = shop.lane("France-0", &code, &line.url);
    settings(&data, SOON);
    let lane = Lane::start(&data, &[]);
    eventually("the answer is lost", || line.has_lost_it());
    let file = data.join(format!("credentials/counterfoil-node-{}-lane", lane.id()));
    let key = std::fs::read(&file).expect("kept before it was asked with");
    lane.sell();
    eventually("it has a certificate", || has_certificate(&lane));
    assert_eq!(std::fs::read(&file).expect("kept"), key);
}

#[test]
fn a_till_whose_clock_is_years_off_meets_the_others() {
    let mut shop = Shop::new("tls-clock");
    let [one, ahead] = shop.lanes("France");
    clock(&ahead, 10 * YEAR_MS);
    let one = secured(&one, &[]);
    let ahead = secured(&ahead, &[&wss(&one)]);
    ahead.is_heard_by(&one);
    shop.internet_is_gone();
    // Its battery dies, and nobody tells it the time.
    let mut ahead = ahead;
    for wrong in [-20 * YEAR_MS, 30 * YEAR_MS] {
        let data = ahead.data.clone();
        ahead.daemon.kill();
        one.is_connected(0);
        clock(&data, wrong);
        ahead = Lane::start_at(&data, "wss://127.0.0.1:0", &[&wss(&one)]);
        ahead.sell();
        ahead.is_heard_by(&one);
    }
    assert_eq!(held(&one.data, &ahead.id()), own(&ahead.data));
}

#[test]
fn lanes_with_a_secret_go_over_to_certificates_one_by_one() {
    let mut shop = Shop::new("tls-rolling");
    let [one, other] = shop.lanes("France");
    for data in [&one, &other] {
        let file = data.join("lanes.secret");
        std::fs::write(&file, "s".repeat(40)).expect("written");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&file, private).expect("set");
        settings(
            data,
            &format!("peer_secret_file = \"lanes.secret\"\n{SOON}"),
        );
    }
    let one = Lane::start(&one, &[]);
    eventually("it has a certificate", || has_certificate(&one));
    shop.internet_is_gone();
    before_certificates(&other);
    let other = Lane::start(&other, &[&one.url]);
    other.sell();
    other.is_heard_by(&one);
    assert!(!is_secured(&one), "the other has no certificate yet");
    shop.internet_is_back();
    eventually("they meet anew", || is_secured(&one) && is_secured(&other));
    other.sell();
    other.is_heard_by(&one);
    assert_eq!(held(&one.data, &other.id()), own(&other.data));
}
