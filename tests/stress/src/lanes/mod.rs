//! Lanes of one shop as processes, in a network that breaks in every way packets can.
//!
//! Each lane and the hub have a network namespace of their own, with an address; `python/switch.py` carries the packets
//! between them. Where namespaces are not to be had, `relays` stand between the lanes instead, and it is said which
//! faults there are not. What is to happen is drawn from a seed in `weather`; `judge` reads the files at the end.

mod account;
mod finding;
mod judge;
mod kept;
mod network;
mod old;
mod relays;
mod same;
mod shop;
mod spaces;
mod till;
mod trouble;
mod weather;

use crate::chain::Programs;
use account::Account;
use counterfoil_testkit::SeededRandom;
use network::Network;
use shop::Shop;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use till::DEEDS;
use tokio::time::Instant;
use trouble::Meetings;
use weather::Weather;

/// The shortest weather that is noticed.
const SPELL_MIN: Duration = Duration::from_millis(700);
/// In which weather a lane is killed; it comes back in the next one.
const SPELL_OF_THE_KILL: usize = 3;
/// A run of this length meets everything.
const LONG: Duration = Duration::from_secs(30);
/// What a packet takes on the slowest lines that lanes bear.
const SLOW_MS: u32 = 2_000;

/// The first ones tell most.
const DIFFERENCES_SHOWN: usize = 20;

/// What the network of a run does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Storm {
    /// Nothing.
    Calm,
    /// It breaks in every way; one lane is killed and comes back, and one is killed for good.
    Breaks,
    /// Each packet takes two seconds.
    Slow,
}

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct LaneOptions {
    /// Seed of trade and weather.
    pub seed: u64,
    /// Lanes of the shop, at least 2.
    pub lanes: usize,
    /// How long they sell.
    pub time: Duration,
    /// What the network does meanwhile.
    pub storm: Storm,
    /// Whether namespaces may be used.
    pub spaces: bool,
    /// Whether the lanes are told of each other. If not they find each other by multicast, one gets another address, and somebody
    /// announces a thousand lanes that are none; that takes namespaces.
    pub configured: bool,
    /// Whether one lane is of the oldest schemas that may take part, and is upgraded at the end.
    pub old: bool,
    /// Keep databases and logs in this directory.
    pub keep: Option<PathBuf>,
}

/// What came of a run.
#[derive(Debug)]
pub struct LaneOutcome {
    seed: u64,
    /// What the network was made of, and what it did.
    network: String,
    spells: usize,
    account: Account,
    /// How many values that were entered came to what.
    fates: BTreeMap<&'static str, usize>,
    meetings: Vec<(usize, Meetings)>,
    missing: &'static [&'static str],
    settled: Duration,
    differences: Vec<String>,
}

impl LaneOutcome {
    /// What does not hold, in words; empty when all does.
    #[must_use]
    pub fn failures(&self) -> &[String] {
        &self.differences
    }

    /// Faults that the network of this run could not have.
    #[must_use]
    pub const fn missing(&self) -> &'static [&'static str] {
        self.missing
    }
}

impl fmt::Display for LaneOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, network, .. } = self;
        writeln!(f, "seed {seed}: {network}")?;
        if !self.missing.is_empty() {
            writeln!(
                f,
                "NOT TRIED, relays have none of it: {}",
                self.missing.join(", ")
            )?;
        }
        let receipts = &self.account.receipts;
        let single = receipts.values().filter(|it| it.single_copy).count();
        writeln!(
            f,
            "{} spells of weather, {} receipts, {single} of them printed as a single copy; all agreed after {:.1?}",
            self.spells,
            receipts.len(),
            self.settled
        )?;
        writeln!(f, "{}; values entered: {:?}", self.account, self.fates)?;
        for (
            lane,
            Meetings {
                lost,
                silent,
                again,
            },
        ) in &self.meetings
        {
            writeln!(
                f,
                "lane {lane} lost another one {lost} times, {silent} in silence, and met {again} of these again"
            )?;
        }
        for difference in self.differences.iter().take(DIFFERENCES_SHOWN) {
            writeln!(f, "DIFFERENCE: {difference}")?;
        }
        match self.differences.len().saturating_sub(DIFFERENCES_SHOWN) {
            0 => Ok(()),
            more => writeln!(f, "and {more} more"),
        }
    }
}

/// Sells on all lanes while the weather changes, kills one for good right after it printed, lets the sun come out, and
/// compares the files.
///
/// # Errors
/// When the run could not be completed.
pub async fn lanes(programs: &Programs, options: &LaneOptions) -> anyhow::Result<LaneOutcome> {
    let random = SeededRandom::new(options.seed);
    let network = Network::of(options.lanes + 1, options.seed, options.spaces).await?;
    let mut shop = Shop::open(programs, network, options, &random).await?;
    let breaks = options.storm == Storm::Breaks;
    let mut differences = Vec::new();
    let spells = weather(&mut shop, programs, options, &random).await?;
    if options.storm == Storm::Slow {
        differences.extend(shop.meet_slowly().await?);
    }
    shop.network.set(&Weather::clear()).await?;
    if options.old {
        shop.upgrade_old(programs).await?;
    }
    if !options.configured {
        shop.lose_and_find().await?;
    }
    if breaks {
        shop.bury_one().await?;
    }
    shop.network.set(&Weather::clear()).await?;
    shop.close().await?;
    let began = Instant::now();
    differences.extend(shop.settle().await?);
    differences.extend(shop.unlike(programs).await?);
    let settled = began.elapsed();
    let meetings = shop.meetings()?;
    let fates = shop.fates(programs, &shop.account())?;
    let fates = fates.into_iter().map(|(fate, edits)| (fate, edits.len()));
    let fates: BTreeMap<_, _> = fates.collect();
    if breaks {
        differences.extend(shop.network.unmet());
        if options.time >= LONG {
            differences.extend(shop.account().undone(&DEEDS));
            if !fates.contains_key("in conflicts") {
                differences.push(format!("no two lanes changed the same: {fates:?}"));
            }
        }
        let never = meetings.iter().filter(|(_, it)| it.again == 0);
        differences.extend(never.map(|(lane, it)| {
            format!("lane {lane} never met another one again that it had lost in silence: {it:?}")
        }));
    }
    let network = shop.network.to_string();
    let missing = match breaks {
        true => shop.network.missing(),
        false => &[],
    };
    let sold = shop.stop().await?;
    differences.extend(judge::differences(&sold)?);
    Ok(LaneOutcome {
        seed: options.seed,
        network,
        spells,
        account: sold.account,
        fates,
        meetings,
        missing,
        settled,
        differences,
    })
}

/// Lets them sell, and the network do what it is to do; how often that changed.
async fn weather(
    shop: &mut Shop,
    programs: &Programs,
    options: &LaneOptions,
    random: &SeededRandom,
) -> anyhow::Result<usize> {
    let end = Instant::now() + options.time;
    let (mut spells, mut killed) = (0, None);
    if options.storm == Storm::Slow {
        shop.network
            .set(&Weather::slow(options.lanes, SLOW_MS))
            .await?;
    }
    while options.storm == Storm::Breaks && Instant::now() < end {
        let mut forecast = Weather::all(options.lanes, random);
        let count = u32::try_from(forecast.len()).unwrap_or(u32::MAX).max(1);
        let length = options.time.checked_div(count).unwrap_or_default();
        while Instant::now() < end
            && let Some(weather) = forecast.pop()
        {
            shop.network.set(&weather).await?;
            if spells == SPELL_OF_THE_KILL {
                killed = Some(shop.kill_one()?);
            } else if let Some(number) = killed.take() {
                shop.start_again(programs, number)?;
            }
            tokio::time::sleep(length.max(SPELL_MIN)).await;
            spells += 1;
        }
    }
    if let Some(number) = killed.take() {
        shop.start_again(programs, number)?;
    }
    tokio::time::sleep_until(end).await;
    Ok(spells)
}
