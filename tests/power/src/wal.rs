//! The part of a write-ahead log that counts, by SQLite's file format.

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// Bytes up to the end of the last commit whose frames are all intact; 0 when there is none.
#[must_use]
pub fn committed_bytes(log: &[u8]) -> usize {
    let Some(header) = log.get(..HEADER_BYTES) else {
        return 0;
    };
    let big_endian = match word(header, 0) {
        0x377f_0682 => false,
        0x377f_0683 => true,
        _ => return 0,
    };
    let page_bytes = usize::try_from(word(header, 8)).unwrap_or_default();
    let mut sum = checksum(&header[..24], (0, 0), big_endian);
    if page_bytes == 0 || sum != (word(header, 24), word(header, 28)) {
        return 0;
    }
    let salt = &header[16..24];
    let (mut at, mut committed) = (HEADER_BYTES, 0);
    while let Some(frame) = log.get(at..at + FRAME_HEADER_BYTES + page_bytes) {
        sum = checksum(&frame[..8], sum, big_endian);
        sum = checksum(&frame[FRAME_HEADER_BYTES..], sum, big_endian);
        if &frame[8..16] != salt || sum != (word(frame, 16), word(frame, 20)) {
            break;
        }
        at += frame.len();
        if word(frame, 4) != 0 {
            committed = at;
        }
    }
    committed
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

fn checksum(bytes: &[u8], (mut first, mut second): (u32, u32), big_endian: bool) -> (u32, u32) {
    let (words, _) = bytes.as_chunks::<4>();
    for pair in words.as_chunks::<2>().0 {
        let read = |word| {
            if big_endian {
                u32::from_be_bytes(word)
            } else {
                u32::from_le_bytes(word)
            }
        };
        first = first.wrapping_add(read(pair[0])).wrapping_add(second);
        second = second.wrapping_add(read(pair[1])).wrapping_add(first);
    }
    (first, second)
}
