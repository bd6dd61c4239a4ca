//! What must be the same at all lanes and at the hub when everybody has seen everything: sums (G3), the catalog (G5), what a person
//! entered (G6), stock (G7).

use super::shop::{LOOK_PAUSE, SETTLE_LIMIT, Shop, printed};
use crate::chain::Programs;
use anyhow::Context as _;
use counterfoil_migrate::Connection;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A product and its level in thousandths.
type Levels = BTreeMap<String, i64>;

fn levels(answer: &Value) -> anyhow::Result<Levels> {
    let rows = answer["levels"].as_array().context("no levels")?;
    let level = |row: &Value| {
        Some((
            row["sku"].as_str()?.to_owned(),
            row["level_milli"].as_i64()?,
        ))
    };
    rows.iter()
        .map(|row| level(row).context("no level"))
        .collect()
}

fn texts(file: &Path, sql: &str) -> anyhow::Result<Vec<String>> {
    let database = Connection::open_read_only(file)?;
    Ok(database.query_map(sql, (), |row| row.get(0))?)
}

const PRODUCTS: &str = "SELECT id || ' ' || coalesce(name, '') || ' ' || coalesce(price_mills, '') || ' ' || deleted || ' ' || revision
                        FROM products ORDER BY id";
const SUM: &str = "SELECT count(*) || ' receipts, ' || coalesce(sum(total_minor), 0) FROM receipt";

impl Shop {
    /// What is not the same, in words, when it had time to become so.
    pub(super) async fn unlike(&self, programs: &Programs) -> anyhow::Result<Vec<String>> {
        let began = tokio::time::Instant::now();
        loop {
            let found = self.unlike_now(programs).await?;
            if found.is_empty() || began.elapsed() >= SETTLE_LIMIT {
                return Ok(found);
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    async fn unlike_now(&self, programs: &Programs) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        let shown = printed(self.at_hub(programs, &["stock", "--shop", "France"]))?;
        let hub = levels(&serde_json::from_slice(&shown)?)?;
        let products = texts(&self.hub_data.join("catalog.db"), PRODUCTS)?;
        for (till, _) in &self.lanes {
            let answer = till.api.get(format!("{}/v1/stock", till.url)).await;
            let own = levels(&answer.with_context(|| format!("lane {}", till.number))?)?;
            if own != hub {
                found.push(format!(
                    "lane {} has stock {own:?}, the hub {hub:?}",
                    till.number
                ));
            }
            let own = texts(&till.data.join("catalog.db"), PRODUCTS)?;
            if own != products {
                found.push(format!(
                    "lane {} has products {own:?}, the hub {products:?}",
                    till.number
                ));
            }
            let sold = texts(&till.data.join("book.db"), SUM)?;
            let of_lane = format!(
                "{SUM} WHERE node = (SELECT number FROM node WHERE id = x'{}')",
                till.id.replace('-', "")
            );
            let counted = texts(&self.hub_data.join("hub.db"), &of_lane)?;
            if sold != counted {
                found.push(format!(
                    "lane {} has {sold:?}, the hub counts {counted:?}",
                    till.number
                ));
            }
        }
        Ok(found)
    }
}
