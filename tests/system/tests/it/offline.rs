//! A till that is offline past a limit folds its write-ahead log all the same, and the hub gets everything
//! when it is back.

use crate::process::{Daemon, HUB, eventually, join_code, node, till};
use counterfoil_testkit::TempDir;
use serde_json::{Value, json};

/// The limit that the test's till has, in bytes.
const WAL_LIMIT: u64 = 1024 * 1024;

fn sell(till: &Daemon) {
    let sale = json!({"tender": "cash", "lines": [
        {"sku": "TEA", "quantity": "2", "unit_price": "2.55"},
        {"sku": "MILK", "quantity": "1", "unit_price": "0.99"},
    ]});
    let (status, answer) = till.post("/v1/sales", &sale).expect("an answer");
    assert_eq!(status, 200, "{answer}");
}

fn is_settled(till: &Daemon) -> bool {
    let status = till.get("/v1/status");
    status["sync"] == "online" && status["hub_consolidated_seq"] == status["journal_seq"]
}

fn has_log(till: &Daemon, event: &str) -> bool {
    let rows = till.get("/v1/logs?limit=500");
    let rows = rows.as_array().expect("a list");
    rows.iter().any(|row: &Value| row["event"] == event)
}

#[test]
fn a_till_that_is_offline_past_a_limit_folds_and_delivers_everything_later() {
    let dir = TempDir::new("offline-limit");
    let (hub_data, data) = (dir.join("hub"), dir.join("till"));
    let hub = Daemon::hub(&hub_data);
    till(&data);
    let config = "wal_limit_mib = 1\nwal_offline_limit_mib = 1\n\
                  backoff_first_ms = 20\nbackoff_last_ms = 100\n";
    std::fs::write(data.join("node.toml"), config).expect("written");
    let daemon = Daemon::node(&data);
    node(
        &data,
        &["activate", "--join", &join_code(&hub_data, "France")],
    )
    .succeeds();
    sell(&daemon);
    eventually("the first sale is at the hub", || is_settled(&daemon));
    let url = hub.kill();
    let wal_bytes = || {
        let wal = std::fs::metadata(data.join("book.db-wal"));
        wal.expect("a log").len()
    };
    let folded = || has_log(&daemon, "folded_early");
    // It may fold while it sells.
    while wal_bytes() <= WAL_LIMIT && !folded() {
        sell(&daemon);
    }
    eventually("the till has folded while it was offline", folded);
    assert!(wal_bytes() < WAL_LIMIT, "{} bytes", wal_bytes());
    sell(&daemon);
    let listen = url.strip_prefix("http://").expect("an address");
    let _hub = Daemon::start(HUB, &hub_data, listen);
    eventually("everything is at the hub", || is_settled(&daemon));
    assert!(has_log(&daemon, "healed"));
    let healed = &daemon.get("/v1/status")["last_healed"]["what"];
    assert_eq!(
        healed,
        "the book's WAL was folded at its limit, before the hub had it"
    );
}
