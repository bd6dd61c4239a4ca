//! What SQLite does to a b-tree page when it inserts a cell, so that only the cell has to travel.
//!
//! A prediction: where SQLite did something else, the runs of bytes correct it. Formats and the
//! order of decisions are those of SQLite's `btree.c` (`cellSizePtr`, `allocateSpace`,
//! `pageFindSlot`, `insertCell`). Every access is checked, pages may hold anything.

use std::ops::Range;

use crate::limits::PAGE_BYTES;

/// Bytes of the file header on page 1, before its b-tree header.
const FILE_HEADER_BYTES: usize = 100;

/// No cell takes less room, because it must hold a free block later.
const CELL_BYTES_MIN: usize = 4;

/// Above this many lost bytes on a page SQLite does not lose more.
const FRAGMENT_BYTES_MAX: u8 = 57;

/// Content of a cell that stays on the page: at most this for rows, this for index entries, and at
/// least this when the rest is elsewhere.
const LOCAL_TABLE_MAX: usize = PAGE_BYTES - 35;
const LOCAL_INDEX_MAX: usize = ((PAGE_BYTES - 12) * 64).div_euclid(255) - 23;
const LOCAL_MIN: usize = ((PAGE_BYTES - 12) * 32).div_euclid(255) - 23;

/// A cell that the page after has and the page before has not.
pub(super) struct Inserted {
    /// Its place in the pointer array, when it is inserted.
    pub(super) index: usize,
    /// Cells behind it then.
    pub(super) before_end: usize,
    /// Its bytes on the new page.
    pub(super) range: Range<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    TableLeaf,
    TableInterior,
    IndexLeaf,
    IndexInterior,
}

/// Where things are on a b-tree page.
#[derive(Clone, Copy)]
struct Layout {
    kind: Kind,
    header: usize,
    pointers: usize,
    cells: usize,
}

impl Layout {
    fn of(number: u32, page: &[u8]) -> Option<Self> {
        let header = if number == 1 { FILE_HEADER_BYTES } else { 0 };
        let (kind, header_bytes) = match page.get(header)? {
            13 => (Kind::TableLeaf, 8),
            10 => (Kind::IndexLeaf, 8),
            5 => (Kind::TableInterior, 12),
            2 => (Kind::IndexInterior, 12),
            _ => return None,
        };
        Some(Self {
            kind,
            header,
            pointers: header + header_bytes,
            cells: word(page, header + 3)?,
        })
    }

    fn pointer_at(&self, index: usize) -> usize {
        self.pointers + 2 * index
    }
}

/// Cells on a b-tree page.
pub(super) fn cells(number: u32, page: &[u8]) -> Option<usize> {
    Layout::of(number, page).map(|layout| layout.cells)
}

/// Bytes of the cell that begins here, on such a page.
pub(super) fn cell_bytes(number: u32, page: &[u8], cell: &[u8]) -> Option<usize> {
    size_of_cell(Layout::of(number, page)?.kind, cell)
}

/// The cells that were added when nothing else happened to the pointer array.
pub(super) fn insertions(number: u32, old: &[u8], new: &[u8]) -> Option<Vec<Inserted>> {
    let (before, after) = (Layout::of(number, old)?, Layout::of(number, new)?);
    if before.kind != after.kind || after.cells <= before.cells {
        return None;
    }
    let mut kept = 0;
    let mut inserted = Vec::new();
    for index in 0..after.cells {
        let start = word(new, after.pointer_at(index))?;
        if kept < before.cells && word(old, before.pointer_at(kept))? == start {
            kept += 1;
            continue;
        }
        let bytes = size_of_cell(after.kind, new.get(start..)?)?;
        let range = start..start + bytes;
        new.get(range.clone())?;
        let before_end = before.cells - kept;
        inserted.push(Inserted {
            index,
            before_end,
            range,
        });
    }
    (kept == before.cells).then_some(inserted)
}

/// Inserts a cell as SQLite would; `None` leaves the page as it is.
pub(super) fn insert(number: u32, page: &mut [u8], index: usize, cell: &[u8]) -> Option<()> {
    let layout = Layout::of(number, page)?;
    let end = layout.pointer_at(layout.cells);
    let room = word(page, layout.header + 5)?.min(PAGE_BYTES);
    if index > layout.cells || end + 2 > room || page.len() != PAGE_BYTES {
        return None;
    }
    let count = word_bytes(layout.cells + 1)?;
    let start = allocate(page, &layout, cell.len())?;
    page.get_mut(start..start + cell.len())?
        .copy_from_slice(cell);
    let at = layout.pointer_at(index);
    page.copy_within(at..end, at + 2);
    page[at..at + 2].copy_from_slice(&word_bytes(start)?);
    page[layout.header + 3..layout.header + 5].copy_from_slice(&count);
    Some(())
}

/// Room for a cell: the end of the first free block that is large enough, else the gap.
fn allocate(page: &mut [u8], layout: &Layout, bytes: usize) -> Option<usize> {
    let mut link = layout.header + 1;
    let mut block = word(page, link)?;
    while block != 0 {
        let (next, size) = (word(page, block)?, word(page, block + 2)?);
        if block + size > PAGE_BYTES {
            return None;
        }
        if let Some(rest) = size.checked_sub(bytes) {
            if rest >= CELL_BYTES_MIN {
                page[block + 2..block + 4].copy_from_slice(&word_bytes(rest)?);
                return Some(block + rest);
            }
            let lost = page[layout.header + 7];
            if lost > FRAGMENT_BYTES_MAX {
                break;
            }
            page[link..link + 2].copy_from_slice(&word_bytes(next)?);
            page[layout.header + 7] = lost + u8::try_from(rest).ok()?;
            return Some(block);
        }
        if next != 0 && next < block + CELL_BYTES_MIN {
            return None;
        }
        (link, block) = (block, next);
    }
    let content = layout.header + 5;
    let start = word(page, content)?.checked_sub(bytes)?;
    if start < layout.pointer_at(layout.cells) + 2 || start + bytes > PAGE_BYTES {
        return None;
    }
    page[content..content + 2].copy_from_slice(&word_bytes(start)?);
    Some(start)
}

fn size_of_cell(kind: Kind, cell: &[u8]) -> Option<usize> {
    let child = match kind {
        Kind::TableLeaf | Kind::IndexLeaf => 0,
        Kind::TableInterior | Kind::IndexInterior => 4,
    };
    let (number, mut bytes) = varint(cell.get(child..)?)?;
    bytes += child;
    let local_max = match kind {
        Kind::TableInterior => return Some(bytes.max(CELL_BYTES_MIN)),
        Kind::TableLeaf => {
            bytes += varint(cell.get(bytes..)?)?.1;
            LOCAL_TABLE_MAX
        }
        Kind::IndexLeaf | Kind::IndexInterior => LOCAL_INDEX_MAX,
    };
    let payload = usize::try_from(number).ok()?;
    if payload <= local_max {
        return Some((bytes + payload).max(CELL_BYTES_MIN));
    }
    // The rest of a long payload is in pages of its own, after the number of the first of them.
    let local = LOCAL_MIN + (payload - LOCAL_MIN) % (PAGE_BYTES - 4);
    Some(bytes + if local <= local_max { local } else { LOCAL_MIN } + 4)
}

/// SQLite's number: seven bits a byte, highest first, a ninth byte with all eight.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0;
    for (index, byte) in bytes.iter().take(9).enumerate() {
        if index == 8 {
            return Some((number << 8 | u64::from(*byte), 9));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, index + 1));
        }
    }
    None
}

fn word(page: &[u8], at: usize) -> Option<usize> {
    let bytes = page.get(at..at.checked_add(2)?)?;
    Some(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
}

fn word_bytes(word: usize) -> Option<[u8; 2]> {
    u16::try_from(word).ok().map(u16::to_be_bytes)
}
