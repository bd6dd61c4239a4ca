//! Every page of a database as of one frame of its WAL, wherever it lies.

use std::collections::BTreeMap;

use counterfoil_protocol::wire::replication::PAGE_DIGEST_BYTES;

use crate::{
    frame::frames,
    limits::{CHAIN_STRIDE_FRAMES, FRAME_HEADER_BYTES, PAGE_BYTES},
    wal::{Reading, WalError},
};

/// First half of a page's BLAKE3 hash: enough to tell any two pages that a shop ever writes apart.
pub(crate) type PageDigest = [u8; PAGE_DIGEST_BYTES];

/// See the module. Belongs to the read transaction it was made in.
#[derive(Debug)]
pub(crate) struct Pages {
    /// The last frame of each page that the WAL has.
    frame_of: BTreeMap<u32, u64>,
    count: u32,
}

impl Pages {
    /// The pages as of a frame that ends a transaction; 0 is the main file alone.
    pub(crate) fn at(reading: &Reading<'_>, frame: u64) -> Result<Self, WalError> {
        let mut frame_of = BTreeMap::new();
        let mut count = if frame == 0 { reading.main_pages()? } else { 0 };
        let (mut at, mut body) = (0, Vec::new());
        while at < frame {
            let stop = frame.min(at + CHAIN_STRIDE_FRAMES);
            body.clear();
            reading.frames_into(at + 1, stop, &mut body)?;
            for (number, frame) in (at + 1..).zip(frames(&body)) {
                frame_of.insert(frame.page_number(), number);
                count = frame.commit_pages();
            }
            at = stop;
        }
        Ok(Self { frame_of, count })
    }

    /// Pages of the database.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Reads a page, 4,096 bytes.
    pub(crate) fn read(&self, reading: &Reading<'_>, page: u32) -> Result<Vec<u8>, WalError> {
        let Some(frame) = self.frame_of.get(&page) else {
            let mut bytes = vec![0; PAGE_BYTES];
            reading.main_page(page, &mut bytes)?;
            return Ok(bytes);
        };
        let mut body = Vec::new();
        reading.frames_into(*frame, *frame, &mut body)?;
        Ok(body.split_off(FRAME_HEADER_BYTES))
    }
}

/// The digest of a page.
pub(crate) fn digest(page: &[u8]) -> PageDigest {
    let mut digest = [0; PAGE_DIGEST_BYTES];
    digest.copy_from_slice(&blake3::hash(page).as_bytes()[..PAGE_DIGEST_BYTES]);
    digest
}
