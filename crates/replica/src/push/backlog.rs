//! What waits when it is more than a batch: the newest version of each page, as one transaction.
//!
//! A sale rewrites pages that the sales before it wrote, so a till that was offline for a day holds every page
//! many times over. The hub gets what the frames add up to. As after a difference, the frames so far
//! have no numbers there (`Mapping::from`).

use super::{
    book::{Encodings, Sending},
    difference::write_frame,
};
use crate::{
    crash::{self, CrashPoint},
    frame::{Chain, frames},
    limits::{FRAME_BYTES, PUSH_FRAMES_MAX},
    local::{Local, LocalError},
    numbering::Mapping,
    remote::{Body, HubInfo, Packet},
};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Backlog {
    /// Local frame that the hub's committed content is that of.
    base: u64,
    /// What is sent, in the order of the frames.
    numbers: Vec<u32>,
    /// Pages of the database afterwards.
    size: u32,
    /// Hub frame of the first one.
    first: u64,
    /// Frames the hub has, and the rolling checksum after them.
    sent: usize,
    chain: Chain,
    /// What holds when all have arrived.
    mapping: Mapping,
    /// Rolling checksum after as many frames as the hub holds back.
    at_tail: Option<Chain>,
}

impl Backlog {
    /// Whether so much waits that frames cost more than pages. Without checksums at the hub it is not
    /// known what its pages are.
    pub(super) fn is_worth_it(sending: &Sending, info: &HubInfo) -> bool {
        let frames = sending.until - sending.acknowledged;
        frames > PUSH_FRAMES_MAX && !info.is_stock && info.committed_chain.is_some()
    }

    /// Lists the pages, and remembers durably what will hold. `None` when frames have to do.
    pub(super) fn prepare(
        local: &mut Local,
        info: &HubInfo,
        sending: &Sending,
    ) -> Result<Option<Self>, LocalError> {
        let position = local.observe()?;
        if local.record.mapping != Some(sending.mapping) || position.frames < sending.until {
            return Ok(None);
        }
        // What was cut short goes on when it comes out the same again.
        let pending = local.record.pending;
        let resumed = pending.filter(|it| it.generation == info.generation);
        let until = resumed.map(|it| it.from);
        for until in until.into_iter().chain([sending.until]) {
            let Some(mut backlog) = Self::list(local, info, sending, until)? else {
                continue;
            };
            if resumed.is_some_and(|it| it.from == until && it != backlog.mapping) {
                continue;
            }
            let mapping = backlog.mapping;
            local.change_record(|record| record.pending = Some(mapping))?;
            crash::pass(CrashPoint::DifferencePending);
            if let Some(chain) = backlog.at_tail
                && info.chain == Some(chain)
            {
                backlog.sent = held(info);
                backlog.chain = chain;
            }
            return Ok(Some(backlog));
        }
        Ok(None)
    }

    /// The pages that frames up to `until` replace; `None` when they are not to be had.
    fn list(
        local: &mut Local,
        info: &HubInfo,
        sending: &Sending,
        until: u64,
    ) -> Result<Option<Self>, LocalError> {
        let committed = info.committed_frame_no;
        let base = u64::try_from(sending.mapping.local_frame(committed));
        let (Ok(base), Some(chain)) = (base, info.committed_chain) else {
            return Ok(None);
        };
        if base < sending.mapping.from || base >= until || until > sending.until {
            return Ok(None);
        }
        let (numbers, size) =
            local.on_pages(|index, reading| index.changed(reading, base, until))?;
        let count = u64::try_from(numbers.len()).unwrap_or(u64::MAX);
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let mut backlog = Self {
            base,
            numbers,
            size,
            first: committed + 1,
            sent: 0,
            chain,
            mapping: Mapping {
                generation: info.generation,
                shift: signed(committed.saturating_add(count)) - signed(until),
                from: until,
                chain,
            },
            at_tail: None,
        };
        let mut at = 0;
        while let Some((body, end)) = backlog.body(local, at)? {
            for frame in frames(&body) {
                backlog.mapping.chain = backlog.mapping.chain.after(frame);
                at += 1;
                if at == held(info) {
                    backlog.at_tail = Some(backlog.mapping.chain);
                }
            }
            debug_assert_eq!(at, end, "each page is a frame");
        }
        Ok((count > 0).then_some(backlog))
    }

    /// Pages to send, all batches together.
    pub(super) fn total(&self) -> u64 {
        u64::try_from(self.numbers.len()).unwrap_or(u64::MAX)
    }

    /// What holds when all have arrived.
    pub(super) fn mapping(&self) -> Mapping {
        self.mapping
    }

    /// A batch of frames that begins with one of the pages, and where the next begins.
    fn body(
        &self,
        local: &mut Local,
        start: usize,
    ) -> Result<Option<(Vec<u8>, usize)>, LocalError> {
        let batch = usize::try_from(PUSH_FRAMES_MAX).unwrap_or(usize::MAX);
        let end = self.numbers.len().min(start + batch);
        let numbers = &self.numbers[start..end];
        if numbers.is_empty() {
            return Ok(None);
        }
        let until = self.mapping.from;
        let body = local.on_pages(|index, reading| {
            let mut body = Vec::with_capacity(numbers.len() * FRAME_BYTES);
            for (at, number) in (start + 1..).zip(numbers) {
                let page = index.page(reading, until, *number)?;
                let commit_pages = (at == self.numbers.len()).then_some(self.size);
                write_frame(&mut body, *number, commit_pages, &page);
            }
            Ok(body)
        })?;
        Ok(Some((body, end)))
    }

    /// The next frames to send; `None` when all were, or the WAL is another one by now.
    pub(super) fn packet(
        &self,
        local: &mut Local,
        encodings: Encodings,
    ) -> Result<Option<Packet>, LocalError> {
        local.observe()?;
        if local.record.pending != Some(self.mapping) {
            return Ok(None);
        }
        let Some((body, end)) = self.body(local, self.sent)? else {
            return Ok(None);
        };
        let number = |index| self.first + u64::try_from(index).unwrap_or(u64::MAX);
        let chain = self.chain.after_all(&body);
        let delta = match encodings.delta {
            true => local.delta(self.base, &body)?,
            false => None,
        };
        Ok(Some(Packet {
            generation: self.mapping.generation,
            start: number(self.sent),
            end: number(end),
            before: self.chain,
            chain,
            body: match delta {
                Some(delta) => Body::delta(delta),
                None => Body::pack(body, encodings.zstd),
            },
        }))
    }

    /// Notes that the hub has the frames before `end`; gives back how many more that are.
    pub(super) fn acknowledge(&mut self, end: u64, chain: Chain) -> u64 {
        crash::pass(CrashPoint::DifferenceSent);
        let sent = usize::try_from(end - self.first).unwrap_or(usize::MAX);
        let more = sent.saturating_sub(self.sent);
        (self.sent, self.chain) = (sent, chain);
        u64::try_from(more).unwrap_or(u64::MAX)
    }

    /// Whether all have arrived.
    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.numbers.len()
    }
}

/// Frames that the hub holds back.
fn held(info: &HubInfo) -> usize {
    usize::try_from(info.max_frame_no.saturating_sub(info.committed_frame_no)).unwrap_or_default()
}
