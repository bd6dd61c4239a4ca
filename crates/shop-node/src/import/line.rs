//! One line of the file: from text to numbers, or the reason why not.

use counterfoil_domain::document::{AMOUNT_MINOR_MAX, normalize_code};
use counterfoil_domain::{Quantity, UnitPrice, line_amount};
use counterfoil_protocol::wire::import::ImportLine;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const DATE_FORMAT: &str = "%Y-%m-%d %H:%M:%S";
const DATE_SIZE: usize = "2010-12-01 08:26:00".len();

/// Why a line was not taken over.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LineProblem {
    /// Columns are missing, or there are too many. A quotation mark that does not close does that.
    #[error("{found} columns where the header has {expected}")]
    Columns {
        /// In the line.
        found: usize,
        /// In the header.
        expected: usize,
    },
    /// The bytes are not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// A field that must not be empty.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// The quantity cannot be read.
    #[error("the quantity `{0}` is not a number with at most three decimals")]
    Quantity(String),
    /// Nothing was sold.
    #[error("the quantity is zero")]
    ZeroQuantity,
    /// A credit note takes goods back.
    #[error("a credit note has negative quantities, this one is {0}")]
    PositiveRefund(String),
    /// The price cannot be read.
    #[error("the price `{0}` is not a number with at most three decimals")]
    Price(String),
    /// The price is below zero.
    #[error("the price {0} is negative")]
    NegativePrice(String),
    /// The date cannot be read.
    #[error("the date `{0}` is not of the form 2010-12-01 08:26:00, from 1970 on")]
    Date(String),
    /// Quantity times price is beyond [`AMOUNT_MINOR_MAX`].
    #[error("quantity times price is too large")]
    Amount,
    /// The invoice has as many lines as a receipt can have.
    #[error("the invoice has {0} lines already, more do not fit on one receipt")]
    TooManyLines(usize),
}

/// The fields of a line as they stand in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'f> {
    pub(super) invoice: &'f str,
    pub(super) sku: &'f str,
    pub(super) description: &'f str,
    pub(super) quantity: &'f str,
    pub(super) date: &'f str,
    pub(super) price: &'f str,
    pub(super) customer: &'f str,
}

/// A line that keeps the rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Checked {
    pub(super) at_ms: i64,
    pub(super) customer: Option<String>,
    pub(super) kind: Kind,
    pub(super) line: ImportLine,
    pub(super) amount_minor: i64,
}

/// What a line is, by its invoice number and the sign of its quantity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Sale,
    Refund,
    Adjustment,
}

/// Whether an invoice number, already normalized, is that of a credit note.
pub(super) fn is_credit_note(invoice: &str) -> bool {
    invoice.starts_with('C')
}

/// Checks one line. `invoice` in the fields is normalized already.
pub(super) fn check(file_line: u64, fields: &Fields<'_>) -> Result<Checked, LineProblem> {
    if fields.invoice.is_empty() {
        return Err(LineProblem::Empty("the invoice number"));
    }
    let sku = normalize_code(fields.sku);
    if sku.is_empty() {
        return Err(LineProblem::Empty("the product code"));
    }
    let quantity = Quantity::parse(fields.quantity)
        .map_err(|_| LineProblem::Quantity(fields.quantity.to_owned()))?;
    let price =
        UnitPrice::parse(fields.price).map_err(|_| LineProblem::Price(fields.price.to_owned()))?;
    if price.mills < 0 {
        return Err(LineProblem::NegativePrice(fields.price.trim().to_owned()));
    }
    let kind = match (is_credit_note(fields.invoice), quantity.milli) {
        (_, 0) => return Err(LineProblem::ZeroQuantity),
        (true, 1..) => {
            return Err(LineProblem::PositiveRefund(
                fields.quantity.trim().to_owned(),
            ));
        }
        (true, _) => Kind::Refund,
        (false, 1..) => Kind::Sale,
        (false, _) => Kind::Adjustment,
    };
    let amount_minor = line_amount(quantity, price).map_err(|_| LineProblem::Amount)?;
    if amount_minor.abs() > AMOUNT_MINOR_MAX {
        return Err(LineProblem::Amount);
    }
    Ok(Checked {
        at_ms: read_date(fields.date).ok_or_else(|| LineProblem::Date(fields.date.to_owned()))?,
        customer: read_customer(fields.customer),
        kind,
        line: ImportLine {
            file_line,
            sku,
            description: fields.description.trim().to_owned(),
            quantity_milli: quantity.milli,
            unit_price_mills: price.mills,
        },
        amount_minor,
    })
}

/// Milliseconds since the Unix epoch; the file names no zone and is read as UTC.
fn read_date(text: &str) -> Option<i64> {
    let text = text.trim();
    if text.len() != DATE_SIZE {
        return None;
    }
    let date = DateTime::strptime(DATE_FORMAT, text).ok()?;
    let at_ms = date
        .to_zoned(TimeZone::UTC)
        .ok()?
        .timestamp()
        .as_millisecond();
    (at_ms >= 0).then_some(at_ms)
}

/// `17850.0` is what a spreadsheet made of customer 17850.
fn read_customer(text: &str) -> Option<String> {
    let text = text.trim();
    let whole = match text.strip_suffix(".0") {
        Some(whole) if whole.bytes().all(|byte| byte.is_ascii_digit()) => whole,
        _ => text,
    };
    (!whole.is_empty()).then(|| whole.to_owned())
}
