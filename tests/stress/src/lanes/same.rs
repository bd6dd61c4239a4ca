//! What must be the same at all lanes and at the hub when everybody has seen everything: sums (G3), the catalog (G5) and stock (G7).
//! What a person entered (G6) is in `kept`.

use super::account::{LAMP, LAMPS, TEA, TEA_COUNTED};
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

pub(super) fn texts(file: &Path, sql: &str) -> anyhow::Result<Vec<String>> {
    let database = Connection::open_read_only(file)?;
    Ok(database.query_map(sql, (), |row| row.get(0))?)
}

/// What all have of the catalog, who wrote it and when included.
const CATALOG: [(&str, &str); 3] = [
    (
        "products",
        "SELECT json_array(id, name, barcode, price_mills, tax, unit, deleted, last_modified_shop_id, last_modified_at, revision,
                           versions) FROM products ORDER BY id",
    ),
    (
        "prices",
        "SELECT json_array(id, product, price_mills, valid_from_ms, shop, deleted, last_modified_shop_id, last_modified_at,
                           revision, versions) FROM prices ORDER BY id",
    ),
    (
        "customers",
        "SELECT json_array(id, name, phone, email, credit_limit_minor, deleted, last_modified_shop_id, last_modified_at,
                           revision, versions) FROM customers ORDER BY id",
    ),
];
const SUM: &str = "SELECT count(*) || ' receipts, ' || coalesce(sum(total_minor), 0) FROM receipt";

/// The first of two lists that is not in the other, on both sides.
fn unequal(own: &[String], hub: &[String]) -> String {
    let lacks = hub.iter().find(|row| !own.contains(row));
    let more = own.iter().find(|row| !hub.contains(row));
    format!("the hub has {lacks:?}, it has {more:?}")
}

impl Shop {
    /// What is not the same, in words, when it had time to become so.
    pub(super) async fn unlike(&self, programs: &Programs) -> anyhow::Result<Vec<String>> {
        let began = tokio::time::Instant::now();
        loop {
            let mut found = self.unlike_now(programs).await?;
            found.extend(self.not_kept(programs).await?);
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
        let account = self.account();
        for (sku, counted) in [(TEA, TEA_COUNTED), (LAMP, LAMPS)] {
            let (level, is) = (account.level(sku, counted), hub.get(sku));
            if is != Some(&level) {
                found.push(format!(
                    "by the account there is {level} of {sku}, the hub says {is:?}"
                ));
            }
        }
        for (till, _) in &self.lanes {
            let answer = till.api.get(format!("{}/v1/stock", till.url)).await;
            let own = levels(&answer.with_context(|| format!("lane {}", till.number))?)?;
            if own != hub {
                found.push(format!(
                    "lane {} has stock {own:?}, the hub {hub:?}",
                    till.number
                ));
            }
            for (table, sql) in CATALOG {
                let own = texts(&till.data.join("catalog.db"), sql)?;
                let hub = texts(&self.hub_data.join("catalog.db"), sql)?;
                if own != hub {
                    let how = unequal(&own, &hub);
                    found.push(format!("lane {}, {table}: {how}", till.number));
                }
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
