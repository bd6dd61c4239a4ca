//! The hub: sync server, consolidator, admin API.
//!
//! [`service::run`] is the daemon; [`Hub`] is what it and every command work on. The SQL stands in
//! `store`, HTTP in `http`, commands in [`cli`]. A push goes `http::sync` → [`Copies`] →
//! `consolidator` → `store::consolidation` → `store::publication`.

pub mod cli;
mod config;
mod consolidator;
mod copies;
mod datadir;
mod edits;
mod history;
mod http;
mod hub;
mod integrity;
mod lanes;
pub mod limits;
mod monitor;
mod news;
mod quarantine;
mod secrets;
pub mod service;
mod store;
mod tls;

pub use config::{HubConfig, Registration};
pub use copies::{Copies, CopyFailure, CopyKey};
pub use datadir::{DataDir, DataDirError, Ownership, Running};
pub use history::Retention;
pub use http::{Peer, endpoint_table, router};
pub use hub::{Hub, OpenHubError};
pub use store::StoreError;
pub use tls::{TlsError, TlsMode};
