//! Hub, tills and network of a chain in one process, from one seed: the real code, the real libSQL.
//!
//! [`run`] trades through crashes, cuts and wrong clocks, heals everything, waits until all sides
//! agree and then judges the database files against what the tills were told. A seed replays byte
//! for byte. Read `DESIGN.md` for what is simulated and what is not.

mod chaos;
mod checks;
mod disk;
mod environment;
mod events;
mod files;
mod fingerprint;
mod hosts;
mod office;
mod plan;
mod record;
mod sabotage;
mod till;
mod wire;
mod world;

pub use checks::{Guarantee, Violation};
pub use plan::Plan;
pub use record::Sometimes;
pub use sabotage::Sabotage;
pub use world::{Options, Outcome, run};
