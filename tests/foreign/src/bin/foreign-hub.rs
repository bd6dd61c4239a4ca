//! `counterfoil-hub` for the tests of foreign clients.

use clap::Parser as _;
use counterfoil_hub::cli::{Cli, execute};
use counterfoil_replica::env::Env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(execute(Cli::parse(), Env::system())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure
                .print(&mut std::io::stderr().lock())
                .expect("standard error is open");
            ExitCode::from(failure.exit_code)
        }
    }
}
