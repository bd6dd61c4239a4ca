//! `counterfoil-hub stock`.

use super::Failure;
use super::client::segment;
use super::commands::Session;
use super::print::{table, time};
use clap::Args;
use counterfoil_domain::Quantity;
use counterfoil_protocol::wire::stock::{StockLevel, StockLevels};

#[derive(Debug, Args)]
pub(super) struct StockArgs {
    /// Name or id of the shop.
    #[arg(long)]
    shop: Option<String>,
    /// Only of this product.
    #[arg(value_name = "SKU")]
    sku: Option<String>,
    /// Only those of which more was sold than somebody had counted.
    #[arg(long)]
    oversold: bool,
    /// Products behind this code.
    #[arg(long, default_value = "")]
    after: String,
    /// Rows at most, 1 to 1,000.
    #[arg(long, default_value_t = 1_000)]
    limit: u32,
}

pub(super) async fn stock(args: StockArgs, session: Session) -> Result<(), Failure> {
    let mut query = format!("stock?oversold={}&limit={}", args.oversold, args.limit);
    let texts = [
        ("after", Some(args.after)),
        ("shop", args.shop),
        ("sku", args.sku),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            query = format!("{query}&{name}={}", segment(&text));
        }
    }
    let (found, out) = session.get::<StockLevels>(&query).await?;
    out.print(&found, text)
}

fn text(found: &StockLevels) -> String {
    let quantity = |milli| Quantity::from_milli(milli).to_string();
    let line = |level: &StockLevel| {
        let counted = level.counted.as_ref();
        let counted = counted.map_or_else(
            || "not counted".to_owned(),
            |it| format!("{} on {}", quantity(it.quantity_milli), time(it.at_ms)),
        );
        vec![
            level.sku.clone(),
            quantity(level.level_milli),
            counted,
            level.name.clone().unwrap_or_default(),
            if level.oversold { "oversold" } else { "" }.to_owned(),
        ]
    };
    let header = ["product", "level", "counted", "name", ""];
    let mut text = table(&header, &[1], found.levels.iter().map(line).collect());
    if found.behind > 0 {
        text += &format!(
            "{} entries wait in quarantine and are not counted\n",
            found.behind
        );
    }
    if let Some(next) = &found.next {
        text += &format!("there are more: --after {next}\n");
    }
    text
}
