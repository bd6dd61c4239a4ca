//! Recording: sales, refunds, stock, expenses, credit, orders, the drawer.

use super::{ask, ask_with, employees, mint};
use crate::cli::output::{self, money};
use crate::cli::{Common, Failure};
use clap::Args;
use counterfoil_domain::DocumentId;
use counterfoil_domain::employee::Permission;
use counterfoil_protocol::wire::node::{
    CashRequest, ExpenseRequest, LedgerRequest, LineRequest, OrderRequest, ReceiptRequest,
    Recorded, StockAnswer, StockBody, StockRequest,
};
use counterfoil_replica::env::Env;
use http::{HeaderMap, Method};

#[derive(Args)]
pub(crate) struct ReceiptArgs {
    #[command(flatten)]
    common: Common,
    /// Product code or barcode and quantity; a price of its own may follow.
    #[arg(long = "line", value_name = "SKU:QTY[@PRICE]", num_args = 1.., required_unless_present = "parked")]
    lines: Vec<String>,
    /// For a sale: id of the parked sale that it finishes; as it was parked when no line is given.
    #[arg(long, value_name = "ID")]
    parked: Option<DocumentId>,
    /// cash, card, voucher or account.
    #[arg(long, default_value = "cash")]
    tender: String,
    /// The customer: a catalog id.
    #[arg(long)]
    customer: Option<String>,
    /// Who sells: a catalog id.
    #[arg(long)]
    employee: Option<String>,
    /// Who allows it with their PIN when whoever is signed in may not: a catalog id.
    #[arg(long, value_name = "EMPLOYEE")]
    approved_by: Option<String>,
    /// What they allow.
    #[arg(long, value_name = "PERMISSION", value_parser = employees::permission)]
    approve: Option<Permission>,
    /// For a refund: id of the sale it takes back.
    #[arg(long, value_name = "ID")]
    of: Option<DocumentId>,
    /// Id of the document, to repeat a command without recording twice.
    #[arg(long)]
    id: Option<DocumentId>,
}

#[derive(Args)]
pub(crate) struct StockArgs {
    #[command(flatten)]
    common: Common,
    /// Product code and signed quantity: positive comes in.
    #[arg(long = "line", value_name = "SKU:QTY", num_args = 1.., required = true,
          allow_hyphen_values = false)]
    lines: Vec<String>,
    /// The quantities are what was counted on the shelf.
    #[arg(long)]
    count: bool,
    /// Why it moved.
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Args)]
pub(crate) struct ExpenseArgs {
    #[command(flatten)]
    common: Common,
    /// Decimal amount, above zero.
    #[arg(long)]
    amount: String,
    /// What for.
    #[arg(long, default_value = "general")]
    category: String,
    /// Free text.
    #[arg(long, default_value = "")]
    note: String,
    /// Who took the money: a catalog id.
    #[arg(long)]
    employee: Option<String>,
    /// Id of the document, to repeat a command without recording twice.
    #[arg(long)]
    id: Option<DocumentId>,
}

#[derive(Args)]
pub(crate) struct LedgerArgs {
    #[command(flatten)]
    common: Common,
    /// The customer: a catalog id.
    #[arg(long)]
    customer: String,
    /// Decimal amount; positive when the customer owes more.
    #[arg(long, allow_hyphen_values = true)]
    amount: String,
    /// Free text.
    #[arg(long, default_value = "")]
    note: String,
    /// Id of the document, to repeat a command without recording twice.
    #[arg(long)]
    id: Option<DocumentId>,
}

#[derive(Args)]
pub(crate) struct OrderArgs {
    #[command(flatten)]
    common: Common,
    /// The customer: a catalog id.
    #[arg(long)]
    customer: String,
    /// Product code and quantity; a price of its own may follow.
    #[arg(long = "line", value_name = "SKU:QTY[@PRICE]", num_args = 1.., required = true)]
    lines: Vec<String>,
    /// The day it is due, `YYYY-MM-DD`.
    #[arg(long, value_name = "DAY")]
    due: jiff::civil::Date,
    /// Decimal amount paid in advance.
    #[arg(long)]
    deposit: Option<String>,
    /// Id of the document, to repeat a command without recording twice.
    #[arg(long)]
    id: Option<DocumentId>,
}

#[derive(Args)]
pub(crate) struct CashArgs {
    #[command(flatten)]
    common: Common,
    /// `open` or `close`.
    event: String,
    /// Decimal amount counted in the drawer.
    #[arg(long)]
    counted: String,
    /// Who did it: a catalog id.
    #[arg(long)]
    employee: Option<String>,
    /// Id of the document, to repeat a command without recording twice.
    #[arg(long)]
    id: Option<DocumentId>,
}

/// `SKU:QTY` or `SKU:QTY@PRICE`; a code may hold colons itself.
pub(super) fn line(text: &str) -> Result<LineRequest, Failure> {
    let parsed = text
        .rsplit_once(':')
        .filter(|(sku, rest)| !sku.is_empty() && !rest.is_empty());
    let Some((sku, rest)) = parsed else {
        let text = format!("`{text}` is not a line");
        return Err(Failure::usage(
            text,
            "write --line SKU:QTY or --line SKU:QTY@PRICE",
        ));
    };
    let (quantity, price) = match rest.split_once('@') {
        Some((quantity, price)) => (quantity, Some(price.to_owned())),
        None => (rest, None),
    };
    Ok(LineRequest {
        sku: sku.to_owned(),
        quantity: quantity.to_owned(),
        unit_price: price,
        description: None,
    })
}

pub(super) fn recorded(recorded: &Recorded) -> String {
    let number = match (&recorded.series, recorded.number) {
        (Some(series), Some(number)) => format!(" {series}-{number}"),
        _ => String::new(),
    };
    let total = recorded
        .total_minor
        .map_or_else(String::new, |minor| format!(", {}", money(minor)));
    let trial = if recorded.trial { ", trial" } else { "" };
    let repeated = if recorded.repeated {
        ", was recorded before"
    } else {
        ""
    };
    let copy = if recorded.single_copy {
        ", single copy"
    } else {
        ""
    };
    format!(
        "{}{number}{total}{trial}{copy}{repeated} ({})",
        recorded.topic, recorded.id
    )
}

pub(crate) async fn receipt(args: ReceiptArgs, path: &str, env: Env) -> Result<(), Failure> {
    let request = ReceiptRequest {
        id: Some(args.id.unwrap_or_else(|| mint(&env))),
        lines: args
            .lines
            .iter()
            .map(|text| line(text))
            .collect::<Result<_, _>>()?,
        tender: args.tender,
        customer: args.customer,
        employee: args.employee,
        refund_of: args.of,
        parked: args.parked,
    };
    let headers = match &args.approved_by {
        Some(by) => {
            let usual = match path {
                "/v1/refunds" => Permission::Refund,
                _ => Permission::PriceOverride,
            };
            let permission = args.approve.unwrap_or(usual);
            employees::approved(&args.common, env.clone(), by, permission).await?
        }
        None => HeaderMap::new(),
    };
    let common = &args.common;
    let answer: Recorded =
        ask_with(headers, common, env, Method::POST, path, Some(&request)).await?;
    output::show(args.common.json, &answer, recorded)
}

pub(crate) async fn stock(args: StockArgs, env: Env) -> Result<(), Failure> {
    let request = |text: &String| -> Result<StockRequest, Failure> {
        let line = line(text)?;
        Ok(StockRequest {
            id: Some(mint(&env)),
            sku: line.sku,
            quantity: line.quantity,
            count: args.count,
            reason: args.reason.clone(),
        })
    };
    let requests: Vec<StockRequest> = args.lines.iter().map(request).collect::<Result<_, _>>()?;
    let body = match requests.as_slice() {
        [only] => StockBody::One(only.clone()),
        _ => StockBody::Many(requests),
    };
    let answer: StockAnswer =
        ask(&args.common, env, Method::POST, "/v1/stock", Some(&body)).await?;
    output::show(args.common.json, &answer, |answer| match answer {
        StockAnswer::One(answer) => recorded(answer),
        StockAnswer::Many(answers) => answers.iter().map(recorded).collect::<Vec<_>>().join("\n"),
    })
}

pub(crate) async fn expense(args: ExpenseArgs, env: Env) -> Result<(), Failure> {
    let request = ExpenseRequest {
        id: Some(args.id.unwrap_or_else(|| mint(&env))),
        category: args.category,
        amount: args.amount,
        note: args.note,
        employee: args.employee,
    };
    let answer: Recorded = ask(
        &args.common,
        env,
        Method::POST,
        "/v1/expenses",
        Some(&request),
    )
    .await?;
    output::show(args.common.json, &answer, recorded)
}

pub(crate) async fn ledger(args: LedgerArgs, env: Env) -> Result<(), Failure> {
    let request = LedgerRequest {
        id: Some(args.id.unwrap_or_else(|| mint(&env))),
        customer: args.customer,
        amount: args.amount,
        note: args.note,
    };
    let answer: Recorded = ask(
        &args.common,
        env,
        Method::POST,
        "/v1/ledger",
        Some(&request),
    )
    .await?;
    output::show(args.common.json, &answer, recorded)
}

pub(crate) async fn order(args: OrderArgs, env: Env) -> Result<(), Failure> {
    let due = args
        .due
        .to_zoned(jiff::tz::TimeZone::UTC)
        .map_err(|error| Failure::failed(&error))?;
    let request = OrderRequest {
        id: Some(args.id.unwrap_or_else(|| mint(&env))),
        customer: args.customer,
        due_ms: due.timestamp().as_millisecond(),
        lines: args
            .lines
            .iter()
            .map(|text| line(text))
            .collect::<Result<_, _>>()?,
        deposit: args.deposit,
    };
    let answer: Recorded = ask(
        &args.common,
        env,
        Method::POST,
        "/v1/orders",
        Some(&request),
    )
    .await?;
    output::show(args.common.json, &answer, recorded)
}

pub(crate) async fn cash(args: CashArgs, env: Env) -> Result<(), Failure> {
    let request = CashRequest {
        id: Some(args.id.unwrap_or_else(|| mint(&env))),
        event: args.event,
        counted: args.counted,
        employee: args.employee,
    };
    let answer: Recorded = ask(&args.common, env, Method::POST, "/v1/cash", Some(&request)).await?;
    output::show(args.common.json, &answer, recorded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_code_a_quantity_and_maybe_a_price() {
        let check = |text: &str, sku: &str, quantity: &str, price: Option<&str>| {
            let line = line(text).expect("a line");
            assert_eq!((line.sku.as_str(), line.quantity.as_str()), (sku, quantity));
            assert_eq!(line.unit_price.as_deref(), price);
        };
        check("85123A:6", "85123A", "6", None);
        check("A:B:0.5@2.55", "A:B", "0.5", Some("2.55"));
        for text in ["", "85123A", ":6", "85123A:"] {
            assert!(line(text).is_err(), "{text}");
        }
    }
}
