//! `simulation --seed N [--runs M]`: runs seeds and prints a line of results for each.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program"
)]

use clap::Parser;
use simulation::{Options, Outcome, Sabotage, run};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Runs the hub and three nodes through simulated faults. The same seed is the same run.
#[derive(Parser)]
struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, counting up from the first, each in a process of its own.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Keep the databases in this folder, which is emptied first.
    #[arg(long, conflicts_with = "runs")]
    keep: Option<PathBuf>,
    /// Write the event log to this file.
    #[arg(long, conflicts_with = "runs")]
    log: Option<PathBuf>,
    /// Break something on purpose: the checks must notice.
    #[arg(long, hide = true, conflicts_with = "runs")]
    sabotage: Option<Sabotage>,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if args.runs == 1 {
        return one(&args);
    }
    let mut failed = false;
    for seed in args.seed..args.seed.saturating_add(args.runs) {
        // A process of its own, as in a replay: tokio drops the tasks of a crashed host in an order
        // that depends on how many tasks the process has had before.
        let mut child = Command::new(std::env::current_exe()?);
        child.args(["--seed", &seed.to_string()]);
        failed |= !child.status()?.success();
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn one(args: &Args) -> anyhow::Result<ExitCode> {
    let options = Options {
        seed: args.seed,
        sabotage: args.sabotage,
        keep: args.keep.clone(),
    };
    let outcome = run(&options)?;
    println!("{}", summary(&outcome));
    if let Some(path) = &args.log {
        std::fs::write(path, outcome.log.join("\n"))?;
    }
    complain(&outcome);
    Ok(if outcome.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// One line: what the tests read, and a person as well.
fn summary(outcome: &Outcome) -> String {
    let verdict = if outcome.violations.is_empty() {
        "good"
    } else {
        "BROKEN"
    };
    let reached: Vec<String> = outcome
        .sometimes
        .iter()
        .map(|(what, times)| format!("{what}: {times}"))
        .collect();
    format!(
        "seed={} {verdict} receipts={} others={} conflicts={} simulated_ms={} files={} \
         databases={} events={} | {}",
        outcome.seed,
        outcome.receipts,
        outcome.others,
        outcome.conflicts,
        outcome.simulated.as_millis(),
        outcome.files,
        outcome.databases,
        outcome.events,
        reached.join(", ")
    )
}

/// On a failure: what broke, what led to it, and how to see it again.
fn complain(outcome: &Outcome) {
    /// Lines of the log that are printed.
    const TAIL_LINES: usize = 60;
    if outcome.violations.is_empty() {
        return;
    }
    for line in outcome.log.iter().rev().take(TAIL_LINES).rev() {
        eprintln!("  {line}");
    }
    for violation in outcome.violations.iter().take(20) {
        eprintln!("{violation}");
    }
    eprintln!("{} violations", outcome.violations.len());
    eprintln!(
        "replay: cargo run -p simulation -- --seed {} --log events.txt",
        outcome.seed
    );
}
