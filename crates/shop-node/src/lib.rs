//! The daemon of one lane. It sells from its own databases and syncs when the network lets it.
//!
//! [`node::Node`] is the lane, [`api`] is how programs talk to it, [`sync`] how it talks to the hub,
//! [`cli`] how people do: every command is a request to the same API.

pub mod activation;
pub mod api;
pub mod cli;
pub mod config;
pub mod credentials;
mod fence;
pub mod import;
mod limits;
pub mod local_client;
mod marks;
pub mod mesh;
mod monitor;
pub mod node;
pub mod problem;
mod repair;
pub mod service;
mod stock;
pub mod sync;
