//! When did a commit come? One record for each push, appended without a sync: a power cut may take
//! the last ones, and then only the time of those commits is unknown.

use std::path::Path;

use super::{HistoryError, index::times_name};
use crate::env::Files;

const FIELDS_BYTES: usize = 16;
const RECORD_BYTES: usize = FIELDS_BYTES + 8;

/// The last committed frame at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) frame: u64,
    pub(super) at_ms: i64,
}

/// Adds a note.
pub(super) fn append(
    files: &dyn Files,
    folder: &Path,
    generation: u64,
    note: Note,
) -> Result<(), HistoryError> {
    let path = folder.join(times_name(generation));
    let mut record = Vec::with_capacity(RECORD_BYTES);
    record.extend_from_slice(&note.frame.to_be_bytes());
    record.extend_from_slice(&note.at_ms.to_be_bytes());
    record.extend_from_slice(&digest(&record));
    let appended = files.append(&path, &record);
    appended.map_err(|source| HistoryError::File { path, source })
}

/// The notes of a generation, in the order in which they were made. A damaged record is left out.
pub(super) fn load(
    files: &dyn Files,
    folder: &Path,
    generation: u64,
) -> Result<Vec<Note>, HistoryError> {
    let path = folder.join(times_name(generation));
    let content = files.read(&path);
    let content = content.map_err(|source| HistoryError::File { path, source })?;
    let content = content.unwrap_or_default();
    let mut notes = Vec::new();
    let mut rest = content.as_slice();
    while let Some((record, after)) = rest.split_at_checked(RECORD_BYTES) {
        match decode(record) {
            Some(note) => {
                notes.push(note);
                rest = after;
            }
            // A record that a crash cut short moves all behind it.
            None => rest = &rest[1..],
        }
    }
    Ok(notes)
}

fn decode(record: &[u8]) -> Option<Note> {
    let (fields, expected) = record.split_at_checked(FIELDS_BYTES)?;
    let (frame, at_ms) = fields.split_at_checked(8)?;
    (digest(fields) == expected).then_some(Note {
        frame: u64::from_be_bytes(frame.try_into().ok()?),
        at_ms: i64::from_be_bytes(at_ms.try_into().ok()?),
    })
}

fn digest(fields: &[u8]) -> [u8; 8] {
    let mut short = [0; 8];
    short.copy_from_slice(&blake3::hash(fields).as_bytes()[..8]);
    short
}
