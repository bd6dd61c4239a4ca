//! The messages, by conversation. Every document is JSON; numbers carry their unit in their name.

pub mod access;
pub mod aliases;
pub mod certificate;
pub mod clients;
pub mod closure;
pub mod database;
pub mod decisions;
pub mod employees;
pub mod events;
pub mod fence;
pub mod gate;
pub mod history;
pub mod hub;
pub mod lane;
pub mod lineage;
pub mod mesh;
pub mod monitor;
pub mod node;
pub mod parked;
pub mod policies;
pub mod quarantine;
pub mod queue;
pub mod relay;
pub mod replication;
pub mod stock;
pub mod token;
