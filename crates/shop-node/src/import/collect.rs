//! Rows become invoices: lines of one number come together, wherever they stand in the file.

use super::line::{Kind, LineProblem, is_credit_note};
use super::rows::Row;
use counterfoil_domain::document::RECEIPT_LINES_MAX;
use counterfoil_protocol::wire::import::ImportInvoice;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A line that was not taken over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RejectedLine {
    /// Line of the file, from 1 (the header is line 1).
    pub line: u64,
    /// Its invoice number; empty when it cannot be read.
    pub invoice: String,
    /// Why, in words.
    pub reason: String,
}

/// What a file, or a part of it, comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Invoices without `C` that have at least one line sold.
    pub sales: u64,
    /// Invoices with `C` that have at least one line taken back.
    pub refunds: u64,
    /// Accepted lines of both.
    pub lines: u64,
    /// Accepted lines with a negative quantity on invoices without `C`.
    pub adjustments: u64,
    /// Rejected lines.
    pub rejected: u64,
    /// Sum of sales and refunds in minor units; refunds count negative.
    pub total_minor: i64,
}

/// A file that was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ImportFile {
    /// In the order of their first accepted lines; none is empty.
    pub invoices: Vec<ImportInvoice>,
    /// In the order of the file.
    pub rejected: Vec<RejectedLine>,
    /// What `invoices` and `rejected` come to.
    pub totals: Totals,
    /// Rows that did not match the filter.
    pub filtered_out: u64,
}

/// Puts rows together.
#[derive(Debug, Default)]
pub struct Collector {
    file: ImportFile,
    by_number: HashMap<String, usize>,
}

impl Collector {
    /// Takes the next row of the file.
    pub fn add(&mut self, row: Row) {
        let Row {
            file_line,
            invoice,
            content,
            ..
        } = row;
        let checked = match content {
            Ok(checked) => checked,
            Err(problem) => return self.reject(file_line, invoice, &problem),
        };
        let index = match self.by_number.get(&invoice) {
            Some(index) => *index,
            None => {
                self.file.invoices.push(ImportInvoice {
                    number: invoice.clone(),
                    at_ms: checked.at_ms,
                    refund: is_credit_note(&invoice),
                    customer: None,
                    lines: Vec::new(),
                    adjustments: Vec::new(),
                });
                let index = self.file.invoices.len() - 1;
                self.by_number.insert(invoice.clone(), index);
                index
            }
        };
        let target = &mut self.file.invoices[index];
        let lines = match checked.kind {
            Kind::Sale | Kind::Refund => &mut target.lines,
            Kind::Adjustment => &mut target.adjustments,
        };
        if lines.len() == RECEIPT_LINES_MAX {
            let problem = LineProblem::TooManyLines(RECEIPT_LINES_MAX);
            return self.reject(file_line, invoice, &problem);
        }
        lines.push(checked.line);
        if target.customer.is_none() {
            target.customer = checked.customer;
        }
        if checked.kind == Kind::Adjustment {
            self.file.totals.adjustments += 1;
        } else {
            self.file.totals.lines += 1;
            self.file.totals.total_minor += checked.amount_minor;
        }
    }

    fn reject(&mut self, line: u64, invoice: String, problem: &LineProblem) {
        self.file.totals.rejected += 1;
        self.file.rejected.push(RejectedLine {
            line,
            invoice,
            reason: problem.to_string(),
        });
    }

    /// All invoices, complete.
    pub fn finish(mut self) -> ImportFile {
        let receipts = self
            .file
            .invoices
            .iter()
            .filter(|invoice| !invoice.lines.is_empty());
        for invoice in receipts {
            if invoice.refund {
                self.file.totals.refunds += 1;
            } else {
                self.file.totals.sales += 1;
            }
        }
        self.file
    }
}
