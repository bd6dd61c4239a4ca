//! What clients of a till are told: its own documents and edits, and what the hub publishes.

use crate::operations::{edit, id, operation};
use crate::{Till, run};
use counterfoil_protocol::wire::clients::{Change, ChangePage};
use counterfoil_protocol::wire::decisions::{ConflictChanges, ConflictCursor};
use counterfoil_shop_store::{ChangeFilter, StoreError};
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) fn page(
    till: &mut Till,
    types: &[&str],
    after: Option<&str>,
    limit: usize,
) -> Result<ChangePage, StoreError> {
    till.store().changes(&ChangeFilter {
        after: after.map(str::to_owned),
        types: types.iter().map(|name| (*name).to_owned()).collect(),
        limit,
    })
}

/// All that is there, and the cursor behind it.
pub(crate) fn told(till: &mut Till, types: &[&str], after: Option<&str>) -> (Vec<Change>, String) {
    let page = page(till, types, after, 1000).expect("a page");
    assert!(!page.more);
    (page.changes, page.cursor)
}

fn content(change: &Change) -> Value {
    Value::Object(change.content.clone().into_iter().collect())
}

#[test]
fn documents_are_told_with_the_fields_that_were_recorded() {
    let mut till = Till::new("documents");
    let line = json!([{"sku": "TEA", "quantity": "1", "unit_price": "2.55"}]);
    let refund = json!({"tender": "cash", "lines": line, "refund_of": id(1), "employee": "JO"});
    let expense = json!({"category": "rent", "amount": "5", "employee": "JO"});
    let carried = till.carry_out(&[
        operation(1, "sale", &json!({"tender": "cash", "lines": line})),
        operation(2, "refund", &refund),
        operation(3, "expense", &expense),
    ]);
    assert!(carried.iter().all(Result::is_ok), "{carried:?}");
    let (changes, _) = told(&mut till, &["sale", "refund", "expense"], None);
    let [sale, refund, expense] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert_eq!(content(sale)["refund_of"], Value::Null);
    assert_eq!(content(refund)["refund_of"], json!(sale.id));
    assert_eq!(content(refund)["employee"], "JO");
    assert_eq!(content(expense)["employee"], "JO");
}

#[test]
fn a_row_whose_edit_the_hub_put_aside_is_told_as_gone() {
    let mut till = Till::new("put-aside");
    let carried = till.carry_out(&[edit(
        1,
        "prices",
        "P9",
        &json!({"product": "NOSUCH", "price_mills": 5}),
    )]);
    let seq = carried[0]
        .as_ref()
        .expect("recorded")
        .as_ref()
        .expect("an edit")
        .seq;
    let (changes, cursor) = told(&mut till, &["prices"], None);
    assert_eq!((changes[0].id.as_str(), changes[0].pending), ("P9", true));

    let node = till.store().node();
    till.elsewhere(
        "catalog.db",
        &format!(
            "INSERT INTO merged_edits VALUES ('{node}', {seq});
             UPDATE catalog_state SET revision = 1, hlc = 9;"
        ),
    );
    till.store().catch_up().expect("caught up");
    // Those who do not follow prices hear nothing of it.
    let (others, _) = told(&mut till, &["products"], None);
    assert_eq!(others, []);
    let (changes, cursor) = told(&mut till, &["prices"], Some(&cursor));
    assert_eq!(changes.len(), 1, "{changes:?}");
    let gone = &changes[0];
    assert_eq!(
        (gone.id.as_str(), gone.deleted, gone.pending),
        ("P9", true, false)
    );
    assert!(gone.content.is_empty());
    assert_eq!(told(&mut till, &["prices"], Some(&cursor)).0, []);
}

fn sell(till: &mut Till, numbers: std::ops::Range<u128>) {
    let line = json!([{"sku": "TEA", "quantity": "1", "unit_price": "2.55"}]);
    let content = json!({"tender": "cash", "lines": line});
    let sales: Vec<_> = numbers
        .map(|number| operation(number, "sale", &content))
        .collect();
    assert!(till.carry_out(&sales).iter().all(Result::is_ok));
}

#[test]
fn a_cursor_of_a_history_that_a_restored_till_has_overtaken_is_gone() {
    let mut till = Till::new("till-restored");
    sell(&mut till, 1..4);
    let early = told(&mut till, &["sale"], None).1;
    till.store = None;
    let backup = std::fs::read(till.dir.join("book.db")).expect("a file");
    till.open();
    sell(&mut till, 4..6);
    let late = told(&mut till, &["sale"], Some(&early)).1;

    till.store = None;
    std::fs::write(till.dir.join("book.db"), backup).expect("restored");
    till.open();
    assert_eq!(
        till.store().journal_seq(),
        3,
        "the backup holds what was sold before"
    );
    sell(&mut till, 11..21);
    let gone = page(&mut till, &["sale"], Some(&late), 10);
    assert!(matches!(gone, Err(StoreError::CursorGone)), "{gone:?}");
    let (changes, _) = told(&mut till, &["sale"], Some(&early));
    assert_eq!(changes.len(), 10, "what both histories hold is told once");
}

/// Rows that the hub published, each with its revision; the last one is the catalog's.
fn published(rows: &[(&str, i64)]) -> String {
    let mut sql = "DELETE FROM products;\n".to_owned();
    let mut last = 0;
    for (id, revision) in rows {
        sql += &format!(
            "INSERT INTO products (id, name, last_modified_at, revision, versions)
             VALUES ('{id}', '{id}', {revision}, {revision}, '{{\"name\":\"{revision:x}.00000001\"}}');\n"
        );
        last = *revision;
    }
    sql + &format!("UPDATE catalog_state SET revision = {last}, hlc = {last};")
}

#[test]
fn a_catalog_that_is_downloaded_anew_goes_on_for_its_clients() {
    let mut till = Till::new("downloaded");
    till.swap(&published(&[("P1", 90), ("P2", 100)]));
    let (changes, cursor) = told(&mut till, &["products"], None);
    assert_eq!(changes.len(), 2);
    till.swap(&published(&[("P2", 100), ("P1", 101), ("P3", 105)]));
    let (changes, _) = told(&mut till, &["products"], Some(&cursor));
    let ids: Vec<_> = changes.iter().map(|change| change.id.as_str()).collect();
    assert_eq!(ids, ["P1", "P3"]);
}

#[test]
fn a_cursor_of_a_catalog_that_a_restored_hub_has_overtaken_is_gone() {
    for (case, restored) in [
        ("fewer", &[("P1", 90), ("P3", 105)][..]),
        ("older", &[("P1", 90), ("P2", 90), ("P3", 105)]),
        ("others", &[("P1", 90), ("P2", 95), ("P3", 105)]),
        ("more", &[("P1", 90), ("P4", 95), ("P2", 100), ("P3", 105)]),
    ] {
        let mut till = Till::new("hub-restored");
        till.swap(&published(&[("P1", 90), ("P2", 100)]));
        let (_, cursor) = told(&mut till, &["products"], None);
        till.swap(&published(restored));
        let gone = page(&mut till, &["products"], Some(&cursor), 10);
        assert!(
            matches!(gone, Err(StoreError::CursorGone)),
            "{case}: {gone:?}"
        );
        let (changes, cursor) = told(&mut till, &["products"], None);
        assert_eq!(changes.len(), restored.len(), "{case}");
        assert_eq!(
            told(&mut till, &["products"], Some(&cursor)).0,
            [],
            "{case}"
        );
    }
}

#[test]
fn conflicts_are_heard_again_after_the_catalog_was_downloaded_anew() {
    let mut till = Till::new("conflicts-again");
    let told = ConflictChanges {
        conflicts: Vec::new(),
        cursor: ConflictCursor { change: 7, id: 1 },
        more: false,
    };
    till.store().hear_conflicts(&told).expect("heard");
    till.swap(&published(&[("P1", 1)]));
    let heard = till.store().conflicts_heard().expect("read");
    assert_eq!(heard.cursor, ConflictCursor::default());
}

#[test]
fn a_till_that_is_killed_while_the_catalog_is_replaced_gives_its_clients_a_fresh_start() {
    let mut till = Till::new("killed-swap");
    till.swap(&published(&[("P1", 90), ("P2", 100)]));
    let (_, cursor) = told(&mut till, &["products"], None);
    // The file is the new one, and nobody has looked at it.
    let killed = catch_unwind(AssertUnwindSafe(|| {
        let path = till.dir.join("catalog.db");
        let swapped = till.store.as_mut().expect("open").swap_catalog(|| {
            run(&path, &published(&[("P1", 90), ("P3", 105)]));
            panic!("killed");
        });
        swapped.expect("never");
    }));
    assert!(killed.is_err());
    till.open();
    let gone = page(&mut till, &["products"], Some(&cursor), 10);
    assert!(matches!(gone, Err(StoreError::CursorGone)), "{gone:?}");
    let (changes, cursor) = told(&mut till, &["products"], None);
    assert_eq!(changes.len(), 2);
    assert_eq!(told(&mut till, &["products"], Some(&cursor)).0, []);
}

/// A row of the hub: its revision, and its name with the time of the edit that it is from.
fn named(table: &str, id: &str, revision: i64) -> String {
    format!(
        "INSERT OR REPLACE INTO {table} (id, last_modified_at, revision, versions)
         VALUES ('{id}', {revision}, {revision}, '{{}}');
         UPDATE catalog_state SET revision = {revision}, hlc = {revision};\n"
    )
}

#[test]
fn pages_that_end_within_a_revision_miss_nothing_while_the_hub_publishes() {
    let mut till = Till::new("pages");
    let rows: Vec<(&str, String)> = ["customers", "prices", "products"]
        .iter()
        .flat_map(|table| (1..=4).map(|number| (*table, format!("R{number}"))))
        .collect();
    let first: String = rows.iter().map(|(table, id)| named(table, id, 7)).collect();
    till.elsewhere("catalog.db", &first);
    till.store().catch_up().expect("caught up");
    let mut seen: Vec<(String, String)> = Vec::new();
    let mut after: Option<String> = None;
    // Rows that were given and rows that were not are published again between two pages.
    let again = [("customers", "R1"), ("products", "R4"), ("prices", "R1")];
    for (revision, (table, id)) in (8..).zip(again) {
        let given = page(&mut till, &[], after.as_deref(), 3).expect("a page");
        assert!(given.more);
        seen.extend(given.changes.into_iter().map(|it| (it.entity, it.id)));
        after = Some(given.cursor);
        till.elsewhere("catalog.db", &named(table, id, revision));
        till.store().catch_up().expect("caught up");
    }
    let (rest, cursor) = told(&mut till, &[], after.as_deref());
    seen.extend(rest.into_iter().map(|it| (it.entity, it.id)));
    for (table, id) in &rows {
        let key = (table.to_string(), id.clone());
        let times = seen.iter().filter(|it| **it == key).count();
        let twice = [("customers", "R1"), ("prices", "R1")].contains(&(table, id));
        assert_eq!(times, 1 + usize::from(twice), "{key:?} in {seen:?}");
    }
    assert_eq!(told(&mut till, &[], Some(&cursor)).0, []);
}

#[test]
fn an_edit_that_lost_at_the_hub_is_told_as_what_the_hub_has() {
    let mut till = Till::new("lost");
    till.elsewhere("catalog.db", &published(&[("TEA", 1), ("CUP", 2)]));
    till.store().catch_up().expect("caught up");
    let edits = [
        edit(1, "products", "TEA", &json!({"name": "CHAI"})),
        edit(2, "products", "CUP", &json!({"name": "MUG"})),
    ];
    let carried = till.carry_out(&edits);
    let seqs: Vec<i64> = carried
        .iter()
        .map(|it| {
            it.as_ref()
                .expect("recorded")
                .as_ref()
                .expect("an edit")
                .seq
        })
        .collect();
    let (changes, cursor) = told(&mut till, &["products"], None);
    let shown = |changes: &[Change]| -> Vec<(String, Value, bool)> {
        changes
            .iter()
            .map(|it| (it.id.clone(), it.content["name"].clone(), it.pending))
            .collect()
    };
    let pending = [
        ("TEA", "CHAI"),
        ("CUP", "MUG"),
        ("TEA", "CHAI"),
        ("CUP", "MUG"),
    ];
    let expected = pending.map(|(id, name)| (id.to_owned(), json!(name), true));
    assert_eq!(shown(&changes), expected);

    // The first edit lost: its row stays as it was. The second is not merged yet.
    let node = till.store().node();
    let merged = format!(
        "INSERT INTO merged_edits VALUES ('{node}', {}); UPDATE catalog_state SET hlc = 9;",
        seqs[0]
    );
    till.elsewhere("catalog.db", &merged);
    till.store().catch_up().expect("caught up");
    let (changes, cursor) = told(&mut till, &["products"], Some(&cursor));
    assert_eq!(shown(&changes), [("TEA".to_owned(), json!("TEA"), false)]);
    assert_eq!(told(&mut till, &["products"], Some(&cursor)).0, []);
}
