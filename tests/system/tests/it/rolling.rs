//! L15, X5: a chain is upgraded while it trades, one process after the other. The older release is today's
//! code held to older schemas (`system-old`): this proves what the schemas do to each other, not that an older
//! program had no mistakes of its own. Files of each released schema are in `saved.rs`, and some tills begin with them here.

use crate::process::{Daemon, HUB, NODE, eventually, hub, join_code, node, pause, request};
use crate::proof::at_midday;
use crate::saved::{Saved, furnish};
use crate::store::{assert_whole, column, receipt_ids};
use crate::world::at_hub;
use counterfoil_domain::env::document_id;
use counterfoil_migrate::Kind;
use counterfoil_protocol::gate::Schemas;
use counterfoil_testkit::{SeededRandom, TempDir};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const TILLS: usize = 10;
const PRICE_MINOR: i64 = 255;
/// Between two sales of a till: ten tills trade all the time, and two processors are not kept busy by that alone.
const BETWEEN_SALES: Duration = Duration::from_millis(150);

/// What a program of so many releases before knows.
fn release(back: i32) -> Schemas {
    Schemas {
        book: Kind::Book.schema_version() - back,
        catalog: Kind::Catalog.schema_version() - back,
    }
}

/// What a program of the release before knows.
fn former() -> String {
    release(1).to_header()
}

/// What a till sold, as whoever stands at it knows: the id of each receipt and its total.
type Account = BTreeMap<String, i64>;

/// A till in a process, and somebody who sells at it all the time.
struct Till {
    data: PathBuf,
    daemon: Daemon,
    account: Arc<Mutex<Account>>,
    /// What it began with.
    saved: Option<Saved>,
    cashier: Option<JoinHandle<()>>,
}

impl Till {
    /// A till of the release that left the files it begins with, or of the one before today's.
    fn open(
        data: PathBuf,
        lane: usize,
        closing: &Arc<AtomicBool>,
        code: &str,
        files: Option<&str>,
    ) -> Self {
        let saved = files.map(|name| Saved::restore(name, &data));
        let schemas = saved.as_ref().map_or(release(1), |saved| saved.schemas);
        let daemon = if schemas == release(0) {
            Daemon::node(&data)
        } else {
            Daemon::old("node", &schemas.to_header(), &data, "127.0.0.1:0")
        };
        let (status, answer) = daemon
            .post("/v1/activate", &json!({"join": code}))
            .expect("an answer");
        assert_eq!(status, 200, "{answer}");
        let before = saved.as_ref().map(|saved| saved.book.receipts.clone());
        let account = Arc::new(Mutex::new(before.unwrap_or_default()));
        let (url, kept, closing) = (
            daemon.url.clone(),
            Arc::clone(&account),
            Arc::clone(closing),
        );
        let cashier = std::thread::spawn(move || {
            let random = SeededRandom::new(lane.try_into().expect("few"));
            let mut quantity = 0;
            while !closing.load(Ordering::Relaxed) {
                quantity = quantity % 7 + 1;
                let id = document_id(1, &random).to_string();
                sell(&url, &id, quantity);
                kept.lock()
                    .expect("no panic")
                    .insert(id, quantity * PRICE_MINOR);
                pause(BETWEEN_SALES);
            }
        });
        Self {
            data,
            daemon,
            account,
            saved,
            cashier: Some(cashier),
        }
    }

    /// The program of today takes the place of the one that runs, at the same address.
    fn upgrade(&mut self) {
        let listen = self.daemon.url.trim_start_matches("http://").to_owned();
        self.daemon.stop();
        self.daemon = Daemon::start(NODE, &self.data, &listen);
    }

    fn name_product(&self, row: &str, name: &str) {
        let (path, body) = (
            format!("/v1/catalog/products/{row}"),
            json!({"columns": {"name": name}}),
        );
        let body = body.to_string();
        let answer = request(&self.daemon.url, "PUT", &path, &[], body.as_bytes());
        let (status, answer) = answer.expect("an answer");
        assert_eq!(status, 200, "{answer}");
    }

    fn knows(&self, path: &str) -> bool {
        let answer = request(&self.daemon.url, "GET", path, &[], b"");
        answer.expect("an answer").0 == 200
    }

    /// Receipts, those it began with included.
    fn sold(&self) -> usize {
        self.account.lock().expect("no panic").len()
    }

    fn began_with(&self) -> usize {
        self.saved
            .as_ref()
            .map_or(0, |saved| saved.book.receipts.len())
    }
}

/// Sells until it is acknowledged: the same sale, whichever program answers.
fn sell(url: &str, id: &str, quantity: i64) {
    let sale = json!({"id": id, "tender": "cash",
        "lines": [{"sku": "TEA", "quantity": quantity.to_string(), "unit_price": "2.55"}]});
    // Nobody answers while it is being upgraded.
    let mut answer = request(url, "POST", "/v1/sales", &[], sale.to_string().as_bytes());
    while answer.is_err() {
        pause(Duration::from_millis(20));
        answer = request(url, "POST", "/v1/sales", &[], sale.to_string().as_bytes());
    }
    let (status, answer) = answer.expect("an answer");
    assert_eq!(status, 200, "{answer}");
}

/// A hub of the release before, and ten tills that trade: of that release too, but for those that begin with saved files.
struct Chain {
    _dir: TempDir,
    hub_data: PathBuf,
    hub: Daemon,
    tills: Vec<Till>,
    closing: Arc<AtomicBool>,
}

impl Chain {
    /// The tills of some lanes begin with saved files.
    fn open(folder: &str, files: &[(usize, &str)]) -> Self {
        let dir = TempDir::new(folder);
        let hub_data = dir.join("hub");
        let old = Daemon::old("hub", &former(), &hub_data, "127.0.0.1:0");
        let closing = Arc::new(AtomicBool::new(false));
        at_midday(dir.path());
        furnish(&hub_data);
        let tills = (1..=TILLS).map(|lane| {
            let data = dir.join(&format!("till-{lane}"));
            std::fs::create_dir_all(&data).expect("a folder");
            // The same for all, whatever minute it is meanwhile.
            std::fs::copy(dir.join("node.toml"), data.join("node.toml")).expect("copied");
            let code = join_code(&hub_data, "Leith");
            let files = files.iter().find(|(of, _)| *of == lane);
            let till = Till::open(data, lane, &closing, &code, files.map(|(_, name)| *name));
            till.name_product(&format!("P{lane}"), "as the release before names it");
            till
        });
        let tills = tills.collect();
        let chain = Self {
            _dir: dir,
            hub_data,
            hub: old,
            tills,
            closing,
        };
        eventually(
            "all tills trade, and the hub counts what it can read",
            || {
                let (counted, named) = (chain.counted(), chain.named());
                (1..=TILLS).zip(&chain.tills).all(|(lane, till)| {
                    let kept = named.get(&name(lane)).is_some_and(|book| book == "kept");
                    let counted = usize::try_from(counted[lane - 1]).expect("a count");
                    till.sold() > till.began_with() && (kept || counted > till.began_with())
                })
            },
        );
        chain
    }

    /// The next till has today's program, and somebody works with it at once.
    fn upgrade_till(&mut self, lane: usize) {
        let till = &mut self.tills[lane - 1];
        till.upgrade();
        till.name_product(&format!("P{lane}"), "as today's release names it");
    }

    /// A till that was upgraded after the hub has its catalog, and goes on selling.
    fn assert_follows(&self, lane: usize) {
        let (till, sold) = (&self.tills[lane - 1], self.tills[lane - 1].sold());
        eventually("the catalog follows", || {
            till.knows("/v1/catalog/suppliers/S1")
        });
        eventually("it goes on selling", || till.sold() > sold);
    }

    fn upgrade_hub(&mut self) {
        let listen = self.hub.url.trim_start_matches("http://").to_owned();
        self.hub.stop();
        self.hub = Daemon::start(HUB, &self.hub_data, &listen);
    }

    /// Consolidated sales of each till.
    fn counted(&self) -> Vec<i64> {
        let report = hub(
            &self.hub_data,
            &["report", "sales", "--by", "node", "--json"],
        )
        .json();
        let rows = report.as_array().expect("a list");
        (1..=TILLS)
            .map(|lane| {
                let own = rows.iter().filter(|row| row["name"] == name(lane));
                own.filter_map(|row| row["count"].as_i64()).sum()
            })
            .collect()
    }

    fn gate(&self) -> Value {
        hub(&self.hub_data, &["gate", "show", "--json"]).json()
    }

    /// The tills that the hub names as being of another release, each with what becomes of its book.
    fn named(&self) -> BTreeMap<String, String> {
        let report = self.gate();
        let tills = report["tills"].as_array().expect("a list").iter();
        tills
            .map(|till| {
                let text = |field: &str| till[field].as_str().expect("a text").to_owned();
                (text("till"), text("book"))
            })
            .collect()
    }

    /// Everybody goes home; then every sale is at the hub once, proved, and all have the same catalog.
    fn close_and_judge(mut self) {
        self.closing.store(true, Ordering::Relaxed);
        let mut account = Account::new();
        let mut takings: BTreeMap<String, i64> = BTreeMap::new();
        for till in &mut self.tills {
            let cashier = till.cashier.take().expect("one");
            cashier.join().expect("no panic");
            let closed = node(&till.data, &["close-day", "--json"]).json();
            let today = closed["closure"]["day"].as_str().expect("a day");
            let own = till.account.lock().expect("no panic").clone();
            *takings.entry(today.to_owned()).or_default() += own.values().sum::<i64>();
            if let Some(saved) = &till.saved {
                *takings.entry(today.to_owned()).or_default() -= saved.total();
                *takings.entry(saved.day.clone()).or_default() += saved.total();
            }
            for (id, total) in own {
                assert_eq!(account.insert(id, total), None, "of one till");
            }
        }
        for till in &self.tills {
            eventually(
                "everything is counted, and the catalog is the hub's",
                || {
                    let synced = till.daemon.post("/v1/sync", &Value::Null);
                    let status = till.daemon.get("/v1/status");
                    synced.is_ok_and(|(code, _)| code == 200)
                        && status["hub_consolidated_seq"] == status["journal_seq"]
                        && till.daemon.get("/v1/catalog-digest")["digest"] == self.digest()
                },
            );
        }
        assert_eq!(at_hub(&self.hub_data), account, "each sale, with its total");
        let rows: Vec<i64> = column(
            &self.hub_data.join("hub.db"),
            "SELECT count(*) FROM receipt",
        );
        assert_eq!(rows, [i64::try_from(account.len()).expect("few")], "once");
        let saved = self.tills.iter().filter_map(|till| till.saved.as_ref());
        let saved: i64 = saved.map(|saved| saved.book.others).sum();
        let status = hub(&self.hub_data, &["status", "--json"]).json();
        let own = i64::try_from(2 * TILLS).expect("few");
        assert_eq!(status["documents"], saved + own, "activated, and closed");
        for (day, taken) in takings {
            let proof = hub(&self.hub_data, &["proof", "--day", &day, "--json"]).json();
            assert_eq!(proof["proved"], true, "{proof}");
            assert_eq!(proof["total_minor"], taken, "{proof}");
        }
        assert_eq!(self.gate()["tills"], json!([]));
        let aside = hub(&self.hub_data, &["quarantine", "list", "--json"]).json();
        assert_eq!(aside, json!([]));
        for till in &mut self.tills {
            till.daemon.stop();
            let book = till.data.join("book.db");
            assert_whole(&book);
            let own = till.account.lock().expect("no panic");
            assert!(receipt_ids(&book).iter().eq(own.keys()));
        }
    }

    fn digest(&self) -> Value {
        hub(&self.hub_data, &["status", "--json"]).json()["catalog_digest"].clone()
    }
}

fn name(lane: usize) -> String {
    format!("Leith/{lane}")
}

fn names(from: usize, book: &str) -> BTreeMap<String, String> {
    (from..=TILLS)
        .map(|lane| (name(lane), book.to_owned()))
        .collect()
}

/// Whether each of some counts has grown.
fn all_grew(before: &[i64], now: &[i64]) -> bool {
    before.iter().zip(now).all(|(before, now)| now > before)
}

#[test]
fn a_hub_and_ten_tills_that_trade_are_upgraded_one_by_one_the_hub_first() {
    let mut chain = Chain::open("rolling-hub-first", &[]);
    chain.upgrade_hub();
    eventually("the hub names those who hold it back", || {
        chain.named() == names(1, "counted")
    });
    hub(
        &chain.hub_data,
        &["catalog", "set", "suppliers", "S1", "name=Lipton"],
    )
    .succeeds();
    let before = chain.counted();
    eventually("sales of tills that are behind are counted", || {
        all_grew(&before, &chain.counted())
    });
    for till in &chain.tills {
        assert!(!till.knows("/v1/catalog/suppliers/S1"), "the catalog waits");
        eventually("the till says so", || {
            till.daemon.get("/v1/status")["sync"] == "update_required"
        });
    }
    let change = &chain.gate()["changes"][0];
    assert_eq!(change["held_back_by"], "tills");
    assert_eq!(change["tills"].as_array().map(Vec::len), Some(TILLS));
    for lane in 1..=TILLS {
        chain.upgrade_till(lane);
        chain.assert_follows(lane);
        eventually("it holds nothing back", || {
            chain.named() == names(lane + 1, "counted")
        });
    }
    chain.close_and_judge();
}

#[test]
fn a_hub_and_ten_tills_that_trade_are_upgraded_one_by_one_the_hub_last() {
    let mut chain = Chain::open("rolling-hub-last", &[]);
    for lane in 1..=TILLS {
        chain.upgrade_till(lane);
        let expected: BTreeMap<String, String> = (1..=lane)
            .map(|lane| (name(lane), "kept".to_owned()))
            .collect();
        eventually("the hub names who waits for it", || {
            chain.named() == expected
        });
    }
    let (counted, sold) = (
        chain.counted(),
        chain.tills.iter().map(Till::sold).collect::<Vec<_>>(),
    );
    eventually("all go on selling", || {
        chain
            .tills
            .iter()
            .zip(&sold)
            .all(|(till, sold)| till.sold() > *sold)
    });
    assert_eq!(chain.counted(), counted, "what waits is not counted");
    let report = chain.gate();
    let waiting = report["tills"].as_array().expect("a list").iter();
    assert!(
        waiting
            .clone()
            .all(|till| till["entries"].as_i64() > Some(0)),
        "{report}"
    );
    let change = &report["changes"][0];
    assert_eq!(change["held_back_by"], "hub");
    assert_eq!(change["tills"].as_array().map(Vec::len), Some(TILLS));
    chain.upgrade_hub();
    eventually("what waited is counted by itself", || {
        all_grew(&counted, &chain.counted())
    });
    chain.close_and_judge();
}

/// The lanes that begin with saved files, each with a program of the release that left them.
const FILES: [(usize, &str); 4] = [
    (1, "1"),
    (2, "3-other-till"),
    (3, "4-other-till"),
    // What today's hub still counts of before.
    (TILLS, "2-other-till"),
];

#[test]
fn tills_with_files_of_each_released_schema_are_upgraded_one_by_one_under_load() {
    // So many tills come before the hub, the others behind it.
    const BEFORE: usize = 5;
    let mut chain = Chain::open("rolling-saved", &FILES);
    let saved = || chain.tills.iter().filter_map(|till| till.saved.as_ref());
    let releases: BTreeSet<i32> = saved().map(|saved| saved.schemas.book).collect();
    assert!(
        releases.into_iter().eq(1..=Kind::Book.schema_version()),
        "a till begins with files of each schema"
    );
    let of = |lane, book: &str| (name(lane), book.to_owned());

    let mut expected = BTreeMap::from([of(1, "counted"), of(3, "kept"), of(TILLS, "counted")]);
    eventually("the hub names who is of another release", || {
        chain.named() == expected
    });
    for lane in 1..=BEFORE {
        chain.upgrade_till(lane);
        expected.extend([of(lane, "kept")]);
        eventually("the hub names who waits for it", || {
            chain.named() == expected
        });
    }
    let counted = chain.counted();
    chain.upgrade_hub();
    hub(
        &chain.hub_data,
        &["catalog", "set", "suppliers", "S1", "name=Lipton"],
    )
    .succeeds();
    expected = names(BEFORE + 1, "counted");
    eventually("the hub names who holds it back", || {
        chain.named() == expected
    });
    eventually("all are counted", || all_grew(&counted, &chain.counted()));
    for lane in 1..=TILLS {
        if lane > BEFORE {
            assert!(!chain.tills[lane - 1].knows("/v1/catalog/suppliers/S1"));
            chain.upgrade_till(lane);
            expected.remove(&name(lane));
        }
        chain.assert_follows(lane);
        eventually("it holds nothing back", || chain.named() == expected);
        let till = &chain.tills[lane - 1].daemon;
        eventually("what a saved book renamed is here too", || {
            till.get("/v1/catalog/products/TEA")["columns"]["name"] == "Green tea"
        });
    }
    chain.close_and_judge();
}

/// What the operator reads before the upgrade of a till is undone: it does not start, and says why.
#[test]
fn a_program_of_the_release_before_does_not_open_what_todays_has_upgraded() {
    let dir = TempDir::new("rolling-back");
    let data = dir.join("till");
    node(&data, &["init"]).succeeds();
    let before = files(&data);
    let refused = Daemon::old_refused("node", &former(), &data);
    assert!(refused.contains("this program knows up to"), "{refused}");
    assert_eq!(files(&data), before, "and changes nothing");
    node(&data, &["sell", "--line", "TEA:1@2.55"]).succeeds();
}

fn files(data: &Path) -> Vec<u8> {
    std::fs::read(data.join("book.db")).expect("a book")
}
