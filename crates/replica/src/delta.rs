//! Delta frames: a batch of WAL frames as the difference from pages that both sides hold.
//!
//! Pure: bytes in, bytes out. Whoever calls it knows which pages the other side holds, and proves
//! it with the rolling checksum before and after the batch. A difference that does not belong to
//! the pages it is applied to gives an error or other frames, never a panic.
//! The format, and what was measured to choose it, is in ADR 0007.

mod difference;
mod page;
#[cfg(test)]
mod tests;
mod wire;

use std::{collections::HashMap, ops::Range};

use zstd::zstd_safe::{CCtx, CParameter, DCtx, compress_bound};

use self::wire::{Reader, put_number, signed, unsigned};
use crate::{
    frame::{Frame, frames},
    limits::{
        DELTA_CONTEXT_PAGES, DELTA_FRAMES_MAX, DELTA_PAGES_MAX, DELTA_WINDOW_LOG, DELTA_ZSTD_LEVEL,
        FRAME_BYTES, FRAME_HEADER_BYTES, PAGE_BYTES,
    },
};

/// Value of `content-encoding` and `accept-encoding` for a body of delta frames.
pub const ENCODING: &str = "x-counterfoil-delta";

/// The only format there is; another one is refused.
const FORMAT: u8 = 1;

/// What every zstd frame begins with; not sent.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Bytes that a frame can have at most before compression: a run costs no more than it replaces.
const PLAIN_BYTES_PER_FRAME_MAX: usize = 2 * FRAME_BYTES;

/// Why bytes are no delta frames, or not of these known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// The bytes end early, go on after their end, or hold numbers that make no sense.
    #[error("the bytes are no delta frames")]
    Format,
    /// More frames, pages or bytes than are taken at once.
    #[error("the delta frames are larger than their limits")]
    TooLarge,
    /// A page that the difference was made from is not to be had.
    #[error("the delta frames need page {page}, which does not exist here")]
    Missing {
        /// The page's number.
        page: u32,
    },
    /// The bytes or the frames they give are not those of the sender: a page differs.
    #[error("the delta frames do not belong to the pages here")]
    Mismatch,
    /// zstd has no memory.
    #[error("the frames cannot be compressed")]
    Compression,
}

/// Pages as both sides hold them before a batch, ascending by page number.
#[derive(Clone, Debug, Default)]
pub struct KnownPages {
    pages: Vec<u32>,
    content: Vec<u8>,
}

impl KnownPages {
    /// Adds a page.
    ///
    /// # Panics
    /// When the page's number is not above the last one, or the content is no page.
    pub fn push(&mut self, page: u32, content: &[u8]) {
        assert!(
            self.pages.last().is_none_or(|last| *last < page),
            "pages are added in ascending order"
        );
        assert_eq!(content.len(), PAGE_BYTES, "the content is a whole page");
        self.pages.push(page);
        self.content.extend_from_slice(content);
    }

    fn of(&self, page: u32) -> Option<&[u8]> {
        let index = self.pages.binary_search(&page).ok()?;
        self.content
            .get(index * PAGE_BYTES..(index + 1) * PAGE_BYTES)
    }
}

/// The pages that make a small difference: those that the frames replace, and the last
/// ones of the database, where a book has what was written most recently.
///
/// `pages_before` is the size of the database before the frames, in pages. Ascending; the caller
/// leaves out those that the other side does not hold.
#[must_use]
pub fn pages_wanted(body: &[u8], pages_before: u32) -> Vec<u32> {
    let first = pages_before.saturating_sub(DELTA_CONTEXT_PAGES - 1).max(1);
    let replaced = frames(body).map(Frame::page_number);
    let mut pages: Vec<u32> = replaced
        .filter(|page| (1..=pages_before).contains(page))
        .chain(first..=pages_before)
        .collect();
    pages.sort_unstable();
    pages.dedup();
    pages
}

/// Encodes frames as the difference from these known.
///
/// # Errors
/// [`DeltaError::TooLarge`] for more than [`DELTA_FRAMES_MAX`] frames or [`DELTA_PAGES_MAX`]
/// pages, [`DeltaError::Format`] for a body that is not whole frames, [`DeltaError::Compression`]
/// when zstd has no memory. The frames can then be sent whole.
pub fn encode(body: &[u8], known: &KnownPages) -> Result<Vec<u8>, DeltaError> {
    let count = frames(body).len();
    if count > DELTA_FRAMES_MAX || known.pages.len() > DELTA_PAGES_MAX {
        return Err(DeltaError::TooLarge);
    }
    if !body.len().is_multiple_of(FRAME_BYTES) {
        return Err(DeltaError::Format);
    }
    let empty = [0; PAGE_BYTES];
    let (mut control, mut literals) = (Vec::new(), Vec::new());
    let mut newest: HashMap<u32, &[u8]> = HashMap::new();
    let (mut page_before, mut size_before) = (0, 0);
    for frame in frames(body) {
        let page = frame.page_number();
        let step = signed(i64::from(page) - page_before) << 1;
        put_number(&mut control, step | u64::from(frame.is_commit()));
        page_before = i64::from(page);
        if frame.is_commit() {
            let size = i64::from(frame.commit_pages());
            put_number(&mut control, signed(size - size_before));
            size_before = size;
        }
        let content = &frame.bytes()[FRAME_HEADER_BYTES..];
        let old = newest.get(&page).copied().or_else(|| known.of(page));
        let old = old.unwrap_or(&empty);
        difference::write(page, old, content, &mut control, &mut literals);
        newest.insert(page, content);
    }
    let mut bytes = vec![FORMAT];
    put_number(&mut bytes, count_of(control.len()));
    put_number(&mut bytes, count_of(literals.len()));
    put_pages(&mut bytes, &known.pages);
    control.append(&mut literals);
    bytes.extend_from_slice(&compress(&control, &known.content)?);
    Ok(bytes)
}

/// Delta frames whose header was read: they name the pages they need.
#[derive(Debug)]
pub struct Delta<'a> {
    pages: Vec<u32>,
    frames: usize,
    control_bytes: usize,
    literal_bytes: usize,
    packed: &'a [u8],
}

impl<'a> Delta<'a> {
    /// Reads the header of bytes that should hold this many frames.
    ///
    /// # Errors
    /// [`DeltaError::Format`] and [`DeltaError::TooLarge`].
    pub fn parse(bytes: &'a [u8], frames: usize) -> Result<Self, DeltaError> {
        if frames > DELTA_FRAMES_MAX {
            return Err(DeltaError::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        if reader.take(1)? != [FORMAT] {
            return Err(DeltaError::Format);
        }
        let (control_bytes, literal_bytes) = (reader.size()?, reader.size()?);
        let plain_bytes = control_bytes.checked_add(literal_bytes);
        if plain_bytes.is_none_or(|plain| plain > frames * PLAIN_BYTES_PER_FRAME_MAX) {
            return Err(DeltaError::TooLarge);
        }
        Ok(Self {
            pages: read_pages(&mut reader)?,
            frames,
            control_bytes,
            literal_bytes,
            packed: reader.rest(),
        })
    }

    /// The pages that [`Self::decode`] needs, ascending.
    #[must_use]
    pub fn pages(&self) -> &[u32] {
        &self.pages
    }

    /// The frames, with nothing in the places of salt and checksum.
    ///
    /// # Errors
    /// [`DeltaError`]. With other pages than those the difference was made from it may also
    /// return other frames; the rolling checksum tells.
    pub fn decode(&self, known: &KnownPages) -> Result<Vec<u8>, DeltaError> {
        let missing = self.pages.iter().find(|page| known.of(**page).is_none());
        if let Some(page) = missing {
            return Err(DeltaError::Missing { page: *page });
        }
        if known.pages != self.pages {
            return Err(DeltaError::Format);
        }
        let plain_bytes = self.control_bytes + self.literal_bytes;
        let plain = decompress(self.packed, &known.content, plain_bytes)?;
        let (control, literals) = plain.split_at(self.control_bytes);
        let (mut control, mut literals) = (Reader::new(control), Reader::new(literals));
        let mut body = vec![0; self.frames * FRAME_BYTES];
        let mut newest: HashMap<u32, Range<usize>> = HashMap::new();
        let (mut page_before, mut size_before) = (0_i64, 0_i64);
        for index in 0..self.frames {
            let step = control.number()?;
            let page = sum(page_before, step >> 1).filter(|page| *page != 0);
            let page = page.ok_or(DeltaError::Format)?;
            page_before = i64::from(page);
            let mut size = 0;
            if step & 1 == 1 {
                size = sum(size_before, control.number()?).ok_or(DeltaError::Format)?;
                size_before = i64::from(size);
            }
            let at = index * FRAME_BYTES;
            let (before, frame) = body.split_at_mut(at);
            frame[..4].copy_from_slice(&page.to_be_bytes());
            frame[4..8].copy_from_slice(&size.to_be_bytes());
            let content = &mut frame[FRAME_HEADER_BYTES..FRAME_BYTES];
            let earlier = newest
                .get(&page)
                .and_then(|range| before.get(range.clone()));
            if let Some(old) = earlier.or_else(|| known.of(page)) {
                content.copy_from_slice(old);
            }
            difference::apply(page, content, &mut control, &mut literals)?;
            newest.insert(page, at + FRAME_HEADER_BYTES..at + FRAME_BYTES);
        }
        if control.rest().is_empty() && literals.rest().is_empty() {
            Ok(body)
        } else {
            Err(DeltaError::Format)
        }
    }
}

fn sum(before: i64, step: u64) -> Option<u32> {
    u32::try_from(before.checked_add(unsigned(step))?).ok()
}

/// Runs of following pages: how many are left out, how many follow each other.
fn put_pages(bytes: &mut Vec<u8>, pages: &[u32]) {
    let runs: Vec<&[u32]> = pages.chunk_by(|one, next| *next == one + 1).collect();
    put_number(bytes, count_of(runs.len()));
    let mut expected = 1;
    for run in runs {
        put_number(bytes, u64::from(run[0] - expected));
        put_number(bytes, count_of(run.len()));
        expected = run[run.len() - 1] + 1;
    }
}

fn read_pages(reader: &mut Reader<'_>) -> Result<Vec<u32>, DeltaError> {
    let mut pages = Vec::new();
    let mut expected = 1_u64;
    for _ in 0..reader.size()? {
        let first = expected.checked_add(reader.number()?);
        let length = reader.size()?;
        if length == 0 {
            return Err(DeltaError::Format);
        }
        if pages.len().saturating_add(length) > DELTA_PAGES_MAX {
            return Err(DeltaError::TooLarge);
        }
        let first = first.ok_or(DeltaError::Format)?;
        for page in (first..).take(length) {
            // The last number is left out, so that one more always exists.
            let page = u32::try_from(page).ok().filter(|page| *page < u32::MAX);
            pages.push(page.ok_or(DeltaError::Format)?);
        }
        expected = first + count_of(length);
    }
    Ok(pages)
}

fn compress(plain: &[u8], prefix: &[u8]) -> Result<Vec<u8>, DeltaError> {
    let mut packed = Vec::with_capacity(compress_bound(plain.len()));
    let mut context = CCtx::try_create().ok_or(DeltaError::Compression)?;
    let mut set = |parameter| {
        let set = context.set_parameter(parameter);
        set.map_err(|_| DeltaError::Compression)
    };
    set(CParameter::CompressionLevel(DELTA_ZSTD_LEVEL))?;
    set(CParameter::ContentSizeFlag(false))?;
    set(CParameter::WindowLog(DELTA_WINDOW_LOG))?;
    let done = context
        .ref_prefix(prefix)
        .and_then(|_| context.compress2(&mut packed, plain));
    done.map_err(|_| DeltaError::Compression)?;
    if !packed.starts_with(&ZSTD_MAGIC) {
        return Err(DeltaError::Compression);
    }
    packed.drain(..ZSTD_MAGIC.len());
    Ok(packed)
}

/// Decompresses into exactly this many bytes; no other memory depends on what the bytes say.
fn decompress(packed: &[u8], prefix: &[u8], plain_bytes: usize) -> Result<Vec<u8>, DeltaError> {
    let framed = [&ZSTD_MAGIC, packed].concat();
    let mut plain = Vec::with_capacity(plain_bytes);
    let mut context = DCtx::try_create().ok_or(DeltaError::Compression)?;
    let done = context
        .ref_prefix(prefix)
        .and_then(|_| context.decompress(&mut plain, &framed));
    match done {
        Ok(_) if plain.len() == plain_bytes => Ok(plain),
        Ok(_) | Err(_) => Err(DeltaError::Mismatch),
    }
}

fn count_of(count: usize) -> u64 {
    u64::try_from(count).expect("a count in memory fits 64 bits")
}
