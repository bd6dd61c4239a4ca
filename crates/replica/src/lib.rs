//! libSQL WAL frames, the push and pull client, the hub's copy of a database.
//!
//! Read `DESIGN.md` first. [`struct@Copy`] is the hub's side, [`BookReplica`] and [`CatalogReplica`] are the
//! node's; [`env`](mod@env) is what the outside world supplies. This crate has the workspace's only
//! unsafe code: `wal/raw.rs` and `vfs.rs`.

mod chain;
pub mod compress;
pub mod copy;
pub mod crash;
pub mod delta;
pub mod env;
pub mod frame;
mod gate;
pub mod history;
pub mod limits;
mod local;
pub mod numbering;
mod page_index;
mod pages;
pub mod planted;
mod pull;
mod push;
mod remote;
mod swap;
#[cfg(feature = "deterministic-vfs")]
pub mod vfs;
mod wal;

pub use self::{
    copy::{
        Copy, CopyError, CopyInfo, CopyKind, DeltaFrames, ExportOutcome, PagesOutcome, PullOutcome,
        Push, PushOutcome, PushRefusal, RestoreError, Rotation, SetAside,
    },
    frame::{Chain, Salt},
    gate::{Gate, GateClosed, GateJob, GateUse, OpenGate},
    local::{LocalCheckpoint, LocalError},
    pull::{CatalogReplica, PullError, PullReport},
    push::{
        BookReplica, BookStatus, Divergence, Progress, PushError, PushReport, Seen, Supersede,
        WalLimit, WalLimits,
    },
    remote::{Remote, RemoteError},
    swap::BaseRefusal,
    wal::{Checkpoint, Durability, Position, Reading, SqliteError, Wal, WalError, initialize},
};

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Again at once.
    Now,
    /// Again after a pause, which should grow.
    Later,
    /// Not before somebody has changed something.
    Never,
}
