//! `simulation --seed N [--runs M]`: runs seeds and prints a line of results for each.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

use clap::Parser;
use simulation::{Options, Outcome, Sabotage, run};
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs the hub and three nodes through simulated faults. The same seed is the same run.
#[derive(Parser)]
struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, counting up from the first.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Keep the databases of the last run in this folder.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Write the event log of the last run to this file.
    #[arg(long)]
    log: Option<PathBuf>,
    /// Break something on purpose: the checks must notice.
    #[arg(long, hide = true)]
    sabotage: Option<Sabotage>,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let mut failed = false;
    for seed in args.seed..args.seed.saturating_add(args.runs) {
        let options = Options { seed, sabotage: args.sabotage, keep: args.keep.clone() };
        let outcome = run(&options)?;
        println!("{}", summary(&outcome));
        if let Some(path) = &args.log {
            std::fs::write(path, outcome.log.join("\n"))?;
        }
        failed |= !outcome.violations.is_empty();
        complain(&outcome);
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// One line: what the tests read, and a person as well.
fn summary(outcome: &Outcome) -> String {
    let verdict = if outcome.violations.is_empty() { "good" } else { "BROKEN" };
    let reached: Vec<String> =
        outcome.sometimes.iter().map(|(what, times)| format!("{what}: {times}")).collect();
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
    eprintln!("replay: cargo run -p simulation -- --seed {} --log events.txt", outcome.seed);
}
