//! Named instants of replication at which a process can be made to die, for tests.
//!
//! Without the feature `crash-points` passing one does nothing. With it, the environment variable
//! [`VARIABLE`] holds the name of one point and which passing is meant (`push.sent:2`), and the process
//! kills itself there as SIGKILL does. `DESIGN.md` says what the next start finds at each.

/// Names the point and the passing, from 1, at which the process dies.
pub const VARIABLE: &str = "COUNTERFOIL_CRASH_POINT";

/// What stands in the log of a process that died at a point, before the point's name.
pub const REACHED: &str = "dies at crash point";

/// An instant, after what it is called for and before what follows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CrashPoint {
    /// Node: it is decided what a push sends.
    PushPlanned,
    /// Node: the hub has answered for a batch.
    PushSent,
    /// Node: the record follows the hub into a later generation.
    PushRenumbered,
    /// Node: the mapping that will hold after a difference upload is stored.
    DifferencePending,
    /// Node: the hub has answered for a batch of the difference.
    DifferenceSent,
    /// Node: the mapping of the difference holds.
    DifferenceAdopted,
    /// Node: the intent of a local checkpoint is stored.
    CheckpointIntent,
    /// Node: the WAL is folded.
    CheckpointTruncated,
    /// Node: the mark is in the new WAL, and its salt in no record yet.
    CheckpointMarked,
    /// Node: TRUNCATE met a reader, and may have moved every frame.
    CheckpointMetReader,
    /// Node: pulled frames are in the catalog's WAL, unsynced.
    PullInserted,
    /// Node: they are synced, and the record may not know the salt.
    PullSynced,
    /// Node: the record follows the hub's catalog into a later generation.
    PullRenumbered,
    /// Node: a part of the hub's file is stored and recorded.
    BootstrapPart,
    /// Node: it is recorded that every part is stored.
    BootstrapWhole,
    /// Node: the hub's file stands beside the catalog.
    BootstrapStaged,
    /// Node: frames are in the file beside.
    BootstrapInserted,
    /// Node: the intent to fold them is recorded.
    BootstrapFolding,
    /// Node: they are folded, which is not recorded.
    BootstrapTruncated,
    /// Node: the file beside is whole.
    BootstrapFolded,
    /// Hub: an empty copy stands beside a damaged one.
    SwapStaged,
    /// The intent of a swap is stored.
    SwapIntent,
    /// The old files are away.
    SwapPutAway,
    /// The new file is in its place.
    SwapRenamed,
    /// The record speaks of the new file.
    SwapRecorded,
    /// Hub: pushed frames are in the WAL, unsynced.
    CopyInserted,
    /// Hub: they are synced, and the record may not know the salt.
    CopySynced,
    /// Hub: frames without their commit are held back.
    CopyTailAppended,
    /// Hub: held-back frames of an upload that was given up are cut away.
    CopyTailCut,
    /// Hub: all of a push is durable and not answered yet.
    CopyTaken,
    /// Hub: the intent of a generation is stored.
    GenerationIntent,
    /// Hub: the WAL is folded.
    GenerationTruncated,
    /// Hub: the new generation is recorded.
    GenerationBegun,
    /// Hub: TRUNCATE met a reader, and may have moved every frame.
    GenerationMetReader,
    /// Node: a claim of a new identity is in the book.
    IdentityClaimed,
    /// Node: its token is stored, and nothing is sent yet.
    IdentityMinted,
    /// Hub: the new identity is recorded and not answered yet.
    IdentityGiven,
    /// Node: the hub has answered, and the book is still the former node's.
    IdentityAnswered,
    /// Node: the book is the new node's, of which the hub has nothing.
    IdentityTaken,
    /// Node: its next token is stored, and nothing is sent yet.
    TokenMinted,
    /// Hub: the next token is recorded and not answered yet.
    TokenNoted,
    /// Node: the hub has answered, and the next token is not in its place.
    TokenAnswered,
    /// Node: the present token is kept beside its place too.
    TokenKept,
    /// Node: the next token is in its place, and in the place of the next one too.
    TokenTaken,
    /// Hub: the next token has been used and the one before has ended.
    TokenBegun,
}

impl CrashPoint {
    /// All of them, in the order of the table in `DESIGN.md`.
    pub const ALL: [Self; 45] = [
        Self::PushPlanned,
        Self::PushSent,
        Self::PushRenumbered,
        Self::DifferencePending,
        Self::DifferenceSent,
        Self::DifferenceAdopted,
        Self::CheckpointIntent,
        Self::CheckpointTruncated,
        Self::CheckpointMarked,
        Self::CheckpointMetReader,
        Self::PullInserted,
        Self::PullSynced,
        Self::PullRenumbered,
        Self::BootstrapPart,
        Self::BootstrapWhole,
        Self::BootstrapStaged,
        Self::BootstrapInserted,
        Self::BootstrapFolding,
        Self::BootstrapTruncated,
        Self::BootstrapFolded,
        Self::SwapStaged,
        Self::SwapIntent,
        Self::SwapPutAway,
        Self::SwapRenamed,
        Self::SwapRecorded,
        Self::CopyInserted,
        Self::CopySynced,
        Self::CopyTailAppended,
        Self::CopyTailCut,
        Self::CopyTaken,
        Self::GenerationIntent,
        Self::GenerationTruncated,
        Self::GenerationBegun,
        Self::GenerationMetReader,
        Self::IdentityClaimed,
        Self::IdentityMinted,
        Self::IdentityGiven,
        Self::IdentityAnswered,
        Self::IdentityTaken,
        Self::TokenMinted,
        Self::TokenNoted,
        Self::TokenAnswered,
        Self::TokenKept,
        Self::TokenTaken,
        Self::TokenBegun,
    ];

    /// The name in [`VARIABLE`], in tables and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PushPlanned => "push.planned",
            Self::PushSent => "push.sent",
            Self::PushRenumbered => "push.renumbered",
            Self::DifferencePending => "difference.pending",
            Self::DifferenceSent => "difference.sent",
            Self::DifferenceAdopted => "difference.adopted",
            Self::CheckpointIntent => "checkpoint.intent",
            Self::CheckpointTruncated => "checkpoint.truncated",
            Self::CheckpointMarked => "checkpoint.marked",
            Self::CheckpointMetReader => "checkpoint.met_reader",
            Self::PullInserted => "pull.inserted",
            Self::PullSynced => "pull.synced",
            Self::PullRenumbered => "pull.renumbered",
            Self::BootstrapPart => "bootstrap.part",
            Self::BootstrapWhole => "bootstrap.whole",
            Self::BootstrapStaged => "bootstrap.staged",
            Self::BootstrapInserted => "bootstrap.inserted",
            Self::BootstrapFolding => "bootstrap.folding",
            Self::BootstrapTruncated => "bootstrap.truncated",
            Self::BootstrapFolded => "bootstrap.folded",
            Self::SwapStaged => "swap.staged",
            Self::SwapIntent => "swap.intent",
            Self::SwapPutAway => "swap.put_away",
            Self::SwapRenamed => "swap.renamed",
            Self::SwapRecorded => "swap.recorded",
            Self::CopyInserted => "copy.inserted",
            Self::CopySynced => "copy.synced",
            Self::CopyTailAppended => "copy.tail_appended",
            Self::CopyTailCut => "copy.tail_cut",
            Self::CopyTaken => "copy.taken",
            Self::GenerationIntent => "generation.intent",
            Self::GenerationTruncated => "generation.truncated",
            Self::GenerationBegun => "generation.begun",
            Self::GenerationMetReader => "generation.met_reader",
            Self::IdentityClaimed => "identity.claimed",
            Self::IdentityMinted => "identity.minted",
            Self::IdentityGiven => "identity.given",
            Self::IdentityAnswered => "identity.answered",
            Self::IdentityTaken => "identity.taken",
            Self::TokenMinted => "token.minted",
            Self::TokenNoted => "token.noted",
            Self::TokenAnswered => "token.answered",
            Self::TokenKept => "token.kept",
            Self::TokenTaken => "token.taken",
            Self::TokenBegun => "token.begun",
        }
    }
}

/// The process is at this point, and dies here when a test wants that.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub const fn pass(_point: CrashPoint) {}

#[cfg(feature = "crash-points")]
pub use armed::pass;

#[cfg(feature = "crash-points")]
mod armed {
    use super::{CrashPoint, REACHED, VARIABLE};
    use rustix::process::{Signal, getpid, kill_process};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The point's name and the passing, from 1.
    static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    #[expect(
        clippy::disallowed_methods,
        reason = "a test reaches into the process it started"
    )]
    fn armed() -> Option<(String, u64)> {
        let text = std::env::var(VARIABLE).ok()?;
        let (name, passing) = text
            .split_once(':')
            .expect("a crash point is written as name:passing");
        let known = CrashPoint::ALL.iter().any(|point| point.name() == name);
        assert!(known, "{name} is no crash point");
        Some((
            name.to_owned(),
            passing.parse().expect("a number of a passing"),
        ))
    }

    /// The process is at this point, and dies here when a test wants that.
    ///
    /// # Panics
    /// When the variable names no crash point.
    pub fn pass(point: CrashPoint) {
        let Some((name, passing)) = ARMED.get_or_init(armed) else {
            return;
        };
        if name == point.name() && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *passing {
            tracing::error!("{REACHED} {name}:{passing}");
            kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
            // The signal is on its way; nothing more may happen here.
            loop {
                std::thread::park();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CrashPoint;
    use std::collections::BTreeSet;

    /// Names in the first column of the table below the heading `Crash points`.
    fn in_the_document() -> BTreeSet<&'static str> {
        let document = include_str!("../DESIGN.md");
        let (_, section) = document
            .split_once("\n## Crash points\n")
            .expect("a section on crash points");
        let section = section.split("\n## ").next().unwrap_or(section);
        let names = section.lines().filter_map(|line| line.strip_prefix("| `"));
        names.filter_map(|row| row.split('`').next()).collect()
    }

    #[test]
    fn every_crash_point_is_in_the_table_and_every_row_is_a_crash_point() {
        let known: BTreeSet<&str> = CrashPoint::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(known.len(), CrashPoint::ALL.len(), "names are unique");
        assert_eq!(known, in_the_document());
    }
}
