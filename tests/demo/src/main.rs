//! `cargo demo`: watches a chain of shops trade through an outage, then judges.

use anyhow::Context as _;
use clap::Parser as _;
use counterfoil_demo::{Config, Options, Report, Style, Timeline};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// The checks found a difference; the codes stand in the help text.
const EXIT_DIFFERENCE: u8 = 3;
const EXIT_FAILED: u8 = 1;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let style = Style::of(std::io::stdout().is_terminal());
    let timeline = Timeline::new(std::io::stdout(), style);
    let json = options.json.clone();
    let told = Box::pin(tell(Config::of(options), json.as_deref(), &timeline)).await;
    match told {
        Ok(report) if report.passed() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(EXIT_DIFFERENCE),
        Err(error) => {
            // Nothing is left to do when stderr is gone too.
            drop(writeln!(std::io::stderr(), "demo: {error:#}"));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

async fn tell(config: Config, json: Option<&Path>, timeline: &Timeline) -> anyhow::Result<Report> {
    let report = tokio::select! {
        report = counterfoil_demo::run(&config, timeline) => report?,
        // The processes end when the story is dropped.
        interrupted = interrupted() => {
            interrupted?;
            anyhow::bail!("interrupted");
        }
    };
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write the report to {}", path.display()))?;
    }
    timeline.text(&report.to_text(timeline.style()));
    Ok(report)
}

/// Ctrl-C, or SIGTERM.
async fn interrupted() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _ = terminate.recv() => Ok(()),
    }
}
