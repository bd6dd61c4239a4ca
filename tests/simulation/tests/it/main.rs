//! Seeds keep every guarantee, replay byte for byte, and the checks bite.
//!
//! Every run is a process of its own: SQLite's entropy and clock belong to the process.

use simulation::{Sabotage, Sometimes};
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::process::{Child, Command, Output, Stdio};

/// Seeds that nobody has run before.
const FRESH_SEEDS: u64 = 12;
/// Seeds that every run takes, from the first on: what must be reached is not left to chance.
const FIXED_SEEDS: u64 = 24;
/// Processes at once.
const PROCESSES: u64 = 2;

/// What the fixed seeds and those that once failed must reach together: a run that never met a fault
/// proves nothing.
const MUST_REACH: [&str; 22] = [
    "clock jumped at a start",
    "conflict recorded",
    "difference sent",
    "edit at the hub",
    "hub folded a book",
    "hub folded the catalog",
    "hub killed",
    "hub killed during push",
    "hub lost its copy of a book",
    "hub restored from a backup",
    "in-doubt document was recorded",
    "link cut during push",
    "link to the hub cut",
    "node folded its book",
    "node killed",
    "node killed before its activation was seen",
    "node killed during pull",
    "node killed during push",
    "node lost its catalog",
    "node lost its local state",
    "power cut at a file operation",
    "request repeated",
];

/// One line of results.
#[derive(Debug, Default)]
struct Line {
    fields: BTreeMap<String, String>,
    reached: BTreeMap<String, u64>,
}

impl Line {
    fn parse(text: &str) -> Self {
        let (fields, reached) = text.split_once(" | ").unwrap_or((text, ""));
        let fields = fields.split(' ').filter_map(|field| field.split_once('='));
        let reached = reached.split(", ").filter_map(|one| one.split_once(": "));
        Self {
            fields: fields
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            reached: reached
                .filter_map(|(what, times)| Some((what.to_owned(), times.parse().ok()?)))
                .collect(),
        }
    }

    fn number(&self, field: &str) -> u64 {
        self.fields
            .get(field)
            .and_then(|value| value.parse().ok())
            .unwrap_or_default()
    }
}

fn start(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_simulation"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the simulation starts")
}

fn finish(child: Child) -> Output {
    child.wait_with_output().expect("the simulation ends")
}

/// Results of a process in which everything must hold.
fn good(output: &Output) -> Vec<Line> {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    text.lines().map(Line::parse).collect()
}

fn failed_seeds() -> Vec<&'static str> {
    let lines = include_str!("../../seeds/failed.txt").lines();
    lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(' ').next())
        .collect()
}

#[test]
fn a_seed_runs_twice_to_the_same_bytes() {
    for seed in ["1", "2", "12"] {
        let runs = [start(&["--seed", seed]), start(&["--seed", seed])];
        let [first, second] = runs.map(|run| good(&finish(run)).remove(0));
        for field in ["events", "databases", "files"] {
            assert_eq!(
                first.fields.get(field),
                second.fields.get(field),
                "{field} of seed {seed}"
            );
        }
        assert!(first.number("files") > 10, "{first:?}");
    }
}

/// Results of seeds in a row, which must all be good.
fn in_a_row(first: u64, count: u64) -> Vec<Line> {
    let share = count.div_euclid(PROCESSES);
    let children: Vec<Child> = (0..PROCESSES)
        .map(|part| {
            let (seed, runs) = ((first + part * share).to_string(), share.to_string());
            start(&["--seed", &seed, "--runs", &runs])
        })
        .collect();
    children
        .into_iter()
        .map(finish)
        .flat_map(|output| good(&output))
        .collect()
}

#[test]
fn fresh_seeds_keep_every_guarantee() {
    let fresh = RandomState::new().hash_one("seed") >> 24;
    let lines = in_a_row(fresh, FRESH_SEEDS);
    assert_eq!(lines.len(), usize::try_from(FRESH_SEEDS).expect("few"));
}

#[test]
fn fixed_and_once_failed_seeds_keep_every_guarantee_and_reach_every_fault() {
    let mut lines = in_a_row(1, FIXED_SEEDS);
    for pair in failed_seeds().chunks(2) {
        let children: Vec<Child> = pair.iter().map(|seed| start(&["--seed", seed])).collect();
        for child in children {
            lines.extend(good(&finish(child)));
        }
    }
    report(&lines);
}

/// Prints what was reached, and fails when something was not.
#[expect(
    clippy::print_stdout,
    reason = "counts belong to the result of a simulation"
)]
fn report(lines: &[Line]) {
    let mut reached: BTreeMap<&str, u64> = BTreeMap::new();
    for line in lines {
        for (what, times) in &line.reached {
            *reached.entry(what).or_default() += times;
        }
    }
    let receipts: u64 = lines.iter().map(|line| line.number("receipts")).sum();
    let others: u64 = lines.iter().map(|line| line.number("others")).sum();
    println!(
        "{} seeds, {receipts} receipts and {others} others acknowledged",
        lines.len()
    );
    for (what, times) in &reached {
        println!("{times:>6} {what}");
    }
    let missed: Vec<_> = MUST_REACH
        .iter()
        .filter(|what| !reached.contains_key(**what))
        .collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
    assert!(receipts > 1_000, "too little was sold: {receipts}");
}

#[test]
fn each_check_notices_the_fault_it_is_there_for() {
    for pair in Sabotage::ALL.chunks(2) {
        let started = pair.iter().map(|sabotage| {
            let name = sabotage.name();
            (sabotage, start(&["--seed", "2", "--sabotage", &name]))
        });
        for (sabotage, child) in started.collect::<Vec<_>>() {
            let output = finish(child);
            let text = String::from_utf8_lossy(&output.stderr);
            let guarantee = format!("{}: ", sabotage.breaks());
            assert!(!output.status.success(), "{sabotage:?} was not noticed");
            assert!(
                text.lines().any(|line| line.starts_with(&guarantee)),
                "{sabotage:?}: {text}"
            );
            assert!(
                text.contains("replay: cargo run -p simulation -- --seed 2"),
                "{text}"
            );
        }
    }
}

#[test]
fn counts_of_several_runs_add_up() {
    let (mut sum, mut other) = (Sometimes::default(), Sometimes::default());
    sum.saw("hub killed");
    other.add("hub killed", 2);
    other.add("never", 0);
    sum.merge(&other);
    assert_eq!((sum.count("hub killed"), sum.count("never")), (3, 0));
}
