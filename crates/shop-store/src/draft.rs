//! From what a person asks for to a document: products looked up, amounts computed.

use crate::error::StoreError;
use crate::open::ShopStore;
use counterfoil_domain::document::{
    AdvanceOrder, CashEvent, CashSession, Expense, InvalidDocument, LedgerEntry, Line, Payment,
    Receipt, StockCount, StockMovement, normalize_code,
};
use counterfoil_domain::money::{MoneyError, parse_fixed};
use counterfoil_domain::parked::Finishes;
use counterfoil_domain::{Document, Quantity, UnitPrice};
use counterfoil_protocol::wire::node::{
    CashRequest, ExpenseRequest, LedgerRequest, LineRequest, OrderRequest, ReceiptRequest,
    StockRequest,
};

/// Decimals of an amount of money as it is typed.
const MONEY_DECIMALS: u32 = 2;

impl ShopStore {
    /// A sale or refund as asked for, with the prices of this moment; products of a parked sale have its prices.
    ///
    /// # Errors
    /// [`StoreError::UnknownProduct`], [`StoreError::NoPrice`], [`StoreError::Invalid`],
    /// [`StoreError::Number`]; [`StoreError::RefundedAlready`] for a refund; [`StoreError::UnknownParked`],
    /// [`StoreError::ParkedSettled`] for one that finishes a parked sale.
    pub fn draft_receipt(
        &self,
        request: &ReceiptRequest,
        refund: bool,
        now_ms: i64,
    ) -> Result<Document, StoreError> {
        let cart = request.parked.map(|id| self.open_cart(id)).transpose()?;
        let lines = match &cart {
            // As it was parked.
            Some(cart) if request.lines.is_empty() => cart.lines.clone(),
            cart => {
                let agreed = cart.as_ref().map_or(&[][..], |cart| &cart.lines);
                self.draft_lines((&request.lines, agreed), refund, now_ms)?
            }
        };
        let total_minor = total(&lines)?;
        let customer = self.customer(request.customer.as_deref())?;
        let receipt = Receipt {
            trial: false,
            series: String::new(),
            number: 0,
            at_ms: now_ms,
            currency: self.currency,
            total_minor,
            customer: customer.or_else(|| cart.and_then(|cart| cart.customer)),
            employee: request.employee.clone(),
            refund_of: request.refund_of,
            external_ref: None,
            parked: request.parked.map(|id| Finishes {
                id,
                lane: self.lane(),
            }),
            lines,
            payments: vec![Payment {
                tender: request.tender.parse()?,
                amount_minor: total_minor,
            }],
        };
        Ok(if refund {
            self.check_refund(&receipt)?;
            Document::Refund(receipt)
        } else {
            Document::Sale(receipt)
        })
    }

    /// Whoever stands for the customer.
    pub(crate) fn customer(&self, customer: Option<&str>) -> Result<Option<String>, StoreError> {
        customer
            .map(|customer| self.survivor("customers", customer))
            .transpose()
    }

    /// In one read transaction: all lines have the prices of one moment, and the databases are locked
    /// once instead of for each product. Products of the lines beside those that are asked for have their prices.
    pub(crate) fn draft_lines(
        &self,
        requests: (&[LineRequest], &[Line]),
        refund: bool,
        now_ms: i64,
    ) -> Result<Vec<Line>, StoreError> {
        if !self.conn.is_autocommit() {
            // A transaction has one moment already.
            return self.priced_lines(requests, refund, now_ms);
        }
        self.conn
            .snapshot(|_| self.priced_lines(requests, refund, now_ms))
    }

    fn priced_lines(
        &self,
        (requests, agreed): (&[LineRequest], &[Line]),
        refund: bool,
        now_ms: i64,
    ) -> Result<Vec<Line>, StoreError> {
        let mut lines = Vec::with_capacity(requests.len());
        for (index, request) in requests.iter().enumerate() {
            let quantity = Quantity::parse(&request.quantity)?;
            if quantity.milli <= 0 {
                let sku = request.sku.clone();
                return Err(InvalidDocument::QuantitySign {
                    line: index + 1,
                    sku,
                }
                .into());
            }
            let quantity = if refund {
                Quantity::from_milli(-quantity.milli)
            } else {
                quantity
            };
            let asked = request
                .unit_price
                .as_deref()
                .map(UnitPrice::parse)
                .transpose()?;
            let of = |sku: &str| agreed.iter().find(|line| line.sku == sku);
            let told = of(&normalize_code(&request.sku)).map(|line| line.unit_price);
            let (sku, name, price) = match (self.product(&request.sku, now_ms), asked.or(told)) {
                (Ok(product), _) => {
                    let told = of(&product.sku).map(|line| line.unit_price);
                    let price = asked.or(told).or(product.price);
                    (product.sku, product.name, price)
                }
                // A price was named: sell it, the catalog can learn about it later.
                (Err(StoreError::UnknownProduct(sku)), Some(price)) => {
                    (sku.clone(), sku, Some(price))
                }
                (Err(error), _) => return Err(error),
            };
            let price = price.ok_or_else(|| StoreError::NoPrice(sku.clone()))?;
            let description = request.description.as_deref().unwrap_or(&name);
            lines.push(Line::new(&sku, description, quantity, price)?);
        }
        Ok(lines)
    }

    /// A stock movement or count as asked for.
    ///
    /// # Errors
    /// [`StoreError::Number`].
    pub fn draft_stock(&self, request: &StockRequest, now_ms: i64) -> Result<Document, StoreError> {
        let sku = self.survivor("products", &normalize_code(&request.sku))?;
        let quantity = Quantity::parse(&request.quantity)?;
        Ok(if request.count {
            Document::StockCount(StockCount {
                sku,
                quantity,
                at_ms: now_ms,
                // The store says it when it records the count.
                seen: None,
            })
        } else {
            Document::StockMovement(StockMovement {
                sku,
                quantity,
                reason: request
                    .reason
                    .clone()
                    .unwrap_or_else(|| "adjustment".to_owned()),
                at_ms: now_ms,
                external_ref: None,
            })
        })
    }

    /// An expense as asked for.
    ///
    /// # Errors
    /// [`StoreError::Number`].
    pub fn draft_expense(
        &self,
        request: &ExpenseRequest,
        now_ms: i64,
    ) -> Result<Document, StoreError> {
        Ok(Document::Expense(Expense {
            category: request.category.clone(),
            amount_minor: parse_fixed(&request.amount, MONEY_DECIMALS)?,
            currency: self.currency,
            note: request.note.clone(),
            at_ms: now_ms,
            employee: request.employee.clone(),
        }))
    }

    /// A customer's credit as asked for.
    ///
    /// # Errors
    /// [`StoreError::Number`].
    pub fn draft_ledger(
        &self,
        request: &LedgerRequest,
        now_ms: i64,
    ) -> Result<Document, StoreError> {
        Ok(Document::LedgerEntry(LedgerEntry {
            customer: self.survivor("customers", &request.customer)?,
            amount_minor: parse_fixed(&request.amount, MONEY_DECIMALS)?,
            currency: self.currency,
            note: request.note.clone(),
            at_ms: now_ms,
        }))
    }

    /// An advance order as asked for, with the prices of this moment.
    ///
    /// # Errors
    /// As [`Self::draft_receipt`].
    pub fn draft_order(&self, request: &OrderRequest, now_ms: i64) -> Result<Document, StoreError> {
        let lines = self.draft_lines((&request.lines, &[]), false, now_ms)?;
        let deposit = request.deposit.as_deref().unwrap_or("0");
        Ok(Document::AdvanceOrder(AdvanceOrder {
            customer: self.survivor("customers", &request.customer)?,
            due_ms: request.due_ms,
            total_minor: total(&lines)?,
            lines,
            deposit_minor: parse_fixed(deposit, MONEY_DECIMALS)?,
            currency: self.currency,
            at_ms: now_ms,
        }))
    }

    /// A drawer's opening or closing as asked for.
    ///
    /// # Errors
    /// [`StoreError::Number`]; [`StoreError::Invalid`] for another event.
    pub fn draft_cash(&self, request: &CashRequest, now_ms: i64) -> Result<Document, StoreError> {
        let event = match request.event.as_str() {
            "open" => CashEvent::Open,
            "close" => CashEvent::Close,
            _ => return Err(InvalidDocument::Empty("the event, open or close,").into()),
        };
        Ok(Document::CashSession(CashSession {
            event,
            counted_minor: parse_fixed(&request.counted, MONEY_DECIMALS)?,
            currency: self.currency,
            employee: request.employee.clone(),
            at_ms: now_ms,
        }))
    }
}

pub(crate) fn total(lines: &[Line]) -> Result<i64, MoneyError> {
    lines
        .iter()
        .try_fold(0_i64, |sum, line| sum.checked_add(line.amount_minor))
        .ok_or(MoneyError::Overflow)
}
