//! Products that were merged, and what is done to the duplicates afterwards.

use crate::catalog::columns;
use crate::{NOW_MS, Till};
use serde_json::{Value, json};

fn set(till: &mut Till, row: &str, pairs: &[(&str, Value)]) {
    let set = till
        .store()
        .catalog_set("products", row, &columns(pairs), NOW_MS);
    set.expect("set").expect("an edit");
}

/// TEE was merged into TEA.
fn merged(name: &str) -> Till {
    let mut till = Till::new(name);
    for (row, price, barcode) in [("TEA", 2550, "500"), ("TEE", 2600, "600")] {
        let pairs = [
            ("name", json!(row)),
            ("price_mills", json!(price)),
            ("barcode", json!(barcode)),
        ];
        set(&mut till, row, &pairs);
    }
    let made = till.store().merge_rows("products", "tee", "tea", NOW_MS);
    made.expect("merged").expect("an edit");
    till
}

fn sold_as(till: &mut Till, code: &str) -> (String, Option<i64>) {
    let product = till.store().product(code, NOW_MS).expect("is sold");
    (product.sku, product.price.map(|price| price.mills))
}

#[test]
fn deleting_a_merged_duplicate_leaves_the_product_that_stands_for_it() {
    let mut till = merged("alias-deleted");
    set(&mut till, "tee", &[("deleted", json!(1))]);
    let held = till.store().catalog_get("products", "TEA").expect("there");
    assert_eq!(held.columns["deleted"], json!(0));
    let own = till.store().catalog_row("products", "tee").expect("there");
    assert_eq!(
        (own.id.as_str(), &own.columns["deleted"]),
        ("TEE", &json!(1))
    );
    for code in ["tea", "tee", "500"] {
        assert_eq!(sold_as(&mut till, code), ("TEA".to_owned(), Some(2550)));
    }
    // Any other edit through the duplicate is still one of the product that stays.
    set(&mut till, "tee", &[("name", json!("Tea"))]);
    let held = till.store().catalog_get("products", "TEA").expect("there");
    assert_eq!(held.columns["name"], json!("Tea"));
}

#[test]
fn a_duplicate_is_sold_as_itself_while_what_stands_for_it_is_not_sold() {
    let mut till = merged("alias-survivor-gone");
    assert_eq!(sold_as(&mut till, "tee"), ("TEA".to_owned(), Some(2550)));
    set(&mut till, "tea", &[("deleted", json!(1))]);
    for code in ["tee", "600"] {
        assert_eq!(sold_as(&mut till, code), ("TEE".to_owned(), Some(2600)));
    }
}

#[test]
fn a_duplicate_is_shown_as_itself_until_what_stands_for_it_is_here() {
    let mut till = Till::new("alias-first");
    till.store = None;
    // The hub publishes many rows in parts: the alias can be here first.
    till.elsewhere(
        "catalog.db",
        "INSERT INTO products (id, name, price_mills, last_modified_at, revision) VALUES ('TEE', 'TEE', 2600, 1, 1);
         INSERT INTO aliases (id, survivor, last_modified_at, revision) VALUES ('products/TEE', 'TEA', 2, 2);
         UPDATE catalog_state SET revision = 2, hlc = 2;",
    );
    till.open();
    assert_eq!(sold_as(&mut till, "tee"), ("TEE".to_owned(), Some(2600)));
    let row = till.store().catalog_get("products", "tee").expect("there");
    assert_eq!((row.id.as_str(), row.merged), ("TEE", None));
}
