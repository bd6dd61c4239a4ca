//! Replays a file of the Online Retail form: a country is a shop, its tills share its invoices.

use super::{
    KILL_ATTEMPTS_MAX, Measured, join, judge, kill_delay, title, told_settled, told_waiting,
};
use crate::account::shop_of;
use crate::binaries::Binaries;
use crate::config::Config;
use crate::directory::Directory;
use crate::fleet::Fleet;
use crate::format::{count, plural, seconds};
use crate::names::{self, Names};
use crate::report::{RejectedInShop, Report};
use crate::settle::in_parallel;
use crate::till::{InFlight, Till};
use crate::timeline::Timeline;
use crate::trade::Dice;
use anyhow::{Context as _, bail};
use counterfoil_protocol::wire::import::{ImportBatch, ImportInvoice, ImportResult};
use counterfoil_shop_node::import::command::batches;
use counterfoil_shop_node::import::{Collector, ImportFile, Rows};
use http::Method;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

const SETTLE_LIMIT: Duration = Duration::from_secs(180);
/// How long a batch takes before one was measured.
const BATCH_USUAL: Duration = Duration::from_millis(20);
const IMPORT_PATH: &str = "/v1/import";
/// Where the chapters end, in percent of each till's invoices.
const TRIAL_PERCENT: usize = 10;
const ONLINE_PERCENT: usize = 35;
const OUTAGE_PERCENT: usize = 60;
/// Progress lines in the whole story.
const PROGRESS_LINES: u64 = 10;

/// A shop of the file.
struct ShopFile {
    name: String,
    file: ImportFile,
}

/// A till with its part of the file.
struct Feeder {
    till: Arc<Till>,
    rest: VecDeque<ImportInvoice>,
    count: usize,
    done: usize,
    dice: Dice,
    /// How long the last batch took.
    usual: Duration,
}

/// How far the replay is.
struct Progress {
    all: u64,
    done: AtomicU64,
}

/// Tells the story and judges it.
pub(crate) async fn run(
    config: &Config,
    path: &Path,
    binaries: &Binaries,
    directory: &Arc<Directory>,
    timeline: &Timeline,
) -> anyhow::Result<Report> {
    let shops = load(path, config.shops)?;
    let invoices = shops
        .iter()
        .map(|shop| shop.file.invoices.len() as u64)
        .sum();
    let size = (
        plural(shops.len() as u64, "shop"),
        plural(config.lanes as u64, "till"),
    );
    title(
        timeline,
        &format!("{} x {}, {}", size.0, size.1, plural(invoices, "invoice")),
    );
    let names: Vec<String> = shops.iter().map(|shop| shop.name.clone()).collect();
    let rejected = rejected(&shops);

    timeline.chapter("Trial: every till imports on its own");
    let fleet = Fleet::create(
        binaries,
        directory,
        timeline.restarted(),
        names,
        config.lanes,
    )
    .await?;
    let progress = Arc::new(Progress {
        all: invoices,
        done: AtomicU64::new(0),
    });
    let feeders = feeders(&fleet, shops, config);
    let feeders = feed(&fleet, &progress, feeders, TRIAL_PERCENT, &[]).await?;
    fleet.check_trial().await?;
    let (trial_receipts, trial_consolidated_after) = join(&fleet).await?;

    fleet
        .timeline
        .chapter("Online: the books arrive as they are written");
    let feeders = feed(&fleet, &progress, feeders, ONLINE_PERCENT, &[]).await?;
    let victims = [0, 1, 2].map(|number| number % feeders.len());
    let feeders = outage(&fleet, &progress, feeders, &victims[..2]).await?;

    fleet
        .timeline
        .chapter("Way back: the network returns, the hub is killed");
    fleet.network.restore();
    fleet.say("network", "restored");
    let rest = feed(&fleet, &progress, feeders, 100, &victims[2..]);
    let (fed, killed) = tokio::join!(rest, fleet.kill_hub_twice());
    drop(fed?);
    killed?;
    let settled_after = fleet
        .settle(SETTLE_LIMIT + Duration::from_millis(20 * invoices))
        .await?;
    told_settled(&fleet, settled_after);
    let measured = Measured {
        trial_receipts,
        trial_consolidated_after,
        settled_after,
    };
    let at_hub = names::ask(&fleet).await?;
    let mut report = judge(&fleet, config, directory, measured).await?;
    report.rejected = rejected;
    let (found, differences) = names::compare(&fleet, &directory.copies(), at_hub).await?;
    told_names(&fleet, &found);
    for difference in &differences {
        report.add_difference(difference);
    }
    report.names = Some(found);
    Ok(report)
}

fn told_names(fleet: &Fleet, found: &Names) {
    let (products, versions, losers) = (
        plural(found.products, "product"),
        plural(found.versions, "name"),
        plural(found.losers, "name"),
    );
    let what = format!(
        "{products} had {versions}; python3 computed from copies of the books which one each has, \
         and which {losers} lost"
    );
    fleet.say("verdict", what);
}

/// The first tills, which are killed, are those of the largest shops.
async fn outage(
    fleet: &Arc<Fleet>,
    progress: &Arc<Progress>,
    feeders: Vec<Feeder>,
    victims: &[usize],
) -> anyhow::Result<Vec<Feeder>> {
    fleet.timeline.chapter("Outage: the network is cut");
    fleet.network.cut();
    fleet.say("network", "cut");
    let feeders = feed(fleet, progress, feeders, OUTAGE_PERCENT, victims).await?;
    told_waiting(fleet).await?;
    Ok(feeders)
}

/// Reads the file and cuts it into shops, the largest first.
fn load(path: &Path, shops_max: Option<usize>) -> anyhow::Result<Vec<ShopFile>> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    let rows = Rows::open(file, None).with_context(|| format!("cannot import {name}"))?;
    let mut collectors: BTreeMap<String, Collector> = BTreeMap::new();
    for row in rows {
        let row = row.with_context(|| format!("cannot import {name}"))?;
        collectors
            .entry(shop_of(&row.country, &row.invoice))
            .or_default()
            .add(row);
    }
    let mut shops: Vec<ShopFile> = collectors
        .into_iter()
        .map(|(name, collector)| ShopFile {
            name,
            file: collector.finish(),
        })
        .collect();
    shops.sort_by_key(|shop| std::cmp::Reverse(shop.file.invoices.len()));
    shops.truncate(shops_max.unwrap_or(usize::MAX));
    if shops.is_empty() {
        bail!("{name} holds no invoices");
    }
    Ok(shops)
}

fn rejected(shops: &[ShopFile]) -> Vec<RejectedInShop> {
    let of = |shop: &ShopFile| {
        let name = shop.name.clone();
        let lines = shop.file.rejected.clone();
        lines.into_iter().map(move |line| RejectedInShop {
            shop: name.clone(),
            line,
        })
    };
    let mut all: Vec<_> = shops.iter().flat_map(of).collect();
    all.sort_by_key(|rejected| rejected.line.line);
    all
}

/// Deals each shop's invoices to its tills, in the order of time, and opens the account.
fn feeders(fleet: &Fleet, shops: Vec<ShopFile>, config: &Config) -> Vec<Feeder> {
    let feeder = |till: &Arc<Till>| Feeder {
        till: Arc::clone(till),
        rest: VecDeque::new(),
        count: 0,
        done: 0,
        dice: Dice::new(&[config.seed, till.shop as u64, till.lane as u64]),
        usual: BATCH_USUAL,
    };
    let mut feeders: Vec<Feeder> = fleet.tills.iter().map(feeder).collect();
    let mut account = fleet.account();
    for (index, shop) in shops.into_iter().enumerate() {
        account.shops[index].input = shop.file.totals;
        let mut invoices = shop.file.invoices;
        invoices.sort_by_key(|invoice| invoice.at_ms);
        for (turn, invoice) in invoices.into_iter().enumerate() {
            let feeder = &mut feeders[index * config.lanes + turn % config.lanes];
            feeder.rest.push_back(invoice);
            feeder.count += 1;
        }
    }
    feeders
}

/// Every till imports up to a percentage of its invoices; the victims are killed in the middle of
/// a batch.
async fn feed(
    fleet: &Arc<Fleet>,
    progress: &Arc<Progress>,
    feeders: Vec<Feeder>,
    percent: usize,
    victims: &[usize],
) -> anyhow::Result<Vec<Feeder>> {
    let work: Vec<_> = feeders
        .into_iter()
        .enumerate()
        .map(|(index, feeder)| {
            let kills = victims.iter().filter(|victim| **victim == index).count();
            (feeder, kills, Arc::clone(fleet), Arc::clone(progress))
        })
        .collect();
    in_parallel(
        work,
        move |(mut feeder, mut kills, fleet, progress)| async move {
            let until = (feeder.count * percent).div_ceil(100);
            let part: Vec<_> = feeder
                .rest
                .drain(..until.saturating_sub(feeder.done))
                .collect();
            feeder.done = until;
            let batches: Vec<ImportBatch> = batches(part).collect();
            let middle = batches.len().div_ceil(2).saturating_sub(1);
            let mut attempt = 0;
            for (number, batch) in batches.iter().enumerate() {
                if kills > 0 && number >= middle {
                    let in_flight = feeder.import_while_killed(&fleet, batch, attempt).await?;
                    attempt += 1;
                    if in_flight || attempt == KILL_ATTEMPTS_MAX {
                        (kills, attempt) = (kills - 1, 0);
                    }
                } else {
                    feeder.import(batch).await?;
                }
                progress.acknowledge(&fleet, feeder.till.shop, batch);
            }
            Ok(feeder)
        },
    )
    .await
}

/// What the till did with a batch must account for each of its invoices.
fn check_count(till: &Till, batch: &ImportBatch, result: &ImportResult) -> anyhow::Result<()> {
    let receipts = batch
        .invoices
        .iter()
        .filter(|invoice| !invoice.lines.is_empty())
        .count() as u64;
    if result.repeated == 0 && result.sales + result.refunds != receipts {
        bail!(
            "{}: {receipts} receipts sent, the till answers {result:?}",
            till.name
        );
    }
    Ok(())
}

impl Feeder {
    async fn import(&mut self, batch: &ImportBatch) -> anyhow::Result<()> {
        let start = Instant::now();
        let result: ImportResult = self.till.insist(Method::POST, IMPORT_PATH, batch).await?;
        self.usual = start.elapsed();
        check_count(&self.till, batch, &result)
    }

    /// Kills the till; says whether that came before the answer.
    async fn import_while_killed(
        &mut self,
        fleet: &Fleet,
        batch: &ImportBatch,
        attempt: u32,
    ) -> anyhow::Result<bool> {
        let delay = kill_delay(&mut self.dice, self.usual, attempt);
        let flight = self
            .till
            .kill_in_flight::<ImportResult>(IMPORT_PATH, batch, delay)
            .await?;
        fleet.count_node_kill();
        let InFlight {
            before,
            after,
            back_after,
        } = flight;
        let (when, fate) = match (&before, after.repeated) {
            (Some(_), _) => ("right after a batch was answered", "are there"),
            (None, 0) => (
                "in the middle of an import",
                "had not happened, now they are recorded",
            ),
            (None, _) => (
                "in the middle of an import",
                "were recorded, the answer was lost",
            ),
        };
        fleet.say(&self.till.name, format!("killed (SIGKILL) {when}"));
        let size = batch.invoices.len() as u64;
        let (back, invoices) = (seconds(back_after), plural(size, "invoice"));
        fleet.say(
            &self.till.name,
            format!("back after {back}; the batch's {invoices} {fate}"),
        );
        if before.is_some() && after.repeated != size {
            let till = &self.till.name;
            let text = format!("{till}: invoices that were acknowledged are gone after SIGKILL");
            fleet.account().contradictions.push(text);
        }
        check_count(&self.till, batch, &after)?;
        Ok(before.is_none())
    }
}

impl Progress {
    fn acknowledge(&self, fleet: &Fleet, shop: usize, batch: &ImportBatch) {
        let mut account = fleet.account();
        for invoice in &batch.invoices {
            account.acknowledge_invoice(shop, invoice);
        }
        let size = batch.invoices.len() as u64;
        let before = self.done.fetch_add(size, Ordering::Relaxed);
        let step = |done: u64| {
            (done * PROGRESS_LINES)
                .checked_div(self.all)
                .unwrap_or_default()
        };
        if step(before) != step(before + size) {
            let what = format!(
                "{} of {} invoices recorded",
                count(before + size),
                count(self.all)
            );
            fleet.say("tills", what);
        }
    }
}
