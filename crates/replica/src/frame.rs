//! WAL frames as they travel: a 24-byte header and one page, and the rolling checksum over them.
//!
//! Of the header only the first 8 bytes mean anything elsewhere: page number and, on the last frame
//! of a transaction, the size of the database in pages. Salt and checksum belong to one WAL file.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::limits::{FRAME_BYTES, FRAME_HEADER_BYTES};

/// A borrowed frame of exactly [`FRAME_BYTES`] bytes.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    bytes: &'a [u8],
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Frame")
            .field("page", &self.page_number())
            .field("commit_pages", &self.commit_pages())
            .finish_non_exhaustive()
    }
}

impl<'a> Frame<'a> {
    /// The frame in these bytes, when there are exactly as many as a frame has.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        (bytes.len() == FRAME_BYTES).then_some(Self { bytes })
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Number of the page, from 1.
    #[must_use]
    pub fn page_number(self) -> u32 {
        self.word(0)
    }

    /// Size of the database in pages after the transaction that ends here; 0 when none ends here.
    #[must_use]
    pub fn commit_pages(self) -> u32 {
        self.word(4)
    }

    /// Whether a transaction ends here.
    #[must_use]
    pub fn is_commit(self) -> bool {
        self.commit_pages() != 0
    }

    /// The salt of the WAL file the frame was read from.
    #[must_use]
    pub fn salt(self) -> Salt {
        let mut salt = [0; 8];
        salt.copy_from_slice(&self.bytes[8..16]);
        Salt(salt)
    }

    /// Whether both frames write the same page content and end the same transaction.
    #[must_use]
    pub fn same_content(self, other: Frame<'_>) -> bool {
        self.bytes[..8] == other.bytes[..8]
            && self.bytes[FRAME_HEADER_BYTES..] == other.bytes[FRAME_HEADER_BYTES..]
    }

    fn word(self, at: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.bytes[at..at + 4]);
        u32::from_be_bytes(word)
    }
}

/// The frames in a body, in order.
///
/// Bytes after the last whole frame are left out; callers check the length first.
pub fn frames(body: &[u8]) -> impl DoubleEndedIterator<Item = Frame<'_>> + ExactSizeIterator {
    body.chunks_exact(FRAME_BYTES).map(|bytes| Frame { bytes })
}

/// Bytes at the beginning of the body that are whole transactions.
#[must_use]
pub fn whole_transactions_bytes(body: &[u8]) -> usize {
    let after = frames(body)
        .rev()
        .take_while(|frame| !frame.is_commit())
        .count();
    (frames(body).len() - after) * FRAME_BYTES
}

/// What tells one content of a WAL file from the next: the two salts of its header.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Salt(pub [u8; 8]);

/// Rolling checksum: BLAKE3 over the previous value and what a frame says.
///
/// It starts as the digest of the base file and goes on through all generations, so two equal
/// values mean the same base and the same frames in the same order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chain(pub [u8; 32]);

impl Chain {
    /// The digest of a whole database file.
    #[must_use]
    pub fn of_base(file: &[u8]) -> Self {
        Self(*blake3::hash(file).as_bytes())
    }

    /// The value after one more frame.
    #[must_use]
    pub fn after(self, frame: Frame<'_>) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(&frame.bytes[..8]);
        hasher.update(&frame.bytes[FRAME_HEADER_BYTES..]);
        Self(*hasher.finalize().as_bytes())
    }

    /// The value after all frames of a body.
    #[must_use]
    pub fn after_all(self, body: &[u8]) -> Self {
        frames(body).fold(self, Self::after)
    }
}

/// The text is not hexadecimal digits of the right number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {digits} hexadecimal digits")]
pub struct HexError {
    /// How many digits were expected.
    pub digits: usize,
}

macro_rules! hexadecimal {
    ($type:ident, $bytes:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0
                    .iter()
                    .try_for_each(|byte| write!(formatter, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        impl FromStr for $type {
            type Err = HexError;

            fn from_str(text: &str) -> Result<Self, HexError> {
                let mut bytes = [0; $bytes];
                parse_hexadecimal(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }

        impl TryFrom<String> for $type {
            type Error = HexError;

            fn try_from(text: String) -> Result<Self, HexError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }

        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}

hexadecimal!(Salt, 8);
hexadecimal!(Chain, 32);

fn parse_hexadecimal(text: &str, bytes: &mut [u8]) -> Result<(), HexError> {
    let wrong = HexError {
        digits: bytes.len() * 2,
    };
    if text.len() != wrong.digits || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(wrong);
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| wrong)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(commit_pages: u32) -> Vec<u8> {
        let mut bytes = vec![0; FRAME_BYTES];
        bytes[..4].copy_from_slice(&7_u32.to_be_bytes());
        bytes[4..8].copy_from_slice(&commit_pages.to_be_bytes());
        bytes
    }

    #[test]
    fn whole_transactions_end_at_the_last_commit_frame() {
        let check = |commits: &[u32], whole: usize| {
            let body: Vec<u8> = commits.iter().flat_map(|pages| frame(*pages)).collect();
            assert_eq!(
                whole_transactions_bytes(&body),
                whole * FRAME_BYTES,
                "{commits:?}"
            );
        };
        check(&[], 0);
        check(&[0, 0], 0);
        check(&[0, 9], 2);
        check(&[9, 0, 9, 0, 0], 3);
    }

    #[test]
    fn the_chain_ignores_what_belongs_to_one_wal_file() {
        let one = frame(3);
        let mut other = one.clone();
        other[8..24].fill(0xff);
        let chain = Chain([1; 32]);
        assert_eq!(chain.after_all(&one), chain.after_all(&other));
        other[30] = 1;
        assert_ne!(chain.after_all(&one), chain.after_all(&other));
    }

    #[test]
    fn a_chain_survives_its_text_form() {
        let chain = Chain::of_base(b"base");
        assert_eq!(chain.to_string().parse(), Ok(chain));
        assert!("zz".parse::<Chain>().is_err());
    }
}
