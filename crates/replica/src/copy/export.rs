//! The main file of a generation, given out in parts: nobody holds the whole in memory.

use super::{Copy, CopyError, ExportOutcome};
use crate::limits::{EXPORT_PAGES_MAX, PAGE_BYTES};

impl Copy {
    /// Pages `[start, end)`, from 1, of the main file as it was when the generation began.
    ///
    /// # Errors
    /// [`CopyError`].
    pub fn export(
        &mut self,
        generation: u64,
        start: u64,
        end: u64,
    ) -> Result<ExportOutcome, CopyError> {
        if start == 0 || end <= start || end - start > EXPORT_PAGES_MAX {
            return Ok(ExportOutcome::BadRequest);
        }
        let mut now = self.observe()?;
        if self.record.folding {
            // Frames of this generation may be in the main file already.
            self.rotate(Some(now.mapping.generation))?;
            now = self.observe()?;
        }
        // Known unless the folding is still not complete.
        let Some(file) = self.record.main else {
            return Err(CopyError::Folding {
                path: self.path.clone(),
            });
        };
        let current = now.mapping.generation;
        if generation != current {
            return Ok(ExportOutcome::Gone {
                generation: current,
            });
        }
        let page_bytes = u64::try_from(PAGE_BYTES).unwrap_or(u64::MAX);
        let offset = (start - 1).saturating_mul(page_bytes);
        if offset > file.bytes || (offset == file.bytes && offset > 0) {
            return Ok(ExportOutcome::BadRequest);
        }
        let length = (end - start)
            .saturating_mul(page_bytes)
            .min(file.bytes - offset);
        let bytes = self.wal()?.main_part(offset, length)?;
        Ok(ExportOutcome::Part {
            bytes,
            file_bytes: file.bytes,
            file_digest: file.digest,
        })
    }
}
