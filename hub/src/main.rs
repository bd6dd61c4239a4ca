//! The program `counterfoil-hub`: parses, logs, calls.

use clap::Parser as _;
use counterfoil_hub::cli::{Cli, execute};
use counterfoil_replica::env::Env;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let filter = EnvFilter::builder()
        .with_default_directive(cli.log_level().into())
        .with_env_var("COUNTERFOIL_LOG")
        .from_env_lossy();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        log.init();
    } else {
        log.json().init();
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(execute(cli, Env::system()));
    // A request that outlived the grace period is cut off; its till sends again.
    runtime.shutdown_timeout(Duration::from_secs(2));
    Ok(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print(&mut std::io::stderr().lock())?;
            ExitCode::from(failure.exit_code)
        }
    })
}
