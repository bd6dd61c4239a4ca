//! Taking pushed frames: what is known is compared, what continues is made durable.

use std::{borrow::Cow, collections::HashSet};

use super::{
    Copy, CopyError, CopyKind, Now, Push, PushOutcome, PushRefusal, outcome::is_range, to_usize,
};
use crate::{
    crash::{self, CrashPoint},
    frame::{Chain, frames, whole_transactions_bytes},
    limits::{FRAME_BYTES, FRAME_HEADER_BYTES, PUSHED_PAGES_MAX, TAIL_BYTES_MAX},
    planted::PlantedBug,
};

/// How the frames that the copy has already compare with those that were sent.
enum Overlap {
    Same,
    /// A frame of the WAL, or a held-back one that may not be replaced, is another one.
    Other,
    /// The first held-back frame that is another one and makes way.
    Replaced(u64),
}

/// Where a push begins.
pub(super) struct Placed {
    pub(super) now: Now,
    /// Highest frame held, tail included.
    pub(super) max_frame_no: u64,
}

impl Copy {
    /// Takes frames. They are durable when this returns `Accepted`: one fsync of the WAL, and one of
    /// the tail when a transaction is not complete.
    ///
    /// # Errors
    /// [`CopyError`]; a part of the frames may have been taken, and the next push of the same frames
    /// finds out.
    pub fn push(&mut self, push: &Push<'_>) -> Result<PushOutcome, CopyError> {
        if let Err(refusal) = check_frames(push) {
            return Ok(PushOutcome::BadRequest(refusal));
        }
        let current = self.observe()?.mapping.generation;
        if let Some(renumbered) = self.renumbered(push, current) {
            let outcome = self.push_placed(&renumbered)?;
            return Ok(self.counted_answer(push.generation, outcome));
        }
        self.push_placed(push)
    }

    fn push_placed(&mut self, push: &Push<'_>) -> Result<PushOutcome, CopyError> {
        let Placed {
            now,
            mut max_frame_no,
        } = match self.place(push)? {
            Ok(placed) => placed,
            Err(outcome) => return Ok(outcome),
        };
        let generation = now.mapping.generation;
        let accepted = |max_frame_no| PushOutcome::Accepted {
            generation,
            max_frame_no,
        };
        let conflict = PushOutcome::Conflict {
            generation,
            max_frame_no,
        };
        match self.overlap(now, push, max_frame_no.min(push.end - 1))? {
            Overlap::Same => {}
            Overlap::Other => return Ok(conflict),
            Overlap::Replaced(frame) => {
                let cut = self.tail.cut(&*self.files, frame);
                cut.map_err(|source| self.tail_failed(source))?;
                crash::pass(CrashPoint::CopyTailCut);
                max_frame_no = now.committed() + self.tail.count();
                // The record that was cut away may have begun before the push.
                if push.start > max_frame_no + 1 {
                    return Ok(accepted(max_frame_no));
                }
            }
        }
        if push.end > max_frame_no + 1
            && let Some(refused) = self.take(now, push, max_frame_no)?
        {
            return Ok(refused);
        }
        Ok(accepted(push.end - 1))
    }

    /// Takes what follows the copy's last frame; says why not when it does not.
    fn take(
        &mut self,
        now: Now,
        push: &Push<'_>,
        max_frame_no: u64,
    ) -> Result<Option<PushOutcome>, CopyError> {
        let known = to_usize(max_frame_no + 1 - push.start) * FRAME_BYTES;
        let fresh = &push.body[known..];
        if let Some(expected) = push.chain
            && self.chain_after(now, max_frame_no)?.after_all(fresh) != expected
            && !PlantedBug::DigestNotCompared.is_planted()
        {
            return Ok(Some(PushOutcome::Conflict {
                generation: now.mapping.generation,
                max_frame_no,
            }));
        }
        let fresh_bytes = u64::try_from(fresh.len()).unwrap_or(u64::MAX);
        if self.tail.bytes().saturating_add(fresh_bytes) > TAIL_BYTES_MAX {
            let refusal = PushRefusal::TransactionTooLarge;
            return Ok(Some(PushOutcome::BadRequest(refusal)));
        }
        let whole = whole_transactions_bytes(fresh);
        if whole > 0 && self.repeats_a_page(now, &fresh[..whole])? {
            return Ok(Some(PushOutcome::BadRequest(PushRefusal::Page)));
        }
        // Noted before frames of a stock client are taken, forgotten after frames of ours are.
        if push.chain.is_none() && !self.record.stock_writer {
            self.change_record(|record| record.stock_writer = true)?;
        }
        self.append(now, fresh, push.chain)?;
        crash::pass(CrashPoint::CopyTaken);
        if push.chain.is_some() && self.record.stock_writer {
            self.change_record(|record| record.stock_writer = false)?;
        }
        Ok(None)
    }

    /// Whether the frames begin where this copy can take them, whatever they are.
    pub(super) fn place(
        &mut self,
        push: &Push<'_>,
    ) -> Result<Result<Placed, PushOutcome>, CopyError> {
        if self.kind == CopyKind::Written {
            return Ok(Err(PushOutcome::BadRequest(PushRefusal::ReadOnly)));
        }
        if !is_range(push.start, push.end) {
            return Ok(Err(PushOutcome::BadRequest(PushRefusal::Range)));
        }
        let now = self.observe()?;
        let generation = now.mapping.generation;
        if push.generation < generation {
            let closed = self
                .record
                .closed
                .iter()
                .find(|it| it.generation == push.generation);
            return Ok(Err(PushOutcome::Closed {
                generation,
                ended: closed.map(|it| it.end_frame),
            }));
        }
        if push.generation > generation {
            return Ok(Err(PushOutcome::Unknown { generation }));
        }
        let max_frame_no = now.committed() + self.tail.count();
        if push.start > max_frame_no + 1 {
            return Ok(Err(PushOutcome::Accepted {
                generation,
                max_frame_no,
            }));
        }
        if let Some(before) = push.before
            && self.chain_after(now, push.start - 1)? != before
            && !PlantedBug::DigestNotCompared.is_planted()
        {
            return Ok(Err(PushOutcome::Conflict {
                generation,
                max_frame_no,
            }));
        }
        Ok(Ok(Placed { now, max_frame_no }))
    }

    /// Rolling checksum after a frame that the copy has, held back or not.
    pub(super) fn chain_after(&mut self, now: Now, frame: u64) -> Result<Chain, CopyError> {
        let committed = self.chain_at(now.committed().min(frame))?;
        if frame <= now.committed() {
            return Ok(committed);
        }
        self.tail_chain(committed, Some(frame))
    }

    /// Compares the frames up to `last` that the copy has already with those that were sent.
    fn overlap(&mut self, now: Now, push: &Push<'_>, last: u64) -> Result<Overlap, CopyError> {
        let sent = |first: u64| &push.body[to_usize(first - push.start) * FRAME_BYTES..];
        let first_other = |held: &[u8], first: u64| {
            let mut pairs = (first..).zip(frames(held).zip(frames(sent(first))));
            pairs
                .find(|(_, (held, sent))| !held.same_content(*sent))
                .map(|(number, _)| number)
        };
        let committed = now.committed().min(last);
        if push.start <= committed {
            let mut held = Vec::new();
            self.wal()?
                .read(|reading| reading.frames_into(push.start, committed, &mut held))?;
            if first_other(&held, push.start).is_some() {
                return Ok(Overlap::Other);
            }
        }
        let mut next = push.start.max(now.committed() + 1);
        while next <= last {
            let held = self.tail.read(&*self.files, next, last);
            let held = held.map_err(|source| self.tail_failed(source))?;
            if let Some(number) = first_other(&held, next) {
                return Ok(match push.before {
                    Some(_) => Overlap::Replaced(number),
                    None => Overlap::Other,
                });
            }
            next += count(&held).max(1);
        }
        Ok(Overlap::Same)
    }

    /// Joins the frames with the tail; whole transactions go into the WAL, the rest is the new tail.
    /// `chain` is the rolling checksum after all of them.
    fn append(&mut self, now: Now, fresh: &[u8], chain: Option<Chain>) -> Result<(), CopyError> {
        let generation = now.mapping.generation;
        let first = now.committed() + 1;
        let mut whole = whole_transactions_bytes(fresh);
        if PlantedBug::TailApplied.is_planted() {
            whole = fresh.len();
        }
        if whole == 0 {
            let start = first + self.tail.count();
            let result = self
                .tail
                .append(&*self.files, generation, start, fresh, chain);
            result.map_err(|source| self.tail_failed(source))?;
            crash::pass(CrashPoint::CopyTailAppended);
            return Ok(());
        }
        let inserted = self.tail.count() + count(&fresh[..whole]);
        self.insert(first, &fresh[..whole])?;
        crash::pass(CrashPoint::CopyInserted);
        if !PlantedBug::AcknowledgeBeforeSync.is_planted() {
            self.sync()?;
        }
        crash::pass(CrashPoint::CopySynced);
        // Binds the salt of a WAL that was empty, and forgets the tail that is in the WAL now.
        self.observe()?;
        if whole < fresh.len() {
            let (start, rest) = (first + inserted, &fresh[whole..]);
            let result = self
                .tail
                .append(&*self.files, generation, start, rest, chain);
            result.map_err(|source| self.tail_failed(source))?;
            crash::pass(CrashPoint::CopyTailAppended);
        }
        Ok(())
    }

    /// Whether a transaction, the tail's included, writes a page twice before its last frame. SQLite
    /// never does, and would put the second one in the place of the first: frames that are
    /// acknowledged would have other numbers in the WAL.
    fn repeats_a_page(&self, now: Now, body: &[u8]) -> Result<bool, CopyError> {
        let mut written = HashSet::new();
        let mut next = now.committed() + 1;
        let end = next + self.tail.count();
        while next < end {
            let held = self.tail.read(&*self.files, next, end - 1);
            let held = held.map_err(|source| self.tail_failed(source))?;
            if frames(&held).any(|frame| !written.insert(frame.page_number())) {
                return Ok(true);
            }
            next += count(&held);
        }
        for frame in frames(body) {
            if frame.is_commit() {
                written.clear();
            } else if !written.insert(frame.page_number()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Puts the tail and then the body into the WAL, a part at a time.
    fn insert(&mut self, first: u64, body: &[u8]) -> Result<(), CopyError> {
        self.wal()?;
        let Self {
            wal: Some(wal),
            tail,
            files,
            path,
            ..
        } = self
        else {
            return Ok(());
        };
        let (mut next, end) = (first, first + tail.count());
        let mut body = Some(body);
        wal.insert_parts(first, || {
            if next == end {
                return Ok(body.take().map(Cow::Borrowed));
            }
            let held = tail.read(&**files, next, end - 1);
            let held = held.map_err(|source| CopyError::Tail {
                path: path.clone(),
                source,
            })?;
            next += count(&held);
            Ok(Some(Cow::Owned(held)))
        })
    }
}

fn count(body: &[u8]) -> u64 {
    u64::try_from(frames(body).len()).unwrap_or(u64::MAX)
}

fn check_frames(push: &Push<'_>) -> Result<(), PushRefusal> {
    let count = push.end.saturating_sub(push.start);
    if to_usize(count).checked_mul(FRAME_BYTES) != Some(push.body.len()) {
        return Err(PushRefusal::Range);
    }
    for frame in frames(push.body) {
        let sizes = 1..=PUSHED_PAGES_MAX;
        if !sizes.contains(&frame.page_number()) || frame.commit_pages() > PUSHED_PAGES_MAX {
            return Err(PushRefusal::Page);
        }
        if frame.page_number() == 1 && !is_first_page(&frame.bytes()[FRAME_HEADER_BYTES..]) {
            return Err(PushRefusal::NoDatabase);
        }
    }
    Ok(())
}

/// What SQLite asks of the file's header before it opens a database: with another one the copy could
/// not be read any more, and its owner would have damaged it from outside.
fn is_first_page(page: &[u8]) -> bool {
    const PAGE_SIZE: [u8; 2] = [0x10, 0x00];
    const WAL_MODE: [u8; 2] = [2, 2];
    const PAYLOAD_FRACTIONS: [u8; 3] = [64, 32, 32];
    page.starts_with(b"SQLite format 3\0")
        && page[16..18] == PAGE_SIZE
        && page[18..20] == WAL_MODE
        && page[21..24] == PAYLOAD_FRACTIONS
}
