//! Where each page of a database lay as of any frame of its WAL, kept up as frames are added.

use std::collections::BTreeMap;

use crate::{
    delta::KnownPages,
    frame::{Salt, frames},
    limits::{CHAIN_STRIDE_FRAMES, FRAME_BYTES, FRAME_HEADER_BYTES, PAGE_BYTES},
    wal::{Reading, WalError},
};

/// See the module. Four bytes a frame, for as long as the WAL is the same.
#[derive(Debug, Default)]
pub(crate) struct PageIndex {
    salt: Option<Salt>,
    /// Frames that were read.
    frames: u64,
    /// The frames of each page, ascending. SQLite counts frames with 32 bits.
    frames_of: BTreeMap<u32, Vec<u32>>,
    /// Last frame of each transaction, and the size of the database after it in pages.
    commits: Vec<(u32, u32)>,
}

impl PageIndex {
    /// Pages as they were after the last transaction that had ended at a frame.
    ///
    /// `choose` is given the size of the database then, in pages, and says which pages, ascending.
    /// One that the database did not have is left out.
    pub(crate) fn known_pages(
        &mut self,
        reading: &Reading<'_>,
        frame: u64,
        choose: impl FnOnce(u32) -> Vec<u32>,
    ) -> Result<KnownPages, WalError> {
        self.extend(reading, frame)?;
        let ended = self
            .commits
            .partition_point(|(end, _)| u64::from(*end) <= frame);
        let (end, size) = match ended.checked_sub(1) {
            Some(last) => self.commits[last],
            None => (0, reading.main_pages()?),
        };
        let mut known = KnownPages::default();
        for page in choose(size) {
            if (1..=size).contains(&page) {
                known.push(page, &self.page(reading, u64::from(end), page)?);
            }
        }
        Ok(known)
    }

    /// Pages with a frame after `base` and up to `end`, ascending, and the size of the database then in
    /// pages. `end` ends a transaction; a page that the database does not have any more is left out.
    pub(crate) fn changed(
        &mut self,
        reading: &Reading<'_>,
        base: u64,
        end: u64,
    ) -> Result<(Vec<u32>, u32), WalError> {
        self.extend(reading, end)?;
        let ended = self
            .commits
            .partition_point(|(last, _)| u64::from(*last) <= end);
        let size = ended.checked_sub(1).map_or(0, |last| self.commits[last].1);
        let is_changed = |frames: &[u32]| {
            let next = frames.partition_point(|frame| u64::from(*frame) <= base);
            frames
                .get(next)
                .is_some_and(|frame| u64::from(*frame) <= end)
        };
        let changed = self.frames_of.range(..=size);
        let changed = changed.filter(|(_, frames)| is_changed(frames));
        Ok((changed.map(|(page, _)| *page).collect(), size))
    }

    /// A page as it was after a transaction that ended at this frame, which was read before.
    pub(crate) fn page(
        &self,
        reading: &Reading<'_>,
        end: u64,
        page: u32,
    ) -> Result<Vec<u8>, WalError> {
        let frames = self.frames_of.get(&page).map_or(&[][..], Vec::as_slice);
        let before = frames.partition_point(|frame| u64::from(*frame) <= end);
        let Some(last) = before.checked_sub(1) else {
            let mut bytes = vec![0; PAGE_BYTES];
            reading.main_page(page, &mut bytes)?;
            return Ok(bytes);
        };
        let frame = u64::from(frames[last]);
        let mut body = Vec::with_capacity(FRAME_BYTES);
        reading.frames_into(frame, frame, &mut body)?;
        Ok(body.split_off(FRAME_HEADER_BYTES))
    }

    fn extend(&mut self, reading: &Reading<'_>, frame: u64) -> Result<(), WalError> {
        let salt = reading.position().salt;
        if self.salt != salt {
            *self = Self {
                salt,
                ..Self::default()
            };
        }
        let mut body = Vec::new();
        while self.frames < frame {
            let stop = frame.min(self.frames + CHAIN_STRIDE_FRAMES);
            body.clear();
            reading.frames_into(self.frames + 1, stop, &mut body)?;
            for (number, frame) in (self.frames + 1..).zip(frames(&body)) {
                let number = u32::try_from(number).expect("SQLite counts frames with 32 bits");
                self.frames_of
                    .entry(frame.page_number())
                    .or_default()
                    .push(number);
                if frame.is_commit() {
                    self.commits.push((number, frame.commit_pages()));
                }
            }
            self.frames = stop;
        }
        Ok(())
    }
}
