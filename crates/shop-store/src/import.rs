//! Invoices of another system become documents and catalog edits of this node, in one transaction
//! a batch. The time of the data drives the node's logical clock.

use crate::error::StoreError;
use crate::open::ShopStore;
use crate::record::{Entry, Writer};
use counterfoil_domain::document::{Line, Payment, Receipt, StockMovement, Tender};
use counterfoil_domain::edit::Scalar;
use counterfoil_domain::{Document, Quantity, UnitPrice};
use counterfoil_migrate::params;
use counterfoil_protocol::wire::node::{ImportBatch, ImportInvoice, ImportLine, ImportResult};
use std::collections::BTreeMap;

impl ShopStore {
    /// Records a batch: all of it or nothing. An invoice that is there already is counted and left
    /// alone, so an import that was killed is simply run again.
    ///
    /// # Errors
    /// [`StoreError`]; nothing of the batch was recorded.
    pub fn import(&mut self, batch: &ImportBatch) -> Result<ImportResult, StoreError> {
        self.write(|writer| {
            let mut result = ImportResult::default();
            for invoice in &batch.invoices {
                writer.import_invoice(invoice, &mut result)?;
            }
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
        if self.is_imported(invoice)? {
            result.repeated += 1;
            return Ok(());
        }
        for line in invoice.lines.iter().chain(&invoice.adjustments) {
            self.import_product(line, invoice.at_ms, result)?;
        }
        for line in &invoice.adjustments {
            let document = Document::StockMovement(StockMovement {
                sku: line.sku.clone(),
                quantity: Quantity::from_milli(line.quantity_milli),
                reason: match line.description.trim() {
                    "" => "imported adjustment".to_owned(),
                    text => text.to_owned(),
                },
                at_ms: invoice.at_ms,
                external_ref: Some(movement_ref(invoice, line)),
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

    fn is_imported(&self, invoice: &ImportInvoice) -> Result<bool, StoreError> {
        let conn = &self.store.conn;
        let sql = "SELECT count(*) FROM receipt WHERE external_ref = ?1";
        if conn.query_value::<i64>(sql, params![invoice.number.as_str()])? > 0 {
            return Ok(true);
        }
        let Some(line) = invoice.adjustments.first() else {
            return Ok(false);
        };
        let sql = "SELECT count(*) FROM stock_movement WHERE external_ref = ?1";
        Ok(conn.query_value::<i64>(sql, params![movement_ref(invoice, line)])? > 0)
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
                .ok_or(counterfoil_domain::money::MoneyError::Overflow)?;
            lines.push(line);
        }
        result.lines += lines.len() as u64;
        result.total_minor += total_minor;
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
        self.edit("products", &line.sku, columns, at_ms, None)?;
        Ok(())
    }
}

fn movement_ref(invoice: &ImportInvoice, line: &ImportLine) -> String {
    format!("{}/{}", invoice.number, line.file_line)
}
