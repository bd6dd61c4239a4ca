//! Data of another system, which are recorded in parts.

use counterfoil_domain::ImportId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/import`: a part of an import; recorded in one transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ImportBatch {
    /// Invoices in the order of the file.
    pub invoices: Vec<ImportInvoice>,
    /// The import that the part belongs to, made by the client; without it the part is an import of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_id: Option<ImportId>,
}

/// An invoice of an imported system.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ImportInvoice {
    /// Its number there; the same number is imported once.
    pub number: String,
    /// When it was written, milliseconds since the Unix epoch; drives the node's clock.
    pub at_ms: i64,
    /// A credit note.
    pub refund: bool,
    /// The customer there.
    pub customer: Option<String>,
    /// Its lines in the order of the file, already checked.
    pub lines: Vec<ImportLine>,
    /// Stock that went without a sale.
    pub adjustments: Vec<ImportLine>,
}

/// A line of an imported invoice.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ImportLine {
    /// Line of the file, from 1 (the header is line 1).
    pub file_line: u64,
    /// Product code, normalized.
    pub sku: String,
    /// Description there; may be empty.
    pub description: String,
    /// Thousandths of the unit.
    pub quantity_milli: i64,
    /// Thousandths of the major currency unit.
    pub unit_price_mills: i64,
}

/// What an import batch did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ImportResult {
    /// Sales recorded.
    pub sales: u64,
    /// Refunds recorded.
    pub refunds: u64,
    /// Lines of both.
    pub lines: u64,
    /// Stock movements recorded.
    pub adjustments: u64,
    /// Invoices that were there already.
    pub repeated: u64,
    /// The numbers of those that are there with other lines; they were left as they are.
    #[serde(default)]
    pub different: Vec<String>,
    /// Products created.
    pub products: u64,
    /// Descriptions changed.
    pub renames: u64,
    /// Sum of sales and refunds recorded, minor units.
    pub total_minor: i64,
    /// What stands in the book with each entry made now, and what an undo asks for; absent when nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_id: Option<ImportId>,
}
