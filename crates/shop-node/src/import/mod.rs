//! Reads the books of another system: a CSV file in the form of the Online Retail data set.
//!
//! [`read`] is a pure function from bytes to invoices, rejected lines and [`Totals`]; it knows no
//! node and no network. [`command::run`] sends what was read to a node in batches. Products and
//! changed descriptions are not decided here: the node does that with each batch it records.
//!
//! The rules: an invoice number is one sale, a number beginning with `C` is a refund, a negative
//! quantity without `C` is a stock adjustment. A line that breaks a rule is rejected and named with
//! its line number. So every line of the file is counted once: in
//! `lines`, `adjustments` or `rejected`, or as not matching the filter.

mod collect;
pub mod command;
mod line;
mod rows;

pub use self::{
    collect::{Collector, ImportFile, RejectedLine, Totals},
    line::LineProblem,
    rows::{Filter, ParseFilterError, ReadImportError, Row, Rows},
};

use std::io::Read;

/// Reads a whole file, plain or gzip, and keeps the rows that match the filter.
///
/// # Errors
/// [`ReadImportError`] when the file cannot be read at all; a single bad line is no error but a
/// [`RejectedLine`].
pub fn read<'r>(
    reader: impl Read + 'r,
    filter: Option<&Filter>,
) -> Result<ImportFile, ReadImportError> {
    let mut rows = Rows::open(reader, filter)?;
    let mut collector = Collector::default();
    for row in &mut rows {
        collector.add(row?);
    }
    let mut file = collector.finish();
    file.filtered_out = rows.filtered_out();
    Ok(file)
}

#[cfg(test)]
mod tests;
