//! The catalog as a till sees it: the hub's rows with its own pending edits over them.

use crate::{NOW_MS, Till};
use counterfoil_migrate::{Connection, Durability};
use counterfoil_shop_store::StoreError;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) fn columns(pairs: &[(&str, Value)]) -> BTreeMap<String, Value> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

fn hub_row(name: &str, revision: i64) -> String {
    format!(
        "INSERT OR REPLACE INTO products (id, name, barcode, price_mills, last_modified_at, revision, \
         versions) VALUES ('TEA', '{name}', '500', 2550, 77, {revision}, '{{\"name\":\"4d.00000001\"}}');
         UPDATE catalog_state SET revision = {revision}, hlc = 77;"
    )
}

#[test]
fn a_pending_edit_is_seen_at_once_and_forgotten_when_the_hub_has_merged_it() {
    let mut till = Till::new("pending");
    till.store = None;
    till.elsewhere("catalog.db", &hub_row("TEA", 1));
    till.open();
    let chai = columns(&[("name", json!("CHAI"))]);
    let recorded = till
        .store()
        .catalog_set("products", "tea", &chai, NOW_MS)
        .expect("set");
    let row = till.store().catalog_get("products", "TEA").expect("there");
    assert_eq!(
        (row.columns["name"].clone(), row.pending),
        (json!("CHAI"), true)
    );
    assert_eq!(row.columns["price_mills"], json!(2550));

    till.open();
    let row = till
        .store()
        .catalog_get("products", "TEA")
        .expect("there after a restart");
    assert_eq!(
        (row.columns["name"].clone(), row.pending),
        (json!("CHAI"), true)
    );

    let seq = recorded.expect("an edit").seq;
    let node = till.store().node();
    till.elsewhere(
        "catalog.db",
        &format!(
            "{} INSERT INTO merged_edits VALUES ('{node}', {seq});",
            hub_row("MASALA", 2)
        ),
    );
    till.store().catalog_changed().expect("replayed");
    let row = till.store().catalog_get("products", "TEA").expect("there");
    assert_eq!(
        (row.columns["name"].clone(), row.pending),
        (json!("MASALA"), false)
    );
}

#[test]
fn a_catalog_that_came_without_its_replay_is_caught_up_with_once() {
    let mut till = Till::new("caught-up");
    till.store = None;
    till.elsewhere("catalog.db", &hub_row("TEA", 1));
    till.open();
    let mut seqs = Vec::new();
    for name in ["CHAI", "MASALA"] {
        let named = columns(&[("name", json!(name))]);
        let set = till.store().catalog_set("products", "TEA", &named, NOW_MS);
        seqs.push(set.expect("set").expect("an edit").seq);
        assert_eq!(
            till.store().pending_edits().expect("read"),
            i64::from(name == "MASALA") + 1
        );
    }
    assert!(!till.store().catch_up().expect("nothing to do"));

    // The frames have come, and the process that pulled them got no further.
    let node = till.store().node();
    let first = seqs[0];
    till.elsewhere(
        "catalog.db",
        &format!(
            "{} INSERT INTO merged_edits VALUES ('{node}', {first});",
            hub_row("CHAI", 2)
        ),
    );
    assert!(till.store().catch_up().expect("replayed"));
    assert!(!till.store().catch_up().expect("nothing to do"));
    assert_eq!(till.store().pending_edits().expect("read"), 1);
    let row = till.store().catalog_get("products", "TEA").expect("there");
    assert_eq!(
        row.columns["name"],
        json!("MASALA"),
        "the second edit is still this till's own"
    );

    // A catalog that knows less than the last one brings the first edit back.
    till.elsewhere("catalog.db", "DELETE FROM merged_edits;");
    assert!(till.store().catch_up().expect("replayed"));
    assert_eq!(till.store().pending_edits().expect("read"), 2);
    till.elsewhere(
        "catalog.db",
        &format!(
            "{} INSERT INTO merged_edits VALUES ('{node}', {});",
            hub_row("OOLONG", 3),
            seqs[1]
        ),
    );
    assert!(till.store().catch_up().expect("replayed"));
    assert_eq!(till.store().pending_edits().expect("read"), 0);
    let row = till.store().catalog_get("products", "TEA").expect("there");
    assert_eq!(
        (row.columns["name"].clone(), row.pending),
        (json!("OOLONG"), false)
    );
}

#[test]
fn an_edit_names_the_version_that_it_replaces() {
    let mut till = Till::new("base");
    till.store = None;
    till.elsewhere("catalog.db", &hub_row("TEA", 1));
    till.open();
    for name in ["CHAI", "MASALA"] {
        let named = columns(&[("name", json!(name))]);
        till.store()
            .catalog_set("products", "TEA", &named, NOW_MS)
            .expect("set");
    }
    let conn =
        Connection::open_existing(till.dir.join("book.db"), Durability::Full).expect("opens");
    let edits: Vec<(i64, String)> = conn
        .query_map("SELECT hlc, payload FROM journal ORDER BY seq", (), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .expect("rows");
    let base = |index: usize| -> Value {
        serde_json::from_str::<Value>(&edits[index].1).expect("JSON")["base"]["name"][0].clone()
    };
    assert_eq!(base(0), json!("4d.00000001"));
    let own = base(1);
    let own = own.as_str().expect("a stamp");
    assert!(
        own.starts_with(&format!("{:x}.", edits[0].0)),
        "{own} is the first edit"
    );
}

#[test]
fn an_edit_that_changes_nothing_is_not_recorded() {
    let mut till = Till::new("same");
    let tea = columns(&[("name", json!("TEA"))]);
    assert!(
        till.store()
            .catalog_set("products", "tea", &tea, NOW_MS)
            .expect("set")
            .is_some()
    );
    assert!(
        till.store()
            .catalog_set("products", "tea", &tea, NOW_MS)
            .expect("set")
            .is_none()
    );
    assert_eq!(till.store().journal_seq(), 1);
}

#[test]
fn an_amount_may_be_typed_as_people_write_it() {
    let mut till = Till::new("amount");
    let price = columns(&[("price", json!("2.555"))]);
    till.store()
        .catalog_set("products", "tea", &price, NOW_MS)
        .expect("set");
    let row = till.store().catalog_get("products", "TEA").expect("there");
    assert_eq!(row.columns["price_mills"], json!(2555));
    let minor = columns(&[("price_minor", json!(255))]);
    till.store()
        .catalog_set("products", "tea", &minor, NOW_MS)
        .expect("set");
    let row = till.store().catalog_get("products", "TEA").expect("there");
    assert_eq!(row.columns["price_mills"], json!(2550));
    let limit = columns(&[("credit_limit", json!(20))]);
    till.store()
        .catalog_set("customers", "ann", &limit, NOW_MS)
        .expect("set");
    let row = till.store().catalog_get("customers", "ann").expect("there");
    assert_eq!(row.columns["credit_limit_minor"], json!(2000));
    let wrong =
        till.store()
            .catalog_set("products", "tea", &columns(&[("price", json!("2,5"))]), 1);
    assert!(matches!(wrong, Err(StoreError::Number(_))));
}

#[test]
fn wrong_names_and_types_are_refused_with_what_there_is() {
    let mut till = Till::new("wrong");
    let mut refuse = |table: &str, pair: (&str, Value)| {
        let error = till
            .store()
            .catalog_set(table, "x", &columns(&[pair]), NOW_MS);
        error.expect_err("refused").to_string()
    };
    assert!(refuse("product", ("name", json!("x"))).contains("products"));
    assert!(refuse("products", ("prize", json!("x"))).contains("price_mills"));
    assert!(refuse("products", ("price_mills", json!("x"))).contains("a whole number"));
    assert!(refuse("products", ("revision", json!(1))).contains("no column revision"));
    assert!(refuse("products", ("deleted", json!(null))).contains("a whole number"));
}

#[test]
fn a_price_for_the_shop_beats_one_for_all_and_the_list_price() {
    let mut till = Till::new("price");
    till.activate(5).expect("activated");
    let shop = till.store().binding().expect("bound").shop.to_string();
    let set = |till: &mut Till, table: &str, id: &str, pairs: &[(&str, Value)]| {
        till.store()
            .catalog_set(table, id, &columns(pairs), NOW_MS)
            .expect("set");
    };
    set(
        &mut till,
        "products",
        "tea",
        &[("price_mills", json!(1000)), ("barcode", json!("500"))],
    );
    let price = |till: &mut Till| {
        till.store()
            .product("500", NOW_MS)
            .expect("found by barcode")
            .price
            .expect("a price")
            .mills
    };
    assert_eq!(price(&mut till), 1000);
    set(
        &mut till,
        "prices",
        "a",
        &[("product", json!("TEA")), ("price_mills", json!(900))],
    );
    assert_eq!(price(&mut till), 900);
    let own = [
        ("product", json!("TEA")),
        ("price_mills", json!(800)),
        ("shop", json!(shop)),
    ];
    set(&mut till, "prices", "b", &own);
    assert_eq!(price(&mut till), 800);
    set(
        &mut till,
        "prices",
        "b",
        &[("valid_from_ms", json!(NOW_MS + 1))],
    );
    assert_eq!(price(&mut till), 900);
    set(&mut till, "products", "tea", &[("deleted", json!(1))]);
    let gone = till.store().product("TEA", NOW_MS);
    assert!(matches!(gone, Err(StoreError::UnknownProduct(_))));
}

#[test]
fn a_swapped_catalog_is_attached_with_the_overlay_over_it() {
    let mut till = Till::new("swap");
    let chai = columns(&[("name", json!("CHAI"))]);
    till.store()
        .catalog_set("products", "tea", &chai, NOW_MS)
        .expect("set");
    till.swap(&hub_row("TEA", 4));
    assert_eq!(till.store().catalog_revision().expect("a revision"), 4);
    let row = till.store().catalog_get("products", "TEA").expect("there");
    assert_eq!(row.columns["name"], json!("CHAI"));
    assert_eq!(row.columns["barcode"], json!("500"));
}

#[test]
fn a_price_of_ones_own_holds_when_what_was_pending_had_to_be_made_anew() {
    let mut till = Till::new("repaired");
    for (table, id, pairs) in [
        ("products", "tea", vec![("price_mills", json!(1000))]),
        (
            "prices",
            "a",
            vec![("product", json!("TEA")), ("price_mills", json!(900))],
        ),
    ] {
        let set = till
            .store()
            .catalog_set(table, id, &columns(&pairs), NOW_MS);
        set.expect("set");
    }
    till.store = None;
    for file in ["local.db", "local.db-wal", "local.db-shm"] {
        std::fs::remove_file(till.dir.join(file)).ok();
    }
    till.open();
    let product = till.store().product("tea", NOW_MS).expect("found");
    assert_eq!(product.price.expect("a price").mills, 900);
}
