//! `counterfoil-hub` for the system tests.

use clap::Parser as _;
use counterfoil_hub::cli::{Cli, execute};
use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(execute(Cli::parse(), system_tests::clock::env())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure
                .print(&mut std::io::stderr().lock())
                .expect("standard error is open");
            ExitCode::from(failure.exit_code)
        }
    }
}
