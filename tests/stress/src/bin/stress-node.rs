//! `counterfoil-node` for the stress tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    counterfoil_shop_node::cli::main()
}
