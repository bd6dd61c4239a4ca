//! Replication over real HTTP on loopback, and the engine rules it stands on.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests stop at the first surprise"
)]

mod backlog;
mod book;
mod bootstrap;
mod catalog;
mod copy;
mod damage;
mod delta;
mod difference;
mod faults;
mod fold;
mod history;
mod server;
mod shop;
mod stock;
mod support;
mod wal;
