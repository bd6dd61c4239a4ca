//! What a till records. A document is minted once, at the till, and never rewritten; every later
//! hop stores it under the same id.

use crate::amount::{Quantity, UnitPrice, line_amount};
use crate::closure::Closure;
use crate::edit::CatalogEdit;
use crate::employee::EmployeeEvent;
use crate::escrow::{Escrow, EscrowAct};
use crate::ids::{DocumentId, ShopId};
use crate::journal::Priority;
use crate::money::{Currency, MoneyError};
use crate::parked::{Finishes, ParkedDiscard, ParkedSale};
use crate::stock::{Seen, fits};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// What a journal entry is about. The codes are stored and hashed; they must not change.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// The node was bound to a shop.
    Activation = 0,
    /// Goods against money.
    Sale = 1,
    /// Money back.
    Refund = 2,
    /// Customer credit given or paid back.
    LedgerEntry = 3,
    /// Goods promised for a later day.
    AdvanceOrder = 4,
    /// A drawer was opened or closed.
    CashSession = 5,
    /// Money spent out of the till.
    Expense = 6,
    /// A proposed change to the catalog.
    CatalogEdit = 7,
    /// Stock came, went or was written off without a sale.
    StockMovement = 8,
    /// Stock was counted.
    StockCount = 9,
    /// A business day was closed.
    Closure = 10,
    /// An employee signed in, or tried to, or did what only an entry tells of.
    EmployeeEvent = 11,
    /// A cart was put aside before it was paid.
    ParkedSale = 12,
    /// It will not be paid.
    ParkedDiscard = 13,
    /// Rights to sell a scarce product began, moved or ended.
    Escrow = 14,
}

impl Topic {
    /// All topics in the order of their codes.
    pub const ALL: [Self; 15] = [
        Self::Activation,
        Self::Sale,
        Self::Refund,
        Self::LedgerEntry,
        Self::AdvanceOrder,
        Self::CashSession,
        Self::Expense,
        Self::CatalogEdit,
        Self::StockMovement,
        Self::StockCount,
        Self::Closure,
        Self::EmployeeEvent,
        Self::ParkedSale,
        Self::ParkedDiscard,
        Self::Escrow,
    ];

    /// The stored number.
    pub const fn code(self) -> i64 {
        self as i64
    }

    /// Reads a stored number.
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.code() == code)
    }

    /// The name used in commands and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Activation => "activation",
            Self::Sale => "sale",
            Self::Refund => "refund",
            Self::LedgerEntry => "ledger_entry",
            Self::AdvanceOrder => "advance_order",
            Self::CashSession => "cash_session",
            Self::Expense => "expense",
            Self::CatalogEdit => "catalog_edit",
            Self::StockMovement => "stock_movement",
            Self::StockCount => "stock_count",
            Self::Closure => "closure",
            Self::EmployeeEvent => "employee_event",
            Self::ParkedSale => "parked_sale",
            Self::ParkedDiscard => "parked_discard",
            Self::Escrow => "escrow",
        }
    }

    /// How urgent the topic is for the hub (T4).
    pub const fn priority(self) -> Priority {
        match self {
            Self::Activation => Priority::Critical,
            Self::Sale
            | Self::Refund
            | Self::LedgerEntry
            | Self::AdvanceOrder
            | Self::CashSession
            | Self::Expense
            | Self::Closure => Priority::High,
            Self::CatalogEdit
            | Self::StockMovement
            | Self::StockCount
            | Self::ParkedSale
            | Self::ParkedDiscard
            | Self::Escrow => Priority::Normal,
            Self::EmployeeEvent => Priority::Low,
        }
    }
}

/// How a customer paid.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Tender {
    /// Notes and coins.
    Cash,
    /// A card terminal; no card data is ever stored here.
    Card,
    /// A voucher or gift card.
    Voucher,
    /// On the customer's account.
    Account,
}

impl Tender {
    /// Every tender.
    pub const ALL: [Self; 4] = [Self::Cash, Self::Card, Self::Voucher, Self::Account];

    /// The stored and typed name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cash => "cash",
            Self::Card => "card",
            Self::Voucher => "voucher",
            Self::Account => "account",
        }
    }
}

impl fmt::Display for Tender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Tender {
    type Err = InvalidDocument;

    fn from_str(text: &str) -> Result<Self, InvalidDocument> {
        Self::ALL
            .into_iter()
            .find(|tender| tender.name() == text)
            .ok_or_else(|| InvalidDocument::UnknownTender(text.to_owned()))
    }
}

/// One line of a receipt.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Line {
    /// Code of the product, trimmed and upper-cased.
    pub sku: String,
    /// What the receipt printed.
    pub description: String,
    /// How much; negative on a refund.
    pub quantity: Quantity,
    /// Price per unit at the moment of sale.
    pub unit_price: UnitPrice,
    /// Quantity times unit price, rounded once, in minor units.
    pub amount_minor: i64,
}

impl Line {
    /// A line whose amount is computed.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`] when the amount does not fit.
    pub fn new(
        sku: &str,
        description: &str,
        quantity: Quantity,
        unit_price: UnitPrice,
    ) -> Result<Self, MoneyError> {
        let amount_minor = line_amount(quantity, unit_price)?;
        Ok(Self {
            sku: normalize_code(sku),
            description: description.to_owned(),
            quantity,
            unit_price,
            amount_minor,
        })
    }
}

/// One payment of a receipt, net of change given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Payment {
    /// How it was paid.
    pub tender: Tender,
    /// Minor units; negative when money is paid out.
    pub amount_minor: i64,
}

/// A sale or a refund: lines, what they come to, and how it was paid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// Recorded before activation; kept, marked, in a number series of its own.
    pub trial: bool,
    /// Name of the number series, such as `L1`: mode and epoch.
    pub series: String,
    /// Dense within the series, from 1.
    pub number: i64,
    /// Milliseconds since the Unix epoch, the till's clock.
    pub at_ms: i64,
    /// Currency of every amount on the receipt.
    pub currency: Currency,
    /// Sum of the lines in minor units.
    pub total_minor: i64,
    /// The customer, if one was named: a catalog id.
    pub customer: Option<String>,
    /// Who sold: a catalog id.
    pub employee: Option<String>,
    /// For a refund, the sale it takes back.
    pub refund_of: Option<DocumentId>,
    /// The number this receipt had in an imported system.
    pub external_ref: Option<String>,
    /// The parked sale that it finishes. Left out of the canonical form of any other, as before there was this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<Finishes>,
    /// 1 to 10,000 lines.
    pub lines: Vec<Line>,
    /// 1 to 100 payments that sum up to the total.
    pub payments: Vec<Payment>,
}

/// Most lines on one receipt: far above any real one, low enough for one transaction.
pub const RECEIPT_LINES_MAX: usize = 10_000;

/// Most payments on one receipt: far above any real one; a receipt with more is refused.
pub const RECEIPT_PAYMENTS_MAX: usize = 1_000;

/// Largest amount of a line, an expense or any other sum that a person types, either way, in minor
/// units: a hundred thousand million pounds. Above it a number is a slip of the keyboard; below it
/// 900,000 of them still add up in 64 bits.
pub const AMOUNT_MINOR_MAX: i64 = 10_000_000_000_000;

/// Stock that came, went or was written off without a sale.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StockMovement {
    /// Code of the product.
    pub sku: String,
    /// Signed: positive comes in.
    pub quantity: Quantity,
    /// Why, in the words of the shop.
    pub reason: String,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The number this movement had in an imported system.
    pub external_ref: Option<String>,
}

/// Stock as somebody counted it: a level is the last count plus the movements after it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StockCount {
    /// Code of the product.
    pub sku: String,
    /// What was on the shelf.
    pub quantity: Quantity,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What this lane had of the others' journals, as far as that is news. Left out of the canonical form when nothing is, as
    /// before there was this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

/// Money spent out of the till.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Expense {
    /// What for.
    pub category: String,
    /// Positive minor units.
    pub amount_minor: i64,
    /// Currency of the amount.
    pub currency: Currency,
    /// Free text.
    pub note: String,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Who took the money: a catalog id. Left out of the canonical form when nobody is named, as before
    /// there was this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub employee: Option<String>,
}

/// Customer credit: a debt made or paid back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LedgerEntry {
    /// The customer: a catalog id.
    pub customer: String,
    /// Positive: the customer owes more. Minor units.
    pub amount_minor: i64,
    /// Currency of the amount.
    pub currency: Currency,
    /// Free text.
    pub note: String,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// Goods promised for a later day.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AdvanceOrder {
    /// The customer: a catalog id.
    pub customer: String,
    /// When the goods are due, milliseconds since the Unix epoch.
    pub due_ms: i64,
    /// What was ordered.
    pub lines: Vec<Line>,
    /// Sum of the lines in minor units.
    pub total_minor: i64,
    /// Paid in advance, minor units.
    pub deposit_minor: i64,
    /// Currency of every amount.
    pub currency: Currency,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// A drawer was opened or closed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CashSession {
    /// What happened to the drawer.
    pub event: CashEvent,
    /// Counted money in minor units.
    pub counted_minor: i64,
    /// Currency of the amount.
    pub currency: Currency,
    /// Who did it: a catalog id.
    pub employee: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// What happened to a drawer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CashEvent {
    /// Opened with a float.
    Open,
    /// Closed and counted.
    Close,
}

impl CashEvent {
    /// Every event.
    pub const ALL: [Self; 2] = [Self::Open, Self::Close];

    /// The stored name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Close => "close",
        }
    }
}

/// The node was bound to a shop; trial ends with this entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Activation {
    /// The shop.
    pub shop: ShopId,
    /// Its name at that time.
    pub shop_name: String,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// Everything a journal entry can carry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "topic", content = "content", rename_all = "snake_case")]
pub enum Document {
    /// See [`Topic::Activation`].
    Activation(Activation),
    /// See [`Topic::Sale`].
    Sale(Receipt),
    /// See [`Topic::Refund`].
    Refund(Receipt),
    /// See [`Topic::LedgerEntry`].
    LedgerEntry(LedgerEntry),
    /// See [`Topic::AdvanceOrder`].
    AdvanceOrder(AdvanceOrder),
    /// See [`Topic::CashSession`].
    CashSession(CashSession),
    /// See [`Topic::Expense`].
    Expense(Expense),
    /// See [`Topic::CatalogEdit`].
    CatalogEdit(CatalogEdit),
    /// See [`Topic::StockMovement`].
    StockMovement(StockMovement),
    /// See [`Topic::StockCount`].
    StockCount(StockCount),
    /// See [`Topic::Closure`].
    Closure(Closure),
    /// See [`Topic::EmployeeEvent`].
    EmployeeEvent(EmployeeEvent),
    /// See [`Topic::ParkedSale`].
    ParkedSale(ParkedSale),
    /// See [`Topic::ParkedDiscard`].
    ParkedDiscard(ParkedDiscard),
    /// See [`Topic::Escrow`].
    Escrow(Escrow),
}

/// A document that breaks a rule of its own; it was not recorded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDocument {
    /// A receipt or order without lines, or with too many.
    #[error("{found} lines: a receipt has 1 to {RECEIPT_LINES_MAX}")]
    LineCount {
        /// How many there were.
        found: usize,
    },
    /// A receipt with too many payments.
    #[error("{found} payments: a receipt has at most {RECEIPT_PAYMENTS_MAX}")]
    PaymentCount {
        /// How many there were.
        found: usize,
    },
    /// A line's amount is not quantity x price.
    #[error("line {line} of {sku} says {stated} minor units, quantity x price is {computed}")]
    LineAmount {
        /// Position from 1.
        line: usize,
        /// Its product code.
        sku: String,
        /// What it says.
        stated: i64,
        /// What it should say.
        computed: i64,
    },
    /// A price below zero.
    #[error("line {line} of {sku} has a negative price")]
    NegativePrice {
        /// Position from 1.
        line: usize,
        /// Its product code.
        sku: String,
    },
    /// A quantity with the wrong sign.
    #[error("line {line} of {sku}: a sale has quantities above zero, a refund below")]
    QuantitySign {
        /// Position from 1.
        line: usize,
        /// Its product code.
        sku: String,
    },
    /// The lines do not sum up to the total.
    #[error("the lines sum up to {lines} minor units, the total says {total}")]
    Total {
        /// Sum of the lines.
        lines: i64,
        /// The stated total.
        total: i64,
    },
    /// The payments do not sum up to the total.
    #[error("the payments sum up to {payments} minor units, the total is {total}")]
    Payments {
        /// Sum of the payments.
        payments: i64,
        /// The stated total.
        total: i64,
    },
    /// An amount beyond [`AMOUNT_MINOR_MAX`].
    #[error("{0} is too large to be true")]
    TooLarge(&'static str),
    /// A field that must not be empty.
    #[error("{0} must not be empty")]
    Empty(&'static str),
    /// An amount that must be above zero.
    #[error("{0} must be above zero")]
    NotPositive(&'static str),
    /// A parked sale is finished by a sale.
    #[error("a refund finishes no parked sale")]
    RefundOfParked,
    /// Not a tender.
    #[error("`{0}` is not a tender; it is cash, card, voucher or account")]
    UnknownTender(String),
    /// An amount that cannot be computed.
    #[error(transparent)]
    Money(#[from] MoneyError),
}

/// The one form of a product code: trimmed, upper-cased.
pub fn normalize_code(code: &str) -> String {
    code.trim().to_uppercase()
}

/// More would change no level: it is a slip of the hand, such as a barcode in the place of a quantity.
fn within_stock(quantity: Quantity) -> Result<(), InvalidDocument> {
    if fits(quantity.milli) {
        return Ok(());
    }
    Err(InvalidDocument::TooLarge("a quantity of stock"))
}

fn require(text: &str, field: &'static str) -> Result<(), InvalidDocument> {
    if text.trim().is_empty() {
        Err(InvalidDocument::Empty(field))
    } else {
        Ok(())
    }
}

fn bound(amount_minor: i64, field: &'static str) -> Result<(), InvalidDocument> {
    match amount_minor.checked_abs() {
        Some(amount) if amount <= AMOUNT_MINOR_MAX => Ok(()),
        _ => Err(InvalidDocument::TooLarge(field)),
    }
}

fn sum(amounts: impl Iterator<Item = i64>) -> Result<i64, MoneyError> {
    amounts.into_iter().try_fold(0_i64, |sum, amount| {
        sum.checked_add(amount).ok_or(MoneyError::Overflow)
    })
}

fn check_lines(lines: &[Line], total_minor: i64) -> Result<(), InvalidDocument> {
    if lines.is_empty() || lines.len() > RECEIPT_LINES_MAX {
        return Err(InvalidDocument::LineCount { found: lines.len() });
    }
    for (index, line) in lines.iter().enumerate() {
        require(&line.sku, "the product code of a line")?;
        let position = index + 1;
        if line.unit_price.mills < 0 {
            return Err(InvalidDocument::NegativePrice {
                line: position,
                sku: line.sku.clone(),
            });
        }
        let computed = line_amount(line.quantity, line.unit_price)?;
        bound(computed, "the amount of a line")?;
        if computed != line.amount_minor {
            return Err(InvalidDocument::LineAmount {
                line: position,
                sku: line.sku.clone(),
                stated: line.amount_minor,
                computed,
            });
        }
    }
    let lines_minor = sum(lines.iter().map(|line| line.amount_minor))?;
    bound(lines_minor, "the total")?;
    if lines_minor != total_minor {
        return Err(InvalidDocument::Total {
            lines: lines_minor,
            total: total_minor,
        });
    }
    Ok(())
}

fn check_signs(lines: &[Line], is_refund: bool) -> Result<(), InvalidDocument> {
    let is_wrong = |line: &Line| line.quantity.milli == 0 || (line.quantity.milli < 0) != is_refund;
    match lines.iter().position(is_wrong) {
        None => Ok(()),
        Some(index) => Err(InvalidDocument::QuantitySign {
            line: index + 1,
            sku: lines[index].sku.clone(),
        }),
    }
}

impl Receipt {
    fn check(&self, is_refund: bool) -> Result<(), InvalidDocument> {
        check_lines(&self.lines, self.total_minor)?;
        check_signs(&self.lines, is_refund)?;
        if is_refund && self.parked.is_some() {
            return Err(InvalidDocument::RefundOfParked);
        }
        if self.payments.len() > RECEIPT_PAYMENTS_MAX {
            let found = self.payments.len();
            return Err(InvalidDocument::PaymentCount { found });
        }
        let payments = sum(self.payments.iter().map(|payment| payment.amount_minor))?;
        if payments != self.total_minor {
            return Err(InvalidDocument::Payments {
                payments,
                total: self.total_minor,
            });
        }
        Ok(())
    }
}

impl Document {
    /// What kind of document it is.
    pub const fn topic(&self) -> Topic {
        match self {
            Self::Activation(_) => Topic::Activation,
            Self::Sale(_) => Topic::Sale,
            Self::Refund(_) => Topic::Refund,
            Self::LedgerEntry(_) => Topic::LedgerEntry,
            Self::AdvanceOrder(_) => Topic::AdvanceOrder,
            Self::CashSession(_) => Topic::CashSession,
            Self::Expense(_) => Topic::Expense,
            Self::CatalogEdit(_) => Topic::CatalogEdit,
            Self::StockMovement(_) => Topic::StockMovement,
            Self::StockCount(_) => Topic::StockCount,
            Self::Closure(_) => Topic::Closure,
            Self::EmployeeEvent(_) => Topic::EmployeeEvent,
            Self::ParkedSale(_) => Topic::ParkedSale,
            Self::ParkedDiscard(_) => Topic::ParkedDiscard,
            Self::Escrow(_) => Topic::Escrow,
        }
    }

    /// When it happened, milliseconds since the Unix epoch; `None` for an edit, which carries
    /// logical time only.
    pub const fn at_ms(&self) -> Option<i64> {
        match self {
            Self::Activation(content) => Some(content.at_ms),
            Self::Sale(content) | Self::Refund(content) => Some(content.at_ms),
            Self::LedgerEntry(content) => Some(content.at_ms),
            Self::AdvanceOrder(content) => Some(content.at_ms),
            Self::CashSession(content) => Some(content.at_ms),
            Self::Expense(content) => Some(content.at_ms),
            Self::StockMovement(content) => Some(content.at_ms),
            Self::StockCount(content) => Some(content.at_ms),
            Self::Closure(content) => Some(content.at_ms),
            Self::EmployeeEvent(content) => Some(content.at_ms),
            Self::ParkedSale(content) => Some(content.at_ms),
            Self::ParkedDiscard(content) => Some(content.at_ms),
            Self::Escrow(content) => Some(content.at_ms),
            Self::CatalogEdit(_) => None,
        }
    }

    /// The form that the journal's chain covers: JSON with fields in declaration order. The
    /// order of fields must not change, see [`crate::journal::Chain::next`].
    ///
    /// # Panics
    /// Never: no document holds a map with other than text keys.
    pub fn canonical(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("documents hold text, integers and text-keyed maps only")
    }

    /// Checks the rules that a document can check by itself.
    ///
    /// # Errors
    /// The first rule that is broken; nothing was recorded.
    pub fn check(&self) -> Result<(), InvalidDocument> {
        match self {
            Self::Sale(receipt) => receipt.check(false),
            Self::Refund(receipt) => receipt.check(true),
            Self::LedgerEntry(entry) => {
                bound(entry.amount_minor, "the amount")?;
                require(&entry.customer, "the customer")
            }
            Self::AdvanceOrder(order) => {
                require(&order.customer, "the customer")?;
                bound(order.deposit_minor, "the deposit")?;
                check_lines(&order.lines, order.total_minor)
            }
            Self::Expense(expense) => {
                require(&expense.category, "the category of an expense")?;
                bound(expense.amount_minor, "the amount of an expense")?;
                if expense.amount_minor <= 0 {
                    return Err(InvalidDocument::NotPositive("the amount of an expense"));
                }
                Ok(())
            }
            Self::StockMovement(movement) => {
                require(&movement.sku, "the product code")?;
                require(&movement.reason, "the reason of a stock movement")?;
                within_stock(movement.quantity)
            }
            Self::StockCount(count) => {
                require(&count.sku, "the product code")?;
                if count.quantity.milli < 0 {
                    return Err(InvalidDocument::NotPositive("a counted quantity"));
                }
                within_stock(count.quantity)
            }
            Self::CatalogEdit(edit) => {
                require(&edit.row, "the id of the row")?;
                if edit.columns.is_empty() {
                    return Err(InvalidDocument::Empty("the list of changed columns"));
                }
                Ok(())
            }
            Self::CashSession(session) => bound(session.counted_minor, "the counted amount"),
            Self::EmployeeEvent(event) => require(&event.employee, "the employee"),
            Self::ParkedSale(parked) => {
                check_lines(&parked.lines, parked.total_minor)?;
                check_signs(&parked.lines, false)
            }
            Self::Escrow(escrow) => {
                require(&escrow.sku, "the product code")?;
                let begins = matches!(escrow.act, EscrowAct::Begin { .. });
                match escrow.act.quantity() {
                    Some(quantity) if quantity.milli < i64::from(!begins) => {
                        Err(InvalidDocument::NotPositive("a quantity of rights"))
                    }
                    Some(quantity) => within_stock(quantity),
                    None => Ok(()),
                }
            }
            // A closure is computed, never typed.
            Self::Activation(_) | Self::Closure(_) | Self::ParkedDiscard(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
