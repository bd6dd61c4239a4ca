//! Customers and products that turn out to be one: merged at a till or the hub, while others go on under the old id.

use crate::process::{Daemon, HUB, eventually, hub, join_code, node, till};
use crate::store::column;
use counterfoil_testkit::TempDir;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn joined(dir: &TempDir, hub_data: &Path, shop: &str) -> PathBuf {
    let data = dir.join(shop);
    till(&data);
    let code = join_code(hub_data, shop);
    node(&data, &["activate", "--join", &code]).succeeds();
    data
}

fn set(data: &Path, table: &str, id: &str, values: &[&str]) {
    node(data, &[&["catalog", "set", table, id], values].concat()).succeeds();
}

fn get(data: &Path, table: &str, id: &str) -> Value {
    node(data, &["catalog", "get", table, id, "--json"]).json()
}

/// Syncs until the hub has merged what the till wrote, and the till has what the hub published.
fn synced(data: &Path, hub_data: &Path) {
    eventually("the till has synced", || {
        node(data, &["sync", "now"]).succeeds();
        let status = node(data, &["status", "--json"]).json();
        let at_hub = hub(hub_data, &["status", "--json"]).json();
        status["pending_edits"] == 0
            && status["hub_consolidated_seq"] == status["journal_seq"]
            && status["catalog_revision"] == at_hub["catalog_revision"]
    });
}

/// Sales by key: count and sum.
fn report(hub_data: &Path, by: &str) -> Vec<(String, String, i64, i64)> {
    let rows = hub(hub_data, &["report", "sales", "--by", by, "--json"]).json();
    let row = |row: &Value| {
        let text = |name: &str| row[name].as_str().expect("text").to_owned();
        let number = |name: &str| row[name].as_i64().expect("a number");
        (
            text("key"),
            text("name"),
            number("count"),
            number("total_minor"),
        )
    };
    rows.as_array().expect("a list").iter().map(row).collect()
}

/// One product and one customer, each under two ids.
fn enter_twice(data: &Path) {
    set(data, "products", "TEA", &["name=Tea", "price=2.50"]);
    let tee = ["name=Tee", "price=9.99", "barcode=500"];
    set(data, "products", "TEE", &tee);
    set(data, "customers", "ANN", &["name=Ann"]);
    set(data, "customers", "ANNE", &["name=Anne"]);
}

#[test]
fn documents_of_a_merged_product_and_customer_point_to_the_one_that_stands_for_it() {
    let dir = TempDir::new("aliases");
    let hub_data = dir.join("hub");
    let hub_daemon = Daemon::hub(&hub_data);
    let [nord, sud] = ["Nord", "Sud"].map(|shop| joined(&dir, &hub_data, shop));
    enter_twice(&nord);
    synced(&nord, &hub_data);
    synced(&sud, &hub_data);

    let merged = node(
        &nord,
        &["catalog", "merge", "products", "tee", "tea", "--json"],
    )
    .json();
    assert_eq!(merged["survivor"], "TEA");
    node(&nord, &["catalog", "merge", "customers", "ANNE", "ANN"]).succeeds();
    // At the till that merged them at once, by code and by the label on the shelf.
    let row = get(&nord, "products", "TEE");
    assert_eq!((&row["id"], &row["merged"]), (&"TEA".into(), &"TEE".into()));
    for code in ["TEE:2", "500:1"] {
        let sale = ["sell", "--line", code, "--customer", "ANNE", "--json"];
        node(&nord, &sale).succeeds();
    }
    synced(&nord, &hub_data);
    // A till that has not heard of it sells under the old ids.
    let listen = hub_daemon.kill();
    let offline = [
        "sell",
        "--line",
        "TEE:1@3.00",
        "--customer",
        "ANNE",
        "--json",
    ];
    node(&sud, &offline).succeeds();
    let listen = listen
        .strip_prefix("http://")
        .expect("an address")
        .to_owned();
    let _hub = Daemon::start(HUB, &hub_data, &listen);
    synced(&sud, &hub_data);
    let file = hub_data.join("hub.db");
    assert_eq!(column::<i64>(&file, "SELECT count(*) FROM quarantine"), [0]);
    let sold: Vec<String> = column(&file, "SELECT DISTINCT sku FROM receipt_line ORDER BY 1");
    assert_eq!(sold, ["TEA", "TEE"], "what was recorded stays as it was");
    // 2 x 2.50, 1 x 2.50 and 1 x 3.00, all of one product and one customer.
    let all = |key: &str, name: &str| vec![(key.to_owned(), name.to_owned(), 3, 1050)];
    assert_eq!(report(&hub_data, "product"), all("TEA", "Tea"));
    assert_eq!(report(&hub_data, "customer"), all("ANN", "Ann"));

    assert_eq!(get(&sud, "products", "TEE")["id"], "TEA");
    set(&sud, "products", "TEE", &["name=Green tea"]);
    synced(&sud, &hub_data);
    synced(&nord, &hub_data);
    assert_eq!(
        get(&nord, "products", "TEA")["columns"]["name"],
        "Green tea"
    );

    // It was a mistake: everything is as before, also in reports.
    hub(&hub_data, &["catalog", "unmerge", "products", "TEE"]).succeeds();
    synced(&nord, &hub_data);
    let row = get(&nord, "products", "TEE");
    assert_eq!(
        (&row["id"], &row["columns"]["name"]),
        (&"TEE".into(), &"Tee".into())
    );
    let by_product = report(&hub_data, "product");
    let keys: Vec<_> = by_product
        .iter()
        .map(|row| (row.0.as_str(), row.3))
        .collect();
    assert_eq!(keys, [("TEA", 750), ("TEE", 300)]);
}

#[test]
fn two_tills_that_merge_two_rows_into_each_other_end_at_the_same_one() {
    let dir = TempDir::new("alias-ring");
    let hub_data = dir.join("hub");
    let hub_daemon = Daemon::hub(&hub_data);
    let [nord, sud] = ["Nord", "Sud"].map(|shop| joined(&dir, &hub_data, shop));
    for id in ["A", "B", "C"] {
        set(&nord, "customers", id, &[&format!("name={id}")]);
    }
    synced(&nord, &hub_data);
    synced(&sud, &hub_data);
    let listen = hub_daemon.kill();
    node(&nord, &["catalog", "merge", "customers", "B", "A"]).succeeds();
    node(&sud, &["catalog", "merge", "customers", "A", "B"]).succeeds();
    node(&sud, &["catalog", "merge", "customers", "B", "C"]).succeeds();
    assert_eq!(get(&nord, "customers", "B")["id"], "A");
    assert_eq!(get(&sud, "customers", "A")["id"], "C");
    let turned = node(&nord, &["catalog", "merge", "customers", "A", "B"]);
    turned.fails(1, "unmerge");
    node(&nord, &["catalog", "merge", "customers", "A", "NOBODY"]).fails(1, "no row");
    node(&nord, &["catalog", "merge", "taxes", "A", "B"]).fails(1, "not merged");

    let listen = listen
        .strip_prefix("http://")
        .expect("an address")
        .to_owned();
    let _hub = Daemon::start(HUB, &hub_data, &listen);
    synced(&nord, &hub_data);
    synced(&sud, &hub_data);
    synced(&nord, &hub_data);
    let ends = |data: &Path| ["A", "B", "C"].map(|id| get(data, "customers", id)["id"].clone());
    assert_eq!(ends(&nord), ends(&sud));
    let [a, b, _] = ends(&nord);
    assert_eq!(
        a, b,
        "A and B are one customer, whoever merged them into which"
    );
    let other = hub(&hub_data, &["catalog", "merge", "customers", "C", "nobody"]);
    other.fails(1, "no row");
    let merged = hub(
        &hub_data,
        &["catalog", "merge", "customers", "C", "A", "--json"],
    );
    // C stands for both, or is merged now: one customer either way.
    assert!(
        merged.code == Some(0) || merged.stderr.contains("already"),
        "{merged:?}"
    );
    synced(&nord, &hub_data);
    synced(&sud, &hub_data);
    let [a, b, c] = ends(&nord);
    assert!(a == b && b == c, "{a} {b} {c}");
    assert_eq!(ends(&sud), [a, b, c]);
}
