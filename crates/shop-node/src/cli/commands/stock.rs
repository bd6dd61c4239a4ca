//! Showing stock.

use super::catalog::encode;
use super::{ask_long, get};
use crate::cli::output::{self, table, time};
use crate::cli::{Common, Failure};
use clap::Args;
use counterfoil_domain::Quantity;
use counterfoil_protocol::wire::stock::{
    Reconciliation, StockChange, StockChanges, StockLevel, StockLevels,
};
use counterfoil_replica::env::Env;
use std::fmt::Write;

/// Rows that one request asks for.
const PAGE_ROWS: usize = 1_000;

#[derive(Args)]
pub(crate) struct LevelArgs {
    #[command(flatten)]
    common: Common,
    /// Only of this product.
    #[arg(value_name = "SKU")]
    sku: Option<String>,
    /// Only those of which more was sold than somebody had counted.
    #[arg(long, conflicts_with = "sku")]
    oversold: bool,
    /// What changed the stock of the product, newest first.
    #[arg(long, requires = "sku")]
    changes: bool,
    /// Rows at most.
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
}

pub(crate) async fn levels(args: LevelArgs, env: Env) -> Result<(), Failure> {
    match &args.sku {
        Some(sku) if args.changes => {
            let changes = changes(&args, sku, env).await?;
            output::show(args.common.json, &changes, |changes| changes_text(changes))
        }
        Some(sku) => {
            let path = format!("/v1/stock?sku={}", encode(sku));
            let found: StockLevels = get(&args.common, env, &path).await?;
            output::show(args.common.json, &found, levels_text)
        }
        None => {
            let found = all(&args, env).await?;
            output::show(args.common.json, &found, levels_text)
        }
    }
}

/// Page by page.
async fn all(args: &LevelArgs, env: Env) -> Result<StockLevels, Failure> {
    let (mut levels, mut after) = (Vec::new(), String::new());
    loop {
        let rows = (args.limit - levels.len()).min(PAGE_ROWS);
        let (oversold, last) = (args.oversold, encode(&after));
        let path = format!("/v1/stock?oversold={oversold}&after={last}&limit={rows}");
        let page: StockLevels = get(&args.common, env.clone(), &path).await?;
        levels.extend(page.levels);
        let behind = page.behind;
        match page.next {
            Some(next) if levels.len() < args.limit => after = next,
            next => {
                return Ok(StockLevels {
                    levels,
                    next,
                    behind,
                });
            }
        }
    }
}

async fn changes(args: &LevelArgs, sku: &str, env: Env) -> Result<Vec<StockChange>, Failure> {
    let limit = args.limit.clamp(1, PAGE_ROWS);
    let path = format!("/v1/stock/changes?sku={}&limit={limit}", encode(sku));
    let page: StockChanges = get(&args.common, env, &path).await?;
    Ok(page.changes)
}

pub(crate) async fn reconcile(common: &Common, env: Env) -> Result<(), Failure> {
    let path = "/v1/stock/reconciliation";
    let outcome: Reconciliation = ask_long::<(), _>(common, env, path, None).await?;
    output::show(common.json, &outcome, reconciliation_text)
}

pub(super) fn reconciliation_text(outcome: &Reconciliation) -> String {
    let Reconciliation {
        products,
        lanes,
        behind,
        silent,
        differing,
        corrected,
        damaged,
        open,
        ..
    } = outcome;
    let mut text = format!(
        "stock compared with {lanes} lanes, {products} products: {differing} differed, {corrected} were counted wrong here and \
         are put right"
    );
    let mut add = |count: &usize, what: &str| {
        if *count > 0 {
            // Writing to a text does not fail.
            _ = write!(text, "; {count} {what}");
        }
    };
    add(behind, "lanes are catching up and were not asked");
    add(silent, "lanes did not answer");
    add(damaged, "damaged journals are asked for again");
    if !open.is_empty() {
        _ = write!(
            text,
            "; count again what another lane says something else of: {}",
            open.join(", ")
        );
    }
    text
}

fn quantity(milli: i64) -> String {
    Quantity::from_milli(milli).to_string()
}

fn levels_text(found: &StockLevels) -> String {
    let row = |level: &StockLevel| {
        let counted = level.counted.as_ref();
        let counted = counted.map_or_else(
            || "not counted".to_owned(),
            |it| format!("{} on {}", quantity(it.quantity_milli), time(it.at_ms)),
        );
        let note = if level.oversold {
            "oversold: count it again"
        } else {
            ""
        };
        vec![
            level.sku.clone(),
            quantity(level.level_milli),
            counted,
            level.name.clone().unwrap_or_default(),
            note.to_owned(),
        ]
    };
    let heads = ["product", "level", "counted", "name", ""];
    let mut text = table(&heads, found.levels.iter().map(row));
    if found.behind > 0 {
        // Writing to a text does not fail.
        _ = write!(text, "\n{} entries are not counted yet", found.behind);
    }
    if found.next.is_some() {
        text.push_str("\nthere are more: see --limit");
    }
    text
}

fn changes_text(changes: &[StockChange]) -> String {
    let row = |change: &StockChange| {
        vec![
            time(change.at_ms),
            change.topic.clone(),
            quantity(change.quantity_milli),
            quantity(change.level_milli),
            change.node.to_string(),
            change.id.to_string(),
        ]
    };
    let heads = ["time", "what", "quantity", "level then", "lane", "document"];
    table(&heads, changes.iter().map(row))
}
