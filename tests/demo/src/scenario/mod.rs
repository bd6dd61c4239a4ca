//! The two stories: made-up trade, and a file that is replayed.

pub(crate) mod generated;
pub(crate) mod replay;

use crate::config::Config;
use crate::directory::Directory;
use crate::evening;
use crate::fleet::Fleet;
use crate::format::{count, plural, seconds};
use crate::report::{Kills, Memory, Report};
use crate::settle::catalog_digests;
use crate::timeline::Timeline;
use crate::trade::Dice;
use crate::verdict;
use counterfoil_protocol::wire::closure::Proof;
use std::sync::Arc;
use std::time::Duration;

/// How long the closures may take to be at the hub.
const EVENING_LIMIT: Duration = Duration::from_secs(180);

/// Times that a story measured.
#[derive(Clone, Copy, Debug)]
struct Measured {
    trial_receipts: u64,
    trial_consolidated_after: Duration,
    settled_after: Duration,
}

/// The chapter of activation, the same in both stories: receipts that were recorded in trial, and
/// the time until they were consolidated.
async fn join(fleet: &Arc<Fleet>) -> anyhow::Result<(u64, Duration)> {
    fleet
        .timeline
        .chapter("Activation: the tills join their shops");
    let count = fleet.account().receipts();
    let took = fleet.activate().await?;
    let (receipts, time) = (plural(count, "trial receipt"), seconds(took));
    fleet.say(
        "hub",
        format!("{receipts} consolidated {time} after the first join code"),
    );
    Ok((count, took))
}

/// The last chapter of both stories: digests, the end of all processes, the judgement.
async fn judge(
    fleet: &Fleet,
    config: &Config,
    directory: &Directory,
    measured: Measured,
) -> anyhow::Result<Report> {
    let proofs = close_and_prove(fleet).await?;
    let status = fleet.hub.status().await?;
    let digests = catalog_digests(&fleet.tills, &status).await?;
    fleet.stop().await?;
    let account = fleet.account().clone();
    let books = verdict::Books::read(fleet.hub.data())?;
    let mut comparison = verdict::compare(&account, &books, &digests);
    let (closed_days, unproved) = evening::judge(&proofs, &account);
    comparison.differences.extend(unproved);
    fleet.say(
        "verdict",
        "the driver's account is compared with the hub's tables",
    );
    let kills = fleet.kills();
    let receipts = account.receipts();
    Ok(Report {
        verdict: verdict(&comparison).to_owned(),
        differences: comparison.differences,
        seed: config.seed,
        data: config.data.as_ref().map(|path| path.display().to_string()),
        lanes: config.lanes,
        shops: comparison.shops,
        documents: account.documents(),
        receipts,
        lost: comparison.lost,
        duplicated: comparison.duplicated,
        unexpected: comparison.unexpected,
        altered: comparison.altered,
        rejected: Vec::new(),
        catalog_revision: status.catalog_revision,
        catalog_rows: status.catalog_rows.values().sum(),
        catalog_digests: digests,
        conflicts: books.conflicts.len() as u64,
        conflict_examples: books
            .conflicts
            .iter()
            .take(CONFLICTS_SHOWN)
            .cloned()
            .collect(),
        names: None,
        quarantined: books.quarantined,
        closed_days,
        kills: kills.hub + kills.nodes,
        kills_by: Kills {
            hub: kills.hub,
            nodes: kills.nodes,
        },
        seconds: fleet.timeline.elapsed().as_secs_f64(),
        trial_receipts: measured.trial_receipts,
        trial_seconds: measured.trial_consolidated_after.as_secs_f64(),
        settle_seconds: measured.settled_after.as_secs_f64(),
        bytes_up: fleet.network.bytes_up(),
        bytes_down: fleet.network.bytes_down(),
        bytes_up_per_receipt: fleet
            .network
            .bytes_up()
            .checked_div(receipts)
            .unwrap_or_default(),
        connections: fleet.network.connections(),
        peak_memory: Memory {
            hub_bytes: fleet.hub.peak_memory().await,
            node_bytes: fleet.peak_memory_of_nodes().await,
        },
        kept: directory.kept().map(|path| path.display().to_string()),
    })
}

fn verdict(comparison: &verdict::Comparison) -> &'static str {
    match comparison.differences.is_empty() {
        true => "pass",
        false => "fail",
    }
}

/// The evening, the same in both stories.
async fn close_and_prove(fleet: &Fleet) -> anyhow::Result<Vec<Proof>> {
    let days = evening::close(fleet).await?;
    told_settled(fleet, fleet.settle(EVENING_LIMIT).await?);
    evening::prove(fleet, &days).await
}

async fn told_waiting(fleet: &Fleet) -> anyhow::Result<()> {
    let waiting = count(fleet.pending().await?);
    fleet.say(
        "tills",
        format!("{waiting} journal entries wait for the network"),
    );
    Ok(())
}

/// A kill that came after the answer is repeated with the next request, sooner, up to this often.
const KILL_ATTEMPTS_MAX: u32 = 6;

/// How long to wait before a kill, by how long such a request took last, so that it comes somewhere
/// in the middle.
fn kill_delay(dice: &mut Dice, usual: Duration, attempt: u32) -> Duration {
    let usual = u64::try_from(usual.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(dice.roll(0, usual >> attempt))
}

/// Conflicts that the report shows as examples.
const CONFLICTS_SHOWN: usize = 3;

fn told_settled(fleet: &Fleet, after: Duration) {
    let what = format!(
        "all agree after {}: queues empty, one catalog",
        seconds(after)
    );
    fleet.say("all", what);
}

fn title(timeline: &Timeline, text: &str) {
    timeline.text(&format!(
        "{} {}\n",
        timeline.style().bold("counterfoil demo"),
        text
    ));
}
