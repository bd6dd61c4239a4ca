//! Which test finds which planted bug, and in how many seconds.
//!
//! Each test is an ordinary one that runs every day. Here it runs once as it is, and must pass, and
//! once in processes that make the mistake, and must fail.

use anyhow::{Context as _, ensure};
use counterfoil_replica::planted::{PlantedBug, VARIABLE};
use std::fmt;
use std::process::Command;

/// Packages whose tests are asked, and what lets their programs make mistakes.
const CARGO: [&str; 11] = [
    "test",
    "--locked",
    "--package=stress",
    "--package=counterfoil-hub",
    "--package=counterfoil-replica",
    "--package=power",
    "--features=stress/rigged",
    "--no-fail-fast",
    "--quiet",
    "--",
    "--exact",
];

/// Of what a test says; the rest is cut off.
const SAID_CHARS_MAX: usize = 120;

/// The name of a test within its package; names are unique over all packages asked.
pub(crate) const fn finder(bug: PlantedBug) -> &'static str {
    match bug {
        PlantedBug::PassiveCheckpoint | PlantedBug::CursorTooFar => {
            "book::a_local_checkpoint_keeps_the_numbers"
        }
        PlantedBug::WatermarkTooFar => {
            "consolidation::more_entries_than_one_batch_holds_all_arrive"
        }
        PlantedBug::TailApplied => "copy::an_uncommitted_tail_is_counted_and_not_seen",
        PlantedBug::CheckpointWithoutIntent => {
            "rigged::every_crash_point_of_a_checkpoint_is_survived"
        }
        PlantedBug::DigestNotCompared => "copy::a_wrong_checksum_is_found_before_anything_is_taken",
        // Only a power cut shows these.
        PlantedBug::AcknowledgeBeforeSync => "cuts::a_push_survives_power_cuts",
        PlantedBug::SynchronousNormal | PlantedBug::ReplyBeforeCommit => {
            "cuts::a_sale_survives_power_cuts"
        }
        PlantedBug::RenameWithoutSync => "cuts::a_catalog_that_is_replaced_survives_power_cuts",
    }
}

/// What one test said about one mistake.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The mistake.
    pub bug: PlantedBug,
    /// The test.
    pub test: &'static str,
    /// How long it ran until it had failed, in seconds; `None` when it passed.
    pub seconds: Option<f64>,
    /// What it said, in a line.
    pub said: String,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Proofs(Vec<Proof>);

impl Proofs {
    /// Mistakes that their test has not found.
    #[must_use]
    pub fn failures(&self) -> Vec<PlantedBug> {
        let missed = self.0.iter().filter(|proof| proof.seconds.is_none());
        missed.map(|proof| proof.bug).collect()
    }
}

impl fmt::Display for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| planted bug | found by | seconds | it says |")?;
        writeln!(f, "|---|---|---|---|")?;
        for proof in &self.0 {
            let Proof {
                bug, test, said, ..
            } = proof;
            let test = test.rsplit("::").next().unwrap_or(test);
            let seconds = match proof.seconds {
                Some(seconds) => format!("{seconds:.1}"),
                None => "not found".to_owned(),
            };
            writeln!(f, "| {} | `{test}` | {seconds} | {said} |", bug.name())?;
        }
        Ok(())
    }
}

/// Runs every test, as it is and with each mistake that it must find.
///
/// # Errors
/// Programs that do not compile, a test that fails as it is, or one that does not exist.
pub fn prove() -> anyhow::Result<Proofs> {
    let mut proofs = Proofs::default();
    for bug in PlantedBug::ALL {
        let test = finder(bug);
        let (seconds, said) = run(test, None)?;
        ensure!(seconds.is_none(), "{test} fails as it is: {said}");
        let (seconds, said) = run(test, Some(bug))?;
        proofs.0.push(Proof {
            bug,
            test,
            seconds,
            said,
        });
    }
    Ok(proofs)
}

/// How long a test took to fail, if it did, and what it said.
fn run(test: &str, bug: Option<PlantedBug>) -> anyhow::Result<(Option<f64>, String)> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(CARGO).arg(test).env_remove(VARIABLE);
    if let Some(bug) = bug {
        command.env(VARIABLE, bug.name());
    }
    let output = command.output().context("cargo cannot be started")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let results = || text.lines().filter(|line| line.starts_with("test result:"));
    if output.status.success() {
        let passed = results().filter(|line| line.contains(" 1 passed;")).count();
        ensure!(passed == 1, "{passed} tests are named {test}");
        return Ok((None, String::new()));
    }
    let failed = results().find(|line| line.contains(" 1 failed;"));
    let failed = failed.with_context(|| format!("{test} could not be run:\n{text}"))?;
    let seconds = failed.rsplit("finished in ").next();
    let seconds = seconds.and_then(|text| text.trim_end_matches('s').parse().ok());
    let seconds: f64 = seconds.with_context(|| format!("no time stands in {failed:?}"))?;
    Ok((Some(seconds), said(&text)))
}

/// What a failed test says first: a difference, a wrong value, or the whole message.
fn said(output: &str) -> String {
    let mut lines = output.lines();
    lines.find(|line| line.contains(" panicked at "));
    let message = lines.next().unwrap_or_default();
    let is_about_values = |line: &&str| {
        let text = line.strip_prefix("  ").unwrap_or_default();
        text.starts_with(char::is_alphabetic)
    };
    let said = lines.find(is_about_values).unwrap_or(message);
    let said = said.trim().replace('|', "/");
    said.chars().take(SAID_CHARS_MAX).collect()
}
