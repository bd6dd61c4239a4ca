//! Which products and customers has anybody entered?
//!
//! One that was entered once stays known, whatever became of the row: deleted, merged, or taken back.

use super::movement::Batch;
use crate::limits::ENTERED_BEFORE_ENTRIES_MAX;
use counterfoil_domain::Topic;
use counterfoil_domain::alias::{ALIASES, alias_id};

const CUSTOMERS: &str = "customers";

/// Characters of an id that a sentence repeats. More are cut off: an id is for people to recognize, and a
/// damaged one may be long.
const NAMED_CHARS_MAX: usize = 64;

/// Whether anybody has entered a row; `row` is an SQL expression.
pub(super) fn is_entered(table: &str, row: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM main.field_version AS v
                 WHERE v.table_name = '{table}' AND v.row_id = {row})"
    )
}

/// The same of a customer, who may also be known as another one: an id that was merged needs no row.
pub(super) fn is_known_customer(id: &str) -> String {
    let alias = format!("'{}' || {id}", alias_id(CUSTOMERS, ""));
    let (entered, merged) = (is_entered(CUSTOMERS, id), is_entered(ALIASES, &alias));
    format!("({entered} OR {merged})")
}

/// A customer of a document `d`, as the catalog would name it.
pub(super) const CUSTOMER: &str = "trim(d.customer)";

/// Whether nobody has entered the customer of a document `d`, at any till or in the same book up to the end of the
/// batch: sales are moved before edits, and a new customer who is given credit at once is no stranger.
pub(super) fn is_stranger(batch: &Batch) -> String {
    // Damage leaves no JSON, and that must not stop the statement.
    format!(
        "NOT {known} AND {CUSTOMER} NOT IN (
             SELECT id FROM (
                 SELECT CASE WHEN json_valid(e.payload) THEN CASE e.payload ->> 'table'
                            WHEN '{CUSTOMERS}' THEN e.payload ->> 'row' END END AS id
                 FROM {source}journal AS e
                 WHERE e.topic = {edit} AND e.seq <= ?3 AND e.seq > max(?2 - {ENTERED_BEFORE_ENTRIES_MAX},
                     coalesce((SELECT w.seq FROM main.watermark AS w
                               WHERE w.node = ?1 AND w.priority = {normal}), 0)))
             WHERE id IS NOT NULL)",
        known = is_known_customer(CUSTOMER),
        source = batch.source,
        edit = Topic::CatalogEdit.code(),
        normal = Topic::CatalogEdit.priority().code(),
    )
}

/// What a document is to its customer, when something is owed between the two.
pub(super) const fn owing(topic: Topic) -> Option<&'static str> {
    match topic {
        Topic::LedgerEntry => Some("it is on the account"),
        Topic::AdvanceOrder => Some("it is an order"),
        // A sale that was paid counts whoever it was for, and data of other systems brings numbers without rows.
        Topic::Sale | Topic::Refund => None,
        Topic::Activation
        | Topic::CashSession
        | Topic::Expense
        | Topic::CatalogEdit
        | Topic::StockMovement
        | Topic::StockCount
        | Topic::Closure
        | Topic::EmployeeEvent
        | Topic::ParkedSale
        | Topic::ParkedDiscard
        | Topic::Escrow => None,
    }
}

/// The customer of a document `d` in a sentence, character by character: damage leaves text that cannot be read, and
/// one such reason would hide the whole list.
pub(super) fn named() -> String {
    format!(
        "coalesce((WITH RECURSIVE place (i) AS (
             SELECT 1 WHERE length({CUSTOMER}) > 0
             UNION ALL SELECT i + 1 FROM place WHERE i < min(length({CUSTOMER}), {NAMED_CHARS_MAX}))
         SELECT group_concat(char(unicode(substr({CUSTOMER}, i, 1))), '') FROM place), '')"
    )
}
