//! Lanes that are told of nobody: somebody announces many that are none, one gets another address, and all meet again.

use super::shop::{LOOK_PAUSE, SETTLE_LIMIT, Shop};
use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

const ANNOUNCE: &str = include_str!("../../python/announce.py");
const FALSE_ONES: &str = "1000";
/// By how much the memory of a lane may grow meanwhile, in KiB.
const GROWTH_MAX: u64 = 32 * 1024;

/// When each connection with a lane began, by the clocks of the others.
type Since = BTreeMap<usize, Value>;

impl Shop {
    /// See the module.
    pub(super) async fn lose_and_find(&mut self) -> anyhow::Result<()> {
        self.meet().await?;
        for (till, _) in &self.lanes {
            let status = till.status().await?;
            let found = |row: &Value| row["found_by"] == "configured";
            let rows = status["mesh"]["peers"].as_array().context("no peers")?;
            ensure!(!rows.iter().any(found), "nobody is configured: {status}");
        }
        let before = self.memory()?;
        self.announce_false_ones().await?;
        let moved = self.lanes.first().context("no lane")?.0.number;
        let since = self.since(moved).await?;
        self.network.spaces()?.readdress(moved)?;
        let began = tokio::time::Instant::now();
        loop {
            let now = self.since(moved).await?;
            let is_new =
                |(lane, at): (&usize, &Value)| !at.is_null() && since.get(lane) != Some(at);
            if now.len() + 1 == self.lanes.len() && now.iter().all(is_new) {
                break;
            }
            let waited = began.elapsed();
            ensure!(
                waited < SETTLE_LIMIT,
                "lane {moved} is not found again: {since:?}, {now:?}"
            );
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        self.meet().await?;
        for (before, after) in before.into_iter().zip(self.memory()?) {
            ensure!(
                after < before + GROWTH_MAX,
                "{before} KiB have become {after} KiB"
            );
        }
        Ok(())
    }

    async fn since(&self, moved: usize) -> anyhow::Result<Since> {
        let of = self.lanes.iter().find(|(till, _)| till.number == moved);
        let id = of.context("no such lane")?.0.id.clone();
        let mut since = Since::new();
        for (till, _) in self.lanes.iter().filter(|(till, _)| till.number != moved) {
            let status = till.status().await?;
            let rows = status["mesh"]["peers"].as_array().context("no peers")?;
            let row = rows.iter().find(|row| row["node_id"] == *id);
            since.insert(
                till.number,
                row.map_or(Value::Null, |row| row["since_ms"].clone()),
            );
        }
        Ok(since)
    }

    /// From where the hub is; everything in them is right, but for the lanes.
    async fn announce_false_ones(&self) -> anyhow::Result<()> {
        let (till, _) = self.lanes.first().context("no lane")?;
        let status = till.status().await?;
        let shop = status["shop_id"].as_str().context("no shop")?;
        let spaces = self.network.spaces()?;
        let announced = spaces
            .command(0, Path::new("python3"))
            .args(["-c", ANNOUNCE, &spaces.inside(0), shop, FALSE_ONES])
            .stdin(Stdio::null())
            .output()?;
        let errors = String::from_utf8_lossy(&announced.stderr);
        ensure!(announced.status.success(), "{errors}");
        Ok(())
    }

    /// What each lane has in memory, in KiB.
    fn memory(&self) -> anyhow::Result<Vec<u64>> {
        let of = |id: u32| -> anyhow::Result<u64> {
            let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let figure = line.and_then(|line| line.split_whitespace().next());
            Ok(figure.context("no figure")?.parse()?)
        };
        self.lanes
            .iter()
            .map(|(_, process)| of(process.id()))
            .collect()
    }
}
