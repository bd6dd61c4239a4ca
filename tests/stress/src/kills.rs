//! SIGKILL at random instants, to the hub and to every till, also while they start.

use crate::chain::Chain;
use anyhow::bail;
use counterfoil_demo::till::Till;
use counterfoil_testkit::SeededRandom;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How often and how quickly; see [`Pace::KILLS`] and [`Pace::NETWORK`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// A process lives at most this long once it is ready, in milliseconds.
    pub(crate) till_lives_ms_max: u64,
    pub(crate) hub_lives_ms_max: u64,
    /// Of this many starts one is cut short.
    cut_short_every: u64,
}

impl Pace {
    /// As quickly as there is still something to be hit.
    pub(crate) const KILLS: Self = Self {
        till_lives_ms_max: 400,
        hub_lives_ms_max: 700,
        cut_short_every: 4,
    };
    /// Now and then, where the network is what is tried.
    pub(crate) const NETWORK: Self = Self {
        till_lives_ms_max: 8_000,
        hub_lives_ms_max: 8_000,
        cut_short_every: 4,
    };
}

/// A start that is cut short gets at most this long, in milliseconds: less than a start takes.
const START_MS_MAX: u64 = 120;
/// A process that was killed while it starts may hold the directory's lock for a moment.
const START_ATTEMPTS_MAX: u32 = 20;
const START_PAUSE: Duration = Duration::from_millis(50);

/// When a run ends: after so many kills, or at a time, whichever is first.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Kills that are left; a killer takes one before it kills.
    left: AtomicU64,
    until: Instant,
    pub(crate) hub: AtomicU64,
    pub(crate) tills: AtomicU64,
    pub(crate) starting: AtomicU64,
}

impl Budget {
    pub(crate) fn new(kills: u64, time: Duration) -> Self {
        Self {
            left: AtomicU64::new(kills),
            until: Instant::now() + time,
            hub: AtomicU64::new(0),
            tills: AtomicU64::new(0),
            starting: AtomicU64::new(0),
        }
    }

    fn take(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        Instant::now() < self.until
            && self
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
                .is_ok()
    }

    fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Kills one till again and again; it runs when this returns.
pub(crate) async fn kill_till(
    till: &Till,
    budget: &Budget,
    pace: Pace,
    random: &SeededRandom,
) -> anyhow::Result<()> {
    while pause(random.below(pace.till_lives_ms_max)).await && budget.take() {
        if !till.is_running().await {
            bail!("{} ended by itself", till.name);
        }
        till.kill().await?;
        Budget::add(&budget.tills);
        while random.below(pace.cut_short_every) == 0 && budget.take() {
            till.cut_short(Duration::from_millis(random.below(START_MS_MAX)))
                .await?;
            Budget::add(&budget.starting);
        }
        let mut attempt = 0;
        while let Err(error) = till.start().await {
            attempt += 1;
            if attempt == START_ATTEMPTS_MAX {
                return Err(error);
            }
            tokio::time::sleep(START_PAUSE).await;
        }
    }
    Ok(())
}

/// Kills the hub again and again; it runs when this returns.
pub(crate) async fn kill_hub(
    chain: &Chain,
    budget: &Budget,
    pace: Pace,
    random: &SeededRandom,
) -> anyhow::Result<()> {
    let hub = &chain.hub;
    while pause(random.below(pace.hub_lives_ms_max)).await && budget.take() {
        if !hub.is_running().await {
            bail!("the hub ended by itself");
        }
        hub.kill().await?;
        Budget::add(&budget.hub);
        while random.below(pace.cut_short_every) == 0 && budget.take() {
            hub.cut_short(Duration::from_millis(random.below(START_MS_MAX)))
                .await?;
            Budget::add(&budget.starting);
        }
        hub.start().await?;
    }
    Ok(())
}

async fn pause(milliseconds: u64) -> bool {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    true
}
