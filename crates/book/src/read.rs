//! Reading: the document of an entry, in the form that its chain value covers.

use crate::BookError;
use counterfoil_domain::document::{
    Activation, AdvanceOrder, CashEvent, CashSession, Document, Expense, LedgerEntry, Line,
    Payment, Receipt, StockCount, StockMovement,
};
use counterfoil_domain::employee::{EmployeeEvent, EventKind, Outcome, Permission};
use counterfoil_domain::item::{line_key, payment_key};
use counterfoil_domain::money::MoneyError;
use counterfoil_domain::{Currency, DocumentId, Quantity, ShopId, Topic, UnitPrice};
use counterfoil_migrate::{Connection, Row, SqlError, params};

/// A document of the journal, of which `payload` is what its entry holds as JSON; `None` when its rows are gone.
///
/// # Errors
/// [`BookError`] for rows that no document of ours has.
pub fn document(
    conn: &Connection,
    topic: Topic,
    seq: i64,
    payload: Option<&str>,
) -> Result<Option<Document>, BookError> {
    Ok(match topic {
        Topic::Sale => receipt(conn, seq)?.map(Document::Sale),
        Topic::Refund => receipt(conn, seq)?.map(Document::Refund),
        Topic::CatalogEdit => {
            let edit = payload.map(serde_json::from_str).transpose()?;
            edit.map(Document::CatalogEdit)
        }
        Topic::ParkedSale => {
            let parked = payload.map(serde_json::from_str).transpose()?;
            parked.map(Document::ParkedSale)
        }
        Topic::ParkedDiscard => {
            let discard = payload.map(serde_json::from_str).transpose()?;
            discard.map(Document::ParkedDiscard)
        }
        Topic::Escrow => {
            let escrow = payload.map(serde_json::from_str).transpose()?;
            escrow.map(Document::Escrow)
        }
        Topic::Closure => {
            let sql = "SELECT content FROM closure WHERE seq = ?1";
            let text = conn.query_optional(sql, [seq], |row| row.get(0))?;
            let text: Option<String> = text;
            let closure = text.as_deref().map(serde_json::from_str).transpose()?;
            closure.map(Document::Closure)
        }
        Topic::AdvanceOrder => order(conn, seq)?.map(Document::AdvanceOrder),
        Topic::Activation => conn.query_optional(ACTIVATION, [seq], activation)?,
        Topic::LedgerEntry => conn.query_optional(LEDGER_ENTRY, [seq], ledger_entry)?,
        Topic::CashSession => conn.query_optional(CASH_SESSION, [seq], cash_session)?,
        Topic::Expense => conn.query_optional(EXPENSE, [seq], expense)?,
        Topic::StockMovement => conn.query_optional(MOVEMENT, [seq], movement)?,
        Topic::StockCount => conn.query_optional(COUNT, [seq], count)?,
        Topic::EmployeeEvent => conn.query_optional(EMPLOYEE_EVENT, [seq], employee_event)?,
    })
}

fn receipt(conn: &Connection, seq: i64) -> Result<Option<Receipt>, BookError> {
    let sql =
        "SELECT trial, series, number, at_ms, currency, total_minor, customer, employee, refund_of,
               external_ref, payload FROM journal WHERE seq = ?1 AND number IS NOT NULL";
    let receipt = conn.query_optional(sql, [seq], |row| {
        let id = |bytes: Option<Vec<u8>>| bytes.map(|it| DocumentId::from_slice(&it)).transpose();
        Ok(Receipt {
            trial: row.get(0)?,
            series: row.get(1)?,
            number: row.get(2)?,
            at_ms: row.get(3)?,
            currency: currency(row, 4)?,
            total_minor: row.get(5)?,
            customer: row.get(6)?,
            employee: row.get(7)?,
            refund_of: row.get_with(8, id)?,
            external_ref: row.get(9)?,
            parked: row.get_with(10, |text: Option<String>| {
                text.as_deref().map(serde_json::from_str).transpose()
            })?,
            lines: Vec::new(),
            payments: Vec::new(),
        })
    })?;
    let Some(mut receipt) = receipt else {
        return Ok(None);
    };
    let sql = "SELECT sku, description, quantity_milli, unit_price_mills, amount_minor
               FROM receipt_item WHERE key > ?1 AND key < ?2 ORDER BY key";
    let keys = params![line_key(seq, 0), payment_key(seq, 0)];
    receipt.lines = conn.query_map(sql, keys, |row| {
        Ok(Line {
            sku: row.get(0)?,
            description: row.get(1)?,
            quantity: Quantity::from_milli(row.get(2)?),
            unit_price: UnitPrice::from_mills(row.get(3)?),
            amount_minor: row.get(4)?,
        })
    })?;
    let sql =
        "SELECT tender, amount_minor FROM receipt_item WHERE key > ?1 AND key < ?2 ORDER BY key";
    let keys = params![payment_key(seq, 0), line_key(seq + 1, 0)];
    receipt.payments = conn.query_map(sql, keys, |row| {
        Ok(Payment {
            tender: row.get_with(0, |text: String| text.parse())?,
            amount_minor: row.get(1)?,
        })
    })?;
    Ok(Some(receipt))
}

fn order(conn: &Connection, seq: i64) -> Result<Option<AdvanceOrder>, BookError> {
    let sql = "SELECT customer, due_ms, lines, total_minor, deposit_minor, currency, at_ms
               FROM advance_order WHERE seq = ?1";
    Ok(conn.query_optional(sql, [seq], |row| {
        Ok(AdvanceOrder {
            customer: row.get(0)?,
            due_ms: row.get(1)?,
            lines: row.get_with(2, |text: String| serde_json::from_str(&text))?,
            total_minor: row.get(3)?,
            deposit_minor: row.get(4)?,
            currency: currency(row, 5)?,
            at_ms: row.get(6)?,
        })
    })?)
}

const LEDGER_ENTRY: &str =
    "SELECT customer, amount_minor, currency, note, at_ms FROM ledger_entry WHERE seq = ?1";

fn ledger_entry(row: &Row<'_>) -> Result<Document, SqlError> {
    Ok(Document::LedgerEntry(LedgerEntry {
        customer: row.get(0)?,
        amount_minor: row.get(1)?,
        currency: currency(row, 2)?,
        note: row.get(3)?,
        at_ms: row.get(4)?,
    }))
}

const CASH_SESSION: &str =
    "SELECT event, counted_minor, currency, employee, at_ms FROM cash_session WHERE seq = ?1";

fn cash_session(row: &Row<'_>) -> Result<Document, SqlError> {
    let event = match row.get::<String>(0)? == CashEvent::Open.name() {
        true => CashEvent::Open,
        false => CashEvent::Close,
    };
    Ok(Document::CashSession(CashSession {
        event,
        counted_minor: row.get(1)?,
        currency: currency(row, 2)?,
        employee: row.get(3)?,
        at_ms: row.get(4)?,
    }))
}

const EXPENSE: &str =
    "SELECT category, amount_minor, currency, note, at_ms, employee FROM expense WHERE seq = ?1";

fn expense(row: &Row<'_>) -> Result<Document, SqlError> {
    Ok(Document::Expense(Expense {
        category: row.get(0)?,
        amount_minor: row.get(1)?,
        currency: currency(row, 2)?,
        note: row.get(3)?,
        at_ms: row.get(4)?,
        employee: row.get(5)?,
    }))
}

const MOVEMENT: &str =
    "SELECT sku, quantity_milli, reason, at_ms, external_ref FROM stock_movement WHERE seq = ?1";

fn movement(row: &Row<'_>) -> Result<Document, SqlError> {
    Ok(Document::StockMovement(StockMovement {
        sku: row.get(0)?,
        quantity: Quantity::from_milli(row.get(1)?),
        reason: row.get(2)?,
        at_ms: row.get(3)?,
        external_ref: row.get(4)?,
    }))
}

const COUNT: &str = "SELECT sku, quantity_milli, at_ms, seen FROM stock_count WHERE seq = ?1";

fn count(row: &Row<'_>) -> Result<Document, SqlError> {
    Ok(Document::StockCount(StockCount {
        sku: row.get(0)?,
        quantity: Quantity::from_milli(row.get(1)?),
        at_ms: row.get(2)?,
        seen: row.get_with(3, |text: Option<String>| {
            text.as_deref().map(serde_json::from_str).transpose()
        })?,
    }))
}

const EMPLOYEE_EVENT: &str = "SELECT employee, event, permission, outcome, unlooked, at_ms
                              FROM employee_event WHERE seq = ?1";

fn employee_event(row: &Row<'_>) -> Result<Document, SqlError> {
    let permission = |text: Option<String>| text.map(|text| text.parse::<Permission>()).transpose();
    Ok(Document::EmployeeEvent(EmployeeEvent {
        employee: row.get(0)?,
        event: row.get_with(1, |text: String| text.parse::<EventKind>())?,
        permission: row.get_with(2, permission)?,
        outcome: row.get_with(3, |text: String| text.parse::<Outcome>())?,
        unlooked: row.get(4)?,
        at_ms: row.get(5)?,
    }))
}

const ACTIVATION: &str = "SELECT shop, shop_name, at_ms FROM activation WHERE seq = ?1";

fn activation(row: &Row<'_>) -> Result<Document, SqlError> {
    Ok(Document::Activation(Activation {
        shop: row.get_with(0, |bytes: Vec<u8>| ShopId::from_slice(&bytes))?,
        shop_name: row.get(1)?,
        at_ms: row.get(2)?,
    }))
}

fn currency(row: &Row<'_>, index: usize) -> Result<Currency, SqlError> {
    row.get_with(index, |text: String| -> Result<Currency, MoneyError> {
        text.parse()
    })
}
