//! The stock libSQL clients, and a lane of a shop in Python, against our side of their protocols.
//!
//! A package of its own keeps libSQL's `sync` feature, and the HTTP and gRPC stacks that come with
//! it, out of every other build. The program `foreign-clients` runs [`scenarios`] with the clients of
//! every language; `cargo test` runs them with Rust's, and more of it in this process.

pub mod client;
pub mod content;
pub mod example;
pub mod hub;
pub mod install;
pub mod lanes;
pub mod scenarios;
