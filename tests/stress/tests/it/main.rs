//! Short runs of what the `stress` program does at length.

mod broken;
mod lanes;
#[cfg(feature = "rigged")]
mod rigged;
#[cfg(feature = "rigged")]
mod rigged_migrations;
