//! What a power cut or a failing disk could leave, enumerated and opened by the real code.
//!
//! A scenario runs once, on disks in memory that note every change and every sync on one [`tape`].
//! [`crash`] rebuilds from it what a power cut at each place could leave, [`run`] has the real node and
//! the real hub start on every such state, and [`judge`] says whether a promise was broken.
//! [`faults`] lets every call to a disk fail once instead.

pub mod crash;
pub mod disk;
pub mod faults;
pub mod judge;
mod recovery;
pub mod report;
pub mod run;
pub mod scenario;
pub mod tape;
mod vault;
pub mod wal;
mod wire;
pub mod world;
