//! Tests of the engine rules and of the migration runner, on temporary files.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows test functions, not their helpers"
)]

mod close;
mod engine;
mod folders;
mod migrations;
mod program;
mod runners_at_once;
mod temp;
mod transactions;
