//! What a lane says of its health: connections, queue, last sync, comparison of stock (P8), wherever it is asked.

use crate::process::{eventually, node};
use crate::shop::{Lane, Shop};
use crate::world::settle;
use serde_json::Value;

fn figure(metrics: &str, name: &str) -> i64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.expect(name).trim().parse().expect("a whole number")
}

/// Entries that wait, as each place says it: command, status, probes, figures.
fn queue(lane: &Lane) -> [i64; 5] {
    let text = node(&lane.data, &["status"]).stdout;
    let line = text.lines().find_map(|line| line.strip_prefix("queue "));
    let words = line.expect("a line").split_whitespace().next();
    let metrics = lane.daemon.get("/metrics");
    let metrics = metrics.as_str().expect("a text");
    let pending = |path: &str| lane.daemon.get(path)["pending"].as_i64().expect("a number");
    let name = "counterfoil_node_pending_entries{";
    let by_priority = metrics.lines().filter(|line| line.starts_with(name));
    let by_priority = by_priority.map(|line| {
        let figure = line.rsplit(' ').next().expect("a figure");
        figure.parse::<i64>().expect("a whole number")
    });
    [
        words.expect("a number").parse().expect("a number"),
        pending("/v1/status"),
        pending("/healthz"),
        pending("/readyz"),
        by_priority.sum(),
    ]
}

#[test]
fn connections_queue_last_sync_and_reconciliation_stand_in_the_command_the_status_the_probes_and_the_figures()
 {
    let mut shop = Shop::new("health");
    let [one, other] = shop.lanes("France");
    settle(&one);
    settle(&other);
    let one = Lane::start(&one, &[]);
    let other = Lane::start(&other, &[&one.url]);
    one.is_connected(1);
    other.sell();
    other.is_heard_by(&one);
    settle(&one.data);
    settle(&other.data);
    eventually("they have compared", || {
        let compared = node(&one.data, &["reconcile", "--json"]).json();
        compared["lanes"] == 1 && compared["open"] == Value::Array(Vec::new())
    });
    shop.internet_is_gone();
    assert_eq!(queue(&one), [0; 5]);
    one.sell();
    one.sell();
    assert_eq!(queue(&one), [2; 5]);

    let status = one.daemon.get("/v1/status");
    let synced_ms = status["last_synced_ms"].as_i64().expect("it has synced");
    let compared_ms = status["mesh"]["reconciliation"]["at_ms"]
        .as_i64()
        .expect("compared");
    assert_eq!(status["mesh"]["connections"], 1);
    for path in ["/healthz", "/readyz"] {
        let health = one.daemon.get(path);
        assert_eq!(health["connections"], 1, "{health}");
        assert_eq!(health["last_synced_ms"], synced_ms, "{health}");
        assert_eq!(health["reconciled_ms"], compared_ms, "{health}");
        assert_eq!(health["reconciliation_open"], 0, "{health}");
    }
    let metrics = one.daemon.get("/metrics");
    let metrics = metrics.as_str().expect("a text");
    for (name, wanted) in [
        ("connected_lanes ", 1),
        (
            "last_synced_timestamp_seconds ",
            synced_ms.div_euclid(1_000),
        ),
        (
            "reconciled_timestamp_seconds ",
            compared_ms.div_euclid(1_000),
        ),
        ("unreconciled_products ", 0),
    ] {
        assert_eq!(figure(metrics, &format!("counterfoil_node_{name}")), wanted);
    }
    let text = node(&one.data, &["status"]).stdout;
    assert!(
        text.contains("1 connected (lane 2 came by itself)"),
        "{text}"
    );
    assert!(text.contains("last synced"), "{text}");
    assert!(text.contains("stock compared with 1 lanes"), "{text}");
    let text = node(&other.data, &["status"]).stdout;
    assert!(text.contains("1 connected (lane 1 configured)"), "{text}");
}
