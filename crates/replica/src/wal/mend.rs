//! Puts a WAL right that a disk has changed in single words.
//!
//! SQLite forgets everything behind the first frame whose checksum does not hold; in a book that may be
//! sales that nobody else has. Its checksum is linear, so when one word of a frame is another than it was,
//! the difference of the sums says which word and by how much; a changed sum is known by the frame behind
//! it. What cannot be told so is left as it is.

use super::reading::{Order, Sum, stored_sum};
use crate::limits::{FRAME_BYTES, FRAME_HEADER_BYTES};
use std::ops::Range;

const HEADER_BYTES: usize = 32;
/// Bytes of a WAL's header that its checksum covers.
const HEADER_SUMMED: Range<usize> = 0..24;
/// Version of the format and size of a page, as they stand in the header of every WAL.
const HEADER_FIXED: Range<usize> = 4..12;
const HEADER_SALT: Range<usize> = 16..24;
const FRAME_SUMMED: [Range<usize>; 2] = [0..8, FRAME_HEADER_BYTES..FRAME_BYTES];
const SALT: Range<usize> = 8..16;
const SUM: Range<usize> = 16..FRAME_HEADER_BYTES;

/// A word that would make the sum right, and where it stands.
#[derive(Clone, Copy)]
struct Candidate {
    at: usize,
    word: [u8; 4],
}

/// Puts right what can be, and says how many places were; the rest of the bytes is untouched.
pub(crate) fn mend(wal: &mut [u8]) -> usize {
    let Some(order) = Order::of(wal).filter(|_| wal.len() >= HEADER_BYTES) else {
        return 0;
    };
    let mut mended = 0;
    let found = order.add((0, 0), &wal[HEADER_SUMMED]);
    let mut sum = stored_sum(&wal[HEADER_SUMMED.end..HEADER_BYTES]);
    if found != sum {
        if follows(order, found, wal, HEADER_BYTES) {
            wal[HEADER_SUMMED.end..HEADER_BYTES].copy_from_slice(&bytes_of(found));
            sum = found;
        } else if let Some(candidate) =
            in_header(wal, &candidates(order, found, sum, wal, &[HEADER_SUMMED]))
        {
            wal[candidate.at..candidate.at + 4].copy_from_slice(&candidate.word);
        } else {
            return 0;
        }
        mended += 1;
    }
    let mut salt = [0; 8];
    salt.copy_from_slice(&wal[HEADER_SALT]);
    let mut start = HEADER_BYTES;
    while start + FRAME_BYTES <= wal.len() {
        let frame = &wal[start..start + FRAME_BYTES];
        let found = sum_of(order, sum, frame);
        let stored = stored_sum(&frame[SUM]);
        let is_salted = frame[SALT] == salt;
        let change = match (is_salted, found == stored) {
            (true, true) => None,
            // No other WAL's frame has the sum that continues this one's.
            (false, true) => Some((start + SALT.start, salt.to_vec())),
            (true, false) if follows(order, found, wal, start + FRAME_BYTES) => {
                Some((start + SUM.start, bytes_of(found).to_vec()))
            }
            (true, false) => {
                let parts = FRAME_SUMMED.map(|part| start + part.start..start + part.end);
                let all = candidates(order, found, stored, wal, &parts);
                match in_frame(wal, start, &all) {
                    Some(candidate) => Some((candidate.at, candidate.word.to_vec())),
                    None => return mended,
                }
            }
            (false, false) => return mended,
        };
        if let Some((at, bytes)) = change {
            wal[at..at + bytes.len()].copy_from_slice(&bytes);
            mended += 1;
        }
        sum = stored_sum(&wal[start..start + FRAME_BYTES][SUM]);
        start += FRAME_BYTES;
    }
    mended
}

/// Whether the frame that starts there continues the sum.
fn follows(order: Order, sum: Sum, wal: &[u8], start: usize) -> bool {
    let frame = wal.get(start..start + FRAME_BYTES);
    frame.is_some_and(|frame| sum_of(order, sum, frame) == stored_sum(&frame[SUM]))
}

fn sum_of(order: Order, sum: Sum, frame: &[u8]) -> Sum {
    let [head, page] = FRAME_SUMMED;
    order.add(order.add(sum, &frame[head]), &frame[page])
}

fn bytes_of((first, second): Sum) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_be_bytes());
    bytes[4..].copy_from_slice(&second.to_be_bytes());
    bytes
}

/// The one that leaves what is known of every header: the format, and the salt of the first frame.
fn in_header(wal: &[u8], all: &[Candidate]) -> Option<Candidate> {
    const FIXED: [u8; 8] = [0, 0x2d, 0xe2, 0x18, 0, 0, 0x10, 0];
    let salt = wal
        .get(HEADER_BYTES..HEADER_BYTES + FRAME_BYTES)?
        .get(SALT)?;
    only(all.iter().filter(|candidate| {
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&wal[..HEADER_BYTES]);
        header[candidate.at..candidate.at + 4].copy_from_slice(&candidate.word);
        header[HEADER_FIXED] == FIXED
            && &header[HEADER_SALT] == salt
            && Order::of(&header).is_some()
    }))
}

/// The only one, or the only one that the page has there in the version before or after: a change of a
/// word's highest byte alone leaves several.
fn in_frame(wal: &[u8], start: usize, all: &[Candidate]) -> Option<Candidate> {
    if let [candidate] = all {
        return Some(*candidate);
    }
    let page = &wal[start..start + 4];
    let same_page = |other: &usize| &wal[*other..*other + 4] == page;
    let whole = wal.len() - (wal.len() - HEADER_BYTES) % FRAME_BYTES;
    let before = (HEADER_BYTES..start)
        .step_by(FRAME_BYTES)
        .rev()
        .find(same_page);
    let after = (start + FRAME_BYTES..whole)
        .step_by(FRAME_BYTES)
        .find(same_page);
    let versions: Vec<usize> = before.into_iter().chain(after).collect();
    only(all.iter().filter(|candidate| {
        let at = candidate.at - start;
        at >= FRAME_HEADER_BYTES
            && versions
                .iter()
                .any(|version| wal[version + at..version + at + 4] == candidate.word)
    }))
}

fn only<'a>(mut candidates: impl Iterator<Item = &'a Candidate>) -> Option<Candidate> {
    let first = candidates.next()?;
    candidates.next().is_none().then_some(*first)
}

/// The words in these parts of the WAL of which one, if it were another, would lead to the stored sum.
fn candidates(
    order: Order,
    found: Sum,
    stored: Sum,
    wal: &[u8],
    parts: &[Range<usize>],
) -> Vec<Candidate> {
    let difference = (
        stored.0.wrapping_sub(found.0),
        stored.1.wrapping_sub(found.1),
    );
    // What one more in either half of the sum, after the word at hand, adds to both halves at the end.
    let (mut of_first, mut of_second): (Sum, Sum) = ((1, 0), (0, 1));
    let mut all = Vec::new();
    for part in parts.iter().rev() {
        for at in part.clone().step_by(4).rev() {
            // A pair of words adds to the first half, then to the second.
            let is_second = (at - part.start) % 8 != 0;
            let by = if is_second { of_second } else { of_first };
            if let Some(change) = factor(difference, by) {
                let word = order.bytes(order.word(&wal[at..at + 4]).wrapping_add(change));
                all.push(Candidate { at, word });
            }
            if is_second {
                of_first = sum_of_both(of_first, of_second);
            } else {
                of_second = sum_of_both(of_second, of_first);
            }
        }
    }
    all
}

fn sum_of_both(left: Sum, right: Sum) -> Sum {
    (left.0.wrapping_add(right.0), left.1.wrapping_add(right.1))
}

/// The number by which `by` is the difference, modulo 2^32. One half of `by` is always odd.
fn factor(difference: Sum, by: Sum) -> Option<u32> {
    let (odd, of_odd) = match (by.0 & 1, by.1 & 1) {
        (1, _) => (by.0, difference.0),
        _ => (by.1, difference.1),
    };
    // Each round doubles the bits that are right, from three.
    let mut inverse = odd;
    for _ in 0..4 {
        inverse = inverse.wrapping_mul(2_u32.wrapping_sub(odd.wrapping_mul(inverse)));
    }
    let factor = of_odd.wrapping_mul(inverse);
    let fits =
        by.0.wrapping_mul(factor) == difference.0 && by.1.wrapping_mul(factor) == difference.1;
    (fits && factor != 0).then_some(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A WAL of frames whose pages are drawn from a seed.
    fn wal(magic: u8, frames: usize, seed: u8) -> Vec<u8> {
        let noise = |number: usize| blake3::hash(&[seed, u8::try_from(number).unwrap()]);
        let mut wal = vec![0x37, 0x7f, 0x06, magic, 0, 0x2d, 0xe2, 0x18, 0, 0, 0x10, 0];
        wal.extend_from_slice(&noise(0).as_bytes()[..12]);
        let order = Order::of(&wal).unwrap();
        let mut sum = order.add((0, 0), &wal);
        wal.extend_from_slice(&bytes_of(sum));
        let salt = wal[16..24].to_vec();
        for number in 1..=frames {
            let mut frame = vec![0, 0, 0, 3];
            frame.extend_from_slice(&noise(number).as_bytes()[..4]);
            frame.extend_from_slice(&salt);
            frame.extend_from_slice(&[0; 8]);
            let mut page = vec![0; crate::limits::PAGE_BYTES];
            let mut reader = blake3::Hasher::new().update(&[seed, 7]).finalize_xof();
            reader.fill(&mut page);
            page[..32].copy_from_slice(noise(number + 100).as_bytes());
            frame.extend_from_slice(&page);
            sum = sum_of(order, sum, &frame);
            frame[SUM].copy_from_slice(&bytes_of(sum));
            wal.extend_from_slice(&frame);
        }
        wal
    }

    proptest! {
        #[test]
        fn one_changed_word_in_frames_that_are_not_neighbours_is_put_right(
            magic in 0x82_u8..=0x83,
            seed: u8,
            places in proptest::collection::btree_map(0_usize..4, (0_usize..1_030, 1_u32..1 << 24), 1..4),
        ) {
            let whole = wal(magic, 8, seed);
            let mut changed = whole.clone();
            for (frame, (word, change)) in &places {
                let at = HEADER_BYTES + 2 * frame * FRAME_BYTES + word * 4;
                // Not in the highest byte alone, whichever that is.
                changed[at + 1] ^= change.to_be_bytes()[1];
                changed[at + 2] ^= change.to_be_bytes()[2] | 1;
            }
            prop_assert_eq!(mend(&mut changed), places.len());
            prop_assert!(changed == whole);
        }

        #[test]
        fn one_changed_byte_of_a_page_that_has_other_versions_is_put_right(
            magic in 0x82_u8..=0x83,
            seed: u8,
            at in FRAME_HEADER_BYTES + 32..FRAME_BYTES,
            with in 1_u8..,
        ) {
            let whole = wal(magic, 3, seed);
            let mut changed = whole.clone();
            changed[HEADER_BYTES + FRAME_BYTES + at] ^= with;
            prop_assert_eq!(mend(&mut changed), 1);
            prop_assert!(changed == whole);
        }

        #[test]
        fn a_changed_header_is_put_right(seed: u8, at in 4_usize..HEADER_BYTES, with in 1_u8..) {
            let whole = wal(0x82, 2, seed);
            let mut changed = whole.clone();
            changed[at] ^= with;
            prop_assert_eq!(mend(&mut changed), 1);
            prop_assert!(changed == whole);
        }

        #[test]
        fn what_is_torn_stays_as_it_is(seed: u8, frame in 0_usize..3, words in 2_usize..1_024) {
            let mut torn = wal(0x82, 3, seed);
            let other = wal(0x82, 3, seed.wrapping_add(1));
            let at = HEADER_BYTES + frame * FRAME_BYTES + FRAME_HEADER_BYTES;
            // The first bytes of the page are others in each frame.
            torn[at..at + words * 4].copy_from_slice(&other[at..at + words * 4]);
            let before = torn.clone();
            prop_assert_eq!(mend(&mut torn), 0);
            prop_assert!(torn == before);
        }
    }

    #[test]
    fn what_is_whole_or_left_over_stays_as_it_is() {
        let whole = wal(0x82, 3, 1);
        let mut same = whole.clone();
        assert_eq!(mend(&mut same), 0);
        // Frames of a transaction that was rolled back, behind newer and fewer ones.
        let mut left_over = whole.clone();
        let newer = wal(0x82, 3, 1);
        left_over[HEADER_BYTES + FRAME_BYTES..]
            .copy_from_slice(&newer[HEADER_BYTES + FRAME_BYTES..]);
        left_over.extend_from_slice(&wal(0x82, 2, 9)[HEADER_BYTES..]);
        let before = left_over.clone();
        assert_eq!(mend(&mut left_over), 0);
        assert!(left_over == before);
        for length in [0, 10, HEADER_BYTES, HEADER_BYTES + 100] {
            assert_eq!(mend(&mut whole.clone()[..length]), 0);
        }
    }
}
