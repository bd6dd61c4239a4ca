//! A till that runs while its hub migrates the catalog: the new tables arrive as frames like any others.

use crate::catalog::columns;
use crate::{NOW_MS, Till};
use counterfoil_migrate::{Kind, open_and_migrate};
use counterfoil_protocol::gate::Schemas;
use counterfoil_shop_store::{ChangeFilter, Paths, ShopStore, StoreError};
use counterfoil_testkit::SeededRandom;
use serde_json::json;
use std::sync::Arc;

/// A till that knows the newest schemas, over a catalog of a hub that has not been updated yet.
fn behind(name: &str) -> Till {
    let mut till = Till::new(name);
    till.store = None;
    for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        std::fs::remove_file(till.dir.join(file)).ok();
    }
    let schemas = Schemas {
        book: Kind::Book.schema_version(),
        catalog: 2,
    };
    let paths = Paths::of(till.dir.path());
    let random = Arc::new(SeededRandom::new(7));
    let made = ShopStore::open_as(&paths, schemas, NOW_MS, random);
    drop(made.expect("made"));
    till.elsewhere(
        "catalog.db",
        "INSERT INTO products (id, name, price_mills, last_modified_at, revision) VALUES
             ('TEA', 'TEA', 2550, 1, 50), ('TEE', 'TEE', 2600, 1, 50);
         UPDATE catalog_state SET revision = 50, hlc = 1;",
    );
    till.open();
    till
}

/// What the hub does when it is updated, and what it publishes then.
fn migrate(till: &Till) {
    let migrated = open_and_migrate(till.dir.join("catalog.db"), Kind::Catalog, NOW_MS);
    migrated.expect("migrated").abandon();
    till.elsewhere(
        "catalog.db",
        "INSERT INTO suppliers (id, name, last_modified_at, revision) VALUES ('S1', 'Hill', 1, 51);
         UPDATE products SET supplier = 'S1', revision = 51 WHERE id = 'TEA';
         UPDATE catalog_state SET revision = 51;",
    );
}

fn all(after: Option<String>) -> ChangeFilter {
    ChangeFilter {
        after,
        types: Default::default(),
        limit: 100,
    }
}

#[test]
fn a_running_till_uses_the_tables_that_its_hub_adds_and_keeps_its_pending_edits() {
    let mut till = behind("migrated");
    let chai = columns(&[("name", json!("CHAI"))]);
    let edited = till.store().catalog_set("products", "tea", &chai, NOW_MS);
    edited.expect("set").expect("an edit");
    let early = till.store().merge_rows("products", "tee", "tea", NOW_MS);
    assert!(
        matches!(early, Err(StoreError::UnknownTable { .. })),
        "{early:?}"
    );

    migrate(&till);
    assert!(till.store().catch_up().expect("caught up"));
    assert!(!till.store().catch_up().expect("nothing to do"));
    let row = till.store().catalog_get("products", "TEA").expect("there");
    assert_eq!(
        (&row.columns["name"], &row.columns["supplier"]),
        (&json!("CHAI"), &json!("S1"))
    );
    let made = till.store().merge_rows("products", "tee", "tea", NOW_MS);
    made.expect("merged").expect("an edit");
    assert_eq!(
        till.store().product("tee", NOW_MS).expect("sold").sku,
        "TEA"
    );
    let columns = columns(&[("supplier", json!("S2"))]);
    let set = till
        .store()
        .catalog_set("products", "tea", &columns, NOW_MS);
    set.expect("set").expect("an edit");
    let digest = till.store().catalog_digest().expect("a digest");
    assert!(digest.rows.contains_key("suppliers"));

    till.open();
    assert_eq!(till.store().catalog_digest().expect("a digest"), digest);
    let row = till.store().catalog_get("products", "TEA").expect("there");
    assert_eq!(
        (&row.columns["name"], &row.columns["supplier"]),
        (&json!("CHAI"), &json!("S2"))
    );
}

#[test]
fn a_client_is_told_of_rows_in_tables_that_came_with_them() {
    let mut till = behind("migrated-changes");
    let seen = till.store().changes(&all(None)).expect("a page");
    assert_eq!(seen.changes.len(), 2);
    migrate(&till);
    // The frames are here; what follows them at the till has not happened yet.
    let page = till
        .store()
        .changes(&all(Some(seen.cursor)))
        .expect("a page");
    let told: Vec<_> = page
        .changes
        .iter()
        .map(|it| (it.entity.as_str(), it.id.as_str()))
        .collect();
    assert_eq!(told, [("products", "TEA"), ("suppliers", "S1")]);
    assert_eq!(page.changes[0].content["supplier"], "S1");
}
