//! What node, peer and hub say to each other, and the decisions that need no I/O: the schema gate and its
//! lenses, join codes, problem codes.
//!
//! Messages live in [`wire`]; shops are upgraded on different days, so they change slower than code.

pub mod gate;
pub mod hub_url;
pub mod join;
pub mod lens;
pub mod openapi;
pub mod problem;
pub mod wire;
