//! Hub and tills as real processes, under SIGKILL and a network that breaks in every way.
//!
//! The driver sells through the tills' own API and keeps its own account. At the end it heals
//! everything, waits until all sides agree, and compares the account with the files: nothing lost
//! (G1), nothing doubled (G2), sums equal (G3), numbers dense (G4), catalogs equal (G5), and the
//! hub's copy of each book the book itself. Every choice comes from a seed; the machine's timing
//! does not, so a seed repeats the choices and not the run.
//!
//! Start with [`run()`]; [`lanes()`] has the lanes of one shop among each other. `proxy` breaks connections, `kills` kills, `chain` holds the processes.

mod account;
mod chain;
mod copies;
mod faults;
mod kills;
mod lanes;
mod matrix;
mod proofs;
mod provocation;
mod proxy;
mod reader;
mod run;

pub use chain::{Programs, Verdict};
pub use faults::{Fault, FaultCounts};
pub use lanes::{LaneOptions, LaneOutcome, Storm, lanes};
pub use matrix::{Cell, Matrix, MatrixOptions, matrix};
pub use proofs::{Proof, Proofs, prove};
pub use provocation::Victim;
pub use run::{Options, Outcome, run};
