//! Writing: a document's entry and what it has in other tables.

use crate::BookError;
use counterfoil_domain::document::{
    Activation, AdvanceOrder, CashSession, Expense, LedgerEntry, Receipt, StockCount, StockMovement,
};
use counterfoil_domain::employee::{EmployeeEvent, Permission};
use counterfoil_domain::escrow::Escrow;
use counterfoil_domain::item::{line_key, payment_key};
use counterfoil_domain::journal::EntryHead;
use counterfoil_domain::parked::{ParkedDiscard, ParkedSale};
use counterfoil_domain::{Chain, Closure, Document, DocumentId, ImportId};
use counterfoil_migrate::{Connection, SqlError, params};

/// Writes a document's entry and what it has in other tables. The caller has a transaction open.
///
/// # Errors
/// [`BookError`]; part of the rows may be there, for the transaction to take back.
pub fn insert(
    conn: &Connection,
    entry: &EntryHead,
    document: &Document,
    (chain, import): (&Chain, Option<ImportId>),
) -> Result<(), BookError> {
    let seq = entry.seq;
    if let Document::Sale(receipt) | Document::Refund(receipt) = document {
        return insert_receipt(conn, entry, receipt, (chain, import));
    }
    let payload = match document {
        Document::CatalogEdit(edit) => Some(serde_json::to_string(edit)?),
        Document::ParkedSale(parked) => Some(serde_json::to_string(parked)?),
        Document::ParkedDiscard(discard) => Some(serde_json::to_string(discard)?),
        Document::Escrow(escrow) => Some(serde_json::to_string(escrow)?),
        _ => None,
    };
    conn.execute(
        "INSERT INTO journal (seq, id, hlc, topic, priority, chain, payload) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            seq,
            entry.id.to_bytes(),
            entry.hlc.raw(),
            entry.topic.code(),
            entry.topic.priority().code(),
            chain.as_bytes().to_vec(),
            payload
        ],
    )?;
    note_import(conn, seq, import)?;
    match document {
        Document::StockMovement(movement) => insert_movement(conn, seq, movement)?,
        Document::StockCount(count) => insert_count(conn, seq, count)?,
        Document::Expense(expense) => insert_expense(conn, seq, expense)?,
        Document::LedgerEntry(entry) => insert_ledger_entry(conn, seq, entry)?,
        Document::AdvanceOrder(order) => insert_order(conn, seq, order)?,
        Document::CashSession(session) => insert_session(conn, seq, session)?,
        Document::Activation(activation) => insert_activation(conn, seq, activation)?,
        Document::Closure(closure) => insert_closure(conn, seq, closure)?,
        Document::EmployeeEvent(event) => insert_employee_event(conn, seq, event)?,
        Document::ParkedSale(ParkedSale { at_ms, .. })
        | Document::ParkedDiscard(ParkedDiscard { at_ms, .. })
        | Document::Escrow(Escrow { at_ms, .. }) => {
            let sql = "UPDATE journal SET at_ms = ?2 WHERE seq = ?1";
            conn.execute(sql, params![seq, *at_ms])?;
        }
        // The entry is all there is of a receipt's head and of an edit.
        Document::Sale(_) | Document::Refund(_) | Document::CatalogEdit(_) => {}
    }
    Ok(())
}

/// Says which import brought an entry. Apart from the entry, because a book of the first schema, to which a program
/// is held that stands for an old till, has no place for it and takes no imports.
fn note_import(conn: &Connection, seq: i64, import: Option<ImportId>) -> Result<(), SqlError> {
    if let Some(import) = import {
        let sql = "UPDATE journal SET import_id = ?2 WHERE seq = ?1";
        conn.execute(sql, params![seq, import.to_bytes()])?;
    }
    Ok(())
}

fn insert_receipt(
    conn: &Connection,
    entry: &EntryHead,
    receipt: &Receipt,
    (chain, import): (&Chain, Option<ImportId>),
) -> Result<(), BookError> {
    let finishes = receipt.parked.as_ref().map(serde_json::to_string);
    conn.execute(
        "INSERT INTO journal (seq, id, hlc, topic, priority, chain, trial, series, number, at_ms, \
         currency, total_minor, customer, employee, refund_of, external_ref, payload) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        params![
            entry.seq,
            entry.id.to_bytes(),
            entry.hlc.raw(),
            entry.topic.code(),
            entry.topic.priority().code(),
            chain.as_bytes().to_vec(),
            i64::from(receipt.trial),
            receipt.series.as_str(),
            receipt.number,
            receipt.at_ms,
            receipt.currency.as_str(),
            receipt.total_minor,
            receipt.customer.as_deref(),
            receipt.employee.as_deref(),
            receipt.refund_of.map(DocumentId::to_bytes),
            receipt.external_ref.as_deref(),
            finishes.transpose()?
        ],
    )?;
    note_import(conn, entry.seq, import)?;
    for (number, line) in (1_i64..).zip(&receipt.lines) {
        conn.execute(
            "INSERT INTO receipt_item (key, sku, description, quantity_milli, unit_price_mills, \
             amount_minor) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                line_key(entry.seq, number),
                line.sku.as_str(),
                line.description.as_str(),
                line.quantity.milli,
                line.unit_price.mills,
                line.amount_minor
            ],
        )?;
    }
    for (number, payment) in (1_i64..).zip(&receipt.payments) {
        conn.execute(
            "INSERT INTO receipt_item (key, tender, amount_minor) VALUES (?1, ?2, ?3)",
            params![
                payment_key(entry.seq, number),
                payment.tender.name(),
                payment.amount_minor
            ],
        )?;
    }
    Ok(())
}

fn insert_closure(conn: &Connection, seq: i64, closure: &Closure) -> Result<(), BookError> {
    conn.execute(
        "INSERT INTO closure (seq, day, content, at_ms) VALUES (?1, ?2, ?3, ?4)",
        params![
            seq,
            closure.day.to_string(),
            serde_json::to_string(closure)?,
            closure.at_ms
        ],
    )?;
    Ok(())
}

fn insert_employee_event(
    conn: &Connection,
    seq: i64,
    event: &EmployeeEvent,
) -> Result<(), SqlError> {
    conn.execute(
        "INSERT INTO employee_event (seq, employee, event, permission, outcome, unlooked, at_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            seq,
            event.employee.as_str(),
            event.event.name(),
            event.permission.map(Permission::name),
            event.outcome.name(),
            event.unlooked,
            event.at_ms
        ],
    )?;
    Ok(())
}

fn insert_activation(conn: &Connection, seq: i64, activation: &Activation) -> Result<(), SqlError> {
    conn.execute(
        "INSERT INTO activation (seq, shop, shop_name, at_ms) VALUES (?1, ?2, ?3, ?4)",
        params![
            seq,
            activation.shop.to_bytes(),
            activation.shop_name.as_str(),
            activation.at_ms
        ],
    )?;
    Ok(())
}

fn insert_movement(conn: &Connection, seq: i64, movement: &StockMovement) -> Result<(), SqlError> {
    conn.execute(
        "INSERT INTO stock_movement (seq, sku, quantity_milli, reason, at_ms, external_ref) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            seq,
            movement.sku.as_str(),
            movement.quantity.milli,
            movement.reason.as_str(),
            movement.at_ms,
            movement.external_ref.clone()
        ],
    )?;
    Ok(())
}

fn insert_count(conn: &Connection, seq: i64, count: &StockCount) -> Result<(), BookError> {
    conn.execute(
        "INSERT INTO stock_count (seq, sku, quantity_milli, at_ms) VALUES (?1, ?2, ?3, ?4)",
        params![seq, count.sku.as_str(), count.quantity.milli, count.at_ms],
    )?;
    // A book of an older schema, to which a program is held that stands for an old till, has no place for it.
    if let Some(seen) = &count.seen {
        let sql = "UPDATE stock_count SET seen = ?2 WHERE seq = ?1";
        conn.execute(sql, params![seq, serde_json::to_string(seen)?])?;
    }
    Ok(())
}

fn insert_expense(conn: &Connection, seq: i64, expense: &Expense) -> Result<(), SqlError> {
    conn.execute(
        "INSERT INTO expense (seq, category, amount_minor, currency, note, at_ms, employee) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            seq,
            expense.category.as_str(),
            expense.amount_minor,
            expense.currency.as_str(),
            expense.note.as_str(),
            expense.at_ms,
            expense.employee.as_deref()
        ],
    )?;
    Ok(())
}

fn insert_ledger_entry(conn: &Connection, seq: i64, entry: &LedgerEntry) -> Result<(), SqlError> {
    conn.execute(
        "INSERT INTO ledger_entry (seq, customer, amount_minor, currency, note, at_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            seq,
            entry.customer.as_str(),
            entry.amount_minor,
            entry.currency.as_str(),
            entry.note.as_str(),
            entry.at_ms
        ],
    )?;
    Ok(())
}

fn insert_order(conn: &Connection, seq: i64, order: &AdvanceOrder) -> Result<(), BookError> {
    conn.execute(
        "INSERT INTO advance_order (seq, customer, due_ms, lines, total_minor, deposit_minor, \
         currency, at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            seq,
            order.customer.as_str(),
            order.due_ms,
            serde_json::to_string(&order.lines)?,
            order.total_minor,
            order.deposit_minor,
            order.currency.as_str(),
            order.at_ms
        ],
    )?;
    Ok(())
}

fn insert_session(conn: &Connection, seq: i64, session: &CashSession) -> Result<(), SqlError> {
    conn.execute(
        "INSERT INTO cash_session (seq, event, counted_minor, currency, employee, at_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            seq,
            session.event.name(),
            session.counted_minor,
            session.currency.as_str(),
            session.employee.clone(),
            session.at_ms
        ],
    )?;
    Ok(())
}
