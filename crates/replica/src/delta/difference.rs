//! The difference between a page before and after: cells that were inserted, then runs of bytes.
//!
//! Control, for each frame: number of inserted cells, for each its distance from the end of the
//! pointer array; number of runs, for each the bytes skipped and the bytes replaced. Literals: the
//! cells, then the runs.

use super::{
    DeltaError, count_of, page,
    wire::{Reader, put_number},
};
use crate::limits::PAGE_BYTES;

/// Equal bytes between two runs that are cheaper sent again than skipped: a run costs two numbers.
const RUN_GAP_BYTES: usize = 4;

/// Cells that a page can have at most: a pointer of two bytes and a cell of four.
const CELLS_MAX: usize = PAGE_BYTES.div_euclid(6);

/// Appends the difference.
pub(super) fn write(
    number: u32,
    old: &[u8],
    new: &[u8],
    control: &mut Vec<u8>,
    literals: &mut Vec<u8>,
) {
    let plain = Runs::between(old, new);
    let predicted = page::insertions(number, old, new).and_then(|cells| {
        let mut page = old.to_vec();
        for cell in &cells {
            page::insert(number, &mut page, cell.index, &new[cell.range.clone()])?;
        }
        let runs = Runs::between(&page, new);
        let bytes: usize = cells.iter().map(|cell| cell.range.len()).sum();
        (bytes + runs.bytes() < plain.bytes() + cells.len()).then_some((cells, runs))
    });
    let (cells, runs) = predicted.unwrap_or((Vec::new(), plain));
    put_number(control, count_of(cells.len()));
    for cell in &cells {
        put_number(control, count_of(cell.before_end));
        literals.extend_from_slice(&new[cell.range.clone()]);
    }
    put_number(control, count_of(runs.0.len()));
    let mut at = 0;
    for (start, end) in runs.0 {
        put_number(control, count_of(start - at));
        put_number(control, count_of(end - start));
        literals.extend_from_slice(&new[start..end]);
        at = end;
    }
}

/// Turns the page before into the page after.
pub(super) fn apply(
    number: u32,
    content: &mut [u8],
    control: &mut Reader<'_>,
    literals: &mut Reader<'_>,
) -> Result<(), DeltaError> {
    let cells = control.size()?;
    if cells > CELLS_MAX {
        return Err(DeltaError::Format);
    }
    for _ in 0..cells {
        let before_end = control.size()?;
        let count = page::cells(number, content).ok_or(DeltaError::Format)?;
        let index = count.checked_sub(before_end).ok_or(DeltaError::Format)?;
        let bytes = page::cell_bytes(number, content, literals.rest());
        let cell = literals.take(bytes.ok_or(DeltaError::Format)?)?;
        page::insert(number, content, index, cell).ok_or(DeltaError::Format)?;
    }
    let mut rest = content;
    for _ in 0..control.size()? {
        let skipped = control.size()?;
        let length = control.size()?;
        let (_, behind) = rest
            .split_at_mut_checked(skipped)
            .ok_or(DeltaError::Format)?;
        let (run, behind) = behind
            .split_at_mut_checked(length)
            .ok_or(DeltaError::Format)?;
        run.copy_from_slice(literals.take(length)?);
        rest = behind;
    }
    Ok(())
}

/// Start and end of the bytes that differ, ascending.
struct Runs(Vec<(usize, usize)>);

impl Runs {
    fn between(old: &[u8], new: &[u8]) -> Self {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        // Eight bytes at a time: most of a page is equal.
        for block in (0..PAGE_BYTES).step_by(8) {
            if old[block..block + 8] == new[block..block + 8] {
                continue;
            }
            for at in (block..block + 8).filter(|at| old[*at] != new[*at]) {
                match runs.last_mut() {
                    Some((_, end)) if at - *end < RUN_GAP_BYTES => *end = at + 1,
                    _ => runs.push((at, at + 1)),
                }
            }
        }
        Self(runs)
    }

    /// What the runs cost, roughly: their bytes and two numbers each.
    fn bytes(&self) -> usize {
        self.0.iter().map(|(start, end)| end - start + 3).sum()
    }
}
