//! The hub from outside: real sockets, real databases, and real processes where they are killed.
#![expect(
    clippy::unwrap_used,
    reason = "clippy knows test functions, not their helpers"
)]

mod access;
mod account_races;
mod admission;
mod alerts;
mod authority;
mod blocked;
mod catalog;
mod clock;
mod closures;
mod commands;
mod conflicts;
mod consolidation;
mod counter;
mod crash;
mod databases;
mod deliveries;
mod delta;
mod described;
mod endpoints;
mod events;
mod export;
mod garbage;
mod gate;
mod history;
mod hub;
mod integrity;
mod kinds;
mod lanes;
mod lineage;
mod monitor;
mod open_conflicts;
mod orders;
mod own_shop;
mod ownership;
mod parked;
mod pins;
mod poison;
mod poisoned_days;
mod policies;
mod policy_groups;
mod prices;
mod proof;
mod quarantine;
mod reentry;
mod refunded;
mod relayed;
mod relayed_lost;
mod roles;
mod schemas;
mod shop_conflicts;
mod states;
mod stock;
mod till;
mod tls;
mod tokens;
mod undo;
mod unknown_customers;
mod users;
