//! `counterfoil-node`: see [`counterfoil_shop_node::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    counterfoil_shop_node::cli::main()
}
