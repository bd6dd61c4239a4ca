//! Plain names of the environment, for settings that other programs for shops have too (P9). Each is an alias: the setting's own name
//! counts first, and a flag before both. `docs/operating.md` has them in a table.

use crate::config::is_set;
use clap::{Arg, Command};

/// By command and argument.
const ALIASES: [(&str, &str, &str); 8] = [
    ("init", "node_id", "COUNTERFOIL_TERMINAL_ID"),
    ("run", "node_id", "COUNTERFOIL_TERMINAL_ID"),
    ("run", "peer_listen", "COUNTERFOIL_PEER_PORT"),
    ("run", "peers", "COUNTERFOIL_PEERS"),
    ("run", "sync_interval_ms", "COUNTERFOIL_SYNC_INTERVAL_MS"),
    ("run", "attempts_max", "COUNTERFOIL_MAX_RETRIES"),
    ("run", "batch_size", "COUNTERFOIL_BATCH_SIZE"),
    ("activate", "hub", "COUNTERFOIL_HUB_URL"),
];

/// The command line, which reads an alias where the setting's own name says nothing.
pub(super) fn with_aliases(command: Command) -> Command {
    let set = ALIASES.iter().filter(|(.., alias)| is_set(alias.as_ref()));
    set.fold(command, |command, (subcommand, argument, alias)| {
        command.mut_subcommand(subcommand, |it| {
            it.mut_arg(argument, |it| aliased(it, alias))
        })
    })
}

fn aliased(argument: Arg, alias: &'static str) -> Arg {
    let has_own = argument.get_env().is_some_and(is_set);
    match has_own {
        true => argument,
        false => argument.env(alias),
    }
}
