//! The blocking half of a pull: compares, inserts, folds and swaps, each step one call.

use super::{
    incoming::{self, Incoming},
    staged::Staged,
};
use crate::{
    crash::{self, CrashPoint},
    local::{Local, LocalCheckpoint, LocalError},
    numbering::{Mapping, Record, Swap},
    planted::PlantedBug,
    remote::HubInfo,
    swap,
    wal::Checkpoint,
};

/// The catalog's files.
pub(super) struct Catalog {
    pub(super) local: Local,
    /// A download that is not swapped in yet; it outlives a pull that the line cut short.
    pub(super) incoming: Option<Incoming>,
    /// Whether what an earlier process left of a download was looked at.
    pub(super) is_loaded: bool,
}

impl Catalog {
    pub(super) fn new(local: Local) -> Self {
        Self {
            local,
            incoming: None,
            is_loaded: false,
        }
    }
}

/// What to do about the hub's state.
pub(super) enum Plan {
    /// Pull from the frame after this one.
    From {
        mapping: Mapping,
        frame: u64,
    },
    Bootstrap,
}

/// Compares the catalog with what the hub says; one that is damaged is downloaded again.
pub(super) fn plan(catalog: &mut Catalog, info: &HubInfo) -> Result<Plan, LocalError> {
    match compare(catalog, info) {
        Err(LocalError::Wal(error)) if error.is_damage() => {
            tracing::error!(%error, "the catalog is damaged: it is downloaded again");
            Ok(Plan::Bootstrap)
        }
        result => result,
    }
}

fn compare(catalog: &mut Catalog, info: &HubInfo) -> Result<Plan, LocalError> {
    let local = &mut catalog.local;
    let frames = local.observe()?.frames;
    let Some(mut mapping) = local.record.mapping else {
        return Ok(Plan::Bootstrap);
    };
    let at = |mapping: &Mapping| u64::try_from(mapping.hub_frame(frames)).ok();
    while mapping.generation < info.generation {
        // Frames of an ended generation are not to be had: only who has all of them goes on.
        match info.end_of(mapping.generation) {
            Some(end_frame) if at(&mapping) == Some(end_frame) => {
                mapping = mapping.after_close(end_frame);
            }
            _ => return Ok(Plan::Bootstrap),
        }
    }
    let Some(frame) = at(&mapping) else {
        return Ok(Plan::Bootstrap);
    };
    if mapping.generation > info.generation || frame > info.max_frame_no {
        return Ok(Plan::Bootstrap);
    }
    let expected = match frame {
        0 => info.chain_start,
        frame if frame == info.max_frame_no => info.chain,
        _ => None,
    };
    if let Some(expected) = expected
        && local.chain_at(&mapping, frames)? != expected
    {
        tracing::warn!("the catalog is not the hub's: it is downloaded again");
        return Ok(Plan::Bootstrap);
    }
    let renumbered = local.record.mapping != Some(mapping);
    local.change_record(|record| record.settle(mapping))?;
    if renumbered {
        crash::pass(CrashPoint::PullRenumbered);
    }
    // The catalog goes on by itself, whatever was on its way.
    incoming::give_up(catalog)?;
    Ok(Plan::From { mapping, frame })
}

/// Generation and frame of the catalog, when it holds at least what the hub described and that with
/// the same content.
pub(super) fn state_at(
    local: &mut Local,
    info: &HubInfo,
) -> Result<Option<(u64, u64)>, LocalError> {
    let frames = local.observe()?.frames;
    let Some(mapping) = local.record.mapping else {
        return Ok(None);
    };
    let Ok(frame) = u64::try_from(mapping.hub_frame(frames)) else {
        return Ok(None);
    };
    if mapping.generation != info.generation || frame < info.max_frame_no {
        return Ok(None);
    }
    if let (Some(expected), Ok(at)) = (
        info.chain,
        u64::try_from(mapping.local_frame(info.max_frame_no)),
    ) && local.chain_at(&mapping, at)? != expected
        && !PlantedBug::DigestNotCompared.is_planted()
    {
        tracing::warn!("the catalog is not the hub's: it is downloaded again");
        local.change_record(Record::distrust)?;
        return Ok(None);
    }
    Ok(Some((mapping.generation, frame)))
}

/// Inserts whole transactions into the catalog; false when the WAL is another one by now.
pub(super) fn insert(
    catalog: &mut Catalog,
    mapping: &Mapping,
    first: u64,
    body: &[u8],
) -> Result<bool, LocalError> {
    let local = &mut catalog.local;
    let next = local.observe()?.frames + 1;
    // Work of a pull that was dropped may run late, after the same frames came by another.
    if local.record.mapping != Some(*mapping) || u64::try_from(mapping.hub_frame(next)) != Ok(first)
    {
        return Ok(false);
    }
    local.wal()?.insert(next, body)?;
    crash::pass(CrashPoint::PullInserted);
    local.wal()?.sync()?;
    crash::pass(CrashPoint::PullSynced);
    // Binds the salt of a WAL that was empty.
    local.observe()?;
    Ok(true)
}

/// Inserts whole transactions into the download; false when that is another one by now.
pub(super) fn insert_staged(
    catalog: &mut Catalog,
    mapping: &Mapping,
    first: u64,
    body: &[u8],
) -> Result<bool, LocalError> {
    incoming::with_staged(catalog, |_, staged| {
        if staged.mapping() == *mapping {
            staged.insert(first, body)
        } else {
            Ok(false)
        }
    })
    .map(Option::unwrap_or_default)
}

/// Makes the download one file when it holds all that the hub described.
pub(super) fn fold(catalog: &mut Catalog, info: &HubInfo) -> Result<Option<Mapping>, LocalError> {
    let mut agrees = true;
    let folded = incoming::with_staged(catalog, |local, staged| {
        if staged.mapping().generation != info.generation || staged.frame()? < info.max_frame_no {
            return Ok(None);
        }
        agrees = staged.agrees(info)?;
        if !agrees {
            return Ok(None);
        }
        staged.fold(local.files(), local.path()).map(Some)
    })?;
    if !agrees {
        tracing::warn!("what was downloaded is not the hub's catalog: it is downloaded again");
        incoming::discard(catalog)?;
    }
    Ok(folded.flatten())
}

/// Records the intent and carries it out; false when the folded download is another one by now.
pub(super) fn begin_swap(catalog: &mut Catalog, mapping: Mapping) -> Result<bool, LocalError> {
    let is_it = |staged: &Staged| staged.is_folded() && staged.mapping() == mapping;
    match &catalog.incoming {
        Some(Incoming::Staged(staged)) if is_it(staged) => {}
        Some(Incoming::Staged(_) | Incoming::Parts(_)) | None => return Ok(false),
    }
    let change = Swap {
        mapping,
        keep_suffix: None,
    };
    // From now on it belongs to the swap, also when storing the intent fails: it may stand on disk.
    catalog.incoming = None;
    let local = &mut catalog.local;
    local.change_record(|record| record.swap = Some(change))?;
    crash::pass(CrashPoint::SwapIntent);
    complete_swap(local)?;
    Ok(true)
}

pub(super) fn complete_swap(local: &mut Local) -> Result<(), LocalError> {
    local.close_wal();
    let (path, mut record) = (local.path().to_owned(), local.record.clone());
    swap::finish(local.files(), &path, &mut record)?;
    local.record = record;
    incoming::forget(local)?;
    local.observe()?;
    Ok(())
}

pub(super) fn checkpoint(local: &mut Local) -> Result<LocalCheckpoint, LocalError> {
    let frames = local.observe()?.frames;
    let next = match local.record.mapping {
        Some(mapping) => Ok(mapping.after_checkpoint(frames, local.chain_at(&mapping, frames)?)),
        None => Err(None),
    };
    match local.checkpoint(next)? {
        Checkpoint::Done => Ok(LocalCheckpoint::Done),
        Checkpoint::Busy => Ok(LocalCheckpoint::Busy),
    }
}
