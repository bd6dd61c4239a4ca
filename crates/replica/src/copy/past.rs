//! The copy's history: kept when a generation ends, restored from together with what is there now.

use std::path::Path;

use super::{Copy, CopyError, Now};
use crate::{
    frame::Chain,
    history::{
        Closing, Commit, CommitSearch, GenerationRow, History, HistoryError, Image, Moment,
        each_frames,
    },
    limits::HISTORY_BLOCK_BYTES,
};

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The copy.
    #[error("the copy cannot be read")]
    Copy(#[from] CopyError),
    /// Its history, or the file that was to be written.
    #[error("the past cannot be restored")]
    History(#[from] HistoryError),
    /// The copy keeps no history.
    #[error("no history is kept")]
    Off,
}

impl Copy {
    /// Keeps what generations were, from now on.
    pub fn keep_history(&mut self, history: History) {
        self.history = Some(history);
    }

    /// Notes that everything committed so far had arrived by now, milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`CopyError`]. A note that cannot be written is logged only: the commits are safe, their time
    /// is unknown.
    pub fn note_time(&mut self, now_ms: i64) -> Result<(), CopyError> {
        if self.history.is_none() {
            return Ok(());
        }
        let now = self.observe()?;
        if let Some(history) = &mut self.history
            && let Err(error) = history.note(now.mapping.generation, now.committed(), now_ms)
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(path = %self.path.display(), error, "the time of commits is not kept");
        }
        Ok(())
    }

    /// Keeps the generation that is about to end; whether that succeeded. Space runs out for the past
    /// before it does for the present.
    pub(super) fn keep_generation(&mut self, now: Now, chain_end: Chain) -> bool {
        let closing = Closing {
            generation: now.mapping.generation,
            end_frame: now.committed(),
            chain_start: now.mapping.chain,
            chain_end,
            is_base_whole: !self.record.folding,
        };
        let (Some(history), Some(wal)) = (&mut self.history, &mut self.wal) else {
            return true;
        };
        match history.keep(wal, &closing) {
            Ok(()) => true,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(path = %self.path.display(), error, "a generation is not kept");
                false
            }
        }
    }

    /// The generations that can be restored, ascending; the last one has not ended.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn history(&mut self) -> Result<Vec<GenerationRow>, RestoreError> {
        let now = self.observe()?;
        let history = self.history.as_ref().ok_or(RestoreError::Off)?;
        let generation = now.mapping.generation;
        let mut rows = history.generations()?;
        rows.retain(|row| row.generation < generation);
        let times = history.times_of(generation)?;
        rows.push(GenerationRow {
            generation,
            end_frame: now.committed(),
            bytes: 0,
            first_ms: times.map(|(first_ms, _)| first_ms),
            last_ms: times.map(|(_, last_ms)| last_ms),
        });
        Ok(rows)
    }

    /// Writes the database as of the last commit at that moment to a file that must not be there yet;
    /// the commit, and when it had arrived.
    ///
    /// # Errors
    /// [`RestoreError`]; a file that was begun is removed.
    pub fn restore(
        &mut self,
        moment: Moment,
        into: &Path,
    ) -> Result<(Commit, Option<i64>), RestoreError> {
        let now = self.observe()?;
        let current = now.mapping.generation;
        let history = self.history.as_ref().ok_or(RestoreError::Off)?;
        let wanted = history.find(moment, current)?;
        let found = if wanted.generation == current {
            self.restore_current(now, wanted.frame, into)?
        } else {
            history.restore(wanted, into)?
        };
        let history = self.history.as_ref().ok_or(RestoreError::Off)?;
        Ok((found, history.time_of(found)?))
    }

    fn restore_current(
        &mut self,
        now: Now,
        frame: u64,
        into: &Path,
    ) -> Result<Commit, RestoreError> {
        let path = self.path.clone();
        if self.record.folding {
            return Err(HistoryError::Folding { path }.into());
        }
        let until = frame.min(now.committed());
        let expected = self.chain_at(now.committed())?;
        let wal = self.wal()?;
        let mut search = CommitSearch::default();
        each_frames(wal, until, |body| {
            search.pass(body, until);
            Ok(())
        })?;
        let mut image = Image::create(into, now.mapping.chain)?;
        let built = wal
            .each_main_part(HISTORY_BLOCK_BYTES, |part| image.append(part))
            .and_then(|()| each_frames(wal, now.committed(), |body| image.lay(body, search.commit)))
            .and_then(|()| {
                if image.chain() == expected {
                    image.finish()
                } else {
                    Err(HistoryError::Damaged { path })
                }
            });
        if let Err(error) = built {
            // The error says why; half a database helps nobody.
            std::fs::remove_file(into).ok();
            return Err(error.into());
        }
        Ok(Commit {
            generation: now.mapping.generation,
            frame: search.commit,
        })
    }
}
