//! `cargo run --package foreign-clients`: every stock client against the hub, see
//! [`foreign_clients::scenarios`], and a lane in Python among ours, see [`foreign_clients::lanes`]. Needs node with npm, and python3 with venv; a missing one is a
//! failure, not a skip.

use anyhow::Context as _;
use clap::Parser;
use foreign_clients::client::Kind;
use foreign_clients::content::Reader;
use foreign_clients::install::{javascript, lane, programs, python, reader};
use foreign_clients::lanes::{self, Programs};
use foreign_clients::scenarios::Scene;
use std::future::Future;
use std::io::Write as _;
use std::path::Path;

/// Stock clients against the hub, and a lane in Python among ours.
#[derive(Debug, Parser)]
#[command(name = "foreign-clients")]
struct Cli {
    /// Only those whose name has these words, such as `Rust` or `lane`
    #[arg(default_value = "")]
    only: String,
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Counts what passed and what did not.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    async fn note(
        &mut self,
        kind: &Kind,
        what: &str,
        done: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        let name = kind.name;
        match done.await {
            Ok(()) => {
                self.passed += 1;
                say(&format!("{name}: {what} ... ok"))
            }
            Err(error) => {
                self.failed += 1;
                say(&format!("{name}: {what} ... FAILED: {error:#}"))
            }
        }
    }
}

async fn all(tally: &mut Tally, hub: &Path, kind: &Kind, reader: &Reader) -> anyhow::Result<()> {
    let scene = || Scene::new(hub, kind, reader);
    let (what, scenes) = ("syncs and bootstraps", scene()?);
    tally
        .note(kind, what, scenes.syncs_and_bootstraps())
        .await?;
    let what = "in sync, follows a generation";
    tally
        .note(kind, what, scene()?.follows_a_generation())
        .await?;
    let what = "refused with a stale generation";
    let done = scene()?.refused_with_a_stale_generation();
    tally.note(kind, what, done).await?;
    let what = "refused as a second writer";
    let done = scene()?.refused_as_a_second_writer();
    tally.note(kind, what, done).await?;
    let what = "fails without a hole when it missed a generation";
    let done = scene()?.fails_as_a_reader_that_missed_a_generation();
    tally.note(kind, what, done).await?;
    let what = "refused without the token";
    let scenes = scene()?;
    let done = async { scenes.refused_without_the_token() };
    tally.note(kind, what, done).await?;
    let what = "does not notice that the hub is away";
    let done = scene()?.does_not_notice_that_the_hub_is_away();
    tally.note(kind, what, done).await?;
    if kind.name != "Rust" {
        let scenes = scene()?;
        let done = async { scenes.runs_the_example() };
        tally.note(kind, "runs the manual's example", done).await?;
    }
    Ok(())
}

/// What a lane that somebody else wrote does among ours.
async fn among_lanes(tally: &mut Tally, programs: &Programs) -> anyhow::Result<()> {
    let kind = &programs.till;
    let all = || programs.clone();
    let what = "keeps and hands on the journal of a dead lane";
    let done = lanes::keeps_and_hands_on_the_journal_of_a_dead_lane(all());
    tally.note(kind, what, done).await?;
    let done = lanes::writes_a_journal_of_its_own(all());
    tally
        .note(kind, "writes a journal of its own", done)
        .await?;
    let what = "sells, is counted by ours and by the hub";
    let done = lanes::sells_and_is_counted(all());
    tally.note(kind, what, done).await?;
    let what = "speaks TLS with the certificate of the hub";
    let done = lanes::speaks_tls_with_its_certificate(all());
    tally.note(kind, what, done).await?;
    let done = lanes::stays_out_as_a_stranger(all());
    tally.note(kind, "stays out as a stranger", done).await?;
    let what = "is not believed with a broken chain";
    let done = lanes::is_not_believed_with_a_broken_chain(all());
    tally.note(kind, what, done).await
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let only = Cli::parse().only;
    let folder = programs()?;
    let work = folder.join("foreign-clients-installed");
    let program = |name: &str| folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let rust = Kind {
        name: "Rust",
        program: program("stock-client"),
        arguments: Vec::new(),
    };
    let kinds = [rust, javascript(&work)?, python(&work)?];
    let reader = reader(&work);
    let mut tally = Tally::default();
    for kind in kinds.iter().filter(|kind| kind.name.contains(&only)) {
        all(&mut tally, &program("foreign-hub"), kind, &reader)
            .await
            .with_context(|| format!("{}: the stage cannot be set", kind.name))?;
    }
    let programs = Programs {
        hub: program("foreign-hub"),
        node: program("foreign-node"),
        till: lane(&work, "till.py"),
        activate: lane(&work, "activate.py"),
        writer: lane(&work, "lane_scenes.py"),
    };
    if programs.till.name.contains(&only) {
        Box::pin(among_lanes(&mut tally, &programs)).await?;
    }
    let Tally { passed, failed } = tally;
    say(&format!("{passed} passed, {failed} failed"))?;
    anyhow::ensure!(failed == 0, "{failed} failed");
    Ok(())
}
