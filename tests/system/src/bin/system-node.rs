//! `counterfoil-node` for the system tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    counterfoil_shop_node::cli::main_in(system_tests::clock::env())
}
