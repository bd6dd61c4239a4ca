//! The shipped programs as processes, on real sockets and files.

mod activation;
mod aliases;
mod bootstrap;
mod clients;
mod conflicts;
mod damage;
mod demo;
mod directory;
mod disk;
mod garbage;
mod gate;
mod identity;
mod imports;
mod lineage;
mod monitor;
mod notices;
mod offline;
mod process;
mod proof;
mod refusals;
mod relay;
mod secure;
mod selling;
mod store;
mod token;
mod world;
