//! A server that says nothing but its generation, as stock servers do: what it has is asked of it frame
//! by frame, as far as a push must know.

use super::{BookReplica, PushError};
use crate::{
    local::{Local, LocalError},
    numbering::Mapping,
    remote::{HubInfo, Pulled, Remote, RemoteError},
};
use counterfoil_protocol::wire::replication::ClosedGeneration;

/// What this side knows of the server: where its frames stand, and the last one it answered for.
struct Known {
    mapping: Mapping,
    /// In the server's numbers.
    acknowledged: u64,
    /// The last frame that was sent, in the server's numbers; the answer may have been lost.
    sent: u64,
    is_pending: bool,
}

impl BookReplica {
    /// Completes what the server has said; does nothing for one that says it all.
    pub(super) async fn describe(
        &self,
        remote: &Remote,
        info: &mut HubInfo,
    ) -> Result<(), PushError> {
        if !info.is_stock {
            return Ok(());
        }
        let known = match self.on_local(known).await? {
            Some(known) if has_pending(remote, info, &known).await? => known,
            _ => {
                info.empty = is_empty(remote, info.generation).await?;
                return Ok(());
            }
        };
        let (mut generation, mut frame) = (known.mapping.generation, known.acknowledged);
        // A generation that has ended says so to whoever asks for the frame after its last one.
        while generation < info.generation {
            if !is_end(remote, generation, frame).await? {
                if generation != known.mapping.generation
                    || !is_end(remote, generation, known.sent).await?
                {
                    return Ok(());
                }
                frame = known.sent;
            }
            let end_frame = frame;
            info.closed.push(ClosedGeneration {
                generation,
                end_frame,
            });
            (generation, frame) = (generation + 1, 0);
        }
        (info.max_frame_no, info.committed_frame_no) = (frame, frame);
        Ok(())
    }
}

fn known(local: &mut Local) -> Result<Option<Known>, LocalError> {
    local.observe()?;
    let (pending, sent) = (local.record.pending, local.record.sent.unwrap_or_default());
    let mapping = pending.or(local.record.mapping);
    Ok(mapping.map(|mapping| {
        let at = |frame: u64| {
            let frame = mapping.hub_frame(frame.max(mapping.from));
            u64::try_from(frame).unwrap_or(0)
        };
        Known {
            mapping,
            acknowledged: at(sent.acknowledged),
            sent: at(sent.until),
            is_pending: pending.is_some(),
        }
    }))
}

/// Whether a difference that was sent has arrived, when one was.
async fn has_pending(remote: &Remote, info: &HubInfo, known: &Known) -> Result<bool, RemoteError> {
    let (generation, frame) = (known.mapping.generation, known.acknowledged);
    if !known.is_pending {
        return Ok(true);
    }
    if generation < info.generation {
        return is_end(remote, generation, frame).await;
    }
    Ok(matches!(
        remote.pull(generation, frame, None).await?,
        Pulled::Frames { .. }
    ))
}

async fn is_end(remote: &Remote, generation: u64, frame: u64) -> Result<bool, RemoteError> {
    let next = remote.pull(generation, frame + 1, None).await?;
    Ok(matches!(next, Pulled::Ended))
}

/// Whether the database there was never written.
async fn is_empty(remote: &Remote, generation: u64) -> Result<bool, RemoteError> {
    Ok(
        matches!(remote.pull(generation, 1, None).await?, Pulled::Ended)
            && remote.is_base_empty(generation).await?,
    )
}
