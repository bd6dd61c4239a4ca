//! Parking a cart, showing what is parked, discarding it.

use super::documents::{line, recorded};
use super::{ask, ask_with, employees, get, mint};
use crate::cli::output::{self, money, table, time};
use crate::cli::{Common, Failure};
use clap::Args;
use counterfoil_domain::DocumentId;
use counterfoil_domain::document::Line;
use counterfoil_domain::employee::Permission;
use counterfoil_protocol::wire::node::Recorded;
use counterfoil_protocol::wire::parked::{DiscardRequest, ParkRequest, ParkedRow, ParkedSales};
use counterfoil_replica::env::Env;
use http::{HeaderMap, Method};

#[derive(Args)]
pub(crate) struct ParkArgs {
    #[command(flatten)]
    common: Common,
    /// Product code or barcode and quantity; a price of its own may follow.
    #[arg(long = "line", value_name = "SKU:QTY[@PRICE]", num_args = 1.., required = true)]
    lines: Vec<String>,
    /// The customer: a catalog id.
    #[arg(long)]
    customer: Option<String>,
    /// Who parks it: a catalog id.
    #[arg(long)]
    employee: Option<String>,
    /// By what it is known again.
    #[arg(long)]
    note: Option<String>,
    /// Who allows it with their PIN when whoever is signed in may not: a catalog id.
    #[arg(long, value_name = "EMPLOYEE")]
    approved_by: Option<String>,
    /// What they allow.
    #[arg(long, value_name = "PERMISSION", value_parser = employees::permission)]
    approve: Option<Permission>,
    /// Id of the parked sale, to repeat a command without parking twice.
    #[arg(long)]
    id: Option<DocumentId>,
}

#[derive(Args)]
pub(crate) struct ParkedArgs {
    #[command(flatten)]
    common: Common,
    /// Discard this one: it will not be paid.
    #[arg(long, value_name = "ID")]
    discard: Option<DocumentId>,
    /// Who discards it: a catalog id.
    #[arg(long, requires = "discard")]
    employee: Option<String>,
    /// Id of the document, to repeat a command without recording twice.
    #[arg(long, requires = "discard")]
    id: Option<DocumentId>,
    /// Show those behind this one.
    #[arg(long, value_name = "ID", conflicts_with = "discard")]
    after: Option<DocumentId>,
    /// Rows at most: 1 to 1000.
    #[arg(long, default_value_t = 1_000)]
    limit: u32,
}

pub(crate) async fn park(args: ParkArgs, env: Env) -> Result<(), Failure> {
    let lines = args.lines.iter().map(|text| line(text));
    let request = ParkRequest {
        id: Some(args.id.unwrap_or_else(|| mint(&env))),
        lines: lines.collect::<Result<_, _>>()?,
        customer: args.customer,
        employee: args.employee,
        note: args.note,
    };
    let headers = match &args.approved_by {
        Some(by) => {
            let permission = args.approve.unwrap_or(Permission::PriceOverride);
            employees::approved(&args.common, env.clone(), by, permission).await?
        }
        None => HeaderMap::new(),
    };
    let (common, path) = (&args.common, "/v1/parked");
    let answer: Recorded =
        ask_with(headers, common, env, Method::POST, path, Some(&request)).await?;
    output::show(args.common.json, &answer, recorded)
}

pub(crate) async fn parked(args: ParkedArgs, env: Env) -> Result<(), Failure> {
    let common = &args.common;
    if let Some(parked) = args.discard {
        let request = DiscardRequest {
            id: Some(args.id.unwrap_or_else(|| mint(&env))),
            parked,
            employee: args.employee,
        };
        let path = "/v1/parked/discard";
        let answer: Recorded = ask(common, env, Method::POST, path, Some(&request)).await?;
        return output::show(common.json, &answer, recorded);
    }
    let after = args
        .after
        .map_or_else(String::new, |id| format!("&after={id}"));
    let path = format!("/v1/parked?limit={}{after}", args.limit);
    let found: ParkedSales = get(common, env, &path).await?;
    output::show(common.json, &found, list)
}

fn list(found: &ParkedSales) -> String {
    let line = |line: &Line| format!("{}:{}", line.sku, line.quantity);
    let row = |row: &ParkedRow| {
        let lane = row
            .lane
            .map_or_else(|| "trial".to_owned(), |lane| lane.to_string());
        vec![
            row.id.to_string(),
            time(row.at_ms),
            lane,
            row.employee.clone().unwrap_or_default(),
            money(row.total_minor),
            row.lines.iter().map(line).collect::<Vec<_>>().join(" "),
            row.note.clone().unwrap_or_default(),
            if row.stale { "stale" } else { "" }.to_owned(),
        ]
    };
    let heads = [
        "parked sale",
        "time",
        "lane",
        "who",
        "total",
        "lines",
        "note",
        "",
    ];
    let mut text = table(&heads, found.parked.iter().map(row));
    if let Some(next) = found.next {
        text.push_str(&format!("\nthere may be more: --after {next}"));
    }
    text
}
