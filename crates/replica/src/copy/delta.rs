//! Delta frames at the hub: taken as the frames they stand for, given out to who asks for them.

use super::{Copy, CopyError, PullOutcome, Push, PushOutcome, PushRefusal, push::Placed, to_usize};
use crate::{
    delta::{self, Delta, DeltaError, KnownPages},
    frame::{Chain, frames},
    limits::DELTA_FRAMES_MAX,
    planted::PlantedBug,
};

/// Frames as the difference from what the other side has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaFrames {
    /// What [`crate::delta::encode`] made of them.
    pub bytes: Vec<u8>,
    /// How many there are.
    pub frames: usize,
    /// Rolling checksum after the last one.
    pub chain: Chain,
}

impl Copy {
    /// Takes delta frames: as [`Self::push`], with `push.body` what [`crate::delta::encode`] made of
    /// the frames. Both rolling checksums are needed. Pages that differ from the sender's are found
    /// out here, and nothing is applied.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_delta(&mut self, push: &Push<'_>) -> Result<PushOutcome, CopyError> {
        let (Some(before), Some(chain)) = (push.before, push.chain) else {
            return Ok(PushOutcome::BadRequest(PushRefusal::Unproved));
        };
        let Placed { now, max_frame_no } = match self.place(push)? {
            Ok(placed) => placed,
            Err(outcome) => return Ok(outcome),
        };
        let frame = (push.start - 1).min(now.committed());
        let count = to_usize(push.end - push.start);
        let error = match Delta::parse(push.body, count) {
            Ok(delta) => {
                let known = self.known_pages(frame, |_| delta.pages().to_vec())?;
                match delta.decode(&known) {
                    Ok(body)
                        if before.after_all(&body) == chain
                            || PlantedBug::DigestNotCompared.is_planted() =>
                    {
                        return self.push(&Push {
                            body: &body,
                            ..*push
                        });
                    }
                    Ok(_) => DeltaError::Mismatch,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        let path = self.path.display();
        tracing::warn!(%path, %error, start = push.start, "delta frames do not fit; they are asked for whole");
        Ok(PushOutcome::SendWhole {
            generation: now.mapping.generation,
            max_frame_no,
        })
    }

    /// Frames from `start` on, `end` excluded, for who has all before them with this rolling checksum;
    /// `None` when they have to be given whole, or there are none: [`Self::pull`] says.
    ///
    /// # Errors
    /// [`CopyError`].
    pub fn pull_delta(
        &mut self,
        generation: u64,
        start: u64,
        end: u64,
        before: Chain,
    ) -> Result<Option<DeltaFrames>, CopyError> {
        let most = u64::try_from(DELTA_FRAMES_MAX).unwrap_or(u64::MAX);
        let end = end.min(start.saturating_add(most));
        let PullOutcome::Frames(body) = self.pull(generation, start, end)? else {
            return Ok(None);
        };
        let now = self.observe()?;
        if now.mapping.generation != generation || self.chain_after(now, start - 1)? != before {
            return Ok(None);
        }
        let known = self.known_pages(start - 1, |size| delta::pages_wanted(&body, size))?;
        Ok(match delta::encode(&body, &known) {
            Ok(bytes) => Some(DeltaFrames {
                bytes,
                frames: frames(&body).len(),
                chain: before.after_all(&body),
            }),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "frames are given whole");
                None
            }
        })
    }

    /// Pages as they were after the last transaction that had ended at a committed frame.
    pub(super) fn known_pages(
        &mut self,
        frame: u64,
        choose: impl FnOnce(u32) -> Vec<u32>,
    ) -> Result<KnownPages, CopyError> {
        self.wal()?;
        let Self {
            wal: Some(wal),
            page_index,
            ..
        } = self
        else {
            return Ok(KnownPages::default());
        };
        Ok(wal.read(|reading| page_index.known_pages(reading, frame, choose))?)
    }
}
