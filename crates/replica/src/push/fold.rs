//! When a book's WAL is folded into its main file, and what that does to its numbers.

use crate::{
    copy::wal_bytes,
    local::{Local, LocalCheckpoint, LocalError},
    numbering::{Lost, Mapping},
    wal::{Checkpoint, Position},
};

/// How large and how old a book's WAL may grow. Ages count from when a checkpoint was first asked
/// for, which is as good as the first frame for limits of hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalLimits {
    /// What time it is, milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// For a WAL that the hub has all of, or whose frames have no numbers there: nothing is lost by folding it.
    pub acknowledged: WalLimit,
    /// For any WAL. The frames that the hub lacks lose their numbers, and the next push sends the
    /// pages that differ.
    pub any: WalLimit,
}

/// A size and an age; one of them is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalLimit {
    /// Bytes; a larger WAL is folded.
    pub bytes: u64,
    /// Milliseconds; a WAL that is that old is folded.
    pub age_ms: i64,
}

impl WalLimit {
    /// No WAL is too large or too old.
    pub const NONE: Self = Self {
        bytes: u64::MAX,
        age_ms: i64::MAX,
    };

    fn is_passed(self, bytes: u64, age_ms: i64) -> bool {
        bytes > self.bytes || age_ms >= self.age_ms
    }
}

impl WalLimits {
    /// A WAL that the hub has all of may have this size; other limits there are none.
    #[must_use]
    pub fn acknowledged_bytes(bytes: u64) -> Self {
        Self {
            now_ms: 0,
            acknowledged: WalLimit {
                bytes,
                ..WalLimit::NONE
            },
            any: WalLimit::NONE,
        }
    }
}

/// Whether a checkpoint is due and allowed; `Done` and `DoneEarly` stand for yes.
pub(super) fn is_due(local: &mut Local, limits: &WalLimits) -> Result<LocalCheckpoint, LocalError> {
    let position = local.observe()?;
    // The first frame is the mark: a WAL with nothing else is as short as it can be.
    if position.frames <= 1 {
        return Ok(LocalCheckpoint::NotNeeded);
    }
    let (bytes, age_ms) = (wal_bytes(position.frames), age(local, limits.now_ms)?);
    let is_free = has_no_numbers(local) || local.acknowledged() == position.frames;
    Ok(if limits.acknowledged.is_passed(bytes, age_ms) && is_free {
        LocalCheckpoint::Done
    } else if limits.any.is_passed(bytes, age_ms) {
        LocalCheckpoint::DoneEarly
    } else if limits.acknowledged.is_passed(bytes, age_ms) {
        LocalCheckpoint::Unacknowledged
    } else {
        LocalCheckpoint::NotNeeded
    })
}

fn has_no_numbers(local: &Local) -> bool {
    local.record.mapping.is_none() && local.record.pending.is_none()
}

/// How long the WAL has been there, in milliseconds.
fn age(local: &mut Local, now_ms: i64) -> Result<i64, LocalError> {
    // A clock that was set back must not keep a WAL for ever.
    let since_ms = local.record.since_ms.filter(|since_ms| *since_ms <= now_ms);
    if since_ms.is_none() {
        local.change_record(|record| record.since_ms = Some(now_ms))?;
    }
    Ok(now_ms - since_ms.unwrap_or(now_ms))
}

/// Folds the WAL when it is due. Within the gate.
pub(super) fn fold_if_due(
    local: &mut Local,
    limits: &WalLimits,
) -> Result<LocalCheckpoint, LocalError> {
    let due = is_due(local, limits)?;
    if !matches!(due, LocalCheckpoint::Done | LocalCheckpoint::DoneEarly) {
        return Ok(due);
    }
    let position = local.observe()?;
    let next = match after(local, position, due) {
        Err(LocalError::Wal(error)) if error.is_damage() => {
            tracing::error!(%error, "the book's WAL is folded to save what follows");
            Err(Some(Lost::Damaged))
        }
        next => next?,
    };
    match local.checkpoint(next)? {
        Checkpoint::Done => Ok(due),
        Checkpoint::Busy => Ok(LocalCheckpoint::Busy),
    }
}

/// Where the frames of the next WAL stand, or why nowhere.
fn after(
    local: &mut Local,
    position: Position,
    due: LocalCheckpoint,
) -> Result<Result<Mapping, Option<Lost>>, LocalError> {
    Ok(match (local.record.mapping, due) {
        (None, _) if has_no_numbers(local) => Err(None),
        (Some(mapping), LocalCheckpoint::Done) => {
            let chain = local.chain_at(&mapping, position.frames)?;
            Ok(mapping.after_checkpoint(position.frames, chain))
        }
        _ => Err(Some(Lost::Limit)),
    })
}

/// Saves what a damaged WAL still holds. Within the gate. After a restart SQLite would take the frame
/// before the damaged one for the last.
pub(super) fn fold_damaged(local: &mut Local) -> Result<Checkpoint, LocalError> {
    local.observe()?;
    local.checkpoint(Err(Some(Lost::Damaged)))
}
