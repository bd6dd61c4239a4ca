//! The durable record of a bootstrap: which steps are behind it, one line each.
//!
//! Lines are only ever appended, each after what it tells of is on the disk. A crash tears the last
//! one at most, which then has not happened.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    env::{Files, files::beside},
    frame::Chain,
    numbering::{Mapping, RecordError},
    remote::HubInfo,
    swap,
};

/// What is downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    /// The hub's generation.
    pub(crate) generation: u64,
    /// What the hub said its generation began with; `None` from a server that is not ours.
    pub(crate) chain_start: Option<Chain>,
    /// Size of the file that the generation began with.
    pub(crate) file_bytes: u64,
    /// Its digest.
    pub(crate) file_digest: Chain,
}

impl Source {
    /// Whether the hub still has what was begun.
    pub(crate) fn is_of(&self, info: &HubInfo) -> bool {
        self.generation == info.generation
            && self.chain_start.is_some()
            && self.chain_start == info.chain_start
    }
}

/// One step. Stored as JSON; a name or a field must not change its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// The download began.
    Began(Source),
    /// A part is stored.
    Part {
        /// Its size.
        bytes: u64,
        /// Its digest.
        digest: Chain,
    },
    /// Every part is stored and the digest of all is right.
    Whole,
    /// The frames that came after are about to be folded into the file.
    Folding(Mapping),
    /// They are.
    Folded,
}

/// The parts that have arrived.
pub(crate) fn part_path(database: &Path) -> PathBuf {
    beside(&swap::incoming_path(database), "-part")
}

fn steps_path(database: &Path) -> PathBuf {
    beside(&swap::incoming_path(database), "-steps")
}

/// Adds a step, durably.
pub(crate) fn append(files: &dyn Files, database: &Path, step: Step) -> Result<(), RecordError> {
    let path = steps_path(database);
    let json = serde_json::to_vec(&step).map_err(|source| RecordError::Content {
        path: path.clone(),
        source,
    });
    let line = [&json?[..], b"\n"].concat();
    files.append_sync(&path, &line).map_err(swap::failed(&path))
}

/// The steps that were taken, in order; a line that was torn is cut off.
pub(crate) fn load(files: &dyn Files, database: &Path) -> Result<Vec<Step>, RecordError> {
    let path = steps_path(database);
    let Some(text) = files.read(&path).map_err(swap::failed(&path))? else {
        return Ok(Vec::new());
    };
    let (mut steps, mut good) = (Vec::new(), 0);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n").map(serde_json::from_slice) {
            Some(Ok(step)) => steps.push(step),
            Some(Err(_)) | None => break,
        }
        good += line.len();
    }
    if good < text.len() {
        let good = u64::try_from(good).unwrap_or_default();
        files
            .truncate_sync(&path, good)
            .map_err(swap::failed(&path))?;
    }
    Ok(steps)
}

/// Forgets everything about a download and removes its files. Nobody may have them open, and no
/// swap's intent may name them.
pub(crate) fn discard(files: &dyn Files, database: &Path) -> Result<(), RecordError> {
    // The record first: files without it mean nothing.
    forget(files, database)?;
    let part = part_path(database);
    files.remove_if_exists(&part).map_err(swap::failed(&part))?;
    swap::discard(files, database)
}

/// Forgets the steps of a download that is not there any more.
pub(crate) fn forget(files: &dyn Files, database: &Path) -> Result<(), RecordError> {
    let path = steps_path(database);
    if files.remove_if_exists(&path).map_err(swap::failed(&path))? {
        files.sync_dir_of(&path).map_err(swap::failed(&path))?;
    }
    Ok(())
}

/// Whether a download was begun and not brought to its end.
pub(crate) fn exist(files: &dyn Files, database: &Path) -> Result<bool, RecordError> {
    let path = steps_path(database);
    files.exists(&path).map_err(swap::failed(&path))
}
