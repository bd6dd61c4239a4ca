//! Reading the own journal back: each entry with its document in the form that its chain value covers.

use crate::error::StoreError;
use crate::open::ShopStore;
use counterfoil_domain::document::{
    Activation, AdvanceOrder, CashEvent, CashSession, Document, Expense, LedgerEntry, Line,
    Payment, Receipt, StockCount, StockMovement,
};
use counterfoil_domain::item::{line_key, payment_key};
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::money::MoneyError;
use counterfoil_domain::{Chain, Currency, DocumentId, Hlc, Quantity, ShopId, Topic, UnitPrice};
use counterfoil_migrate::{Row, SqlError, params};

const CORRUPT: StoreError = StoreError::Corrupt {
    what: "an entry of the journal",
};

/// A row of the journal.
struct Head {
    seq: i64,
    id: DocumentId,
    hlc: Hlc,
    kind: i64,
    chain: Option<Chain>,
    payload: Option<String>,
}

impl ShopStore {
    /// Own entries behind a position, which follows on `before`: at most so many, and no more once so many bytes are
    /// read.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the first of them is not what was chained; entries before such a one are given.
    pub(crate) fn own_entries(
        &self,
        (after, mut before): (i64, Chain),
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<LaneEntry>, StoreError> {
        let sql = "SELECT seq, id, hlc, topic, chain, payload FROM journal WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let heads = self.conn.query_map(sql, params![after, limit], |row| {
            Ok(Head {
                seq: row.get(0)?,
                id: row.get_with(1, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?,
                hlc: Hlc::from_raw(row.get(2)?),
                kind: row.get(3)?,
                chain: Chain::from_slice(&row.get::<Vec<u8>>(4)?),
                payload: row.get(5)?,
            })
        })?;
        let (mut entries, mut read) = (Vec::new(), 0);
        for head in heads {
            if read >= bytes {
                break;
            }
            match self.own_entry(&head, before) {
                Ok(entry) => {
                    before = entry.chain;
                    read += entry.size();
                    entries.push(entry);
                }
                Err(StoreError::Corrupt { .. }) if !entries.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }

    fn own_entry(&self, head: &Head, before: Chain) -> Result<LaneEntry, StoreError> {
        let topic = Topic::from_code(head.kind).ok_or(CORRUPT)?;
        let document = self.document(topic, head.seq, head.payload.as_deref())?;
        let canonical = document.ok_or(CORRUPT)?.canonical();
        let entry = LaneEntry {
            origin: self.node,
            seq: head.seq,
            id: head.id,
            hlc: head.hlc,
            kind: head.kind,
            before,
            chain: head.chain.ok_or(CORRUPT)?,
            document: String::from_utf8(canonical).map_err(|_| CORRUPT)?,
        };
        if entry.is_whole() {
            return Ok(entry);
        }
        Err(CORRUPT)
    }

    /// A document of the journal; `None` when its rows are gone.
    fn document(
        &self,
        topic: Topic,
        seq: i64,
        payload: Option<&str>,
    ) -> Result<Option<Document>, StoreError> {
        Ok(match topic {
            Topic::Sale => self.receipt(seq)?.map(Document::Sale),
            Topic::Refund => self.receipt(seq)?.map(Document::Refund),
            Topic::CatalogEdit => {
                let edit = payload.map(serde_json::from_str).transpose()?;
                edit.map(Document::CatalogEdit)
            }
            Topic::Closure => {
                let sql = "SELECT content FROM closure WHERE seq = ?1";
                let text = self.conn.query_optional(sql, [seq], |row| row.get(0))?;
                let text: Option<String> = text;
                let closure = text.as_deref().map(serde_json::from_str).transpose()?;
                closure.map(Document::Closure)
            }
            Topic::AdvanceOrder => self.order(seq)?.map(Document::AdvanceOrder),
            Topic::Activation => self.conn.query_optional(ACTIVATION, [seq], activation)?,
            Topic::LedgerEntry => self
                .conn
                .query_optional(LEDGER_ENTRY, [seq], ledger_entry)?,
            Topic::CashSession => self
                .conn
                .query_optional(CASH_SESSION, [seq], cash_session)?,
            Topic::Expense => self.conn.query_optional(EXPENSE, [seq], expense)?,
            Topic::StockMovement => self.conn.query_optional(MOVEMENT, [seq], movement)?,
            Topic::StockCount => self.conn.query_optional(COUNT, [seq], count)?,
        })
    }

    fn receipt(&self, seq: i64) -> Result<Option<Receipt>, StoreError> {
        let sql = "SELECT trial, series, number, at_ms, currency, total_minor, customer, employee, refund_of,
                   external_ref FROM journal WHERE seq = ?1 AND number IS NOT NULL";
        let receipt = self.conn.query_optional(sql, [seq], |row| {
            let id =
                |bytes: Option<Vec<u8>>| bytes.map(|it| DocumentId::from_slice(&it)).transpose();
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
        receipt.lines = self.conn.query_map(sql, keys, |row| {
            Ok(Line {
                sku: row.get(0)?,
                description: row.get(1)?,
                quantity: Quantity::from_milli(row.get(2)?),
                unit_price: UnitPrice::from_mills(row.get(3)?),
                amount_minor: row.get(4)?,
            })
        })?;
        let sql = "SELECT tender, amount_minor FROM receipt_item WHERE key > ?1 AND key < ?2 ORDER BY key";
        let keys = params![payment_key(seq, 0), line_key(seq + 1, 0)];
        receipt.payments = self.conn.query_map(sql, keys, |row| {
            Ok(Payment {
                tender: row.get_with(0, |text: String| text.parse())?,
                amount_minor: row.get(1)?,
            })
        })?;
        Ok(Some(receipt))
    }

    fn order(&self, seq: i64) -> Result<Option<AdvanceOrder>, StoreError> {
        let sql = "SELECT customer, due_ms, lines, total_minor, deposit_minor, currency, at_ms
                   FROM advance_order WHERE seq = ?1";
        Ok(self.conn.query_optional(sql, [seq], |row| {
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

const COUNT: &str = "SELECT sku, quantity_milli, at_ms FROM stock_count WHERE seq = ?1";

fn count(row: &Row<'_>) -> Result<Document, SqlError> {
    Ok(Document::StockCount(StockCount {
        sku: row.get(0)?,
        quantity: Quantity::from_milli(row.get(1)?),
        at_ms: row.get(2)?,
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
