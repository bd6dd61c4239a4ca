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
    /// A sale or refund as asked for, with the prices of this moment; products of a parked sale have its prices,
    /// as much of each as was parked.
    ///
    /// # Errors
    /// [`StoreError::UnknownProduct`], [`StoreError::NoPrice`], [`StoreError::Invalid`],
    /// [`StoreError::Number`]; [`StoreError::RefundedAlready`] for a refund; [`StoreError::UnknownParked`],
    /// [`StoreError::ParkedSettled`] for one that finishes a parked sale;
    /// [`StoreError::Escrow`] for one without the right to sell.
    pub fn draft_receipt(
        &self,
        request: &ReceiptRequest,
        refund: bool,
        now_ms: i64,
    ) -> Result<Document, StoreError> {
        let receipt = self.build_receipt(request, refund, now_ms)?;
        if refund {
            self.check_refund(&receipt)?;
            return Ok(Document::Refund(receipt));
        }
        let sale = Document::Sale(receipt);
        // Before anybody's approval is used up for it.
        self.check_rights(&sale)?;
        Ok(sale)
    }

    /// The same, whatever stands against it.
    pub(crate) fn build_receipt(
        &self,
        request: &ReceiptRequest,
        refund: bool,
        now_ms: i64,
    ) -> Result<Receipt, StoreError> {
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
        let lane = self.lane()?;
        Ok(Receipt {
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
            parked: request.parked.map(|id| Finishes { id, lane }),
            lines,
            payments: vec![Payment {
                tender: request.tender.parse()?,
                amount_minor: total_minor,
            }],
        })
    }

    /// Whoever stands for the customer.
    pub(crate) fn customer(&self, customer: Option<&str>) -> Result<Option<String>, StoreError> {
        customer
            .map(|customer| self.survivor("customers", customer))
            .transpose()
    }

    /// In one read transaction: all lines have the prices of one moment, and the databases are locked
    /// once instead of for each product. As much as the
    /// lines beside those that are asked for have of a product has their prices.
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
        let mut left = agreed.to_vec();
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
            let told = |sku: &str| agreed.iter().any(|line| line.sku == sku);
            let (sku, name, today) = match self.product(&request.sku, now_ms) {
                Ok(product) => (product.sku, product.name, product.price),
                // A price was named: sell it, the catalog can learn about it later.
                Err(StoreError::UnknownProduct(sku)) if asked.is_some() || told(&sku) => {
                    (sku.clone(), sku, None)
                }
                Err(error) => return Err(error),
            };
            let description = request.description.as_deref().unwrap_or(&name);
            for (price, quantity) in parts(&mut left, &sku, quantity, (asked, today)) {
                let price = price.ok_or_else(|| StoreError::NoPrice(sku.clone()))?;
                lines.push(Line::new(&sku, description, quantity, price)?);
            }
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

/// Splits a quantity by price: as much as is left of the cart's lines has theirs, line by line, and the rest today's. A price
/// that is asked for holds for all of it.
fn parts(
    left: &mut [Line],
    sku: &str,
    quantity: Quantity,
    (asked, today): (Option<UnitPrice>, Option<UnitPrice>),
) -> Vec<(Option<UnitPrice>, Quantity)> {
    let mut parts: Vec<(Option<UnitPrice>, Quantity)> = Vec::new();
    let mut add = |price, milli: i64| match parts.last_mut() {
        Some((before, quantity)) if *before == price => quantity.milli += milli,
        _ => parts.push((price, Quantity::from_milli(milli))),
    };
    let mut rest = quantity.milli;
    let fits =
        |line: &&mut Line| line.sku == sku && asked.is_none_or(|asked| asked == line.unit_price);
    for line in left.iter_mut().filter(fits) {
        let told = line.quantity.milli.min(rest);
        if told > 0 {
            line.quantity.milli -= told;
            rest -= told;
            add(Some(line.unit_price), told);
        }
    }
    if rest != 0 {
        add(asked.or(today), rest);
    }
    parts
}

pub(crate) fn total(lines: &[Line]) -> Result<i64, MoneyError> {
    lines
        .iter()
        .try_fold(0_i64, |sum, line| sum.checked_add(line.amount_minor))
        .ok_or(MoneyError::Overflow)
}
