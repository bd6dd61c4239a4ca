//! A database file that is put together page by page.

use std::{
    fs::File,
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use super::HistoryError;
use crate::{
    frame::{Chain, frames},
    limits::{FRAME_BYTES, FRAME_HEADER_BYTES, PAGE_BYTES},
};

/// See the module.
pub(crate) struct Image {
    file: File,
    path: PathBuf,
    /// Frames of the generation at hand that were looked at.
    seen: u64,
    /// Size of the database in pages, once a transaction said so.
    pages: Option<u64>,
    chain: Chain,
}

impl Image {
    /// Begins a file that must not be there yet; `chain` is the rolling checksum of what comes first.
    pub(crate) fn create(path: &Path, chain: Chain) -> Result<Self, HistoryError> {
        let created = File::options().write(true).create_new(true).open(path);
        let file = created.map_err(|source| HistoryError::Target {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            file,
            path: path.to_owned(),
            seen: 0,
            pages: None,
            chain,
        })
    }

    /// Adds the next part of the main file that everything begins with.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), HistoryError> {
        let written = self.file.write_all(bytes);
        written.map_err(|source| self.failed(source))
    }

    /// The rolling checksum after all frames so far.
    pub(crate) fn chain(&self) -> Chain {
        self.chain
    }

    /// A generation begins: its frames count from 1.
    pub(crate) fn begin_generation(&mut self) {
        self.seen = 0;
    }

    /// Lays frames over what is there; those behind `last` only count for the checksum.
    pub(crate) fn lay(&mut self, body: &[u8], last: u64) -> Result<(), HistoryError> {
        for frame in frames(body) {
            self.seen += 1;
            self.chain = self.chain.after(frame);
            if self.seen > last {
                continue;
            }
            let page = u64::from(frame.page_number().saturating_sub(1));
            let at = page * u64::try_from(PAGE_BYTES).unwrap_or_default();
            let content = &frame.bytes()[FRAME_HEADER_BYTES..FRAME_BYTES];
            let sought = self.file.seek(SeekFrom::Start(at));
            let written = sought.and_then(|_| self.file.write_all(content));
            written.map_err(|source| self.failed(source))?;
            if frame.is_commit() {
                self.pages = Some(u64::from(frame.commit_pages()));
            }
        }
        Ok(())
    }

    /// Gives the file its size and makes it durable.
    pub(crate) fn finish(self) -> Result<(), HistoryError> {
        let page_bytes = u64::try_from(PAGE_BYTES).unwrap_or_default();
        let sized = match self.pages {
            Some(pages) => self.file.set_len(pages * page_bytes),
            None => Ok(()),
        };
        sized
            .and_then(|()| self.file.sync_all())
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> HistoryError {
        HistoryError::Target {
            path: self.path.clone(),
            source,
        }
    }
}

/// The last commit among the first `until` frames that `body` brings, and how many frames there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommitSearch {
    seen: u64,
    /// Frame of the commit; 0 when there is none.
    pub(crate) commit: u64,
}

impl CommitSearch {
    /// Goes through the next frames.
    pub(crate) fn pass(&mut self, body: &[u8], until: u64) {
        for frame in frames(body) {
            self.seen += 1;
            if self.seen <= until && frame.is_commit() {
                self.commit = self.seen;
            }
        }
    }
}
