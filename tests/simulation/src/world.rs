//! One run: build the world, let it trade through faults, heal it, wait, judge.

use crate::chaos::{Chaos, HUB, NODE, TILL, Victim};
use crate::checks::{self, Guarantee, Violation};
use crate::disk::Disk;
use crate::environment::{Machine, WorldTime};
use crate::events::Events;
use crate::files::Scratch;
use crate::fingerprint;
use crate::hosts;
use crate::office::Office;
use crate::plan::Plan;
use crate::record::{Board, SharedBoard, Sometimes};
use crate::sabotage::{self, Sabotage};
use crate::till::Till;
use crate::wire::Line;
use anyhow::Context as _;
use counterfoil_domain::env::Clock;
use counterfoil_testkit::SeededRandom;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;
use turmoil::Sim;

/// What to run and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The seed that decides everything.
    pub seed: u64,
    /// Break something on purpose before the checks.
    pub sabotage: Option<Sabotage>,
    /// Keep the databases in this folder, which is emptied first.
    pub keep: Option<PathBuf>,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Broken guarantees; none in a good run.
    pub violations: Vec<Violation>,
    /// Receipts that were acknowledged, imported ones included.
    pub receipts: usize,
    /// Everything else that was acknowledged: stock, expenses, catalog edits.
    pub others: usize,
    /// Concurrent edits that the hub recorded.
    pub conflicts: i64,
    /// Faults and oddities that were met.
    pub sometimes: Sometimes,
    /// Simulated time from the first step to the last.
    pub simulated: Duration,
    /// BLAKE3 over every database and WAL.
    pub databases: String,
    /// How many files that were.
    pub files: usize,
    /// BLAKE3 over the event log.
    pub events: String,
    /// The event log.
    pub log: Vec<String>,
}

/// Panics of tasks that nobody waits for; tokio swallows them.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn collect_panics() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(panic.to_string());
            default(panic);
        }));
    });
    PANICS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clear();
}

/// Runs a seed. SQLite's entropy and time are the process's, so one run at a time.
///
/// # Errors
/// When the run's own files cannot be handled; what the product does wrong is in the outcome.
pub fn run(options: &Options) -> anyhow::Result<Outcome> {
    collect_panics();
    counterfoil_replica::vfs::register_deterministic(options.seed);
    let scratch = match &options.keep {
        Some(folder) => Scratch::kept(folder.clone()),
        None => Scratch::new(options.seed),
    };
    let scratch = scratch.context("cannot make the run's folder")?;
    let time = Arc::new(WorldTime::default());
    time.set(Duration::ZERO);
    let events = Events::new(Arc::clone(&time), scratch.path().display().to_string());
    let board: SharedBoard = Rc::new(Board::default());
    let plan = Plan::of(options.seed);
    let (simulated, mut violations) = tracing::subscriber::with_default(events.clone(), || {
        World::new(&plan, &board, &events, &time, scratch.path()).live()
    })?;
    let panics = std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner));
    violations.extend(
        panics
            .into_iter()
            .map(|text| Violation::new(Guarantee::Alive, text)),
    );
    let (databases, files) = fingerprint::of_databases(scratch.path())?;
    if let Some(sabotage) = options.sabotage {
        sabotage::commit(sabotage, scratch.path(), &mut board.record.borrow_mut())?;
    }
    let record = board.record.borrow();
    let judged = checks::judge(scratch.path(), &record)?;
    violations.extend(judged.violations);
    let mut sometimes = board.sometimes.borrow().clone();
    events.reached(&mut sometimes);
    sometimes.add(
        "conflict recorded",
        u64::try_from(judged.conflicts).unwrap_or_default(),
    );
    let receipts = record
        .acknowledged
        .values()
        .filter(|one| one.receipt.is_some())
        .count();
    Ok(Outcome {
        seed: options.seed,
        violations,
        receipts: receipts + record.invoices.len(),
        others: record.acknowledged.len() - receipts + record.edits.len(),
        conflicts: judged.conflicts,
        sometimes,
        simulated,
        databases,
        files,
        events: events.digest(),
        log: events.lines(),
    })
}

struct World<'w> {
    plan: &'w Plan,
    board: &'w SharedBoard,
    events: &'w Events,
    time: &'w Arc<WorldTime>,
    sim: Sim<'static>,
    chaos: Chaos,
}

impl<'w> World<'w> {
    fn new(
        plan: &'w Plan,
        board: &'w SharedBoard,
        events: &'w Events,
        time: &'w Arc<WorldTime>,
        folder: &Path,
    ) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(plan.seed)
            .simulation_duration(Duration::from_secs(3_600))
            .tick_duration(plan.tick)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(plan.latency_max)
            .tcp_capacity(4_096)
            .enable_random_order()
            .build();
        let mut victims = Vec::new();
        let seed = plan.seed ^ 0x0068_7562;
        let disk = Disk::new(
            HUB,
            [&NODE[..], &["office"]].concat(),
            folder.join(HUB),
            seed ^ 1,
        );
        let machine = Machine {
            disk: Some(Arc::new(disk)),
            ..Machine::new(time, 0, seed)
        };
        let victim = Victim::new(HUB, folder.join(HUB), machine);
        let (data, machine, hub_plan) = (victim.data.clone(), victim.machine.clone(), plan.clone());
        sim.host(HUB, move || {
            hosts::hub(data.clone(), hub_plan.clone(), machine.clone())
        });
        victims.push(victim);
        for (index, host) in NODE.into_iter().enumerate() {
            let seed = plan.seed ^ 0x6e6f_6465 ^ ((index as u64 + 1) << 40);
            let disk = Disk::new(host, vec![HUB, TILL[index]], folder.join(host), seed ^ 1);
            let machine = Machine::new(time, plan.skew_ms[index], seed);
            let machine = Machine {
                disk: Some(Arc::new(disk)),
                ..machine
            };
            let victim = Victim::new(host, folder.join(host), machine);
            let (data, machine, plan) = (victim.data.clone(), victim.machine.clone(), plan.clone());
            sim.host(host, move || {
                hosts::node(data.clone(), plan.clone(), machine.clone())
            });
            victims.push(victim);
        }
        let tills = people(&mut sim, plan, board, time, &folder.join(HUB));
        let chaos = Chaos::new(
            plan.clone(),
            Rc::clone(board),
            events.clone(),
            victims,
            tills,
        );
        Self {
            plan,
            board,
            events,
            time,
            sim,
            chaos,
        }
    }

    /// Lives from the first step to the last; returns how long and what went wrong.
    fn live(mut self) -> anyhow::Result<(Duration, Vec<Violation>)> {
        let mut violations = Vec::new();
        if let Err(text) = self.trade_and_settle()? {
            self.events.note(&text);
            violations.push(Violation::new(Guarantee::Alive, text));
        }
        let simulated = self.sim.elapsed();
        // The programs go first: turmoil's sockets want their world when they are dropped.
        for host in [HUB].into_iter().chain(NODE).chain(TILL).chain(["office"]) {
            self.sim.crash(host);
        }
        Ok((simulated, violations))
    }

    /// The inner error says which side did not live up to it.
    fn trade_and_settle(&mut self) -> anyhow::Result<Result<(), String>> {
        self.board.trading.set(true);
        self.chaos.arm(self.plan.crashes);
        while self.sim.elapsed() < self.plan.trade {
            self.chaos
                .strike(&mut self.sim)
                .context("a crash cannot be simulated")?;
            if let Err(text) = self.step() {
                return Ok(Err(text));
            }
        }
        self.board.trading.set(false);
        self.chaos
            .heal(&mut self.sim)
            .context("a crash cannot be simulated")?;
        // The first agreement may rest on what was said before the last answer; the second cannot.
        for _ in 0..2 {
            self.forget_reports();
            let until = self.sim.elapsed() + self.plan.settle;
            loop {
                if let Err(text) = self.step() {
                    return Ok(Err(text));
                }
                match self.settled() {
                    Ok(()) => break,
                    Err(text) if self.sim.elapsed() > until => return Ok(Err(text)),
                    Err(_) => {}
                }
            }
        }
        self.events.note("all sides agree");
        Ok(Ok(()))
    }

    fn step(&mut self) -> Result<(), String> {
        self.time.set(self.sim.elapsed());
        self.sim
            .step()
            .map(drop)
            .map_err(|error| format!("a program failed: {error}"))
    }

    fn forget_reports(&self) {
        let mut record = self.board.record.borrow_mut();
        record.reports = Default::default();
        record.hub = None;
        self.board.round.set(self.board.round.get() + 1);
    }

    /// Whether everything has arrived everywhere; the error says what is missing.
    fn settled(&self) -> Result<(), String> {
        let waiting = self.board.waiting.borrow();
        if let Some(who) = waiting.iter().next() {
            return Err(format!("after healing, till {who} is still not answered"));
        }
        let record = self.board.record.borrow();
        let hub = record
            .hub
            .as_ref()
            .ok_or("after healing, the hub does not answer")?;
        for (index, report) in record.reports.iter().enumerate() {
            let name = NODE[index];
            let report = report.as_ref();
            let report = report.ok_or_else(|| format!("after healing, {name} does not answer"))?;
            let status = &report.status;
            let arrived = status.tier == "active"
                && status.pending == 0
                && status.hub_consolidated_seq == status.journal_seq
                && status.pending_edits == 0
                && status.quarantined == 0;
            if !arrived {
                return Err(format!("after healing, {name} does not settle: {status:?}"));
            }
            if report.digest.revision != hub.revision || report.digest.digest != hub.digest {
                let digest = &report.digest;
                return Err(format!(
                    "after healing, {name} has {digest:?}, the hub has {hub:?}"
                ));
            }
        }
        Ok(())
    }
}

/// Puts the people into the world; returns the lines of the tills.
fn people(
    sim: &mut Sim<'static>,
    plan: &Plan,
    board: &SharedBoard,
    time: &Arc<WorldTime>,
    hub_data: &Path,
) -> Vec<Arc<Line>> {
    let mut lines = Vec::new();
    for (index, host) in TILL.into_iter().enumerate() {
        let address = sim.lookup(NODE[index]);
        let (plan, board) = (plan.clone(), Rc::clone(board));
        let seed = plan.seed ^ 0x7469_6c6c ^ ((index as u64 + 1) << 32);
        let machine = Machine::new(time, 0, seed);
        lines.push(Arc::clone(&machine.line));
        sim.host(host, move || {
            let till = Till {
                index,
                plan: plan.clone(),
                board: Rc::clone(&board),
                http: machine.env().http(),
                address,
                clock: Arc::clone(&machine.clock) as Arc<dyn Clock>,
                luck: SeededRandom::new(seed ^ 0x706c_6179),
            };
            till.work()
        });
    }
    let (plan, board) = (plan.clone(), Rc::clone(board));
    let machine = Machine::new(time, 0, plan.seed ^ 0x6f66_6669);
    let hub_data = hub_data.to_owned();
    sim.host("office", move || {
        let office = Office {
            plan: plan.clone(),
            board: Rc::clone(&board),
            http: machine.env().http(),
            hub_data: hub_data.clone(),
            luck: SeededRandom::new(plan.seed ^ 0x6365_6f66),
        };
        office.work()
    });
    lines
}
