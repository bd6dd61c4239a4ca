//! A shop of several lanes as processes, for tests of what they do among each other.

use crate::process::{Daemon, HUB, NODE, eventually, hub, join_code, node, till};
use crate::store::{column, open};
use counterfoil_testkit::TempDir;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A shop with lanes, and a hub that may be away.
pub(crate) struct Shop {
    pub(crate) dir: TempDir,
    pub(crate) hub_data: PathBuf,
    hub: Option<Daemon>,
    /// Where the hub is reached, while it runs too.
    pub(crate) hub_url: String,
}

impl Shop {
    pub(crate) fn new(name: &str) -> Self {
        let dir = TempDir::new(name);
        let hub_data = dir.join("hub");
        let hub = Daemon::hub(&hub_data);
        let hub_url = hub.url.clone();
        Self {
            dir,
            hub_data,
            hub: Some(hub),
            hub_url,
        }
    }

    /// The folders of so many lanes of a shop, activated.
    pub(crate) fn lanes<const COUNT: usize>(&self, shop: &str) -> [PathBuf; COUNT] {
        let mut code = Some(join_code(&self.hub_data, shop));
        std::array::from_fn(|number| {
            let again = || another_code(&self.hub_data, shop);
            let code = code.take().unwrap_or_else(again);
            self.lane(&format!("{shop}-{number}"), &code, &self.hub_url)
        })
    }

    /// The folder of one more, which reaches the hub at an address of its own.
    pub(crate) fn lane(&self, name: &str, code: &str, hub_url: &str) -> PathBuf {
        let data = self.dir.join(name);
        till(&data);
        let arguments = ["activate", "--join", code, "--hub", hub_url];
        node(&data, &arguments).succeeds();
        data
    }

    /// The internet is gone.
    pub(crate) fn internet_is_gone(&mut self) {
        self.hub = None;
    }

    /// It is back.
    pub(crate) fn internet_is_back(&mut self) {
        let address = self.hub_url.strip_prefix("http://");
        let address = address.expect("an address");
        self.hub = Some(Daemon::start(HUB, &self.hub_data, address));
    }
}

/// As a lane is that was upgraded and has not met its hub since.
pub(crate) fn before_certificates(data: &Path) {
    let conn = open(&data.join("local.db"));
    let sql = "DELETE FROM state WHERE key IN ('lane_certificate', 'lane_revocations')";
    let forgotten = conn.execute(sql, ()).expect("forgotten");
    assert!(forgotten > 0, "it had one since its activation");
    conn.abandon();
}

pub(crate) fn another_code(hub_data: &Path, shop: &str) -> String {
    let joined = hub(hub_data, &["shop", "join", shop, "--json"]).json();
    joined["join_code"].as_str().expect("a code").to_owned()
}

/// A lane that runs.
pub(crate) struct Lane {
    pub(crate) data: PathBuf,
    pub(crate) daemon: Daemon,
    /// Where it is reached.
    pub(crate) url: String,
}

impl Lane {
    /// Dials the peers; reached at a free port.
    pub(crate) fn start(data: &Path, peers: &[&str]) -> Self {
        Self::start_at(data, "127.0.0.1:0", peers)
    }

    pub(crate) fn start_at(data: &Path, listen: &str, peers: &[&str]) -> Self {
        let mut arguments = vec!["--listen", "127.0.0.1:0", "--peer-listen", listen];
        arguments.extend(peers.iter().flat_map(|&peer| ["--peer", peer]));
        let daemon = Daemon::start_with(NODE, data, &arguments);
        let url = daemon.get("/v1/status")["mesh"]["listen"].clone();
        Self {
            data: data.to_owned(),
            daemon,
            url: url.as_str().expect("an address").to_owned(),
        }
    }

    pub(crate) fn id(&self) -> String {
        let status = self.daemon.get("/v1/status");
        status["node_id"].as_str().expect("an id").to_owned()
    }

    pub(crate) fn connections(&self) -> u64 {
        let status = self.daemon.get("/v1/status");
        status["mesh"]["connections"].as_u64().expect("a number")
    }

    pub(crate) fn is_connected(&self, count: u64) {
        eventually("the lanes are connected", || self.connections() == count);
    }

    /// Waits until a peer takes this lane's journal, so that its sales wait for it.
    pub(crate) fn is_heard_by(&self, peer: &Self) {
        let peer = peer.id();
        eventually("the peer has the journal", || {
            let status = self.daemon.get("/v1/status");
            let rows = status["mesh"]["peers"].as_array().expect("a list");
            let seq = &status["journal_seq"];
            let has = |row: &Value| row["node_id"] == *peer && row["acknowledged_seq"] == *seq;
            rows.iter().any(has)
        });
    }

    pub(crate) fn sell(&self) -> Value {
        let line = json!({"sku": "TEA", "quantity": "2", "unit_price": "2.55"});
        let request = json!({"lines": [line], "tender": "cash"});
        let (status, answer) = self.daemon.post("/v1/sales", &request).expect("an answer");
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// The stage of an entry in the queue.
    pub(crate) fn stage(&self, sale: &Value) -> String {
        let rows = self.daemon.get("/v1/queue");
        let rows = rows.as_array().expect("a list");
        let row = rows.iter().find(|row| row["id"] == sale["id"]);
        row.expect("it waits")["stage"]
            .as_str()
            .expect("a stage")
            .to_owned()
    }

    /// How often something was logged.
    pub(crate) fn count(&self, event: &str) -> usize {
        let rows = self.daemon.get("/v1/logs?limit=10000");
        let rows = rows.as_array().expect("a list");
        rows.iter().filter(|row| row["event"] == event).count()
    }

    pub(crate) fn has_logged(&self, event: &str, text: &str) -> bool {
        let rows = self.daemon.get("/v1/logs?limit=10000");
        let rows = rows.as_array().expect("a list").clone();
        rows.iter()
            .any(|row| row["event"] == event && row["detail"].to_string().contains(text))
    }
}

pub(crate) fn settings(data: &Path, text: &str) {
    std::fs::write(data.join("node.toml"), text).expect("written");
}

/// A sale waits for its second copy until it is there: no machine is too slow.
pub(crate) const PATIENT: &str = "second_copy_wait_ms = 50_000\n";

/// Own entries of a book: position, id and chain value.
pub(crate) fn own(data: &Path) -> Vec<String> {
    column(
        &data.join("book.db"),
        "SELECT seq || ' ' || hex(id) || ' ' || hex(chain) FROM journal ORDER BY seq",
    )
}

/// The same of another lane's journal, as a lane holds it; none twice.
pub(crate) fn held(data: &Path, origin: &str) -> Vec<String> {
    let origin = origin.replace('-', "").to_uppercase();
    let sql = format!(
        "SELECT e.seq || ' ' || hex(e.id) || ' ' || hex(e.chain) FROM peer_entry AS e \
         JOIN peer_journal AS j ON j.origin = e.origin WHERE hex(j.node) = '{origin}' ORDER BY e.seq"
    );
    let rows: Vec<String> = column(&data.join("local.db"), &sql);
    let once: BTreeSet<&String> = rows.iter().collect();
    assert_eq!(once.len(), rows.len(), "an entry is held twice");
    rows
}
