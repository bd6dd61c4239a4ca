//! The blocking steps of a push: decide, read, checkpoint.

use super::{Divergence, backlog::Backlog};
use crate::{
    crash::{self, CrashPoint},
    limits::PUSH_FRAMES_MAX,
    local::{Local, LocalError},
    numbering::{Lost, Mapping, Sent},
    planted::PlantedBug,
    remote::{Body, HubInfo, Packet},
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

/// How the hub can be sent frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encodings {
    pub(super) zstd: bool,
    pub(super) delta: bool,
}

/// Frames to send, in numbers of the local WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sending {
    pub(super) mapping: Mapping,
    /// The hub has the frames up to this one.
    pub(super) acknowledged: u64,
    /// Last frame of this push; what is written later is for the next push.
    pub(super) until: u64,
    /// The server does not say what it has, so it is written down here.
    pub(super) is_stock: bool,
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
    let no_numbers = match local.record.lost {
        None => Divergence::NoNumbers,
        Some(Lost::Foreign) => Divergence::ForeignCheckpoint,
        Some(Lost::Damaged) => Divergence::Damaged,
        Some(Lost::Limit) => Divergence::FoldedAtLimit,
    };
    let mut problem = (no_numbers, position.frames);
    // What was pending holds when the answer to the last frames of a difference was lost.
    let known = [local.record.pending, local.record.mapping];
    for mapping in known.into_iter().flatten() {
        match fit(local, position.frames, mapping, info)? {
            Fit::Sending(sending) => {
                let known = local.record.mapping;
                // A backlog that was cut short may go on.
                let is_backlog = Backlog::is_worth_it(&sending, info);
                local.change_record(|record| {
                    let pending = record.pending;
                    record.settle(sending.mapping);
                    record.pending = pending.filter(|it| is_backlog && *it != sending.mapping);
                })?;
                if known.is_some_and(|known| known.generation < sending.mapping.generation) {
                    crash::pass(CrashPoint::PushRenumbered);
                }
                local.acknowledge(sending.acknowledged);
                return Ok(Plan::Send(sending));
            }
            Fit::Other(divergence, local_frames) => problem = (divergence, local_frames),
        }
    }
    let (divergence, local_frames) = problem;
    Ok(Plan::Other {
        divergence,
        local_frames,
    })
}

/// Whether what the hub has is continued by the frames that a mapping numbers.
enum Fit {
    Sending(Sending),
    /// Why not, and the last frame here in the hub's numbers.
    Other(Divergence, u64),
}

fn fit(
    local: &mut Local,
    frames: u64,
    mut mapping: Mapping,
    info: &HubInfo,
) -> Result<Fit, LocalError> {
    let other = |mapping: &Mapping, divergence| {
        let last = u64::try_from(mapping.hub_frame(frames)).unwrap_or_default();
        Ok(Fit::Other(divergence, last))
    };
    while mapping.generation < info.generation {
        let Some(end_frame) = info.end_of(mapping.generation) else {
            return other(&mapping, Divergence::GenerationLost);
        };
        if i64::try_from(end_frame).is_ok_and(|end| end > mapping.hub_frame(frames)) {
            return other(&mapping, Divergence::HubAhead);
        }
        mapping = mapping.after_close(end_frame);
    }
    if mapping.generation > info.generation {
        return other(&mapping, Divergence::GenerationLost);
    }
    let mut divergence = Divergence::NoNumbers;
    // What is held back there may be left of something else: then its place is taken.
    for (frame, chain) in [
        (info.max_frame_no, info.chain),
        (info.committed_frame_no, info.committed_chain),
    ] {
        let acknowledged = match u64::try_from(mapping.local_frame(frame)) {
            Ok(at) if at >= mapping.from => at,
            _ => {
                divergence = Divergence::HubBehind;
                continue;
            }
        };
        if acknowledged > frames {
            divergence = Divergence::HubAhead;
        } else if let Some(chain) = chain
            && local.chain_at(&mapping, acknowledged)? != chain
        {
            divergence = Divergence::OtherContent;
        } else {
            return Ok(Fit::Sending(Sending {
                mapping,
                acknowledged,
                until: frames,
                is_stock: info.is_stock,
            }));
        }
    }
    other(&mapping, divergence)
}

/// The next frames to send and the last of them; `None` when the WAL is another one by now.
pub(super) fn packet(
    local: &mut Local,
    sending: &Sending,
    encodings: Encodings,
) -> Result<Option<(Packet, u64)>, LocalError> {
    let position = local.observe()?;
    if local.record.mapping != Some(sending.mapping) || position.frames < sending.until {
        return Ok(None);
    }
    crash::pass(CrashPoint::PushPlanned);
    let first = sending.acknowledged + 1 + u64::from(PlantedBug::CursorTooFar.is_planted());
    let last = sending.until.min(sending.acknowledged + PUSH_FRAMES_MAX);
    let before = local.chain_at(&sending.mapping, sending.acknowledged)?;
    let (body, chain) = local.frames(&sending.mapping, first, last)?;
    let Ok(start) = u64::try_from(sending.mapping.hub_frame(first)) else {
        return Ok(None);
    };
    let end = start + (last - first) + 1;
    let generation = sending.mapping.generation;
    note_sent(local, sending, last)?;
    let delta = match encodings.delta {
        true => local.delta(sending.acknowledged, &body)?,
        false => None,
    };
    let body = match delta {
        Some(delta) => Body::delta(delta),
        None => Body::pack(body, encodings.zstd),
    };
    Ok(Some((
        Packet {
            generation,
            start,
            end,
            before,
            chain,
            body,
        },
        last,
    )))
}

/// Remembers what the hub has; false when the WAL is another one by now.
pub(super) fn acknowledge(local: &mut Local, sending: &Sending) -> Result<bool, LocalError> {
    crash::pass(CrashPoint::PushSent);
    let kept = local.record.mapping == Some(sending.mapping);
    if kept {
        local.acknowledge(sending.acknowledged);
        note_sent(local, sending, sending.acknowledged)?;
    }
    #[cfg(feature = "planted-bugs")]
    if PlantedBug::PassiveCheckpoint.is_planted() {
        let mut second = crate::wal::Wal::open(local.path(), crate::wal::Durability::Full)?;
        second.checkpoint_passive()?;
    }
    Ok(kept)
}

/// Writes down what is sent to a server that cannot be asked what it has.
fn note_sent(local: &mut Local, sending: &Sending, until: u64) -> Result<(), LocalError> {
    if !sending.is_stock {
        return Ok(());
    }
    let acknowledged = sending.acknowledged;
    local.change_record(|record| {
        record.sent = Some(Sent {
            acknowledged,
            until,
        });
    })
}
