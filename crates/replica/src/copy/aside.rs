//! Damage: finding it, and moving a copy that is not what was written out of the way, whole.
//!
//! The book's truth is its node, which sends whatever a fresh copy lacks. What is set aside is kept
//! for whoever looks into it; nothing here deletes it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Copy, CopyError, CopyKind};
use crate::{
    crash::{self, CrashPoint},
    env::{Files, files::beside},
    frame::Chain,
    limits::{CHAIN_STRIDE_FRAMES, GENERATION_STRIDE, PAGE_BYTES, WAL_HEADER_BYTES},
    numbering::{Mapping, Record, RecordError, Swap},
    swap,
};

/// A copy that was moved out of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where its database is now; its WAL and its record lie beside it.
    pub kept: PathBuf,
    /// The generation that the empty copy in its place begins with.
    pub generation: u64,
    /// What was found, with its causes.
    pub why: String,
}

impl Copy {
    /// Opens a copy that a node pushes to, as [`Copy::open`] does. One that is damaged, or whose record
    /// is lost, is set aside, and a fresh one opened.
    ///
    /// # Errors
    /// [`CopyError`]; what is not damage is left as it is.
    pub fn open_or_set_aside(
        path: &Path,
        files: Arc<dyn Files>,
    ) -> Result<(Self, Option<SetAside>), CopyError> {
        let damage = match Self::open(path, CopyKind::Pushed, Arc::clone(&files)) {
            Ok(copy) => return Ok((copy, None)),
            Err(error) if error.is_damage() => error,
            Err(error) => return Err(error),
        };
        let aside = Self::set_aside(path, &*files, &damage, &[])?;
        let copy = Self::open(path, CopyKind::Pushed, files)?;
        Ok((copy, Some(aside)))
    }

    /// Moves a damaged copy out of the way and leaves one with the main file `fresh`, or an empty one,
    /// at a generation that was never used. Nobody may have it open.
    ///
    /// # Errors
    /// [`CopyError`]; a change that was begun is completed when the copy is opened.
    pub fn set_aside(
        path: &Path,
        files: &dyn Files,
        damage: &CopyError,
        fresh: &[u8],
    ) -> Result<SetAside, CopyError> {
        let record_path = swap::record_path(path);
        let record = match Record::load(files, &record_path) {
            Ok(record) => record,
            Err(RecordError::Content { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let generation = match &record {
            Some(record) => highest(record) + 1,
            None => unused_stride(files, path)?,
        };
        let suffix = format!(".damaged-{generation}");
        let kept = beside(path, &suffix);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| RecordError::File { path, source }
        };
        if let Some(content) = files.read(&record_path).map_err(failed(&record_path))? {
            let kept = swap::record_path(&kept);
            files.write_atomic(&kept, &content).map_err(failed(&kept))?;
        }
        swap::clear_incoming_wal(files, path)?;
        let incoming = swap::incoming_path(path);
        files
            .write_atomic(&incoming, fresh)
            .map_err(failed(&incoming))?;
        crash::pass(CrashPoint::SwapStaged);
        let mut intent = record.unwrap_or_default();
        intent.swap = Some(Swap {
            mapping: Mapping {
                generation,
                shift: 0,
                from: 0,
                chain: Chain::of_base(fresh),
            },
            keep_suffix: Some(suffix),
        });
        intent.store(files, &record_path)?;
        crash::pass(CrashPoint::SwapIntent);
        swap::finish(files, path, &mut intent)?;
        let (name, shown, why) = (path.display(), kept.display(), reason(damage));
        tracing::error!(path = %name, kept = %shown, why, "a copy is damaged and set aside");
        Ok(SetAside {
            kept,
            generation,
            why,
        })
    }

    /// Reads all there is and compares it with what was written: every frame with its checksum, the
    /// main file with its digest.
    ///
    /// # Errors
    /// [`CopyError`], see [`CopyError::is_damage`].
    pub fn verify(&mut self) -> Result<(), CopyError> {
        let committed = self.observe()?.committed();
        self.wal()?.read(|reading| {
            let last = committed.min(reading.position().frames);
            let (mut at, mut body) = (0, Vec::new());
            while at < last {
                let stop = last.min(at + CHAIN_STRIDE_FRAMES);
                body.clear();
                reading.frames_into(at + 1, stop, &mut body)?;
                at = stop;
            }
            Ok(())
        })?;
        if let Some(expected) = self.record.main
            && self.main_now()? != expected
        {
            return Err(self.damaged());
        }
        Ok(())
    }

    /// The cheap half of [`Copy::verify`], for each time the copy is opened.
    pub(super) fn check_size(&mut self) -> Result<(), CopyError> {
        if let Some(expected) = self.record.main
            && self.wal()?.main_bytes()? != expected.bytes
        {
            return Err(self.damaged());
        }
        Ok(())
    }

    /// Content without a record: where its frames stand cannot be known. A record without content:
    /// SQLite would take the WAL for another file's and remove it.
    pub(super) fn refuse_lost(&self) -> Result<(), CopyError> {
        if self.kind == CopyKind::Written || self.record.swap.is_some() {
            return Ok(());
        }
        if let Some(main) = self.record.main {
            return if main.bytes == 0 || self.has_more(&self.path, 0)? {
                Ok(())
            } else {
                Err(self.damaged())
            };
        }
        let page_bytes = u64::try_from(PAGE_BYTES).unwrap_or(0);
        let wal = beside(&self.path, "-wal");
        if self.record == Record::default()
            && (self.has_more(&self.path, page_bytes)? || self.has_more(&wal, WAL_HEADER_BYTES)?)
        {
            return Err(CopyError::Lost {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    fn has_more(&self, file: &Path, bytes: u64) -> Result<bool, CopyError> {
        let more = self.files.read_range(file, bytes, 1);
        let more = more.map_err(|source| RecordError::File {
            path: file.to_owned(),
            source,
        })?;
        Ok(!more.is_empty())
    }

    fn damaged(&self) -> CopyError {
        CopyError::Damaged {
            path: self.path.clone(),
        }
    }
}

fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The highest generation that a record has given out, or was about to.
fn highest(record: &Record) -> u64 {
    let next = record.next.and_then(|next| next.mapping);
    let swap = record.swap.as_ref().map(|swap| swap.mapping);
    let mappings = [record.mapping, next, swap];
    let known = mappings.iter().flatten().map(|it| it.generation).max();
    known.unwrap_or(0)
}

/// A generation above all that a lost record can have named: copies that were set aside say how often
/// that happened.
fn unused_stride(files: &dyn Files, path: &Path) -> Result<u64, CopyError> {
    let mut generation = GENERATION_STRIDE;
    loop {
        let kept = beside(path, &format!(".damaged-{generation}"));
        let taken = [
            kept.clone(),
            swap::record_path(&kept),
            beside(&kept, "-wal"),
        ];
        let mut exists = false;
        for file in taken {
            exists |= files
                .exists(&file)
                .map_err(|source| RecordError::File { path: file, source })?;
        }
        if !exists {
            return Ok(generation);
        }
        generation += GENERATION_STRIDE;
    }
}
