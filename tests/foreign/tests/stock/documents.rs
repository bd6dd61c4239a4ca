//! The documents of docs/lanes.md are the ones that the hub reads.

use counterfoil_domain::Document;
use serde_json::{Value, json};

const MANUAL: &str = include_str!("../../../../docs/lanes.md");
const ID: &str = "0198c0de-0000-7000-8000-000000000001";

/// The example of a sale, and its line feeds, which are none.
fn example() -> String {
    let from = MANUAL.find("{\"topic\":\"sale\",\"content\":{\"trial\"");
    let (text, _) = MANUAL[from.unwrap()..].split_once("```").unwrap();
    text.replace('\n', "")
}

/// The fields that the manual names for a document, in its order.
fn named(topic: &str) -> Vec<&'static str> {
    let begins = |row: &&str| {
        let first = row.split('|').nth(1).unwrap_or_default();
        first.contains(&format!("`{topic}`"))
    };
    let row = MANUAL.lines().find(begins).unwrap();
    let content = row.split('|').nth(2).unwrap();
    // What stands in brackets are values.
    let mut fields = Vec::new();
    for (place, part) in content.split(['(', ')']).enumerate() {
        if place & 1 == 0 {
            fields.extend(part.split('`').skip(1).step_by(2));
        }
    }
    fields
}

#[test]
fn the_sale_of_the_manual_is_written_as_the_hub_writes_it() {
    let text = example();
    let document: Document = serde_json::from_str(&text).unwrap();
    assert_eq!(String::from_utf8(document.canonical()).unwrap(), text);
    document.check().unwrap();
}

#[test]
fn the_manual_names_the_fields_of_documents_in_their_order() {
    let check = |topic: &str, mut content: Value| {
        content["at_ms"] = 1.into();
        let document = json!({"topic": topic, "content": content});
        let document: Document = serde_json::from_value(document).unwrap();
        let text = String::from_utf8(document.canonical()).unwrap();
        let (_, written) = text.split_once("\"content\":").unwrap();
        let fields = named(topic);
        let count = serde_json::from_str::<serde_json::Map<String, Value>>(
            written.strip_suffix('}').unwrap(),
        );
        assert_eq!(fields.len(), count.unwrap().len(), "{fields:?}: {text}");
        let places = fields
            .iter()
            .map(|field| written.find(&format!("\"{field}\":")).unwrap());
        assert!(places.is_sorted(), "{fields:?}: {text}");
    };
    let line =
        json!({"sku": "TEA", "description": "", "quantity": 1, "unit_price": 1, "amount_minor": 1});
    let receipt = json!({
        "trial": false, "series": "L1", "number": 1, "currency": "GBP", "total_minor": 1, "lines": [line],
        "parked": {"id": ID, "lane": 1}, "payments": [],
    });
    check("sale", receipt.clone());
    check("refund", receipt);
    check(
        "ledger_entry",
        json!({"customer": "", "amount_minor": 1, "currency": "GBP", "note": ""}),
    );
    check(
        "advance_order",
        json!({"customer": "", "due_ms": 1, "lines": [line], "total_minor": 1, "deposit_minor": 0, "currency": "GBP"}),
    );
    check(
        "cash_session",
        json!({"event": "open", "counted_minor": 1, "currency": "GBP"}),
    );
    check(
        "expense",
        json!({"category": "", "amount_minor": 1, "currency": "GBP", "note": "", "employee": ""}),
    );
    check(
        "stock_movement",
        json!({"sku": "TEA", "quantity": 1, "reason": ""}),
    );
    let seen = json!({"lanes": [{"node": ID, "seq": 7, "connected": true}]});
    check(
        "stock_count",
        json!({"sku": "TEA", "quantity": 1, "seen": seen}),
    );
    check(
        "parked_sale",
        json!({"currency": "GBP", "total_minor": 1, "lines": [line]}),
    );
    check("parked_discard", json!({"parked": ID}));
    check(
        "escrow",
        json!({"sku": "TEA", "act": {"kind": "join", "escrow": ID}}),
    );
}
