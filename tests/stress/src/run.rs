//! One run: trade while things break, heal, agree, judge.

use crate::account::Customers;
use crate::chain::{Chain, Files, Programs, Verdict};
use crate::faults::Fault;
use crate::kills::{Budget, Pace, kill_hub, kill_till};
use anyhow::Context as _;
use counterfoil_testkit::SeededRandom;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How much longer trade goes on for a fault that has met no connection yet.
const MEET_LIMIT: Duration = Duration::from_secs(300);
const MEET_PAUSE: Duration = Duration::from_millis(100);

/// What a run does.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything that is not left to the machine's own timing.
    pub seed: u64,
    /// Number of tills, at least one.
    pub tills: usize,
    /// SIGKILLs, at most.
    pub kills: u64,
    /// The longest time of trade.
    pub time: Duration,
    /// Whether networks break too; then kills come seldom, and trade goes on for the whole time, and
    /// longer until every fault has met a connection.
    pub network: bool,
    /// Where databases and logs stay; a temporary directory when absent.
    pub keep: Option<PathBuf>,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// SIGKILLs of the hub, of tills, and of either while it started.
    pub kills: [u64; 3],
    /// Faults that connections met.
    pub faults: Vec<(Fault, u64)>,
    /// Receipts that tills acknowledged, and all documents.
    pub receipts: u64,
    /// All documents, receipts among them.
    pub documents: u64,
    /// Edits of the catalog.
    pub edits: u64,
    /// Requests that a till accepted and did not answer at first, and those of them that were recorded
    /// all the same.
    pub unanswered: [u64; 2],
    /// Time of trade, and from its end until all agreed.
    pub times: [Duration; 2],
    /// The comparison at the end.
    pub verdict: Verdict,
}

impl Outcome {
    /// What is wrong: differences, and faults that were asked for and never met anything.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let mut failures = self.verdict.differences.clone();
        let missed = self.faults.iter().filter(|(_, count)| *count == 0);
        failures.extend(missed.map(|(fault, _)| format!("no connection met the fault `{fault}`")));
        // In a run with a network kills are few.
        if self.faults.is_empty() && self.unanswered[0] == 0 {
            failures.push("no kill met a request under way".to_owned());
        }
        failures
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [hub, tills, starting] = self.kills;
        let [unanswered, recorded] = self.unanswered;
        let [trade, settled] = self.times;
        writeln!(f, "seed                 {}", self.seed)?;
        writeln!(
            f,
            "SIGKILLs             {}: {hub} hub, {tills} tills, {starting} while starting",
            hub + tills + starting
        )?;
        for (fault, count) in &self.faults {
            writeln!(f, "network {:<12} {count}", fault.to_string())?;
        }
        writeln!(
            f,
            "acknowledged         {} receipts, {} documents, {} edits",
            self.receipts, self.documents, self.edits
        )?;
        writeln!(
            f,
            "without an answer    {unanswered} requests, {recorded} of them were recorded"
        )?;
        writeln!(
            f,
            "time                 {:.1} s of trade, all agree {:.1} s later",
            trade.as_secs_f64(),
            settled.as_secs_f64()
        )?;
        writeln!(
            f,
            "lost {}, doubled {}, differences {}",
            self.verdict.lost,
            self.verdict.doubled,
            self.verdict.differences.len()
        )?;
        for failure in self.failures() {
            writeln!(f, "  {failure}")?;
        }
        Ok(())
    }
}

/// Carries it out; what does not agree is in the outcome.
///
/// # Errors
/// A process that does not start or ends by itself, a till that refuses a correct request, or tills
/// that never agree with the hub.
pub async fn run(programs: &Programs, options: &Options) -> anyhow::Result<Outcome> {
    let chain = Chain::create(
        programs,
        options.keep.as_deref(),
        options.seed,
        options.tills,
    );
    let chain = Arc::new(chain.await?);
    let kept = options.keep.as_ref().map(|path| path.display().to_string());
    let outcome = trade_and_judge(&chain, options).await;
    outcome.with_context(|| format!("seed {}, kept: {kept:?}", options.seed))
}

async fn trade_and_judge(chain: &Arc<Chain>, options: &Options) -> anyhow::Result<Outcome> {
    let start = Instant::now();
    let budget = Arc::new(Budget::new(options.kills, options.time));
    let mut customers = JoinSet::new();
    for till in &chain.tills {
        let (chain, till, seed) = (Arc::clone(chain), Arc::clone(till), options.seed);
        drop(customers.spawn(async move {
            let mut customers = Customers::of(&till, seed).await?;
            chain.ledger.trade(&till, &mut customers).await
        }));
    }
    let pace = if options.network {
        for proxy in &chain.proxies {
            proxy.break_connections();
        }
        Pace::NETWORK
    } else {
        Pace::KILLS
    };
    let mut killers = killers(chain, &budget, options.seed, pace);
    if options.network {
        // The kills may be used up sooner; the network goes on breaking.
        let (end, faults) = (start + options.time, Arc::clone(&chain.faults));
        drop(killers.spawn(async move {
            tokio::time::sleep_until(end).await;
            let is_missing = || faults.all().iter().any(|(_, count)| *count == 0);
            while is_missing() && end.elapsed() < MEET_LIMIT {
                tokio::time::sleep(MEET_PAUSE).await;
            }
            Ok(())
        }));
    }
    loop {
        tokio::select! {
            ended = killers.join_next() => match ended {
                Some(ended) => ended.context("a killer of the driver failed")??,
                None => break,
            },
            // Customers stay until closing time: one that leaves has found something wrong.
            Some(ended) = customers.join_next() => {
                ended.context("a customer of the driver failed")??;
            }
        }
    }
    chain.ledger.close();
    // A till behind a broken network still answers its customers.
    while let Some(ended) = customers.join_next().await {
        ended.context("a customer of the driver failed")??;
    }
    let trade = start.elapsed();
    let settled = chain.settle().await?;
    let verdict = chain.judge(Files::Kept).await?;
    let account = chain.ledger.account();
    let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let ledger = &chain.ledger;
    Ok(Outcome {
        seed: options.seed,
        kills: [&budget.hub, &budget.tills, &budget.starting].map(count),
        faults: if options.network {
            chain.faults.all()
        } else {
            Vec::new()
        },
        receipts: account.receipts(),
        documents: account.documents(),
        edits: count(&ledger.edits),
        unanswered: [&ledger.unanswered, &ledger.recorded_unheard].map(count),
        times: [trade, settled],
        verdict,
    })
}

fn killers(
    chain: &Arc<Chain>,
    budget: &Arc<Budget>,
    seed: u64,
    pace: Pace,
) -> JoinSet<anyhow::Result<()>> {
    let mut killers = JoinSet::new();
    let random = |stream: u64| SeededRandom::new(seed.wrapping_mul(7_919).wrapping_add(stream));
    {
        let (chain, budget, random) = (Arc::clone(chain), Arc::clone(budget), random(0));
        drop(killers.spawn(async move { kill_hub(&chain, &budget, pace, &random).await }));
    }
    for (till, stream) in chain.tills.iter().zip(1..) {
        let (till, budget, random) = (Arc::clone(till), Arc::clone(budget), random(stream));
        drop(killers.spawn(async move { kill_till(&till, &budget, pace, &random).await }));
    }
    killers
}
