//! L15, X5: a chain is upgraded while it trades, one process after the other. The older release is today's
//! code held to older schemas (`system-old`): this proves what the schemas do to each other, not that an older
//! program had no mistakes of its own. Files of each released schema are in `saved.rs`.

use crate::process::{Daemon, HUB, NODE, eventually, hub, join_code, node, pause, request};
use crate::proof::at_midday;
use crate::store::{assert_whole, column, receipt_ids};
use crate::world::at_hub;
use counterfoil_domain::env::document_id;
use counterfoil_migrate::Kind;
use counterfoil_testkit::{SeededRandom, TempDir};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const TILLS: usize = 10;
const PRICE_MINOR: i64 = 255;
/// Between two sales of a till: ten tills trade all the time, and two processors are not kept busy by that alone.
const BETWEEN_SALES: Duration = Duration::from_millis(150);

/// What a program of the release before knows.
fn former() -> String {
    let (book, catalog) = (Kind::Book.schema_version(), Kind::Catalog.schema_version());
    format!("book={};catalog={}", book - 1, catalog - 1)
}

/// What a till sold, as whoever stands at it knows: the id of each receipt and its total.
type Account = BTreeMap<String, i64>;

/// A till in a process, and somebody who sells at it all the time.
struct Till {
    data: PathBuf,
    daemon: Daemon,
    account: Arc<Mutex<Account>>,
    cashier: Option<JoinHandle<()>>,
}

impl Till {
    fn open(data: PathBuf, lane: usize, closing: &Arc<AtomicBool>, code: &str) -> Self {
        let daemon = Daemon::old("node", &former(), &data, "127.0.0.1:0");
        let (status, answer) = daemon
            .post("/v1/activate", &json!({"join": code}))
            .expect("an answer");
        assert_eq!(status, 200, "{answer}");
        let account = Arc::new(Mutex::new(Account::new()));
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

    fn sold(&self) -> usize {
        self.account.lock().expect("no panic").len()
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

/// A hub of the release before, and ten tills of it that trade.
struct Chain {
    _dir: TempDir,
    hub_data: PathBuf,
    hub: Daemon,
    tills: Vec<Till>,
    closing: Arc<AtomicBool>,
}

impl Chain {
    fn open(name: &str) -> Self {
        let dir = TempDir::new(name);
        let hub_data = dir.join("hub");
        let old = Daemon::old("hub", &former(), &hub_data, "127.0.0.1:0");
        let closing = Arc::new(AtomicBool::new(false));
        at_midday(dir.path());
        let tills = (1..=TILLS).map(|lane| {
            let data = dir.join(&format!("till-{lane}"));
            std::fs::create_dir_all(&data).expect("a folder");
            // The same for all, whatever minute it is meanwhile.
            std::fs::copy(dir.join("node.toml"), data.join("node.toml")).expect("copied");
            let code = join_code(&hub_data, "Leith");
            let till = Till::open(data, lane, &closing, &code);
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
        eventually("all tills trade, and the hub counts", || {
            chain.counted().iter().all(|count| *count > 0)
        });
        chain
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
        for till in &mut self.tills {
            let cashier = till.cashier.take().expect("one");
            cashier.join().expect("no panic");
            let own = till.account.lock().expect("no panic").clone();
            account.extend(own);
        }
        let days: Vec<Value> = self
            .tills
            .iter()
            .map(|till| {
                let closed = node(&till.data, &["close-day", "--json"]).json();
                closed["closure"]["day"].clone()
            })
            .collect();
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
        for day in days {
            let day = day.as_str().expect("a day");
            let proof = hub(&self.hub_data, &["proof", "--day", day, "--json"]).json();
            assert_eq!(proof["proved"], true, "{proof}");
            assert_eq!(proof["total_minor"], account.values().sum::<i64>());
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
    let mut chain = Chain::open("rolling-hub-first");
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
        let till = &mut chain.tills[lane - 1];
        till.upgrade();
        till.name_product(&format!("P{lane}"), "as today's release names it");
        let (till, sold) = (&chain.tills[lane - 1], chain.tills[lane - 1].sold());
        eventually("the catalog follows", || {
            till.knows("/v1/catalog/suppliers/S1")
        });
        eventually("it holds nothing back", || {
            chain.named() == names(lane + 1, "counted")
        });
        eventually("it goes on selling", || till.sold() > sold);
    }
    chain.close_and_judge();
}

#[test]
fn a_hub_and_ten_tills_that_trade_are_upgraded_one_by_one_the_hub_last() {
    let mut chain = Chain::open("rolling-hub-last");
    for lane in 1..=TILLS {
        let till = &mut chain.tills[lane - 1];
        till.upgrade();
        till.name_product(&format!("P{lane}"), "as today's release names it");
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
