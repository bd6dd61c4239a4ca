//! What brings a process to a crash point.

use crate::chain::{Files, Folding};
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
    /// The record beside the hub's copy is damaged.
    CopyDamaged,
    /// The hub is down until the process has died.
    HubAway,
    /// Another program reads the book, or the hub's copy of it, until the process has died.
    Reader,
    /// The till's folder is put back to what it was some sales ago. Nobody sells before the process has
    /// died: until the hub is heard of, a restored till cannot know which numbers it gave out.
    Restored,
    /// An operator asks for another token of the till.
    TokenAsked,
    /// The till records a transaction that is larger than a batch, while the hub is down.
    LargeTransaction,
    /// The hub's copy is lost, the till dies in the middle of its upload, goes on selling before it is
    /// heard of again, and its frame numbers are lost too.
    UploadGivenUp,
}

impl Provocation {
    /// Whether it takes files away.
    pub(crate) const fn files(self) -> Files {
        match self {
            Self::Trade | Self::LargeTransaction | Self::Reader | Self::TokenAsked => Files::Kept,
            Self::CatalogLost
            | Self::CopyLost
            | Self::CopyDamaged
            | Self::HubAway
            | Self::Restored
            | Self::UploadGivenUp => Files::Taken,
        }
    }

    /// In tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Trade => "trade",
            Self::CatalogLost => "catalog lost",
            Self::CopyLost => "copy lost",
            Self::CopyDamaged => "copy damaged",
            Self::HubAway => "hub away",
            Self::Reader => "a reader",
            Self::Restored => "till restored",
            Self::TokenAsked => "token asked",
            Self::LargeTransaction => "large transaction",
            Self::UploadGivenUp => "upload given up",
        }
    }

    /// Whether the process comes there again and again, so that a later passing can be meant.
    pub(crate) const fn recurs(self) -> bool {
        matches!(self, Self::Trade)
    }
}

/// Whose process dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Victim {
    /// The first till's.
    Till,
    /// The hub's.
    Hub,
}

/// One way to a point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Way {
    pub(crate) victim: Victim,
    pub(crate) provocation: Provocation,
    pub(crate) folding: Folding,
}

const fn way(victim: Victim, provocation: Provocation, folding: Folding) -> Way {
    Way {
        victim,
        provocation,
        folding,
    }
}

/// How a point is reached, on each side that comes there; a new point has no place here and does not
/// compile.
pub(crate) fn of(point: CrashPoint) -> Vec<Way> {
    use Folding::{Always, Early, Sometimes};
    use Provocation::{
        CatalogLost, CopyDamaged, CopyLost, HubAway, LargeTransaction, Reader, Restored,
        TokenAsked, Trade, UploadGivenUp,
    };
    use Victim::{Hub, Till};
    match point {
        CrashPoint::PushPlanned
        | CrashPoint::PushSent
        | CrashPoint::PullInserted
        | CrashPoint::PullSynced => vec![way(Till, Trade, Sometimes)],
        CrashPoint::PushRenumbered | CrashPoint::PullRenumbered => vec![way(Till, Trade, Always)],
        CrashPoint::CheckpointIntent
        | CrashPoint::CheckpointTruncated
        | CrashPoint::CheckpointMarked => {
            vec![way(Till, Trade, Always), way(Till, HubAway, Early)]
        }
        CrashPoint::CheckpointMetReader => vec![way(Till, Reader, Always)],
        CrashPoint::DifferencePending
        | CrashPoint::DifferenceSent
        | CrashPoint::DifferenceAdopted => vec![
            way(Till, CopyLost, Sometimes),
            // A backlog goes the same way.
            way(Till, LargeTransaction, Sometimes),
        ],
        CrashPoint::BootstrapPart
        | CrashPoint::BootstrapWhole
        | CrashPoint::BootstrapStaged
        | CrashPoint::BootstrapInserted
        | CrashPoint::BootstrapFolding
        | CrashPoint::BootstrapTruncated
        | CrashPoint::BootstrapFolded => vec![way(Till, CatalogLost, Sometimes)],
        CrashPoint::SwapStaged => vec![way(Hub, CopyDamaged, Sometimes)],
        CrashPoint::SwapIntent
        | CrashPoint::SwapPutAway
        | CrashPoint::SwapRenamed
        | CrashPoint::SwapRecorded => vec![
            way(Till, CatalogLost, Sometimes),
            way(Hub, CopyDamaged, Sometimes),
        ],
        CrashPoint::CopyInserted | CrashPoint::CopySynced | CrashPoint::CopyTaken => {
            vec![way(Hub, Trade, Sometimes)]
        }
        CrashPoint::CopyTailAppended => vec![way(Hub, LargeTransaction, Sometimes)],
        CrashPoint::CopyTailCut => vec![way(Hub, UploadGivenUp, Sometimes)],
        CrashPoint::GenerationIntent
        | CrashPoint::GenerationTruncated
        | CrashPoint::GenerationBegun => vec![way(Hub, Trade, Always)],
        CrashPoint::GenerationMetReader => vec![way(Hub, Reader, Always)],
        CrashPoint::IdentityClaimed
        | CrashPoint::IdentityMinted
        | CrashPoint::IdentityAnswered
        | CrashPoint::IdentityTaken => vec![way(Till, Restored, Sometimes)],
        CrashPoint::IdentityGiven => vec![way(Hub, Restored, Sometimes)],
        CrashPoint::TokenMinted
        | CrashPoint::TokenAnswered
        | CrashPoint::TokenKept
        | CrashPoint::TokenTaken => vec![way(Till, TokenAsked, Sometimes)],
        CrashPoint::TokenNoted | CrashPoint::TokenBegun => vec![way(Hub, TokenAsked, Sometimes)],
    }
}
