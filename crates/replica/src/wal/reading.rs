//! What one read transaction sees: frames whose checksums hold, and pages of the main file.

use super::{Position, Wal, WalError, raw::File};
use crate::{
    frame::{Frame, Salt},
    limits::{FRAME_BYTES, FRAME_HEADER_BYTES, PAGE_BYTES, WAL_HEADER_BYTES},
};

/// A read transaction, see [`Wal::read`].
#[derive(Debug)]
pub struct Reading<'a> {
    wal: &'a Wal,
    position: Position,
}

impl<'a> Reading<'a> {
    pub(super) fn new(wal: &'a Wal, position: Position) -> Self {
        Self { wal, position }
    }

    /// What is committed.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Appends frames `first..=last` to `body`.
    ///
    /// # Errors
    /// [`WalError`]; `Restarted` when another program reset the WAL meanwhile, `Damaged` when the
    /// file does not hold what was written.
    ///
    /// # Panics
    /// When a frame is asked for that is not committed.
    pub fn frames_into(&self, first: u64, last: u64, body: &mut Vec<u8>) -> Result<(), WalError> {
        assert!(
            first >= 1 && last <= self.position.frames,
            "only committed frames are read"
        );
        if first > last {
            return Ok(());
        }
        let header = self.header()?;
        let mut sum = self.sum_before(first, &header)?;
        for number in first..=last {
            let start = body.len();
            body.resize(start + FRAME_BYTES, 0);
            let bytes = &mut body[start..];
            let frame_no = u32::try_from(number).expect("SQLite counts frames with 32 bits");
            let read = self.wal.handle.frame(frame_no, bytes);
            let damaged = || WalError::Damaged {
                path: self.wal.path.clone(),
                frame: number,
            };
            match read {
                Ok(()) => {}
                Err(error) if error.is_short_read() => return Err(damaged()),
                Err(error) => return Err(self.wal.failed("read a frame of")(error)),
            }
            if Frame::new(bytes).map(Frame::salt) != self.position.salt {
                if Some(header.salt) == self.position.salt {
                    return Err(damaged());
                }
                let path = self.wal.path.clone();
                return Err(WalError::Restarted {
                    path,
                    frame: number,
                });
            }
            sum = header.order.add(sum, &bytes[..8]);
            sum = header.order.add(sum, &bytes[FRAME_HEADER_BYTES..]);
            if sum != stored_sum(&bytes[16..FRAME_HEADER_BYTES]) {
                return Err(damaged());
            }
        }
        Ok(())
    }

    /// Pages of the main file; the last one may be cut short.
    pub(crate) fn main_pages(&self) -> Result<u32, WalError> {
        let bytes = self.wal.main_bytes()?;
        let page_bytes = u64::try_from(PAGE_BYTES).unwrap_or(1);
        Ok(u32::try_from(bytes.div_ceil(page_bytes)).unwrap_or(u32::MAX))
    }

    /// Reads a page of the main file. What lies behind the file's end is zero, as SQLite has it.
    pub(crate) fn main_page(&self, page: u32, bytes: &mut [u8]) -> Result<(), WalError> {
        let page_bytes = u64::try_from(PAGE_BYTES).unwrap_or(1);
        let offset = (u64::from(page) - 1) * page_bytes;
        match self.wal.handle.read_at(File::Main, offset, bytes) {
            Err(error) if !error.is_short_read() => {
                Err(self.wal.failed("read the main file of")(error))
            }
            _ => Ok(()),
        }
    }

    fn header(&self) -> Result<Header, WalError> {
        let mut bytes = [0; 32];
        self.read_wal(0, &mut bytes, 1)?;
        let mut salt = [0; 8];
        salt.copy_from_slice(&bytes[16..24]);
        let order = Order::of(&bytes).ok_or_else(|| WalError::Damaged {
            path: self.wal.path.clone(),
            frame: 1,
        })?;
        Ok(Header {
            order,
            salt: Salt(salt),
            sum: stored_sum(&bytes[24..]),
        })
    }

    /// The checksum that the frame's continues.
    fn sum_before(&self, frame: u64, header: &Header) -> Result<Sum, WalError> {
        let Some(before) = frame.checked_sub(2) else {
            return Ok(header.sum);
        };
        let frame_bytes = u64::try_from(FRAME_BYTES).unwrap_or(0);
        let mut bytes = [0; 8];
        let offset = WAL_HEADER_BYTES + before * frame_bytes + 16;
        self.read_wal(offset, &mut bytes, frame)?;
        Ok(stored_sum(&bytes))
    }

    fn read_wal(&self, offset: u64, bytes: &mut [u8], frame: u64) -> Result<(), WalError> {
        match self.wal.handle.read_at(File::Wal, offset, bytes) {
            Ok(()) => Ok(()),
            Err(error) if error.is_short_read() => Err(WalError::Damaged {
                path: self.wal.path.clone(),
                frame,
            }),
            Err(error) => Err(self.wal.failed("read the WAL of")(error)),
        }
    }
}

/// The two words of SQLite's cumulative WAL checksum.
pub(super) type Sum = (u32, u32);

struct Header {
    order: Order,
    salt: Salt,
    sum: Sum,
}

/// Which byte order the checksum reads its input in; the WAL's magic number says it.
#[derive(Clone, Copy)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    /// As the magic number at the beginning of a WAL says.
    pub(super) fn of(header: &[u8]) -> Option<Self> {
        match header.get(..4)? {
            [0x37, 0x7f, 0x06, 0x82] => Some(Self::Little),
            [0x37, 0x7f, 0x06, 0x83] => Some(Self::Big),
            _ => None,
        }
    }

    pub(super) fn word(self, bytes: &[u8]) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(bytes);
        match self {
            Self::Little => u32::from_le_bytes(word),
            Self::Big => u32::from_be_bytes(word),
        }
    }

    pub(super) fn bytes(self, word: u32) -> [u8; 4] {
        match self {
            Self::Little => word.to_le_bytes(),
            Self::Big => word.to_be_bytes(),
        }
    }

    pub(super) fn add(self, (mut first, mut second): Sum, bytes: &[u8]) -> Sum {
        for pair in bytes.chunks_exact(8) {
            first = first
                .wrapping_add(self.word(&pair[..4]))
                .wrapping_add(second);
            second = second
                .wrapping_add(self.word(&pair[4..]))
                .wrapping_add(first);
        }
        (first, second)
    }
}

/// Checksums are stored most significant byte first, whatever the order of their input.
pub(super) fn stored_sum(bytes: &[u8]) -> Sum {
    let word = |at: usize| {
        let mut word = [0; 4];
        word.copy_from_slice(&bytes[at..at + 4]);
        u32::from_be_bytes(word)
    };
    (word(0), word(4))
}
