//! `counterfoil-node` for the tests of foreign clients.

use std::process::ExitCode;

fn main() -> ExitCode {
    counterfoil_shop_node::cli::main()
}
