//! `counterfoil-migrate`: shows, checks and applies the schema of one database file.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Parser;
use counterfoil_migrate::cli::{self, Command};
use tracing_subscriber::filter::LevelFilter;

/// Show, check and apply the schema of a Counterfoil database
#[derive(Parser)]
#[command(name = "counterfoil-migrate", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Log to stderr what is done
    #[arg(short, long, global = true)]
    verbose: bool,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 check found problems,
            6 divergent schema, or a database newer than this program";

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            error.print().ok();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let level = if arguments.verbose {
        LevelFilter::INFO
    } else {
        LevelFilter::WARN
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(level)
        .init();
    let mut stdout = std::io::stdout().lock();
    match cli::run(&arguments.command, now_ms(), &mut stdout) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            // As above.
            writeln!(std::io::stderr(), "{failure}").ok();
            ExitCode::from(failure.exit.code())
        }
    }
}

/// Milliseconds since the epoch, for the schema history.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge of the program: from here on the moment is injected"
)]
fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since_epoch = since_epoch.unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
