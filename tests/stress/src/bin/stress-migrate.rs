//! `counterfoil-migrate` for the stress tests.

use clap::Parser;
use counterfoil_migrate::cli::{self, Command};
use counterfoil_replica::env::Env;
use std::io::Write as _;
use std::process::ExitCode;

/// As the program itself takes them.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let now_ms = Env::system().clock.now_ms();
    let command = Arguments::parse().command;
    match cli::run(&command, now_ms, &mut std::io::stdout().lock()) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            // Nobody is left to tell when it is closed.
            writeln!(std::io::stderr(), "{failure}").ok();
            ExitCode::from(failure.exit.code())
        }
    }
}
