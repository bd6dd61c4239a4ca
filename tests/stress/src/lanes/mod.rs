//! Lanes of one shop as processes, in a network that breaks in every way packets can.
//!
//! Each lane and the hub have a network namespace of their own, with an address; `python/switch.py` carries the packets
//! between them. Where namespaces are not to be had, `relays` stand between the lanes instead, and it is said which
//! faults there are not. What is to happen is drawn from a seed in `weather`; `judge` reads the files at the end.

mod finding;
mod judge;
mod network;
mod old;
mod relays;
mod same;
mod shop;
mod spaces;
mod weather;

use crate::chain::Programs;
use counterfoil_testkit::SeededRandom;
use network::Network;
use shop::Shop;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;
use weather::Weather;

/// The shortest weather that is noticed.
const SPELL_MIN: Duration = Duration::from_millis(700);

/// The first ones tell most.
const DIFFERENCES_SHOWN: usize = 20;

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct LaneOptions {
    /// Seed of trade and weather.
    pub seed: u64,
    /// Lanes of the shop, at least 2.
    pub lanes: usize,
    /// How long they sell.
    pub time: Duration,
    /// Whether the network breaks meanwhile, and a lane dies.
    pub breaks: bool,
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
    receipts: usize,
    single_copies: usize,
    settled: Duration,
    differences: Vec<String>,
}

impl LaneOutcome {
    /// What does not hold, in words; empty when all does.
    #[must_use]
    pub fn failures(&self) -> &[String] {
        &self.differences
    }
}

impl fmt::Display for LaneOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, network, .. } = self;
        writeln!(f, "seed {seed}: {network}")?;
        writeln!(
            f,
            "{} spells of weather, {} receipts, {} of them printed as a single copy; all agreed after {:.1?}",
            self.spells, self.receipts, self.single_copies, self.settled
        )?;
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
    let end = Instant::now() + options.time;
    let mut spells = 0;
    while options.breaks && Instant::now() < end {
        let mut forecast = Weather::all(options.lanes, &random);
        let count = u32::try_from(forecast.len()).unwrap_or(u32::MAX).max(1);
        let length = options.time.checked_div(count).unwrap_or_default();
        while Instant::now() < end
            && let Some(weather) = forecast.pop()
        {
            shop.network.set(&weather).await?;
            tokio::time::sleep(length.max(SPELL_MIN)).await;
            spells += 1;
        }
    }
    tokio::time::sleep_until(end).await;
    if options.old {
        shop.network.set(&Weather::clear()).await?;
        shop.upgrade_old(programs).await?;
    }
    if !options.configured {
        shop.network.set(&Weather::clear()).await?;
        shop.lose_and_find().await?;
    }
    if options.breaks {
        shop.bury_one().await?;
    }
    shop.network.set(&Weather::clear()).await?;
    shop.close().await?;
    let began = Instant::now();
    let mut differences = shop.settle().await?;
    differences.extend(shop.unlike(programs).await?);
    let settled = began.elapsed();
    if options.breaks {
        differences.extend(shop.network.unmet());
    }
    let network = shop.network.to_string();
    let sold = shop.stop().await?;
    differences.extend(judge::differences(&sold)?);
    Ok(LaneOutcome {
        seed: options.seed,
        network,
        spells,
        receipts: sold.receipts.len(),
        single_copies: sold.receipts.values().filter(|it| it.single_copy).count(),
        settled,
        differences,
    })
}
