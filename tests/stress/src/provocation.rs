//! What brings a process to a crash point.

use crate::chain::Folding;
use counterfoil_replica::crash::CrashPoint;

/// What is done to the files while all processes are down, or to the processes before the one that
/// is to die is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Provocation {
    /// Nothing: trade alone passes there.
    Trade,
    /// The till's catalog is lost.
    CatalogLost,
    /// The hub's copy of the till's book is lost.
    CopyLost,
    /// The till records a transaction that is larger than a batch, while the hub is down.
    LargeTransaction,
    /// The hub's copy is lost, the till dies in the middle of its upload, goes on selling before it is
    /// heard of again, and its frame numbers are lost too.
    UploadGivenUp,
}

impl Provocation {
    /// Whether the process comes there again and again, so that a later passing can be meant.
    pub(crate) const fn recurs(self) -> bool {
        matches!(self, Self::Trade)
    }
}

/// Whose process dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Victim {
    Till,
    Hub,
}

/// How a point is reached; a new point has no place here and does not compile.
pub(crate) const fn of(point: CrashPoint) -> (Victim, Provocation, Folding) {
    use Folding::{Always, Sometimes};
    use Provocation::{CatalogLost, CopyLost, LargeTransaction, Trade, UploadGivenUp};
    use Victim::{Hub, Till};
    match point {
        CrashPoint::PushPlanned
        | CrashPoint::PushSent
        | CrashPoint::PullInserted
        | CrashPoint::PullSynced => (Till, Trade, Sometimes),
        CrashPoint::PushRenumbered
        | CrashPoint::PullRenumbered
        | CrashPoint::CheckpointIntent
        | CrashPoint::CheckpointTruncated
        | CrashPoint::CheckpointMarked => (Till, Trade, Always),
        CrashPoint::DifferencePending
        | CrashPoint::DifferenceSent
        | CrashPoint::DifferenceAdopted => (Till, CopyLost, Sometimes),
        CrashPoint::BootstrapPart
        | CrashPoint::BootstrapWhole
        | CrashPoint::BootstrapStaged
        | CrashPoint::BootstrapInserted
        | CrashPoint::BootstrapFolding
        | CrashPoint::BootstrapTruncated
        | CrashPoint::BootstrapFolded
        | CrashPoint::SwapIntent
        | CrashPoint::SwapPutAway
        | CrashPoint::SwapRenamed
        | CrashPoint::SwapRecorded => (Till, CatalogLost, Sometimes),
        CrashPoint::CopyInserted | CrashPoint::CopySynced | CrashPoint::CopyTaken => {
            (Hub, Trade, Sometimes)
        }
        CrashPoint::CopyTailAppended => (Hub, LargeTransaction, Sometimes),
        CrashPoint::CopyTailCut => (Hub, UploadGivenUp, Sometimes),
        CrashPoint::GenerationIntent
        | CrashPoint::GenerationTruncated
        | CrashPoint::GenerationBegun => (Hub, Trade, Always),
    }
}
