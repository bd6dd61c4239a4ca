//! A lane of an older release, as far as schemas go: it gives its sales and takes the others' entries while its catalog waits, and
//! goes on when it is upgraded.

use super::shop::{LOOK_PAUSE, SETTLE_LIMIT, Shop, announced, lane, printed};
use super::till::Till;
use crate::chain::Programs;
use anyhow::{Context as _, ensure};
use counterfoil_migrate::{Connection, Kind};
use counterfoil_protocol::gate::Schemas;
use counterfoil_protocol::lens::VERSIONS_BEHIND_MAX;
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;

/// The lane that is old, when one is to be.
pub(super) const OLD_LANE: usize = 1;
/// What a lane's program knows; `stress-node` reads it.
pub(crate) const SCHEMAS: &str = "STRESS_SCHEMAS";

/// The oldest that may still sync its sales.
pub(super) fn schemas() -> String {
    let schemas = Schemas {
        book: Kind::Book.schema_version() - VERSIONS_BEHIND_MAX,
        catalog: Kind::Catalog.schema_version() - VERSIONS_BEHIND_MAX,
    };
    schemas.to_header()
}

fn version(till: &Till) -> anyhow::Result<i32> {
    let book = Connection::open_read_only(till.data.join("book.db"))?;
    Ok(book.query_value("SELECT max(version) FROM refinery_schema_history", ())?)
}

/// How far somebody holds a lane's journal.
fn held(status: &Value, origin: &str) -> i64 {
    let rows = status["mesh"]["journals"].as_array();
    let row = rows.and_then(|rows| rows.iter().find(|row| row["node_id"] == *origin));
    row.and_then(|row| row["held_seq"].as_i64()).unwrap_or(0)
}

impl Shop {
    /// What the others do that only today's schemas have travels past the old lane; then it is upgraded.
    pub(super) async fn upgrade_old(&mut self, programs: &Programs) -> anyhow::Result<()> {
        let place = self
            .lanes
            .iter()
            .position(|(till, _)| till.number == OLD_LANE);
        let place = place.context("it is gone")?;
        let old = Arc::clone(&self.lanes[place].0);
        let wanted = Kind::Book.schema_version() - VERSIONS_BEHIND_MAX;
        ensure!(
            version(&old)? == wanted,
            "its book is not of schema {wanted}"
        );
        for row in [["TEA", "name=Tea"], ["JAM", "name=Jam"]] {
            let arguments = ["catalog", "set", "products", row[0], row[1]];
            match row[0] {
                "TEA" => drop(printed(self.at_hub(programs, &arguments))?),
                _ => drop(printed(lane(&self.network, programs, &old, &arguments))?),
            }
        }
        let line = json!({"sku": "TEA", "quantity": "1", "unit_price": "2.55"});
        for (till, _) in self
            .lanes
            .iter()
            .filter(|(till, _)| till.number != OLD_LANE)
        {
            let url = format!("{}/v1/parked", till.url);
            let parked: Value = till
                .api
                .send(Method::POST, url, &json!({"lines": [line]}))
                .await?;
            let id = parked["id"].as_str().context("no id")?;
            till.account().parked.insert(id.to_owned());
        }
        self.old_takes_part(&old).await?;
        self.restart_new(programs, place).await?;
        let began = tokio::time::Instant::now();
        loop {
            let revisions = self.revisions().await?;
            if revisions.iter().all(|it| *it == revisions[0]) {
                break;
            }
            ensure!(
                began.elapsed() < SETTLE_LIMIT,
                "the catalog waits still: {revisions:?}"
            );
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        let now = version(&old)?;
        ensure!(
            now == Kind::Book.schema_version(),
            "its book is of schema {now} after the upgrade"
        );
        Ok(())
    }

    async fn revisions(&self) -> anyhow::Result<Vec<i64>> {
        let mut revisions = Vec::new();
        for (till, _) in &self.lanes {
            let revision = till.status().await?["catalog_revision"].as_i64();
            revisions.push(revision.context("no revision")?);
        }
        Ok(revisions)
    }

    /// Waits until everybody has what the old lane had when it began, it has what they had, and the hub has its sales, and not
    /// it the hub's catalog.
    async fn old_takes_part(&self, old: &Till) -> anyhow::Result<()> {
        let began = tokio::time::Instant::now();
        let first = old.status().await?;
        let end = first["journal_seq"].as_i64().context("no journal")?;
        let mut ends = Vec::new();
        for (till, _) in self
            .lanes
            .iter()
            .filter(|(till, _)| till.number != OLD_LANE)
        {
            let seq = till.status().await?["journal_seq"].as_i64();
            ends.push((till, seq.context("no journal")?));
        }
        loop {
            let status = old.status().await?;
            let newest = self.revisions().await?.into_iter().max();
            let mut open = Vec::new();
            for (till, seq) in &ends {
                if held(&status, &till.id) < *seq || held(&till.status().await?, &old.id) < end {
                    open.push(format!(
                        "lane {} and the old one lack something of each other",
                        till.number
                    ));
                }
            }
            if status["hub_consolidated_seq"].as_i64() < Some(end) {
                open.push("the hub lacks sales of the old one".to_owned());
            }
            if status["sync"] != "update_required" || status["catalog_revision"].as_i64() >= newest
            {
                open.push("the catalog does not wait for the old one".to_owned());
            }
            if open.is_empty() {
                return Ok(());
            }
            ensure!(began.elapsed() < SETTLE_LIMIT, "{open:?}: {status}");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// The old program is killed while nobody is served, and today's starts on its folder.
    async fn restart_new(&mut self, programs: &Programs, place: usize) -> anyhow::Result<()> {
        let (till, process) = self.lanes.get_mut(place).context("it is gone")?;
        let till = Arc::clone(till);
        let _counter = till.counter.lock().await;
        process.kill()?;
        process.wait()?;
        let mut arguments: Vec<&str> = till.run.iter().map(String::as_str).collect();
        // Whoever speaks to it finds it where it was.
        arguments[2] = till.url.trim_start_matches("http://");
        let command = lane(&self.network, programs, &till, &arguments);
        let log = self.directory.log("lane-upgraded");
        self.lanes[place].1 = announced(command, &log)?.0;
        Ok(())
    }
}
