//! Which hub frame a local WAL frame is: the durable record and the rules that keep it true.
//!
//! Frame `i` of the WAL with the record's salt is hub frame `(generation, i + shift)`. A pure state
//! machine: it takes the salt that was observed and says what that means. `DESIGN.md` has the table
//! of crash points.

use std::{
    io,
    path::{Path, PathBuf},
};

use counterfoil_protocol::wire::replication::ClosedGeneration;
use serde::{Deserialize, Serialize};

use crate::{
    env::Files,
    frame::{Chain, Salt},
    limits::CLOSED_GENERATIONS_MAX,
};

/// Version of the record's format; an unknown one is refused.
const FORMAT: u32 = 1;

/// Where the frames of one WAL stand at the hub.
///
/// After a difference upload the frames up to `from` are not at the hub one by one: it holds what
/// they add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// Hub generation.
    pub generation: u64,
    /// Hub frame number minus local frame number; negative after the hub began a generation.
    pub shift: i64,
    /// Local frames up to this one have no number at the hub; 0 unless a difference was uploaded.
    #[serde(default)]
    pub from: u64,
    /// Rolling checksum after local frame `from`.
    pub chain: Chain,
}

impl Mapping {
    /// The hub frame of a local frame; below 1 when it belongs to an earlier generation.
    #[must_use]
    pub fn hub_frame(&self, local: u64) -> i64 {
        i64::try_from(local)
            .unwrap_or(i64::MAX)
            .saturating_add(self.shift)
    }

    /// The local frame of a hub frame; below 1 when it is not in this WAL.
    #[must_use]
    pub fn local_frame(&self, hub: u64) -> i64 {
        i64::try_from(hub)
            .unwrap_or(i64::MAX)
            .saturating_sub(self.shift)
    }

    /// The mapping after a local checkpoint of `frames` frames whose checksum is `chain`.
    #[must_use]
    pub fn after_checkpoint(&self, frames: u64, chain: Chain) -> Self {
        Self {
            generation: self.generation,
            shift: self.hub_frame(frames),
            from: 0,
            chain,
        }
    }

    /// The mapping after the hub closed the generation at `end_frame`.
    #[must_use]
    pub fn after_close(&self, end_frame: u64) -> Self {
        let end_frame = i64::try_from(end_frame).unwrap_or(i64::MAX);
        let shift = self.shift.saturating_sub(end_frame);
        Self {
            generation: self.generation + 1,
            shift,
            ..*self
        }
    }
}

/// Why a record has no mapping any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// Another program made a checkpoint, or put another file in the place of the database.
    Foreign,
    /// Frames were damaged on disk, so the WAL was folded before the rest was lost with them.
    Damaged,
    /// The WAL was folded at its limit before the hub had all of it.
    Limit,
}

/// A checkpoint that was begun: what holds as soon as the WAL is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// Frames of the WAL that is folded. When it grew since, the checkpoint did not take place.
    #[serde(default)]
    pub frames: u64,
    /// The mapping of the next WAL; `None` when a difference upload follows.
    pub mapping: Option<Mapping>,
    /// The generation that ends with the checkpoint (hub only).
    pub closes: Option<ClosedGeneration>,
    /// In which generation the stock client counts that gave the occasion; `None` ends all counting in
    /// generations that have ended (hub only).
    #[serde(default)]
    pub counts_on: Option<u64>,
    /// Why there is no mapping then (node only).
    #[serde(default)]
    pub lost: Option<Lost>,
}

/// A new main file that is about to take the old one's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// What holds afterwards.
    pub mapping: Mapping,
    /// Suffix under which the old file is kept; `None` throws it away.
    pub keep_suffix: Option<String>,
}

/// The durable record `<database>-sync`. Its JSON form must stay readable: raise `FORMAT` instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    format: u32,
    /// The WAL the record speaks of; `None` when it was empty.
    pub salt: Option<Salt>,
    /// Where its frames stand at the hub; `None` before the first contact.
    pub mapping: Option<Mapping>,
    /// A checkpoint that was begun.
    pub next: Option<Next>,
    /// Generations that can be renumbered, ascending (hub only).
    #[serde(default)]
    pub closed: Vec<ClosedGeneration>,
    /// Ended generations in which stock clients may go on counting, ascending: by how much their numbers
    /// are ahead of those of the current generation (hub only).
    #[serde(default)]
    pub counted_on: Vec<ClosedGeneration>,
    /// The frames come from a client that cannot renumber (hub only).
    #[serde(default)]
    pub stock_writer: bool,
    /// What holds when the difference that is being sent has arrived (node only).
    #[serde(default)]
    pub pending: Option<Mapping>,
    /// Why there is no mapping; `None` before the first contact (node only).
    #[serde(default)]
    pub lost: Option<Lost>,
    /// When a limit was first asked about for this WAL, milliseconds since the Unix epoch (node only).
    #[serde(default)]
    pub since_ms: Option<i64>,
    /// What a server that does not say what it has was sent (node only).
    #[serde(default)]
    pub sent: Option<Sent>,
    /// A checkpoint was begun in this generation and may have moved pages: the main file is not what
    /// the generation began with (hub only).
    #[serde(default)]
    pub folding: bool,
    /// The main file as the generation began; `None` while it is not known (hub only).
    #[serde(default)]
    pub main: Option<MainFile>,
    /// A change of files that was begun.
    #[serde(default)]
    pub swap: Option<Swap>,
}

/// Frames of the WAL that were sent; a lost answer leaves open which of the two numbers holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Last frame that the server has answered for.
    pub acknowledged: u64,
    /// Last frame that was sent.
    pub until: u64,
}

/// What a main file must be as long as nothing is folded into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MainFile {
    /// Its size.
    pub bytes: u64,
    /// Its digest.
    pub digest: Chain,
}

/// What an observed salt means for the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The same WAL as before; an intent was not carried out, or not yet.
    Same,
    /// The empty WAL got its first frames.
    Bound,
    /// The checkpoint that was begun took place.
    Advanced,
    /// Another program made a checkpoint: frame numbers are lost.
    Foreign,
}

/// Why the record cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The disk.
    #[error("cannot access {path}")]
    File {
        /// The record's path.
        path: PathBuf,
        /// What the operating system reports.
        #[source]
        source: io::Error,
    },
    /// Not a record.
    #[error("{path} is not a replication record")]
    Content {
        /// The record's path.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Written by a newer version.
    #[error("{path} has format {format}, this version knows {FORMAT}")]
    Format {
        /// The record's path.
        path: PathBuf,
        /// The format found.
        format: u32,
    },
}

impl Default for Record {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Record {
    /// The record of an empty WAL.
    #[must_use]
    pub fn new(mapping: Option<Mapping>) -> Self {
        Self {
            format: FORMAT,
            salt: None,
            mapping,
            next: None,
            closed: Vec::new(),
            counted_on: Vec::new(),
            stock_writer: false,
            pending: None,
            lost: None,
            since_ms: None,
            sent: None,
            folding: false,
            main: None,
            swap: None,
        }
    }

    /// Compares with the salt and the number of frames observed now and takes over what they mean.
    ///
    /// A checkpoint that met a reader may have moved every frame; then the next writer begins the WAL
    /// anew without another checkpoint. So its intent stays until the WAL is another one, or longer.
    ///
    /// The caller writes the record when it changed, before anything else.
    pub fn resolve(&mut self, observed: Option<Salt>, frames: u64) -> Resolution {
        if observed.is_some() && observed == self.salt {
            self.next = self.next.filter(|next| next.frames == frames);
            return Resolution::Same;
        }
        if let Some(next) = self.next.take() {
            self.advance(next);
            self.salt = observed;
            return Resolution::Advanced;
        }
        match (self.salt, observed) {
            (None, None) => Resolution::Same,
            (None, Some(_)) => {
                self.salt = observed;
                Resolution::Bound
            }
            (Some(_), _) => {
                self.salt = observed;
                self.lose(Lost::Foreign);
                Resolution::Foreign
            }
        }
    }

    /// Forgets the numbers of a database that had some.
    fn lose(&mut self, why: Lost) {
        if self.mapping.take().is_some() || self.pending.take().is_some() {
            self.lost = Some(why);
        }
        self.pending = None;
    }

    /// Takes over where the frames stand.
    pub(crate) fn settle(&mut self, mapping: Mapping) {
        if let Some(next) = &mut self.next
            && let Some(after) = next.mapping
        {
            // A checkpoint that was begun and may have taken place already.
            next.mapping = Some(mapping.after_checkpoint(next.frames, after.chain));
        }
        self.mapping = Some(mapping);
        (self.pending, self.lost) = (None, None);
    }

    /// Forgets numbers that turned out to be another database's.
    pub(crate) fn distrust(&mut self) {
        (self.mapping, self.next) = (None, None);
    }

    fn advance(&mut self, next: Next) {
        match (next.mapping, next.lost) {
            (None, Some(why)) => self.lose(why),
            (mapping, _) => self.mapping = mapping,
        }
        self.pending = None;
        (self.folding, self.main) = (false, None);
        if let Some(closes) = next.closes {
            self.count_on(closes, next.counts_on);
            self.closed.push(closes);
            let surplus = self.closed.len().saturating_sub(CLOSED_GENERATIONS_MAX);
            self.closed.drain(..surplus);
        }
    }

    /// Lets clients go on counting in the generation that ends, and in those where they did already.
    fn count_on(&mut self, closes: ClosedGeneration, counts_on: Option<u64>) {
        let Some(asked) = counts_on else {
            self.counted_on.clear();
            return;
        };
        for known in &mut self.counted_on {
            known.end_frame += closes.end_frame;
        }
        self.counted_on.push(closes);
        while self.counted_on.len() > CLOSED_GENERATIONS_MAX {
            let idle = self.counted_on.iter().position(|it| it.generation != asked);
            self.counted_on.remove(idle.unwrap_or(0));
        }
    }

    /// Reads the record; `None` when there is none.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn load(files: &dyn Files, path: &Path) -> Result<Option<Self>, RecordError> {
        let content = files.read(path).map_err(|source| RecordError::File {
            path: path.to_owned(),
            source,
        })?;
        let Some(content) = content else {
            return Ok(None);
        };
        let record: Self =
            serde_json::from_slice(&content).map_err(|source| RecordError::Content {
                path: path.to_owned(),
                source,
            })?;
        if record.format != FORMAT {
            return Err(RecordError::Format {
                path: path.to_owned(),
                format: record.format,
            });
        }
        Ok(Some(record))
    }

    /// Writes the record durably.
    ///
    /// # Errors
    /// [`RecordError`]; the old record is then still in place.
    pub fn store(&self, files: &dyn Files, path: &Path) -> Result<(), RecordError> {
        let content = serde_json::to_vec_pretty(self).map_err(|source| RecordError::Content {
            path: path.to_owned(),
            source,
        })?;
        files
            .write_atomic(path, &content)
            .map_err(|source| RecordError::File {
                path: path.to_owned(),
                source,
            })
    }
}

#[cfg(test)]
mod tests;
