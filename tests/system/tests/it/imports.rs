//! An import of another system's data is one thing: it says its name, is repeated without harm, and goes back.

use crate::process::{Daemon, eventually, hub, join_code, node, till};
use crate::store::column;
use counterfoil_testkit::TempDir;
use serde_json::Value;
use std::path::Path;

const HEADER: &str =
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";

/// A file of sales, each of one product.
fn file(path: &Path, sales: &[(&str, &str, &str)]) {
    let rows = sales.iter().map(|(invoice, sku, name)| {
        format!("{invoice},{sku},{name},1,2010-12-01 08:26:00,2.55,17850.0,France\n")
    });
    let text = format!("{HEADER}\n{}", rows.collect::<String>());
    std::fs::write(path, text).expect("a file");
}

fn import(data: &Path, file: &Path, more: &[&str]) -> Value {
    let path = file.to_str().expect("a path");
    node(data, &[&["import", path, "--json"], more].concat()).json()
}

#[test]
fn an_import_is_repeated_without_harm_and_goes_back_at_the_hub() {
    let dir = TempDir::new("imports");
    let (hub_data, data) = (dir.join("hub"), dir.join("till"));
    let hub_daemon = Daemon::hub(&hub_data);
    till(&data);
    let code = join_code(&hub_data, "Nord");
    node(&data, &["activate", "--join", &code]).succeeds();
    node(&data, &["catalog", "set", "products", "TEA", "name=Tea"]).succeeds();
    let [first, second] = ["first.csv", "second.csv"].map(|name| dir.join(name));
    file(&first, &[("1", "TEA", "TEE"), ("2", "MUG", "MUG")]);
    file(&second, &[("3", "LAMP", "LAMP")]);

    let [one, two] = [&first, &second].map(|file| import(&data, file, &[])["import_id"].clone());
    assert!(one.is_string() && two.is_string() && one != two);
    // Nothing of it is new, so there is no third import.
    assert_eq!(import(&data, &first, &[])["import_id"], Value::Null);
    assert_eq!(
        import(&data, &first, &["--dry-run"])["import_id"],
        Value::Null
    );
    let sql = "SELECT DISTINCT lower(hex(import_id)) FROM journal WHERE import_id IS NOT NULL";
    assert_eq!(column::<String>(&data.join("book.db"), sql).len(), 2);
    // One that was cut off goes on under its own name.
    file(&second, &[("3", "LAMP", "LAMP"), ("4", "POT", "POT")]);
    let id = two.as_str().expect("an id");
    assert_eq!(import(&data, &second, &["--import", id])["import_id"], two);

    eventually("the hub has all of it", || {
        node(&data, &["sync", "now"]).succeeds();
        let status = node(&data, &["status", "--json"]).json();
        status["hub_consolidated_seq"] == status["journal_seq"]
    });
    let listed = hub(&hub_data, &["imports", "--json"]).json();
    let shown: Vec<_> = listed.as_array().expect("a list").iter().collect();
    assert_eq!(shown.len(), 2, "{listed}");
    assert!(
        shown
            .iter()
            .all(|row| row["documents"] == 2 && row["edits"] == 2)
    );
    let id = one.as_str().expect("an id");
    let printed = hub(&hub_data, &["undo", "--import", id, "--dry-run"]).stdout;
    for part in [
        "2 fields would go back",
        "2 documents of the import",
        "products TEA name",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let done = hub(&hub_data, &["undo", "--import", id, "--json"]).json();
    assert_eq!((&done["count"], &done["documents"]), (&2.into(), &2.into()));
    let sql = "SELECT id || ' ' || name FROM products WHERE deleted = 0 ORDER BY id";
    let left = column::<String>(&hub_data.join("catalog.db"), sql);
    assert_eq!(left, ["LAMP LAMP", "POT POT", "TEA Tea"]);
    let sales = "SELECT count(*) FROM receipt";
    assert_eq!(column::<i64>(&hub_data.join("hub.db"), sales), [4]);
    for words in [&["undo"][..], &["undo", "--import", id, "--node", id]] {
        hub(&hub_data, words).fails(2, "--import");
    }
    drop(hub_daemon);
}
