//! What a history holds: the one file that counts. A file that it does not name is left over.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::HistoryError;
use crate::{env::Files, frame::Chain};

/// Version of the index; an unknown one is refused.
const FORMAT: u32 = 1;

/// A main file as it was when its generation began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptBase {
    pub(super) generation: u64,
    /// Rolling checksum at the beginning of the generation.
    pub(super) chain: Chain,
    /// Size on disk.
    pub(super) bytes: u64,
}

/// The frames of a generation that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptFrames {
    pub(super) generation: u64,
    pub(super) end_frame: u64,
    /// Rolling checksums before the first and after the last frame.
    pub(super) chain_start: Chain,
    pub(super) chain_end: Chain,
    /// Size on disk.
    pub(super) bytes: u64,
    /// When its first and last commit came, as far as that was noted, milliseconds since the Unix epoch.
    pub(super) first_ms: Option<i64>,
    pub(super) last_ms: Option<i64>,
}

/// See the module. Both lists ascend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    format: u32,
    pub(super) bases: Vec<KeptBase>,
    pub(super) generations: Vec<KeptFrames>,
    /// Files that count no more and may still be there.
    pub(super) unused: Vec<String>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            format: FORMAT,
            bases: Vec::new(),
            generations: Vec::new(),
            unused: Vec::new(),
        }
    }
}

impl Index {
    pub(super) fn load(files: &dyn Files, folder: &Path) -> Result<Self, HistoryError> {
        let path = path(folder);
        let content = files.read(&path).map_err(|source| HistoryError::File {
            path: path.clone(),
            source,
        })?;
        let Some(content) = content else {
            return Ok(Self::default());
        };
        match serde_json::from_slice::<Self>(&content) {
            Ok(index) if index.format == FORMAT => Ok(index),
            _ => Err(HistoryError::Damaged { path }),
        }
    }

    /// Writes the index durably, then removes what it has let go of.
    pub(super) fn store(&mut self, files: &dyn Files, folder: &Path) -> Result<(), HistoryError> {
        let path = path(folder);
        let failed = |source| HistoryError::File {
            path: path.clone(),
            source,
        };
        let write = |index: &Self| {
            let content = serde_json::to_vec_pretty(index).map_err(|error| failed(error.into()))?;
            files.write_atomic(&path, &content).map_err(failed)
        };
        write(self)?;
        // What cannot be removed now is named in the index and removed the next time.
        let before = self.unused.len();
        self.unused
            .retain(|name| files.remove_if_exists(&folder.join(name)).is_err());
        if self.unused.len() < before {
            // A name that stays would be removed again, also when a file has it anew.
            write(self)?;
        }
        Ok(())
    }

    /// The base from which a generation can be reached, and the generations on the way, that one
    /// included.
    pub(super) fn way_to(&self, generation: u64) -> Option<(&KeptBase, &[KeptFrames])> {
        let last = self
            .generations
            .iter()
            .position(|kept| kept.generation == generation)?;
        let base = self
            .bases
            .iter()
            .rfind(|base| base.generation <= generation)?;
        let first = self
            .generations
            .iter()
            .position(|kept| kept.generation == base.generation)?;
        let way = self.generations.get(first..=last)?;
        let mut chain = base.chain;
        for kept in way {
            if kept.chain_start != chain {
                return None;
            }
            chain = kept.chain_end;
        }
        Some((base, way))
    }

    /// Forgets a generation and all after it; they are about to be kept again, or never happened.
    pub(super) fn forget_from(&mut self, generation: u64) {
        let gone = |kept: &KeptFrames| kept.generation >= generation;
        let names = self.generations.iter().filter(|kept| gone(kept));
        self.unused
            .extend(names.map(|kept| frames_name(kept.generation)));
        self.generations.retain(|kept| !gone(kept));
        let names = self
            .bases
            .iter()
            .filter(|base| base.generation > generation)
            .map(|base| base_name(base.generation));
        self.unused.extend(names);
        self.bases.retain(|base| base.generation <= generation);
    }

    /// Forgets everything before the second base, or everything when there is no second one.
    pub(super) fn forget_oldest(&mut self) {
        let until = self
            .bases
            .get(1)
            .map_or(u64::MAX, |second| second.generation);
        let mut unused = Vec::new();
        self.bases.retain(|base| {
            let stays = base.generation >= until;
            if !stays {
                unused.push(base_name(base.generation));
            }
            stays
        });
        self.generations.retain(|kept| {
            let stays = kept.generation >= until;
            if !stays {
                unused.push(frames_name(kept.generation));
                unused.push(times_name(kept.generation));
            }
            stays
        });
        self.unused.extend(unused);
    }

    /// Takes files off the list of unused ones that were written anew.
    pub(super) fn use_names_again(&mut self) {
        let bases = self.bases.iter().map(|base| base_name(base.generation));
        let frames = self
            .generations
            .iter()
            .map(|kept| frames_name(kept.generation));
        let times = self
            .generations
            .iter()
            .map(|kept| times_name(kept.generation));
        let used: Vec<String> = bases.chain(frames).chain(times).collect();
        self.unused.retain(|name| !used.contains(name));
    }

    /// Size of everything on disk.
    pub(super) fn bytes(&self) -> u64 {
        let bases = self.bases.iter().map(|base| base.bytes);
        let frames = self.generations.iter().map(|kept| kept.bytes);
        bases.chain(frames).sum()
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("index.json")
}

pub(super) fn base_name(generation: u64) -> String {
    format!("base-{generation:010}")
}

pub(super) fn frames_name(generation: u64) -> String {
    format!("frames-{generation:010}")
}

pub(super) fn times_name(generation: u64) -> String {
    format!("times-{generation:010}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::OsFiles;

    #[test]
    fn a_file_that_was_removed_is_named_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(frames_name(1));
        std::fs::write(&path, "old").unwrap();
        let mut index = Index {
            unused: vec![frames_name(1)],
            ..Index::default()
        };
        index.store(&OsFiles, folder.path()).unwrap();
        assert!(!path.exists());
        // A file of that name that is written later stays.
        std::fs::write(&path, "new").unwrap();
        let mut index = Index::load(&OsFiles, folder.path()).unwrap();
        index.store(&OsFiles, folder.path()).unwrap();
        assert!(path.exists());
    }
}
