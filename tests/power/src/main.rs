//! `cargo run -p power`: the whole enumeration, or a part of it.
#![expect(clippy::print_stdout, reason = "a program that prints a table")]
#![expect(
    clippy::disallowed_methods,
    reason = "how long a row took is not part of what repeats"
)]

use anyhow::{Context as _, ensure};
use clap::Parser;
use power::crash::Lie;
use power::disk::Failure;
use power::faults::{Sweep, sweep};
use power::run::{Effort, Tally, enumerate, record};
use power::scenario::Scenario;
use power::tape::Side;
use power::world::Place;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Cuts the power at every write boundary of every scenario, and lets every call to a disk fail.
#[derive(Parser, Clone, Debug)]
struct Args {
    /// Distinct states of each scenario and side.
    #[arg(long, default_value_t = 120_000)]
    states: u64,
    /// Cases judged of each scenario and side: no more states are opened then,
    /// once every place was visited.
    #[arg(long, default_value_t = 1_500)]
    judged: u64,
    /// States of each negative control; 0 leaves them out.
    #[arg(long, default_value_t = 4_000)]
    control_states: u64,
    /// One call in this many fails; 0 leaves the faults out.
    #[arg(long, default_value_t = 1)]
    stride: u64,
    /// Chooses what is lost, torn and kept.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Processes at once; one scenario and side each.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// This scenario only.
    #[arg(long)]
    scenario: Option<Scenario>,
    /// One scenario and side, told as a line of JSON; for the program itself.
    #[arg(long, hide = true)]
    side: Option<String>,
}

/// A row of the table.
#[derive(Serialize, Deserialize)]
struct Row {
    scenario: String,
    side: String,
    tally: Tally,
    control: Tally,
    control_name: String,
    faults: Sweep,
    seconds: u64,
    notes: Vec<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if let Some(side) = &args.side {
        let scenario = args.scenario.context("a side is of a scenario")?;
        let side = if side == "node" {
            Side::Node
        } else {
            Side::Hub
        };
        println!("{}", serde_json::to_string(&row(scenario, side, &args)?)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut work: Vec<(Scenario, Side)> = Scenario::ALL
        .into_iter()
        .filter(|scenario| args.scenario.is_none_or(|only| only == *scenario))
        .flat_map(|scenario| scenario.sides().iter().map(move |side| (scenario, *side)))
        .collect();
    work.reverse();
    let (work, rows) = (Mutex::new(work), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..args.jobs.max(1))
            .map(|_| scope.spawn(|| one_after_another(&args, &work, &rows)))
            .collect();
        for job in jobs {
            job.join()
                .map_err(|_| anyhow::anyhow!("a job panicked"))??;
        }
        anyhow::Ok(())
    })?;
    let mut rows: Vec<Row> = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    let place = |row: &Row| {
        Scenario::ALL
            .iter()
            .position(|it| it.name() == row.scenario)
    };
    rows.sort_by_key(|row| (place(row), row.side == "hub"));
    Ok(summary(&rows))
}

fn one_after_another(
    args: &Args,
    work: &Mutex<Vec<(Scenario, Side)>>,
    rows: &Mutex<Vec<Row>>,
) -> anyhow::Result<()> {
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some((scenario, side)) = next else {
            return Ok(());
        };
        let row = in_a_process(args, scenario, side)?;
        println!("{}", line(&row));
        rows.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(row);
    }
}

/// SQLite's randomness is the process's, so each row has a process of its own and repeats.
fn in_a_process(args: &Args, scenario: Scenario, side: Side) -> anyhow::Result<Row> {
    let mut command = Command::new(std::env::current_exe()?);
    let value = clap::ValueEnum::to_possible_value(&scenario).context("a name")?;
    let side_name = if side == Side::Node { "node" } else { "hub" };
    command.args(["--scenario", value.get_name(), "--side", side_name]);
    for (name, number) in [
        ("--states", args.states),
        ("--judged", args.judged),
        ("--control-states", args.control_states),
        ("--stride", args.stride),
        ("--seed", args.seed),
    ] {
        command.args([name, &number.to_string()]);
    }
    let output = command.stderr(Stdio::null()).output()?;
    ensure!(
        output.status.success(),
        "{scenario:?} {side:?} ended with {}",
        output.status
    );
    serde_json::from_slice(&output.stdout).context("the row of a process")
}

fn row(scenario: Scenario, side: Side, args: &Args) -> anyhow::Result<Row> {
    // What a state makes the programs complain about is counted, not printed.
    std::panic::set_hook(Box::new(|_| {}));
    let scratch = Scratch::new()?;
    let (place, begun) = (Place::new(&scratch.0), Instant::now());
    let recording = record(scenario, &place, args.seed)?;
    let effort = |states| Effort {
        states,
        judged: args.judged,
        seed: args.seed,
    };
    let tally = enumerate(&recording, side, Lie::None, &place, effort(args.states))?;
    let lie = scenario.control(side);
    let control = match args.control_states {
        0 => Tally::default(),
        states => enumerate(&recording, side, lie, &place, effort(states))?,
    };
    let mut faults = Sweep::default();
    if args.stride > 0 {
        for failure in [Failure::Io, Failure::Full, Failure::ShortWrite] {
            let one = sweep(scenario, side, failure, &place, args.seed, args.stride)?;
            faults.faults += one.faults;
            faults.refused += one.refused;
            faults.stopped += one.stopped;
            faults.violations += one.violations;
            faults.first.extend(
                one.first
                    .into_iter()
                    .map(|text| format!("{failure:?}, {text}")),
            );
        }
    }
    Ok(Row {
        scenario: scenario.name().to_owned(),
        side: format!("{side:?}").to_lowercase(),
        tally,
        control,
        control_name: format!("{lie:?}"),
        faults,
        seconds: begun.elapsed().as_secs(),
        notes: power::report::take_notes(),
    })
}

const HEADER: &str = "\
| scenario | side | places | states | cases | judged | cut twice | violations | control | faults \
| refused | violations | s |
|---|---|---|---|---|---|---|---|---|---|---|---|---|";

fn line(row: &Row) -> String {
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | **{}** | {}: {} of {} | {} | {} | **{}** | {} |",
        row.scenario,
        row.side,
        row.tally.boundaries,
        row.tally.states,
        row.tally.cases,
        row.tally.judged,
        row.tally.second_cuts,
        row.tally.violations,
        row.control_name,
        row.control.violations,
        row.control.cases,
        row.faults.faults,
        row.faults.refused + row.faults.stopped,
        row.faults.violations,
        row.seconds,
    )
}

fn summary(rows: &[Row]) -> ExitCode {
    println!("\n{HEADER}");
    let (mut states, mut violations, mut faults) = (0, 0, 0);
    for row in rows {
        println!("{}", line(row));
        states += row.tally.states;
        faults += row.faults.faults;
        violations += row.tally.violations + row.faults.violations;
    }
    for row in rows {
        let is_whole = row.tally.violations + row.faults.violations == 0;
        for note in row.notes.iter().filter(|_| !is_whole) {
            println!("{} {} note: {note}", row.scenario, row.side);
        }
        for (kind, (count, text)) in &row.tally.kinds {
            println!("{} {} {kind} x{count}: {text}", row.scenario, row.side);
        }
        for text in &row.faults.first {
            println!("{} {} fault: {text}", row.scenario, row.side);
        }
    }
    println!("\n{states} distinct states, {faults} faults, {violations} violations");
    let toothless = rows
        .iter()
        .any(|row| row.control.states > 0 && row.control.violations == 0);
    if toothless {
        println!("a negative control found nothing");
    }
    if violations == 0 && !toothless {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A folder of the process, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("counterfoil-power-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays behind; the run has its result already.
        std::fs::remove_dir_all(&self.0).ok();
    }
}
