//! How a document enters the book: its rows and its journal entry in one transaction, with the
//! number, the logical time and the chain value that follow the one before.

use crate::error::StoreError;
use crate::open::{Head, ShopStore};
use counterfoil_domain::document::{
    Activation, AdvanceOrder, CashSession, Expense, LedgerEntry, Receipt, StockCount, StockMovement,
};
use counterfoil_domain::env::document_id;
use counterfoil_domain::item::{line_key, payment_key};
use counterfoil_domain::journal::EntryHead;
use counterfoil_domain::merge::Stamp;
use counterfoil_domain::{Chain, Closure, Document, DocumentId, ImportId, Topic};
use counterfoil_migrate::{Connection, SqlError, params};
use counterfoil_protocol::wire::node::Recorded;

/// A document on its way into the book.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Minted by the caller so that a retry is recognized; minted here when absent.
    pub id: Option<DocumentId>,
    /// What to record. Series, number and trial mark of a receipt are set here.
    pub document: Document,
    /// Wall time in milliseconds since the Unix epoch; drives the logical clock.
    pub now_ms: i64,
}

impl ShopStore {
    /// Records one document. When this returns, the commit is durable.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a document that breaks a rule, [`StoreError::IdTaken`] when its id
    /// names something else, [`StoreError::Sql`] from the engine. Nothing was recorded then.
    pub fn record(&mut self, entry: Entry) -> Result<Recorded, StoreError> {
        let recorded = self.record_all(vec![entry])?;
        recorded.into_iter().next().ok_or(StoreError::Corrupt {
            what: "an empty batch",
        })
    }

    /// Records several documents in one transaction: all or none.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn record_all(&mut self, entries: Vec<Entry>) -> Result<Vec<Recorded>, StoreError> {
        self.write(|store| {
            entries
                .into_iter()
                .map(|entry| store.append(entry))
                .collect()
        })
    }

    /// What a document would be recorded as; nothing is. For tests of the tests.
    ///
    /// # Errors
    /// As [`Self::record`].
    #[cfg(feature = "planted-bugs")]
    pub fn foretell(&mut self, entry: Entry) -> Result<Recorded, StoreError> {
        let mut foretold = None;
        let undone = self.write(|writer| -> Result<(), StoreError> {
            foretold = Some(writer.append(entry)?);
            Err(StoreError::Corrupt {
                what: "a transaction that only looks ahead",
            })
        });
        match (foretold, undone) {
            (Some(recorded), _) => Ok(recorded),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(StoreError::Corrupt {
                what: "a transaction that did nothing",
            }),
        }
    }

    /// Runs a write in one transaction; what it left in memory is taken back with it.
    pub(crate) fn write<T>(
        &mut self,
        work: impl FnOnce(&mut Writer<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut head = self.head.clone();
        let done = self.conn.transaction(|_| {
            work(&mut Writer {
                store: self,
                head: &mut head,
                import: None,
            })
        });
        match done {
            Ok(value) => {
                self.head = head;
                Ok(value)
            }
            Err(error) => {
                // An uncertain commit may have happened: the file knows.
                self.reload()?;
                Err(error)
            }
        }
    }
}

/// The book inside a write transaction.
pub(crate) struct Writer<'s> {
    pub(crate) store: &'s ShopStore,
    pub(crate) head: &'s mut Head,
    /// The import that makes the entries.
    pub(crate) import: Option<ImportId>,
}

impl Writer<'_> {
    /// Does something that may be refused: then nothing of it was done, and the transaction goes on.
    ///
    /// # Errors
    /// What is no refusal: the whole transaction ends.
    pub(crate) fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<Result<T, StoreError>, StoreError> {
        let (store, head) = (self.store, self.head.clone());
        match store.conn.savepoint(|| work(self)) {
            Err(error) if error.is_refusal() => {
                *self.head = head;
                Ok(Err(error))
            }
            Err(error) => Err(error),
            Ok(done) => Ok(Ok(done)),
        }
    }

    /// Appends a document; a known id changes nothing and returns what was recorded then.
    pub(crate) fn append(&mut self, entry: Entry) -> Result<Recorded, StoreError> {
        let Entry {
            id,
            mut document,
            now_ms,
        } = entry;
        let store = self.store;
        let trial = store.binding.is_none();
        if let Some(known) = store.known(id, document.topic())? {
            return Ok(known);
        }
        if let Document::Sale(receipt) | Document::Refund(receipt) = &mut document {
            receipt.trial = trial;
            receipt.series = store.series();
            let last = self.head.numbers.entry(receipt.series.clone()).or_insert(0);
            *last += 1;
            receipt.number = *last;
        }
        document.check()?;
        let canonical = document.canonical();
        // Texts that are stored as JSON do not show it to the engine.
        if holds_nul(&canonical) {
            return Err(StoreError::NulCharacter);
        }
        let entry = EntryHead {
            seq: self.head.seq + 1,
            id: id.unwrap_or_else(|| document_id(now_ms, store.random.as_ref())),
            hlc: self.head.clock.tick(now_ms),
            topic: document.topic(),
        };
        let chain = self.head.chain.next(&entry, &canonical);
        insert(&store.conn, &entry, &document, (&chain, self.import))?;
        if let Document::CatalogEdit(edit) = &document {
            if edit.table == "prices" {
                // From now on sales look for one; they find none if this is taken back.
                store.has_dated_prices.set(true);
            }
            store.keep_pending(edit, Stamp::new(entry.hlc, store.node))?;
        }
        self.head.seq = entry.seq;
        self.head.chain = chain;
        Ok(recorded(&entry, &document, trial))
    }
}

/// Whether a text in the JSON holds a NUL character, which stands there as `\u0000`.
fn holds_nul(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let escape = rest.get(at + 1..).unwrap_or_default();
        if escape.starts_with(b"u0000") {
            return true;
        }
        // What follows the backslash may be one itself.
        rest = escape.get(1..).unwrap_or_default();
    }
    false
}

fn recorded(entry: &EntryHead, document: &Document, trial: bool) -> Recorded {
    let receipt = match document {
        Document::Sale(receipt) | Document::Refund(receipt) => Some(receipt),
        _ => None,
    };
    Recorded {
        id: entry.id,
        topic: entry.topic.name().to_owned(),
        seq: entry.seq,
        series: receipt.map(|receipt| receipt.series.clone()),
        number: receipt.map(|receipt| receipt.number),
        total_minor: receipt.map(|receipt| receipt.total_minor),
        trial,
        repeated: false,
        single_copy: false,
    }
}

impl ShopStore {
    /// What was recorded under the id of a request that may have been made before.
    ///
    /// # Errors
    /// [`StoreError::IdTaken`] when the id names a document of another kind.
    pub fn known(
        &self,
        id: Option<DocumentId>,
        topic: Topic,
    ) -> Result<Option<Recorded>, StoreError> {
        let Some(id) = id else { return Ok(None) };
        match self.recorded(id)? {
            Some(known) if known.topic != topic.name() => Err(StoreError::IdTaken {
                id: id.to_string(),
                topic: known.topic,
            }),
            known => Ok(known),
        }
    }

    /// What was recorded under an id.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn recorded(&self, id: DocumentId) -> Result<Option<Recorded>, StoreError> {
        let found = self.conn.query_optional(
            "SELECT seq, topic, series, number, total_minor, \
             coalesce(trial, seq < coalesce((SELECT min(seq) FROM activation), 1 << 62)) \
             FROM journal WHERE id = ?1",
            [id.to_bytes()],
            |row| {
                Ok(Recorded {
                    id,
                    topic: Topic::from_code(row.get(1)?)
                        .map_or("unknown", Topic::name)
                        .to_owned(),
                    seq: row.get(0)?,
                    series: row.get(2)?,
                    number: row.get(3)?,
                    total_minor: row.get(4)?,
                    trial: row.get(5)?,
                    repeated: true,
                    single_copy: false,
                })
            },
        )?;
        Ok(found)
    }
}

/// Writes a document's entry and what it has in other tables.
fn insert(
    conn: &Connection,
    entry: &EntryHead,
    document: &Document,
    (chain, import): (&Chain, Option<ImportId>),
) -> Result<(), StoreError> {
    let seq = entry.seq;
    if let Document::Sale(receipt) | Document::Refund(receipt) = document {
        return Ok(insert_receipt(conn, entry, receipt, (chain, import))?);
    }
    let payload = match document {
        Document::CatalogEdit(edit) => Some(serde_json::to_string(edit)?),
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
) -> Result<(), SqlError> {
    conn.execute(
        "INSERT INTO journal (seq, id, hlc, topic, priority, chain, trial, series, number, at_ms, \
         currency, total_minor, customer, employee, refund_of, external_ref) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
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
            receipt.external_ref.as_deref()
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

fn insert_closure(conn: &Connection, seq: i64, closure: &Closure) -> Result<(), StoreError> {
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

fn insert_count(conn: &Connection, seq: i64, count: &StockCount) -> Result<(), SqlError> {
    conn.execute(
        "INSERT INTO stock_count (seq, sku, quantity_milli, at_ms) VALUES (?1, ?2, ?3, ?4)",
        params![seq, count.sku.as_str(), count.quantity.milli, count.at_ms],
    )?;
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

fn insert_order(conn: &Connection, seq: i64, order: &AdvanceOrder) -> Result<(), StoreError> {
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
