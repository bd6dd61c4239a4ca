//! Replication over real HTTP on loopback, and the engine rules it stands on.

mod book;
mod catalog;
mod copy;
mod server;
mod support;
mod wal;
