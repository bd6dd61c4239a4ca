//! `counterfoil-hub` for the stress tests.

use clap::Parser as _;
use counterfoil_hub::cli::{Cli, execute};
use counterfoil_replica::env::Env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_max_level(cli.log_level())
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(execute(cli, Env::system())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure
                .print(&mut std::io::stderr().lock())
                .expect("standard error is open");
            ExitCode::from(failure.exit_code)
        }
    }
}
