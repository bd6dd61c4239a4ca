//! The main job on real processes: a chain of shops trades through an outage.
//!
//! The driver starts a hub and tills as child processes, puts a network between them that it can
//! cut, sells, kills and restarts, and keeps its own account of everything that a till
//! acknowledged. At the end it stops all processes and compares that account with the hub's
//! tables: the verdict is computed there and nowhere else.
//!
//! The processes, their driver and the comparison are also for other tests on real processes.
//! Start with [`run`]. `scenario` tells the two stories, `fleet` holds the processes, `verdict`
//! compares.

#![expect(
    missing_docs,
    clippy::missing_errors_doc,
    reason = "a library for tests alone: fields are what they are called, and every error is a program that did not do as told"
)]

pub mod account;
pub mod binaries;
pub mod client;
mod config;
pub mod daemon;
pub mod directory;
mod evening;
mod fleet;
mod format;
pub mod hub;
mod names;
mod network;
mod page;
mod report;
mod scenario;
pub mod settle;
pub mod till;
mod timeline;
pub mod trade;
pub mod verdict;

use crate::directory::Directory;
use std::sync::Arc;

pub use self::{
    account::shop_of,
    config::{Config, Options},
    names::Names,
    report::{Kills, Memory, Report, ShopReport},
    timeline::{Style, Timeline},
};

/// Runs the whole demo and computes its verdict; a difference is in the report, not an error.
///
/// # Errors
/// Something that keeps the story from being told: no binaries, a process that does not start, a
/// till that refuses a correct sale, or tills that never agree with the hub.
pub async fn run(config: &Config, timeline: &Timeline) -> anyhow::Result<Report> {
    let binaries = binaries::find(config, timeline).await?;
    let directory = Arc::new(Directory::create("demo", config.keep.as_deref())?);
    match &config.data {
        Some(file) => {
            let story = scenario::replay::run(config, file, &binaries, &directory, timeline);
            Box::pin(story).await
        }
        None => {
            let story = scenario::generated::run(config, &binaries, &directory, timeline);
            Box::pin(story).await
        }
    }
}
