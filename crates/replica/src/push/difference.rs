//! The pages in which the hub's copy differs from the book, sent as one transaction of frames.
//!
//! They are read in a read transaction of a handle of its own: sales go on, and no program's
//! checkpoint writes a newer page over one that is still to be sent. Nothing is folded for it.

use counterfoil_protocol::wire::replication::PAGE_DIGEST_BYTES;

use crate::{
    crash::{self, CrashPoint},
    frame::{Chain, Frame},
    limits::{FRAME_BYTES, FRAME_HEADER_BYTES, PUSH_FRAMES_MAX},
    local::{Local, LocalError},
    numbering::Mapping,
    pages::{self, Pages},
    remote::{Body, HubInfo, Packet},
    wal::{Durability, Position, Reading, Wal, WalError},
};

/// See the module.
pub(super) struct Difference {
    wal: Wal,
    position: Position,
    pages: Pages,
    /// What is sent, in the order of the frames.
    numbers: Vec<u32>,
    /// Hub frame of the first one.
    first: u64,
    /// Frames the hub has, and the rolling checksum after them.
    sent: usize,
    chain: Chain,
    /// What holds when all have arrived.
    mapping: Mapping,
}

impl Difference {
    /// Compares the book with the digests of the hub's pages, and remembers durably what will hold.
    /// `None` when the book's WAL is another one by now.
    pub(super) fn prepare(
        local: &mut Local,
        info: &HubInfo,
        digests: &[u8],
    ) -> Result<Option<Self>, LocalError> {
        local.observe()?;
        let mut wal = Wal::open(local.path(), Durability::Full)?;
        let position = wal.pin()?;
        if position.salt != local.record.salt {
            return Ok(None);
        }
        let frames = position.frames;
        // A difference that was cut short goes on when it comes out the same again.
        let pending = local.record.pending;
        let resumed = pending.filter(|it| it.generation == info.generation && it.from < frames);
        let compared = match resumed {
            Some(pending) => Some(compare(&wal, position, pending.from, info, digests)?)
                .filter(|compared| compared.mapping == pending),
            None => None,
        };
        let compared = match compared {
            Some(compared) => compared,
            None => compare(&wal, position, frames, info, digests)?,
        };
        let Compared {
            pages,
            numbers,
            mapping,
            at_tail,
        } = compared;
        local.change_record(|record| record.pending = Some(mapping))?;
        crash::pass(CrashPoint::DifferencePending);
        let first = info.committed_frame_no + 1;
        let held = usize::try_from(info.max_frame_no + 1 - first).unwrap_or_default();
        let (sent, chain) = match at_tail {
            Some(chain) if info.chain == Some(chain) => (held, chain),
            _ => (0, info.committed_chain.unwrap_or(mapping.chain)),
        };
        Ok(Some(Self {
            wal,
            position,
            pages,
            numbers,
            first,
            sent,
            chain,
            mapping,
        }))
    }

    /// Pages that differ.
    pub(super) fn total(&self) -> u64 {
        u64::try_from(self.numbers.len()).unwrap_or(u64::MAX)
    }

    /// What holds when all have arrived.
    pub(super) fn mapping(&self) -> Mapping {
        self.mapping
    }

    /// The next frames to send; `None` when all were.
    pub(super) fn packet(&self, zstd: bool) -> Result<Option<Packet>, WalError> {
        let batch = usize::try_from(PUSH_FRAMES_MAX).unwrap_or(usize::MAX);
        let end = self.numbers.len().min(self.sent + batch);
        let numbers = &self.numbers[self.sent..end];
        if numbers.is_empty() {
            return Ok(None);
        }
        let reading = self.wal.pinned(self.position);
        let mut body = Vec::with_capacity(numbers.len() * FRAME_BYTES);
        for (index, number) in (self.sent..).zip(numbers) {
            let last = index + 1 == self.numbers.len();
            let page = self.pages.read(&reading, *number)?;
            write_frame(
                &mut body,
                *number,
                last.then_some(self.pages.count()),
                &page,
            );
        }
        let number = |index| self.first + u64::try_from(index).unwrap_or(u64::MAX);
        Ok(Some(Packet {
            generation: self.mapping.generation,
            start: number(self.sent),
            end: number(end),
            before: self.chain,
            chain: self.chain.after_all(&body),
            body: Body::pack(body, zstd),
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
}

/// The hub has all of it: what was pending holds, when the WAL is still the one it speaks of.
pub(super) fn adopt(local: &mut Local, mapping: Mapping) -> Result<(), LocalError> {
    local.observe()?;
    if local.record.pending != Some(mapping) {
        return Ok(());
    }
    local.change_record(|record| record.settle(mapping))?;
    crash::pass(CrashPoint::DifferenceAdopted);
    local.acknowledge(mapping.from);
    Ok(())
}

struct Compared {
    pages: Pages,
    numbers: Vec<u32>,
    mapping: Mapping,
    /// Rolling checksum after as many frames as the hub holds back.
    at_tail: Option<Chain>,
}

/// Which pages differ as of a local frame, and what holds when the hub has them.
fn compare(
    wal: &Wal,
    position: Position,
    frame: u64,
    info: &HubInfo,
    digests: &[u8],
) -> Result<Compared, WalError> {
    let reading = wal.pinned(position);
    let pages = Pages::at(&reading, frame)?;
    let held = info.max_frame_no.saturating_sub(info.committed_frame_no);
    let start = info.committed_chain.unwrap_or(Chain([0; 32]));
    let mut row = Row {
        numbers: Vec::new(),
        chain: start,
        held,
        at_tail: None,
    };
    list(&reading, &pages, digests, &mut row)?;
    let last = info.committed_frame_no + u64::try_from(row.numbers.len()).unwrap_or(u64::MAX);
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Ok(Compared {
        pages,
        mapping: Mapping {
            generation: info.generation,
            shift: signed(last) - signed(frame),
            from: frame,
            chain: row.chain,
        },
        numbers: row.numbers,
        at_tail: row.at_tail,
    })
}

/// The frames of a difference in their order, without their content.
struct Row {
    numbers: Vec<u32>,
    chain: Chain,
    held: u64,
    at_tail: Option<Chain>,
}

impl Row {
    fn add(&mut self, number: u32, commit_pages: Option<u32>, page: &[u8]) {
        let mut body = Vec::with_capacity(FRAME_BYTES);
        write_frame(&mut body, number, commit_pages, page);
        if let Some(frame) = Frame::new(&body) {
            self.chain = self.chain.after(frame);
        }
        self.numbers.push(number);
        if u64::try_from(self.numbers.len()) == Ok(self.held) {
            self.at_tail = Some(self.chain);
        }
    }
}

fn list(
    reading: &Reading<'_>,
    pages: &Pages,
    digests: &[u8],
    row: &mut Row,
) -> Result<(), WalError> {
    let mut theirs = digests.chunks_exact(PAGE_DIGEST_BYTES);
    let count = usize::try_from(pages.count()).unwrap_or(usize::MAX);
    let mut differs = theirs.len() != count;
    // The last page found: whether it ends the transaction shows when the next one is found.
    let mut found = None;
    for number in 1..=pages.count() {
        let page = pages.read(reading, number)?;
        let same = theirs.next() == Some(&pages::digest(&page)[..]);
        differs |= !same;
        // The first page goes along: it says the size, and SQLite looks there for changes.
        if same && number > 1 {
            continue;
        }
        if let Some((number, page)) = found.replace((number, page)) {
            row.add(number, None, &page);
        }
    }
    if differs && let Some((number, page)) = found {
        row.add(number, Some(pages.count()), &page);
    }
    Ok(())
}

/// A frame as it travels; the last one of a transaction says how large the database is then.
pub(super) fn write_frame(body: &mut Vec<u8>, number: u32, commit_pages: Option<u32>, page: &[u8]) {
    let start = body.len();
    body.extend_from_slice(&number.to_be_bytes());
    body.extend_from_slice(&commit_pages.unwrap_or_default().to_be_bytes());
    // Salt and checksum belong to one WAL file, and this frame is of none.
    body.resize(start + FRAME_HEADER_BYTES, 0);
    body.extend_from_slice(page);
}
