//! Delta frames at the hub: taken as the frames they stand for, given out to who asks for them.

use super::{Copy, CopyError, Push, PushOutcome, PushRefusal, push::Placed, to_usize};
use crate::delta::{Delta, DeltaError, KnownPages};
use crate::planted::PlantedBug;

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
