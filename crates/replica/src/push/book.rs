//! The blocking steps of a push: decide, read, upload a base, checkpoint.

use super::Divergence;
use crate::{
    copy::wal_bytes,
    frame::Chain,
    limits::PUSH_FRAMES_MAX,
    local::{Local, LocalCheckpoint, LocalError},
    numbering::Mapping,
    remote::{Body, HubInfo, Packet},
    wal::{Checkpoint, Durability, Wal},
};

/// What to do about the hub's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Send frames; perhaps none.
    Send(Sending),
    /// Hub and book do not continue each other.
    Other {
        divergence: Divergence,
        local_frames: u64,
    },
}

/// Frames to send, in numbers of the local WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sending {
    pub(super) mapping: Mapping,
    /// The hub has the frames up to this one.
    pub(super) acknowledged: u64,
    /// Last frame of this push; what is written later is for the next push.
    pub(super) until: u64,
}

impl Sending {
    /// The hub's highest frame.
    pub(super) fn hub_frame(&self) -> u64 {
        u64::try_from(self.mapping.hub_frame(self.acknowledged)).unwrap_or_default()
    }
}

/// Compares the book with what the hub says.
pub(super) fn plan(local: &mut Local, info: &HubInfo) -> Result<Plan, LocalError> {
    let position = local.observe()?;
    let mut mapping = match (local.record.mapping, local.record.pending_base) {
        (Some(mapping), _) => mapping,
        // The answer to the last base upload was lost, but the hub has it.
        (None, Some(digest)) if info.chain_start == Some(digest) => Mapping {
            generation: info.generation,
            shift: 0,
            chain: digest,
        },
        (None, _) => {
            return Ok(Plan::Other {
                divergence: Divergence::NoNumbers,
                local_frames: position.frames,
            });
        }
    };
    let other = |mapping: &Mapping, divergence| {
        let local_frames = u64::try_from(mapping.hub_frame(position.frames)).unwrap_or_default();
        Ok(Plan::Other {
            divergence,
            local_frames,
        })
    };
    while mapping.generation < info.generation {
        let Some(end_frame) = info.end_of(mapping.generation) else {
            return other(&mapping, Divergence::GenerationLost);
        };
        if i64::try_from(end_frame).is_ok_and(|end| end > mapping.hub_frame(position.frames)) {
            return other(&mapping, Divergence::HubAhead);
        }
        mapping = mapping.after_close(end_frame);
    }
    if mapping.generation > info.generation {
        return other(&mapping, Divergence::GenerationLost);
    }
    let Ok(acknowledged) = u64::try_from(mapping.local_frame(info.max_frame_no)) else {
        return other(&mapping, Divergence::HubBehind);
    };
    if acknowledged > position.frames {
        return other(&mapping, Divergence::HubAhead);
    }
    if let Some(chain) = info.chain
        && local.chain_at(&mapping, acknowledged)? != chain
    {
        return other(&mapping, Divergence::OtherContent);
    }
    local.change_record(|record| {
        record.mapping = Some(mapping);
        record.pending_base = None;
    })?;
    local.acknowledge(acknowledged);
    Ok(Plan::Send(Sending {
        mapping,
        acknowledged,
        until: position.frames,
    }))
}

/// The next frames to send and the last of them; `None` when the WAL is another one by now.
pub(super) fn packet(
    local: &mut Local,
    sending: &Sending,
    zstd: bool,
) -> Result<Option<(Packet, u64)>, LocalError> {
    let position = local.observe()?;
    if local.record.mapping != Some(sending.mapping) || position.frames < sending.until {
        return Ok(None);
    }
    let first = sending.acknowledged + 1;
    let last = sending.until.min(sending.acknowledged + PUSH_FRAMES_MAX);
    let (body, chain) = local.frames(&sending.mapping, first, last)?;
    let Ok(start) = u64::try_from(sending.mapping.hub_frame(first)) else {
        return Ok(None);
    };
    let end = start + (last - first) + 1;
    let generation = sending.mapping.generation;
    Ok(Some((
        Packet {
            generation,
            start,
            end,
            chain,
            body: Body::pack(body, zstd),
        },
        last,
    )))
}

/// Remembers what the hub has; false when the WAL is another one by now.
pub(super) fn acknowledge(local: &mut Local, sending: &Sending) -> Result<bool, LocalError> {
    let kept = local.record.mapping == Some(sending.mapping);
    if kept {
        local.acknowledge(sending.acknowledged);
    }
    Ok(kept)
}

/// A base on its way: a second handle whose read transaction keeps the main file as it is.
pub(super) struct BaseUpload {
    reader: Wal,
}

impl BaseUpload {
    pub(super) fn prepare(local: &mut Local) -> Result<Self, LocalError> {
        Ok(Self {
            reader: Wal::open(local.path(), Durability::Full)?,
        })
    }

    /// Within the gate: everything goes into the main file, and the reader holds on to it.
    pub(super) fn checkpoint(self, local: &mut Local) -> Result<Self, LocalError> {
        let mut reader = self.reader;
        local.observe()?;
        // The empty WAL makes this a transaction on the main file alone, which no checkpoint of any
        // program may write to while it lasts.
        let checkpoint = local.checkpoint(None, || Ok(reader.begin_read()?))?;
        match checkpoint {
            Checkpoint::Done => Ok(Self { reader }),
            Checkpoint::Busy => Err(LocalError::Busy {
                path: local.path().to_owned(),
            }),
        }
    }

    /// Reads the main file while sales go on, and remembers what is about to be sent.
    pub(super) fn read(mut self, local: &mut Local) -> Result<(Chain, Vec<u8>), LocalError> {
        let bytes = self.reader.main_file()?;
        self.reader.end_read();
        let digest = Chain::of_base(&bytes);
        local.observe()?;
        local.change_record(|record| record.pending_base = Some(digest))?;
        Ok((digest, bytes))
    }
}

/// The hub took the base: frame 1 of the WAL is frame 1 of the generation, when the WAL is still
/// the one that began with the base.
pub(super) fn bind(local: &mut Local, generation: u64, digest: Chain) -> Result<(), LocalError> {
    local.observe()?;
    if local.record.pending_base != Some(digest) {
        return Ok(());
    }
    local.change_record(|record| {
        record.mapping = Some(Mapping {
            generation,
            shift: 0,
            chain: digest,
        });
        record.pending_base = None;
    })
}

/// Whether a checkpoint is due and allowed; `Done` stands for yes.
pub(super) fn may_checkpoint(
    local: &mut Local,
    limit_bytes: u64,
) -> Result<LocalCheckpoint, LocalError> {
    let position = local.observe()?;
    // The first frame is the mark: a WAL with nothing else is as short as it can be.
    if position.frames <= 1 || wal_bytes(position.frames) <= limit_bytes {
        return Ok(LocalCheckpoint::NotNeeded);
    }
    let unbound = local.record.mapping.is_none() && local.record.pending_base.is_none();
    if unbound || local.acknowledged() == position.frames {
        return Ok(LocalCheckpoint::Done);
    }
    Ok(LocalCheckpoint::Unacknowledged)
}

/// Within the gate.
pub(super) fn checkpoint_if_over(
    local: &mut Local,
    limit_bytes: u64,
) -> Result<LocalCheckpoint, LocalError> {
    let allowed = may_checkpoint(local, limit_bytes)?;
    if allowed != LocalCheckpoint::Done {
        return Ok(allowed);
    }
    let frames = local.observe()?.frames;
    let next = match local.record.mapping {
        Some(mapping) => Some(mapping.after_checkpoint(frames, local.chain_at(&mapping, frames)?)),
        None => None,
    };
    match local.checkpoint(next, || Ok(()))? {
        Checkpoint::Done => Ok(LocalCheckpoint::Done),
        Checkpoint::Busy => Ok(LocalCheckpoint::Busy),
    }
}
