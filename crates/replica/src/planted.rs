//! Mistakes that can be made on purpose, for tests: each must be found by a test that names what it
//! breaks.
//!
//! Without the feature `planted-bugs` none can be made. With it, the environment variable
//! [`VARIABLE`] holds the name of the one that this process makes. `tests/stress` has the list of
//! tests that find them.

/// Names the mistake that a process makes.
pub const VARIABLE: &str = "COUNTERFOIL_PLANTED_BUG";

/// A mistake, and what the code does instead.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PlantedBug {
    /// The hub answers for pushed frames before their fsync; the code syncs first.
    AcknowledgeBeforeSync,
    /// Connections whose commit is the answer run with `synchronous=NORMAL`; the code has FULL.
    SynchronousNormal,
    /// A second connection of the node makes a PASSIVE checkpoint; the code has one owner of
    /// checkpoints, TRUNCATE, and the gate.
    PassiveCheckpoint,
    /// The node goes on one frame too far after an answer; the code goes on with the next.
    CursorTooFar,
    /// The hub's watermark of a book stands one entry too far; the code sets it to the last one moved.
    WatermarkTooFar,
    /// The hub puts frames without their commit into the WAL; the code holds them back.
    TailApplied,
    /// A checkpoint's intent is kept in memory; the code stores it first.
    CheckpointWithoutIntent,
    /// A sale is answered before its commit; the code answers after it.
    ReplyBeforeCommit,
    /// A renamed file's folder is not synced; the code syncs it.
    RenameWithoutSync,
    /// Neither side compares rolling checksums; the code compares them on every way.
    DigestNotCompared,
}

impl PlantedBug {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::AcknowledgeBeforeSync,
        Self::SynchronousNormal,
        Self::PassiveCheckpoint,
        Self::CursorTooFar,
        Self::WatermarkTooFar,
        Self::TailApplied,
        Self::CheckpointWithoutIntent,
        Self::ReplyBeforeCommit,
        Self::RenameWithoutSync,
        Self::DigestNotCompared,
    ];

    /// The name in [`VARIABLE`] and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcknowledgeBeforeSync => "acknowledge-before-fsync",
            // The crate `counterfoil-migrate`, which uses none of ours, knows this name too.
            Self::SynchronousNormal => "synchronous-normal",
            Self::PassiveCheckpoint => "passive-checkpoint",
            Self::CursorTooFar => "cursor-too-far",
            Self::WatermarkTooFar => "watermark-too-far",
            Self::TailApplied => "uncommitted-tail-applied",
            Self::CheckpointWithoutIntent => "checkpoint-without-intent",
            Self::ReplyBeforeCommit => "reply-before-commit",
            Self::RenameWithoutSync => "rename-without-directory-sync",
            Self::DigestNotCompared => "digest-not-compared",
        }
    }

    /// Whether this process makes it.
    #[cfg(not(feature = "planted-bugs"))]
    #[inline]
    #[must_use]
    pub const fn is_planted(self) -> bool {
        false
    }

    /// Whether this process makes it.
    ///
    /// # Panics
    /// When the variable names no planted bug.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn is_planted(self) -> bool {
        use std::sync::OnceLock;
        static PLANTED: OnceLock<Option<PlantedBug>> = OnceLock::new();
        *PLANTED.get_or_init(planted) == Some(self)
    }
}

#[cfg(feature = "planted-bugs")]
#[expect(
    clippy::disallowed_methods,
    reason = "a test reaches into the process it started"
)]
fn planted() -> Option<PlantedBug> {
    let name = std::env::var(VARIABLE).ok()?;
    let bug = PlantedBug::ALL.into_iter().find(|bug| bug.name() == name);
    Some(bug.expect("the variable names a planted bug"))
}
