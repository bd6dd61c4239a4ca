//! `counterfoil-node import`: sends a file to the node in batches and reports what became of it.

use super::{Filter, ImportFile, ReadImportError, RejectedLine, read};
use counterfoil_domain::ImportId;
use counterfoil_protocol::problem::Problem;
use counterfoil_protocol::wire::import::{ImportBatch, ImportInvoice, ImportResult};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::io::Read;

/// Most invoices in a batch: one transaction of the node, short enough that a till can sell between
/// two of them.
pub const BATCH_INVOICES_MAX: usize = 64;

/// A batch ends behind the invoice that brings it to this many lines, so that a body stays below a
/// few megabytes.
pub const BATCH_LINES_MAX: usize = 4_000;

/// What an import did; `lines + adjustments + rejected + filtered_out = file_lines`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ImportReport {
    /// Nothing was sent.
    pub dry_run: bool,
    /// What the hub's undo asks for; absent when the node recorded nothing.
    pub import_id: Option<ImportId>,
    /// Rows of the file.
    pub file_lines: u64,
    /// Rows that did not match the filter.
    pub filtered_out: u64,
    /// Sales in the file.
    pub sales: u64,
    /// Refunds in the file.
    pub refunds: u64,
    /// Lines of both.
    pub lines: u64,
    /// Stock movements in the file.
    pub adjustments: u64,
    /// The lines that were not taken over, in the order of the file.
    pub rejected: Vec<RejectedLine>,
    /// Sales that the node recorded now.
    pub sales_recorded: u64,
    /// Refunds that the node recorded now.
    pub refunds_recorded: u64,
    /// Lines of both.
    pub lines_recorded: u64,
    /// Stock movements that the node recorded now.
    pub adjustments_recorded: u64,
    /// Invoices that the node had already.
    pub repeated: u64,
    /// The numbers of those that are there with other lines; they were left as they are.
    pub different: Vec<String>,
    /// Products that the node created.
    pub products: u64,
    /// Descriptions that the node changed.
    pub renames: u64,
    /// Sum of the sales and refunds in the file, minor units.
    pub total_minor_input: i64,
    /// Sum of the sales and refunds that the node recorded now, minor units.
    pub total_minor_recorded: i64,
}

impl ImportReport {
    fn of(file: &ImportFile, dry_run: bool) -> Self {
        let totals = file.totals;
        Self {
            dry_run,
            file_lines: totals.lines + totals.adjustments + totals.rejected + file.filtered_out,
            filtered_out: file.filtered_out,
            sales: totals.sales,
            refunds: totals.refunds,
            lines: totals.lines,
            adjustments: totals.adjustments,
            rejected: file.rejected.clone(),
            total_minor_input: totals.total_minor,
            ..Self::default()
        }
    }

    fn add(&mut self, result: &ImportResult) {
        self.import_id = self.import_id.or(result.import_id);
        self.sales_recorded += result.sales;
        self.refunds_recorded += result.refunds;
        self.lines_recorded += result.lines;
        self.adjustments_recorded += result.adjustments;
        self.repeated += result.repeated;
        self.different.extend(result.different.iter().cloned());
        self.products += result.products;
        self.renames += result.renames;
        self.total_minor_recorded += result.total_minor;
    }
}

/// Why an import ended early.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read; nothing was sent.
    #[error("nothing was imported")]
    Read(#[from] ReadImportError),
    /// The node refused a batch. What was recorded before stays; a second run of the same import
    /// repeats nothing.
    #[error("the node stopped after {done} of {all} invoices, at invoice {invoice}")]
    Post {
        /// Invoices recorded before.
        done: usize,
        /// Invoices in the file.
        all: usize,
        /// First invoice of the batch that failed.
        invoice: String,
        /// What the node said.
        #[source]
        source: Problem,
    },
}

/// A progress bar with the time left; on stderr, and invisible when that is no terminal.
pub fn progress_bar() -> ProgressBar {
    let template = "{spinner} {pos}/{len} invoices {wide_bar} {elapsed} gone, {eta} left";
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Reads the whole file, checks it, and posts its invoices in order, one batch after the other, all of
/// them as one import.
///
/// # Errors
/// [`ImportError`]: the file cannot be read, or the node refused a batch.
pub async fn run(
    reader: impl Read,
    filter: Option<&Filter>,
    (import, dry_run): (ImportId, bool),
    post: impl AsyncFn(ImportBatch) -> Result<ImportResult, Problem>,
    progress: &ProgressBar,
) -> Result<ImportReport, ImportError> {
    let file = read(reader, filter)?;
    let mut report = ImportReport::of(&file, dry_run);
    if dry_run {
        return Ok(report);
    }
    let all = file.invoices.len();
    let mut done = 0;
    progress.set_length(all as u64);
    for mut batch in batches(file.invoices) {
        batch.import_id = Some(import);
        let count = batch.invoices.len();
        let invoice = batch
            .invoices
            .first()
            .map(|first| first.number.clone())
            .unwrap_or_default();
        match post(batch).await {
            Ok(result) => report.add(&result),
            Err(source) => {
                progress.abandon();
                return Err(ImportError::Post {
                    done,
                    all,
                    invoice,
                    source,
                });
            }
        }
        done += count;
        progress.set_position(done as u64);
    }
    progress.finish_and_clear();
    Ok(report)
}

/// Cuts invoices into batches, in order: at most [`BATCH_INVOICES_MAX`] invoices each, and no
/// further one once there are [`BATCH_LINES_MAX`] lines.
pub fn batches(
    invoices: impl IntoIterator<Item = ImportInvoice>,
) -> impl Iterator<Item = ImportBatch> {
    let mut rest = invoices.into_iter().peekable();
    std::iter::from_fn(move || {
        rest.peek()?;
        let mut batch = ImportBatch {
            invoices: Vec::new(),
            import_id: None,
        };
        let mut lines = 0;
        while batch.invoices.len() < BATCH_INVOICES_MAX && lines < BATCH_LINES_MAX {
            let Some(invoice) = rest.next() else { break };
            lines += invoice.lines.len() + invoice.adjustments.len();
            batch.invoices.push(invoice);
        }
        Some(batch)
    })
}
