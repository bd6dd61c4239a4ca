//! Invoices of another system become documents and catalog edits of this node, in one transaction
//! a batch. The time of the data drives the node's logical clock.

use crate::catalog::When;
use crate::error::StoreError;
use crate::open::ShopStore;
use crate::record::{Entry, Writer};
use counterfoil_domain::document::{Line, Payment, Receipt, StockMovement, Tender};
use counterfoil_domain::edit::Scalar;
use counterfoil_domain::env::import_id;
use counterfoil_domain::money::MoneyError;
use counterfoil_domain::{Document, Quantity, UnitPrice, line_amount};
use counterfoil_migrate::params;
use counterfoil_protocol::wire::import::{ImportBatch, ImportInvoice, ImportLine, ImportResult};
use std::collections::BTreeMap;

/// How far an invoice may be ahead of this till's clock, in milliseconds: a day, for time zones. Its
/// time drives the logical clock, which never goes back: a date in a far future would win every
/// conflict of the chain for ever.
const AHEAD_MS_MAX: i64 = 24 * 60 * 60 * 1000;

impl ShopStore {
    /// Records a batch: all of it or nothing. An invoice that is there already is counted and left
    /// alone, so an import that was killed is simply run again.
    ///
    /// # Errors
    /// [`StoreError`]; nothing of the batch was recorded.
    pub fn import(&mut self, batch: &ImportBatch, now_ms: i64) -> Result<ImportResult, StoreError> {
        let latest = now_ms.saturating_add(AHEAD_MS_MAX);
        if let Some(invoice) = batch.invoices.iter().find(|invoice| invoice.at_ms > latest) {
            return Err(StoreError::FutureInvoice(invoice.number.clone()));
        }
        let import = match batch.import_id {
            Some(import) => import,
            None => import_id(now_ms, self.random.as_ref()),
        };
        self.write(|writer| {
            writer.import = Some(import);
            let before = writer.head.seq;
            let mut result = ImportResult::default();
            for invoice in &batch.invoices {
                writer.import_invoice(invoice, &mut result)?;
            }
            result.import_id = (writer.head.seq > before).then_some(import);
            Ok(result)
        })
    }
}

impl Writer<'_> {
    fn import_invoice(
        &mut self,
        invoice: &ImportInvoice,
        result: &mut ImportResult,
    ) -> Result<(), StoreError> {
        match self.imported(invoice)? {
            Imported::Not => {}
            Imported::Same => {
                result.repeated += 1;
                return Ok(());
            }
            Imported::Otherwise => {
                result.repeated += 1;
                result.different.push(invoice.number.clone());
                return Ok(());
            }
        }
        for line in invoice.lines.iter().chain(&invoice.adjustments) {
            self.import_product(line, invoice.at_ms, result)?;
        }
        for (position, line) in (1_usize..).zip(&invoice.adjustments) {
            let document = Document::StockMovement(StockMovement {
                sku: line.sku.clone(),
                quantity: Quantity::from_milli(line.quantity_milli),
                reason: match line.description.trim() {
                    "" => "imported adjustment".to_owned(),
                    text => text.to_owned(),
                },
                at_ms: invoice.at_ms,
                external_ref: Some(format!("{}/{position}", invoice.number)),
            });
            self.append(Entry {
                id: None,
                document,
                now_ms: invoice.at_ms,
            })?;
            result.adjustments += 1;
        }
        if !invoice.lines.is_empty() {
            self.import_receipt(invoice, result)?;
        }
        Ok(())
    }

    /// Whether the invoice is in the book, and with the same lines.
    fn imported(&self, invoice: &ImportInvoice) -> Result<Imported, StoreError> {
        let conn = &self.store.conn;
        let number = invoice.number.as_str();
        let receipt = conn.query_optional(
            "SELECT total_minor, (SELECT count(*) FROM receipt_line l WHERE l.seq = r.seq) \
             FROM receipt r WHERE external_ref = ?1",
            params![number],
            |row| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?)),
        )?;
        let movements: i64 = conn.query_value(
            "SELECT count(*) FROM stock_movement WHERE external_ref >= ?1 || '/' \
             AND external_ref < ?1 || '0'",
            params![number],
        )?;
        let mut total_minor = 0_i64;
        for line in &invoice.lines {
            let quantity = Quantity::from_milli(line.quantity_milli);
            let amount = line_amount(quantity, UnitPrice::from_mills(line.unit_price_mills))?;
            total_minor = total_minor
                .checked_add(amount)
                .ok_or(MoneyError::Overflow)?;
        }
        let asked = (!invoice.lines.is_empty()).then_some((total_minor, count(&invoice.lines)));
        Ok(match (receipt, movements) {
            (None, 0) => Imported::Not,
            found if found == (asked, count(&invoice.adjustments)) => Imported::Same,
            _ => Imported::Otherwise,
        })
    }

    fn import_receipt(
        &mut self,
        invoice: &ImportInvoice,
        result: &mut ImportResult,
    ) -> Result<(), StoreError> {
        let mut lines = Vec::with_capacity(invoice.lines.len());
        let mut total_minor = 0_i64;
        for line in &invoice.lines {
            let quantity = Quantity::from_milli(line.quantity_milli);
            let price = UnitPrice::from_mills(line.unit_price_mills);
            let line = Line::new(&line.sku, &line.description, quantity, price)?;
            total_minor = total_minor
                .checked_add(line.amount_minor)
                .ok_or(MoneyError::Overflow)?;
            lines.push(line);
        }
        result.lines += lines.len() as u64;
        result.total_minor = result
            .total_minor
            .checked_add(total_minor)
            .ok_or(MoneyError::Overflow)?;
        let receipt = Receipt {
            trial: false,
            series: String::new(),
            number: 0,
            at_ms: invoice.at_ms,
            currency: self.store.currency,
            total_minor,
            customer: invoice.customer.clone(),
            employee: None,
            refund_of: None,
            external_ref: Some(invoice.number.clone()),
            parked: None,
            lines,
            // The file does not say how it was paid.
            payments: vec![Payment {
                tender: Tender::Account,
                amount_minor: total_minor,
            }],
        };
        let document = if invoice.refund {
            result.refunds += 1;
            Document::Refund(receipt)
        } else {
            result.sales += 1;
            Document::Sale(receipt)
        };
        self.append(Entry {
            id: None,
            document,
            now_ms: invoice.at_ms,
        })?;
        Ok(())
    }

    /// A new code becomes a product; a new description of a known code becomes an edit.
    fn import_product(
        &mut self,
        line: &ImportLine,
        at_ms: i64,
        result: &mut ImportResult,
    ) -> Result<(), StoreError> {
        let name = line.description.trim();
        let sql = "SELECT coalesce(name, '') FROM temp.products WHERE id = ?1";
        let known = self
            .store
            .conn
            .query_optional(sql, params![line.sku.as_str()], |row| row.get::<String>(0))?;
        let mut columns = BTreeMap::new();
        if !name.is_empty() {
            columns.insert("name".to_owned(), Scalar::Text(name.to_owned()));
        }
        match known {
            Some(known) if name.is_empty() || known == name => return Ok(()),
            Some(_) => result.renames += 1,
            None => {
                result.products += 1;
                let price = Scalar::Integer(line.unit_price_mills);
                columns.insert("price_mills".to_owned(), price);
            }
        }
        self.edit("products", &line.sku, columns, When::Data(at_ms), None)?;
        Ok(())
    }
}

/// Whether an invoice is in the book already.
enum Imported {
    Not,
    Same,
    /// With other lines: it was changed in the other system, or imported in part.
    Otherwise,
}

fn count(lines: &[ImportLine]) -> i64 {
    i64::try_from(lines.len()).unwrap_or(i64::MAX)
}
