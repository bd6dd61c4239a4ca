//! A hub and a till with an account of what was sold that the test keeps itself.

use crate::process::{Daemon, HUB, eventually, hub, join_code, node, till};
use crate::relay::Relay;
use crate::store::{assert_whole, column};
use counterfoil_testkit::TempDir;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What was sold, kept by the test itself: the id of each receipt and its total in minor units.
#[derive(Default)]
pub(crate) struct Account(pub(crate) BTreeMap<String, i64>);

impl Account {
    /// Sells `count` times at the till, each time another quantity.
    pub(crate) fn sell(&mut self, data: &Path, count: usize) -> Vec<String> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            let quantity = self.0.len() + 1;
            let line = format!("TEA:{quantity}@2.55");
            let sale = node(data, &["sell", "--line", &line, "--json"]).json();
            let id = sale["id"].as_str().expect("an id").to_owned();
            let total = sale["total_minor"].as_i64().expect("a total");
            assert_eq!(total, i64::try_from(quantity).expect("few") * 255);
            assert_eq!(self.0.insert(id, total), None, "a new receipt");
            numbers.push(format!("{}-{}", sale["series"], sale["number"]).replace('"', ""));
        }
        numbers
    }

    /// The hub has each receipt once, with its total, and nothing else; no till's numbers repeat.
    pub(crate) fn assert_settled(&self, hub_data: &Path) {
        let file = hub_data.join("hub.db");
        let found = at_hub(hub_data);
        assert_eq!(found, self.0);
        let rows: Vec<i64> = column(&file, "SELECT count(*) FROM receipt");
        assert_eq!(
            usize::try_from(rows[0]).expect("few"),
            self.0.len(),
            "each once"
        );
        let repeated: Vec<i64> = column(
            &file,
            "SELECT count(*) FROM receipt GROUP BY node, series, number HAVING count(*) > 1",
        );
        assert_eq!(repeated, [] as [i64; 0], "no number of a till repeats");
        let torn: Vec<i64> = column(
            &file,
            "SELECT seq FROM receipt r WHERE total_minor <> (SELECT coalesce(sum(amount_minor), 0) \
             FROM receipt_line l WHERE l.node = r.node AND l.seq = r.seq) OR total_minor <> \
             (SELECT coalesce(sum(amount_minor), 0) FROM payment p WHERE p.node = r.node AND p.seq = r.seq)",
        );
        assert_eq!(torn, [] as [i64; 0], "lines, payments and totals agree");
        let aside: Vec<String> = column(&file, "SELECT reason FROM quarantine");
        assert_eq!(aside, [] as [String; 0]);
        let halted: Vec<String> = column(&file, "SELECT halted FROM node WHERE halted IS NOT NULL");
        assert_eq!(halted, [] as [String; 0]);
    }
}

/// Whether a number is the first of its series, in that epoch and with a tag.
pub(crate) fn is_first_in(number: &str, epoch: &str) -> bool {
    let tagged = number.strip_suffix("-1");
    tagged.is_some_and(|series| series.starts_with(&format!("{epoch}.")))
}

/// Receipts at the hub: id and total.
pub(crate) fn at_hub(hub_data: &Path) -> BTreeMap<String, i64> {
    let sql = "SELECT lower(hex(id)) || ' ' || total_minor FROM receipt";
    let rows: Vec<String> = column(&hub_data.join("hub.db"), sql);
    rows.iter()
        .map(|row| {
            let (id, total) = row.split_once(' ').expect("two parts");
            let id = uuid::Uuid::parse_str(id).expect("an id").to_string();
            (id, total.parse().expect("a number"))
        })
        .collect()
}

/// Syncs until the hub has counted everything that this till has.
pub(crate) fn settle(data: &Path) -> Value {
    eventually("the till is settled", || {
        let synced = node(data, &["sync", "now"]);
        let status = node(data, &["status", "--json"]).json();
        synced.code == Some(0)
            && status["sync"] == "online"
            && status["hub_consolidated_seq"] == status["journal_seq"]
    });
    node(data, &["status", "--json"]).json()
}

/// From another process: nobody has the files open, but habits count.
pub(crate) fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(done.expect("cp runs").success());
}

pub(crate) fn replace(folder: &Path, by: &Path) {
    std::fs::remove_dir_all(folder).expect("removed");
    copy(by, folder);
}

/// A hub that listens, and a till of a shop with two delivered sales.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) hub_data: PathBuf,
    hub: Option<Daemon>,
    pub(crate) till: PathBuf,
    pub(crate) account: Account,
}

impl World {
    pub(crate) fn new(name: &str) -> Self {
        Self::reached_by(name, str::to_owned)
    }

    /// One whose till reaches the hub over a line that can stop.
    pub(crate) fn behind_a_line(name: &str) -> (Self, Relay) {
        let mut line = None;
        let world = Self::reached_by(name, |url| line.insert(Relay::to(url)).url.clone());
        (world, line.expect("laid with the world"))
    }

    /// The till reaches the hub at the address that `reach` makes of the hub's own.
    fn reached_by(name: &str, reach: impl FnOnce(&str) -> String) -> Self {
        let dir = TempDir::new(name);
        let (hub_data, data) = (dir.join("hub"), dir.join("till"));
        let hub = Daemon::hub(&hub_data);
        let url = reach(&hub.url);
        till(&data);
        let mut world = Self {
            dir,
            hub_data,
            hub: Some(hub),
            till: data,
            account: Account::default(),
        };
        world.account.sell(&world.till, 1);
        let code = join_code(&world.hub_data, "France");
        let arguments = ["activate", "--join", &code, "--hub", &url];
        node(&world.till, &arguments).succeeds();
        world.account.sell(&world.till, 2);
        settle(&world.till);
        world
    }

    pub(crate) fn stop_hub(&mut self) -> String {
        self.hub.take().expect("it runs").kill()
    }

    pub(crate) fn start_hub(&mut self, url: &str) {
        let address = url.strip_prefix("http://").expect("an address");
        self.hub = Some(Daemon::start(HUB, &self.hub_data, address));
    }

    pub(crate) fn nodes(&self) -> Vec<Value> {
        let nodes = hub(&self.hub_data, &["node", "list", "--json"]).json();
        nodes.as_array().expect("a list").clone()
    }

    pub(crate) fn finish(&self) {
        self.account.assert_settled(&self.hub_data);
        assert_whole(&self.till.join("book.db"));
    }
}
