//! Clients that cannot renumber: the stock libSQL client goes on counting in the generation it knows
//! as long as it has frames to send.
//!
//! A generation that the copy begins by itself must not shut such a client out. So its numbers of an
//! ended generation go on to count: frame `n` there is frame `n - shift` here. A client that asks
//! for the frame right after the end has everything, and is led over as the protocol has it.

use super::{Copy, CopyError, PullOutcome, Push, PushOutcome, Rotation, wal_bytes};

impl Copy {
    /// Starts a new generation when the WAL is larger than the limit and a stock client has just
    /// shown, by asking for or sending frame `start` of `generation`, that it has every frame.
    ///
    /// # Errors
    /// As [`Copy::checkpoint_if_over`].
    pub fn checkpoint_for_stock(
        &mut self,
        generation: u64,
        start: u64,
        limit_bytes: u64,
    ) -> Result<Rotation, CopyError> {
        let now = self.observe()?;
        let current = now.mapping.generation;
        let next = match self.counted_on(generation) {
            Some(shift) => start.checked_sub(shift),
            None => (generation == current).then_some(start),
        };
        if wal_bytes(now.committed()) <= limit_bytes
            || !self.record.stock_writer
            || next != Some(now.committed() + 1)
        {
            return Ok(Rotation::NotNeeded);
        }
        self.rotate(Some(generation))
    }

    /// By how much a client that goes on counting in an ended generation is ahead of the numbers of
    /// the current one.
    pub(super) fn counted_on(&self, generation: u64) -> Option<u64> {
        let mut known = self.record.counted_on.iter();
        known
            .find(|it| it.generation == generation)
            .map(|it| it.end_frame)
    }

    /// A push of a client that goes on counting, in the numbers of the current generation.
    pub(super) fn renumbered<'a>(&self, push: &Push<'a>, current: u64) -> Option<Push<'a>> {
        if push.chain.is_some() || push.generation >= current {
            return None;
        }
        let shift = self.counted_on(push.generation)?;
        let start = push.start.checked_sub(shift).filter(|start| *start > 0)?;
        Some(Push {
            generation: current,
            start,
            end: push.end.checked_sub(shift)?,
            ..*push
        })
    }

    /// The answer to such a push, in the client's numbers.
    pub(super) fn counted_answer(&self, generation: u64, outcome: PushOutcome) -> PushOutcome {
        let shift = self.counted_on(generation).unwrap_or(0);
        match outcome {
            PushOutcome::Accepted { max_frame_no, .. } => PushOutcome::Accepted {
                generation,
                max_frame_no: max_frame_no + shift,
            },
            PushOutcome::Conflict { max_frame_no, .. } => PushOutcome::Conflict {
                generation,
                max_frame_no: max_frame_no + shift,
            },
            other => other,
        }
    }

    /// A pull of a client that goes on counting; `None` when it does not.
    pub(super) fn pull_counted(
        &mut self,
        (generation, start, end): (u64, u64, u64),
        (current, committed): (u64, u64),
    ) -> Result<Option<PullOutcome>, CopyError> {
        let Some(shift) = self.counted_on(generation) else {
            return Ok(None);
        };
        let first = start.saturating_sub(shift);
        if first == 0 || first > committed + 1 {
            return Ok(None);
        }
        if first == committed + 1 {
            return Ok(Some(PullOutcome::Ended { generation }));
        }
        self.pull(current, first, end - shift).map(Some)
    }
}
