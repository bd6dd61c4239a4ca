//! The hub from outside: real sockets, real databases, and real processes where they are killed.

mod access;
mod admission;
mod catalog;
mod commands;
mod consolidation;
mod crash;
mod garbage;
mod hub;
mod till;
