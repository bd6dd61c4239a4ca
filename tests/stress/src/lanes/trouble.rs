//! What the run does to the shop beside the weather: what is there before anybody sells, a lane that is killed and comes back,
//! and lines so slow that only patience helps.

use super::account::{LAMP, LAMPS, TEA, TEA_COUNTED};
use super::shop::{LOOK_PAUSE, SETTLE_LIMIT, Shop, announced, lane};
use super::till::Till;
use super::weather::pick;
use crate::chain::Programs;
use anyhow::{Context as _, ensure};
use counterfoil_migrate::Connection;
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Its clock is behind all others: what lanes sell after its count is after it by their clocks too, which decide about a lane
/// that was not heard in the moment of the count.
const COUNTING_LANE: usize = 2;

/// Nothing was heard of the other lane, though nobody ended the connection.
const SILENT: &str = "nothing was heard of it";

/// How often lanes lost each other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meetings {
    pub(super) lost: usize,
    /// Of them because nothing was heard any more.
    pub(super) silent: usize,
    /// Lost in silence, and connected again.
    pub(super) again: usize,
}

impl Shop {
    /// Counts what is there while all lanes are connected, and puts the few lamps under escrow; every lane has heard of it then.
    /// A lane that is old does not know what that is.
    pub(super) async fn stock_up(&self, old: bool) -> anyhow::Result<()> {
        let counts = |(till, _): &&(Arc<Till>, _)| till.number == COUNTING_LANE;
        let (till, _) = self.lanes.iter().find(counts).context("no lane")?;
        let escrow = json!({"sku": LAMP, "do": "begin", "quantity": LAMPS.to_string()});
        let counts = [(TEA, TEA_COUNTED), (LAMP, LAMPS)].map(
            |(sku, pieces)| json!({"sku": sku, "quantity": pieces.to_string(), "count": true}),
        );
        let url = |path: &str| format!("{}{path}", till.url);
        let _done: Value = till
            .api
            .send(Method::POST, url("/v1/stock"), &json!(counts))
            .await?;
        if old {
            return Ok(());
        }
        let lamp = json!({"columns": {"name": "Lamp", "price_mills": 40_000}});
        let at = till.row_url("products", LAMP);
        let _done: Value = till.api.send(Method::PUT, at, &lamp).await?;
        let _done: Value = till
            .api
            .send(Method::POST, url("/v1/escrow"), &escrow)
            .await?;
        let began = tokio::time::Instant::now();
        loop {
            let heard: Value = till.api.get(url("/v1/escrow")).await?;
            let row = &heard["escrows"][0];
            let lanes = row["lanes"].as_array().context("no lanes")?;
            if lanes.len() == self.lanes.len() && row["unheard"] == json!([]) {
                return Ok(());
            }
            let waited = began.elapsed();
            ensure!(
                waited < SETTLE_LIMIT,
                "not all heard of the escrow: {heard}"
            );
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Kills a lane in the middle of whatever it does; its customers ask until it is there again. Its number.
    pub(super) fn kill_one(&mut self) -> anyhow::Result<usize> {
        let place = pick(self.lanes.len(), &self.choice);
        let (till, process) = self.lanes.get_mut(place).context("no lane")?;
        process.kill()?;
        process.wait()?;
        Ok(till.number)
    }

    /// Starts it on the same folder, where everybody looks for it.
    pub(super) fn start_again(&mut self, programs: &Programs, number: usize) -> anyhow::Result<()> {
        let place = self.lanes.iter().position(|(it, _)| it.number == number);
        let place = place.context("it is gone")?;
        let till = Arc::clone(&self.lanes[place].0);
        let mut arguments: Vec<&str> = till.run.iter().map(String::as_str).collect();
        arguments[2] = till.url.trim_start_matches("http://");
        let listen = self.network.address(number);
        if let Some(listen) = &listen {
            arguments[4] = listen;
        }
        let command = lane(&self.network, programs, &till, &arguments);
        let log = self.directory.log(&format!("lane-{number}-again"));
        self.lanes[place].1 = announced(command, &log)?.0;
        Ok(())
    }

    /// On lines that take two seconds each way all lanes find each other again, and everybody gets everything.
    pub(super) async fn meet_slowly(&mut self) -> anyhow::Result<Vec<String>> {
        self.meet().await?;
        self.close().await?;
        self.settle().await
    }

    /// How often each lane that is there lost another one and met it again, by its own log.
    pub(super) fn meetings(&self) -> anyhow::Result<Vec<(usize, Meetings)>> {
        let sql = "SELECT event, detail FROM sync_log WHERE event IN ('lane_lost', 'lane_connected') ORDER BY entry";
        let of = |data: &std::path::Path| -> anyhow::Result<Meetings> {
            let local = Connection::open_read_only(data.join("local.db"))?;
            let rows: Vec<(String, String)> =
                local.query_map(sql, (), |row| Ok((row.get(0)?, row.get(1)?)))?;
            let (mut meetings, mut away) = (Meetings::default(), BTreeSet::new());
            for (event, detail) in rows {
                let detail: Value = serde_json::from_str(&detail)?;
                let node = detail["node"].to_string();
                let is_silent = detail["why"].as_str().is_some_and(|it| it.contains(SILENT));
                match event.as_str() {
                    "lane_connected" => meetings.again += usize::from(away.remove(&node)),
                    _ if is_silent => {
                        meetings.lost += 1;
                        meetings.silent += 1;
                        away.insert(node);
                    }
                    _ => meetings.lost += 1,
                }
            }
            Ok(meetings)
        };
        let lanes = self.lanes.iter();
        lanes
            .map(|(till, _)| Ok((till.number, of(&till.data)?)))
            .collect()
    }
}
