//! Ways in which a broken program leaves a record in a book, and what a person does about each.

use counterfoil_domain::DocumentId;
use serde_json::{Value, json};

/// What is decided about a record.
pub(crate) enum Cure {
    Waive,
    Fix(Value),
    /// It follows by itself when what it waits for is there.
    Wait,
}

/// A way to poison a sale, as a broken program would: what it does, the rule, the cure.
pub(crate) struct Poison {
    pub(crate) sql: &'static str,
    pub(crate) code: &'static str,
    pub(crate) cure: Cure,
}

/// Sums that do not add up, and a time before there were tills.
pub(crate) fn sums() -> Vec<Poison> {
    let of = |sql, code, cure| Poison { sql, code, cure };
    let fix = |changes| Cure::Fix(changes);
    vec![
        of(
            "UPDATE journal SET total_minor = total_minor + 1 WHERE seq = ?1",
            "total_wrong",
            fix(json!({"total_minor": "502"})),
        ),
        of(
            "UPDATE receipt_item SET amount_minor = amount_minor - 7 WHERE key >> 16 = ?1 AND tender IS NOT NULL",
            "payments_wrong",
            fix(json!({"payment.1.amount_minor": "502"})),
        ),
        of(
            "UPDATE receipt_item SET unit_price_mills = unit_price_mills + 100 WHERE key >> 16 = ?1",
            "line_amount_wrong",
            Cure::Waive,
        ),
        of(
            "DELETE FROM receipt_item WHERE key >> 16 = ?1 AND sku IS NOT NULL",
            "lines_missing",
            fix(json!({
                "line.1.sku": "TEA", "line.1.description": "tea", "line.1.quantity_milli": "2000",
                "line.1.unit_price_mills": "2510", "line.1.amount_minor": "502",
            })),
        ),
        of(
            "UPDATE journal SET at_ms = 86400000 WHERE seq = ?1",
            "time_impossible",
            fix(json!({"at_ms": "2023-11-14T22:13:20Z"})),
        ),
    ]
}

/// Values that cannot be, or that this hub does not know, and references to nothing.
pub(crate) fn values() -> Vec<Poison> {
    let of = |sql, code, cure| Poison { sql, code, cure };
    let fix = |changes| Cure::Fix(changes);
    vec![
        of(
            "UPDATE journal SET at_ms = 9000000000000 WHERE seq = ?1",
            "time_impossible",
            Cure::Waive,
        ),
        of(
            "UPDATE receipt_item SET amount_minor = 10000000000001 WHERE key >> 16 = ?1 AND tender IS NOT NULL",
            "value_out_of_range",
            fix(json!({"payment.1.amount_minor": "502"})),
        ),
        of(
            "UPDATE receipt_item SET quantity_milli = -quantity_milli WHERE key >> 16 = ?1",
            "quantity_sign_wrong",
            fix(json!({"line.1.quantity_milli": "2000", "line.2.quantity_milli": "2000"})),
        ),
        of(
            "UPDATE receipt_item SET tender = 'shells' WHERE key >> 16 = ?1 AND tender IS NOT NULL",
            "value_unknown",
            Cure::Waive,
        ),
        of(
            "UPDATE journal SET id = x'AB' WHERE seq = ?1",
            "id_damaged",
            fix(json!({"id": "0190aaaa-0000-7000-8000-00000000ab01"})),
        ),
        of(
            "UPDATE journal SET number = 2 WHERE seq = ?1",
            "number_repeated",
            fix(json!({"number": "900"})),
        ),
        of(
            "UPDATE receipt_item SET sku = NULL WHERE key >> 16 = ?1 AND tender IS NULL",
            "value_damaged",
            fix(json!({"line.1.sku": "TEA", "line.2.sku": "TEA"})),
        ),
        of(
            "UPDATE journal SET refund_of = x'0190AAAA000070008000000000000077' WHERE seq = ?1",
            "refund_of_unknown",
            Cure::Wait,
        ),
    ]
}

/// The sale that one refund waits for.
pub(crate) fn awaited() -> DocumentId {
    "0190aaaa-0000-7000-8000-000000000077".parse().unwrap()
}
