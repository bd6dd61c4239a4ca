//! The commands that are one request each.

use crate::cli::output::{self, money, table, time};
use crate::cli::{Common, Failure};
use crate::config::Config;
use crate::local_client::{LocalClient, lock};
use crate::node::{Node, NodeOptions};
use clap::{Args, Subcommand};
use counterfoil_domain::DocumentId;
use counterfoil_protocol::wire::hub::ActivateAnswer;
use counterfoil_protocol::wire::node::{
    ActivateCommand, CashRequest, CatalogRow, CatalogSetRequest, ExpenseRequest, HubMoved,
    LedgerRequest,     LineRequest, LogRow, NodeStatus, OrderRequest, QueueRow, ReceiptRequest, ReceiptRow, Recorded,
    StockRequest, SyncReport,
};
use counterfoil_replica::env::Env;
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

#[derive(Args)]
pub(crate) struct ActivateArgs {
    #[command(flatten)]
    common: Common,
    /// Join code from `counterfoil-hub shop add` or `shop join`.
    #[arg(long, value_name = "CODE")]
    join: Option<String>,
    /// Base URL of the hub; overrides the one in the join code.
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// Name of the shop to register.
    #[arg(long)]
    name: Option<String>,
    /// Phone of the shop to register.
    #[arg(long)]
    phone: Option<String>,
    /// E-mail of the shop to register.
    #[arg(long)]
    email: Option<String>,
}

#[derive(Args)]
pub(crate) struct ReceiptArgs {
    #[command(flatten)]
    common: Common,
    /// Product code or barcode and quantity; a price of its own may follow.
    #[arg(long = "line", value_name = "SKU:QTY[@PRICE]", num_args = 1.., required = true)]
    lines: Vec<String>,
    /// cash, card, voucher or account.
    #[arg(long, default_value = "cash")]
    tender: String,
    /// The customer: a catalog id.
    #[arg(long)]
    customer: Option<String>,
    /// Who sells: a catalog id.
    #[arg(long)]
    employee: Option<String>,
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
}

#[derive(Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    common: Common,
    /// Rows at most.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// Rows to skip.
    #[arg(long, default_value_t = 0)]
    offset: u32,
}

#[derive(Subcommand)]
pub(crate) enum CatalogCommand {
    /// Propose new values for a row.
    Set {
        /// Catalog table, such as products.
        table: String,
        /// Id of the row; the code for products.
        id: String,
        /// Columns and values; an empty value empties the column.
        #[arg(value_name = "COLUMN=VALUE", required = true)]
        columns: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Show a row as this till sees it.
    Get {
        /// Catalog table, such as products.
        table: String,
        /// Id of the row; the code for products.
        id: String,
        #[command(flatten)]
        common: Common,
    },
}

async fn ask<B: Serialize, A: Serialize + DeserializeOwned>(
    common: &Common,
    env: Env,
    method: Method,
    path: &str,
    body: Option<&B>,
) -> Result<A, Failure> {
    let client = LocalClient::reach(&common.data, env).await?;
    Ok(client.call(method, path, body).await?)
}

async fn get<A: Serialize + DeserializeOwned>(
    common: &Common,
    env: Env,
    path: &str,
) -> Result<A, Failure> {
    ask::<(), A>(common, env, Method::GET, path, None).await
}

pub(crate) async fn init(common: &Common, env: Env) -> Result<(), Failure> {
    let data = &common.data;
    let existed = data.join("book.db").exists();
    if !existed && let Some(_lock) = lock(data)? {
        let config = Config::load(data)?;
        drop(Node::open(data, config, env.clone(), &NodeOptions::default())?);
    }
    let status: NodeStatus = get(common, env, "/v1/status").await?;
    output::show(common.json, &status, |status| {
        let what = if existed { "there is a node already" } else { "made a node" };
        let (data, tier) = (data.display(), &status.tier);
        format!("{what} in {data}: {} ({tier})", status.node_id)
    })
}

pub(crate) async fn activate(args: ActivateArgs, env: Env) -> Result<(), Failure> {
    let command = ActivateCommand {
        join: args.join,
        hub: args.hub,
        name: args.name,
        phone: args.phone,
        email: args.email,
    };
    let client = LocalClient::reach(&args.common.data, env).await?;
    let answer: ActivateAnswer =
        client.call(Method::POST, "/v1/activate", Some(&command)).await?;
    // Without a daemon nobody else would send what trial has left behind.
    if let LocalClient::Embedded { .. } = client {
        let synced: Result<SyncReport, _> =
            client.call::<(), _>(Method::POST, "/v1/sync", None).await;
        if let Err(problem) = synced {
            output::note(&format!("activated, but not synced yet: {problem}"));
        }
    }
    output::show(args.common.json, &answer, |answer| {
        format!("activated: lane {} of {} ({})", answer.lane, answer.shop_name, answer.shop)
    })
}

pub(crate) async fn hub(common: &Common, url: String, env: Env) -> Result<(), Failure> {
    let moved: HubMoved = ask(common, env, Method::PUT, "/v1/hub", Some(&HubMoved { url })).await?;
    output::show(common.json, &moved, |moved| format!("the hub is at {} from now on", moved.url))
}

/// `SKU:QTY` or `SKU:QTY@PRICE`; a code may hold colons itself.
fn line(text: &str) -> Result<LineRequest, Failure> {
    let parsed = text.rsplit_once(':').filter(|(sku, rest)| !sku.is_empty() && !rest.is_empty());
    let Some((sku, rest)) = parsed else {
        let text = format!("`{text}` is not a line");
        return Err(Failure::usage(text, "write --line SKU:QTY or --line SKU:QTY@PRICE"));
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

fn recorded(recorded: &Recorded) -> String {
    let number = match (&recorded.series, recorded.number) {
        (Some(series), Some(number)) => format!(" {series}-{number}"),
        _ => String::new(),
    };
    let total = recorded.total_minor.map_or_else(String::new, |minor| format!(", {}", money(minor)));
    let trial = if recorded.trial { ", trial" } else { "" };
    let repeated = if recorded.repeated { ", was recorded before" } else { "" };
    format!("{}{number}{total}{trial}{repeated} ({})", recorded.topic, recorded.id)
}

pub(crate) async fn receipt(args: ReceiptArgs, path: &str, env: Env) -> Result<(), Failure> {
    let request = ReceiptRequest {
        id: args.id,
        lines: args.lines.iter().map(|text| line(text)).collect::<Result<_, _>>()?,
        tender: args.tender,
        customer: args.customer,
        employee: args.employee,
        refund_of: args.of,
    };
    let answer: Recorded = ask(&args.common, env, Method::POST, path, Some(&request)).await?;
    output::show(args.common.json, &answer, recorded)
}

pub(crate) async fn stock(args: StockArgs, env: Env) -> Result<(), Failure> {
    let lines: Vec<LineRequest> =
        args.lines.iter().map(|text| line(text)).collect::<Result<_, _>>()?;
    let client = LocalClient::reach(&args.common.data, env).await?;
    let mut answers: Vec<Recorded> = Vec::with_capacity(lines.len());
    for line in lines {
        let request = StockRequest {
            id: None,
            sku: line.sku,
            quantity: line.quantity,
            count: args.count,
            reason: args.reason.clone(),
        };
        answers.push(client.call(Method::POST, "/v1/stock", Some(&request)).await?);
    }
    match answers.as_slice() {
        [answer] => output::show(args.common.json, answer, recorded),
        answers => output::show(args.common.json, &answers, |answers| {
            answers.iter().map(recorded).collect::<Vec<_>>().join("\n")
        }),
    }
}

pub(crate) async fn expense(args: ExpenseArgs, env: Env) -> Result<(), Failure> {
    let request = ExpenseRequest {
        id: args.id,
        category: args.category,
        amount: args.amount,
        note: args.note,
    };
    let answer: Recorded =
        ask(&args.common, env, Method::POST, "/v1/expenses", Some(&request)).await?;
    output::show(args.common.json, &answer, recorded)
}

pub(crate) async fn ledger(args: LedgerArgs, env: Env) -> Result<(), Failure> {
    let request = LedgerRequest {
        id: None,
        customer: args.customer,
        amount: args.amount,
        note: args.note,
    };
    let answer: Recorded =
        ask(&args.common, env, Method::POST, "/v1/ledger", Some(&request)).await?;
    output::show(args.common.json, &answer, recorded)
}

pub(crate) async fn order(args: OrderArgs, env: Env) -> Result<(), Failure> {
    let due = args.due.to_zoned(jiff::tz::TimeZone::UTC).map_err(|error| Failure::failed(&error))?;
    let request = OrderRequest {
        id: None,
        customer: args.customer,
        due_ms: due.timestamp().as_millisecond(),
        lines: args.lines.iter().map(|text| line(text)).collect::<Result<_, _>>()?,
        deposit: args.deposit,
    };
    let answer: Recorded =
        ask(&args.common, env, Method::POST, "/v1/orders", Some(&request)).await?;
    output::show(args.common.json, &answer, recorded)
}

pub(crate) async fn cash(args: CashArgs, env: Env) -> Result<(), Failure> {
    let request = CashRequest {
        id: None,
        event: args.event,
        counted: args.counted,
        employee: args.employee,
    };
    let answer: Recorded = ask(&args.common, env, Method::POST, "/v1/cash", Some(&request)).await?;
    output::show(args.common.json, &answer, recorded)
}

pub(crate) async fn catalog(command: CatalogCommand, env: Env) -> Result<(), Failure> {
    let (common, row): (Common, CatalogRow) = match command {
        CatalogCommand::Get { table, id, common } => {
            let path = format!("/v1/catalog/{}/{}", encode(&table), encode(&id));
            let row = get(&common, env, &path).await?;
            (common, row)
        }
        CatalogCommand::Set { table, id, columns, common } => {
            let mut values = BTreeMap::new();
            for column in &columns {
                let Some((name, value)) = column.split_once('=') else {
                    let text = format!("`{column}` is not a column and its value");
                    return Err(Failure::usage(text, "write name=\"Green tea\""));
                };
                let value = if value.is_empty() { None } else { Some(value) };
                values.insert(name.to_owned(), value.into());
            }
            let path = format!("/v1/catalog/{}/{}", encode(&table), encode(&id));
            let request = CatalogSetRequest { columns: values };
            let row = ask(&common, env, Method::PUT, &path, Some(&request)).await?;
            (common, row)
        }
    };
    output::show(common.json, &row, |row| {
        let pending = if row.pending { ", not merged yet" } else { "" };
        let columns = row.columns.iter().map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            vec![format!("  {name}"), value]
        });
        let heading = format!("{} {} (revision {}{pending})", row.table, row.id, row.revision);
        format!("{heading}\n{}", table(&["  column", "value"], columns))
    })
}

/// A path segment, percent-encoded.
fn encode(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

pub(crate) async fn sync(common: &Common, env: Env) -> Result<(), Failure> {
    let report: SyncReport = ask::<(), _>(common, env, Method::POST, "/v1/sync", None).await?;
    output::show(common.json, &report, |report| {
        let gate = if report.update_required { "; the catalog waits: update required" } else { "" };
        format!(
            "synced: {} frames up ({} bytes), {} frames down ({} bytes); the hub has {} entries and \
             has consolidated {}; catalog revision {}{gate}",
            report.frames_up,
            report.bytes_up,
            report.frames_down,
            report.bytes_down,
            report.hub_received_seq,
            report.hub_consolidated_seq,
            report.catalog_revision
        )
    })
}

pub(crate) async fn status(common: &Common, env: Env) -> Result<(), Failure> {
    let status: NodeStatus = get(common, env, "/v1/status").await?;
    output::show(common.json, &status, status_text)
}

fn status_text(status: &NodeStatus) -> String {
    let shop = match (&status.shop_name, status.lane) {
        (Some(shop), Some(lane)) => format!("lane {lane} of {shop}"),
        _ => "no shop yet".to_owned(),
    };
    let mut rows = vec![
        ("node", status.node_id.to_string()),
        ("tier", status.tier.clone()),
        ("shop", shop),
        ("hub", status.hub_url.clone().unwrap_or_else(|| "none".to_owned())),
        ("sync", status.sync.clone()),
        ("receipts", format!("{}, {}", status.receipts, money(status.total_minor))),
        (
            "journal",
            format!(
                "{} entries; the hub has {}, consolidated {}",
                status.journal_seq, status.hub_received_seq, status.hub_consolidated_seq
            ),
        ),
        (
            "catalog",
            format!("revision {}, {} edits pending", status.catalog_revision, status.pending_edits),
        ),
    ];
    if let Some(at_ms) = status.last_synced_ms {
        rows.push(("last synced", time(at_ms)));
    }
    if let Some(error) = &status.last_error {
        rows.push(("last error", error.clone()));
    }
    if let Some(notice) = &status.notice {
        rows.push(("notice", notice.clone()));
    }
    rows.iter().map(|(key, value)| format!("{key:<12} {value}")).collect::<Vec<_>>().join("\n")
}

pub(crate) async fn queue(args: &ListArgs, env: Env) -> Result<(), Failure> {
    let path = format!("/v1/queue?limit={}", args.limit);
    let rows: Vec<QueueRow> = get(&args.common, env, &path).await?;
    output::show(args.common.json, &rows, |rows| {
        let header = ["seq", "topic", "priority", "state", "created", "retries", "last error"];
        let cells = |row: &QueueRow| {
            vec![
                row.seq.to_string(),
                row.topic.clone(),
                row.priority.clone(),
                row.state.clone(),
                time(row.created_ms),
                row.retry_count.to_string(),
                row.last_error.clone().unwrap_or_default(),
            ]
        };
        table(&header, rows.iter().map(cells))
    })
}

pub(crate) async fn logs(args: &ListArgs, env: Env) -> Result<(), Failure> {
    let path = format!("/v1/logs?limit={}", args.limit);
    let rows: Vec<LogRow> = get(&args.common, env, &path).await?;
    output::show(args.common.json, &rows, |rows| {
        let cells = |row: &LogRow| {
            vec![time(row.at_ms), row.level.clone(), row.event.clone(), row.detail.to_string()]
        };
        table(&["time", "level", "event", "detail"], rows.iter().map(cells))
    })
}

pub(crate) async fn receipts(args: &ListArgs, env: Env) -> Result<(), Failure> {
    let path = format!("/v1/receipts?limit={}&offset={}", args.limit, args.offset);
    let rows: Vec<ReceiptRow> = get(&args.common, env, &path).await?;
    output::show(args.common.json, &rows, |rows| {
        let cells = |row: &ReceiptRow| {
            vec![
                format!("{}-{}", row.series, row.number),
                row.topic.clone(),
                time(row.at_ms),
                money(row.total_minor),
                row.id.to_string(),
            ]
        };
        table(&["number", "kind", "time", "total", "id"], rows.iter().map(cells))
    })
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

    #[test]
    fn a_path_segment_is_encoded() {
        assert_eq!(encode("a/b ü"), "a%2Fb%20%C3%BC");
    }
}
