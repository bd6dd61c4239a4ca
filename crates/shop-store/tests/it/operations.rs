//! Batches of other clients: each operation is checked by itself.

use crate::{NOW_MS, Till};
use counterfoil_domain::DocumentId;
use counterfoil_protocol::wire::clients::Operation;
use counterfoil_protocol::wire::node::Recorded;
use counterfoil_shop_store::{Presented, StoreError};
use serde_json::{Value, json};

pub(crate) fn id(number: u128) -> DocumentId {
    DocumentId::from_uuid(uuid::Uuid::from_u128(0x0198_c0de << 96 | number))
}

pub(crate) fn operation(number: u128, kind: &str, content: &Value) -> Operation {
    let text = json!({"id": id(number), "kind": kind, "content": content});
    serde_json::from_value(text).expect("an operation")
}

pub(crate) fn edit(number: u128, table: &str, row: &str, columns: &Value) -> Operation {
    let content = json!({"table": table, "row": row, "columns": columns});
    operation(number, "catalog", &content)
}

impl Till {
    pub(crate) fn carry_out(
        &mut self,
        operations: &[Operation],
    ) -> Vec<Result<Option<Recorded>, StoreError>> {
        let carried = self
            .store()
            .carry_out(operations, Presented::default(), NOW_MS);
        carried.expect("the batch is carried out")
    }
}

fn is_nul<T>(outcome: &Result<T, StoreError>) -> bool {
    let error = outcome.as_ref().err();
    error.is_some_and(|error| error.is_refusal() && error.to_string().contains("NUL"))
}

#[test]
fn a_text_with_a_nul_refuses_its_own_operation_and_no_other() {
    let mut till = Till::new("nul");
    let line = json!([{"sku": "TEA", "quantity": "1", "unit_price": "2.55"}]);
    let named =
        json!([{"sku": "TEA", "quantity": "1", "unit_price": "2.55", "description": "T\0EA"}]);
    let ordered = json!({"customer": "ANN", "due_ms": NOW_MS, "lines": named});
    let nul = [
        operation(
            1,
            "sale",
            &json!({"tender": "cash", "customer": "A\0", "lines": line}),
        ),
        operation(
            2,
            "sale",
            &json!({"tender": "cash", "lines": [{"sku": "T\0", "quantity": "1"}]}),
        ),
        operation(
            3,
            "refund",
            &json!({"tender": "cash", "employee": "\0", "lines": line}),
        ),
        operation(
            4,
            "stock",
            &json!({"sku": "TEA", "quantity": "1", "reason": "lost\0"}),
        ),
        operation(
            5,
            "expense",
            &json!({"category": "rent", "amount": "5", "note": "\0"}),
        ),
        operation(6, "ledger", &json!({"customer": "ANN\0", "amount": "5"})),
        operation(7, "order", &ordered),
        edit(8, "products", "T\0A", &json!({"name": "TEA"})),
        edit(9, "products", "TEA", &json!({"name": "T\0A"})),
    ];
    let good = operation(20, "sale", &json!({"tender": "cash", "lines": line}));
    let mut batch = nul.to_vec();
    batch.push(good.clone());
    let carried = till.carry_out(&batch);
    for (place, refused) in carried.iter().take(nul.len()).enumerate() {
        assert!(is_nul(refused), "{place}: {refused:?}");
    }
    let recorded = carried[nul.len()].as_ref().expect("recorded");
    assert_eq!(recorded.as_ref().expect("a sale").number, Some(1));
    assert_eq!(till.store().journal_seq(), 1);
    // Six characters that only look like one in the journal's JSON.
    let spelled = edit(30, "products", "TEA", &json!({"name": "\\u0000"}));
    till.carry_out(&[spelled])[0].as_ref().expect("recorded");
    let again = till.carry_out(&[good]);
    assert!(
        again[0]
            .as_ref()
            .expect("known")
            .as_ref()
            .expect("a sale")
            .repeated
    );
}

#[test]
fn a_single_call_with_a_nul_is_the_callers_mistake() {
    let mut till = Till::new("nul-single");
    let columns = [("name".to_owned(), json!("T\0A"))].into();
    let store = till.store();
    let set = store.catalog_set("products", "tea", &columns, NOW_MS);
    assert!(is_nul(&set), "{set:?}");
    let found = store.product("T\0A", NOW_MS);
    assert!(is_nul(&found), "{found:?}");
    let row = store.catalog_get("products", "T\0A");
    assert!(is_nul(&row), "{row:?}");
}

#[test]
fn an_operation_that_changed_nothing_changes_nothing_when_it_is_repeated() {
    let mut till = Till::new("unchanged");
    let named = |number, name: &str| edit(number, "products", "TEA", &json!({"name": name}));
    let first = till.carry_out(&[named(1, "Tea"), named(2, "Tea")]);
    assert!(matches!(&first[..], [Ok(Some(_)), Ok(None)]), "{first:?}");
    // Somebody else renames it before the client repeats the batch whose answer was lost.
    till.carry_out(&[named(3, "Green tea")])[0]
        .as_ref()
        .expect("renamed");
    till.open();
    let again = till.carry_out(&[named(1, "Tea"), named(2, "Tea")]);
    let repeated = |it: &Recorded| it.repeated;
    assert!(
        again[0]
            .as_ref()
            .expect("known")
            .as_ref()
            .is_some_and(repeated)
    );
    assert!(matches!(again[1], Ok(None)), "{again:?}");
    let row = till.store().catalog_get("products", "TEA").expect("there");
    assert_eq!(row.columns["name"], "Green tea");
    // The id was never taken: nothing that is recorded under it is lost.
    let line = json!([{"sku": "TEA", "quantity": "1", "unit_price": "2.55"}]);
    let sale = operation(2, "sale", &json!({"tender": "cash", "lines": line}));
    assert!(matches!(till.carry_out(&[sale])[0], Ok(Some(_))));
}
