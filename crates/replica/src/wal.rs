//! A raw handle on a database's WAL: reads and inserts frames, and owns the only checkpoint.
//!
//! An open [`Wal`] is also a pin: while it lives, no other connection of the process is the last to
//! close, so SQLite does not fold the WAL away. It never checkpoints by itself, not even when it is
//! dropped. Unsafe code lives in `wal/raw.rs` and `vfs.rs` only.

mod error;
mod mend;
mod raw;
mod reading;

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

pub(crate) use self::mend::mend;
use self::raw::{File, Handle};
pub use self::{
    error::WalError,
    raw::{SqliteError, initialize},
    reading::Reading,
};
use crate::{
    frame::{Chain, Frame, Salt, frames},
    limits::{BUSY_TIMEOUT_MS, FRAME_BYTES, INSERT_ATTEMPTS_MAX, PAGE_BYTES},
};

/// When a commit through this handle is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it returns.
    Full,
    /// After [`Wal::sync`]: many commits share one fsync.
    Normal,
}

/// What a WAL holds, as committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The salt of the WAL file; `None` when it holds no frame.
    pub salt: Option<Salt>,
    /// Committed frames.
    pub frames: u64,
}

/// Result of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// Every frame is in the main file, the WAL is empty, both are durable.
    Done,
    /// Another connection was reading or writing; nothing is lost, try again later.
    Busy,
}

/// See the module.
#[derive(Debug)]
pub struct Wal {
    handle: Handle,
    path: PathBuf,
}

impl Wal {
    /// Opens the database, creating an empty one when there is none, and puts it in WAL mode.
    ///
    /// # Errors
    /// [`WalError`]; a database with pages of another size is left as it is.
    ///
    /// # Panics
    /// When SQLite does not keep the durability it was given: no commit could be trusted.
    pub fn open(path: &Path, durability: Durability) -> Result<Self, WalError> {
        initialize();
        let text = path.to_str().ok_or_else(|| WalError::Path {
            path: path.to_owned(),
        })?;
        let failed = |doing| {
            move |source| WalError::Sqlite {
                doing,
                path: path.to_owned(),
                source,
            }
        };
        let handle = Handle::open(text).map_err(failed("open"))?;
        handle.set_busy_timeout(BUSY_TIMEOUT_MS);
        let wal = Self {
            handle,
            path: path.to_owned(),
        };
        let page_bytes = wal.query("read the page size of", "PRAGMA page_size")?;
        if page_bytes != PAGE_BYTES.to_string() {
            let bytes = page_bytes.parse().unwrap_or_default();
            return Err(WalError::PageSize {
                path: path.to_owned(),
                bytes,
            });
        }
        let mode = wal.query("set the journal mode of", "PRAGMA journal_mode=WAL")?;
        if mode != "wal" {
            return Err(WalError::JournalMode {
                path: path.to_owned(),
                mode,
            });
        }
        let (sql, expected) = match durability {
            Durability::Full => ("PRAGMA synchronous=FULL", "2"),
            Durability::Normal => ("PRAGMA synchronous=NORMAL", "1"),
        };
        wal.exec("configure", sql)?;
        let found = wal.query("configure", "PRAGMA synchronous")?;
        assert_eq!(found, expected, "SQLite keeps the durability it was given");
        // In this order: setting the automatic checkpoint switches checkpoints on close on again.
        wal.exec("configure", "PRAGMA wal_autocheckpoint=0")?;
        wal.handle
            .disable_checkpoints()
            .map_err(failed("switch off checkpoints of"))?;
        Ok(wal)
    }

    /// The database's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Committed frames, from a real read.
    ///
    /// # Errors
    /// [`WalError`].
    pub fn position(&mut self) -> Result<Position, WalError> {
        self.read(|reading| Ok(reading.position()))
    }

    /// Reads within one read transaction: the WAL is not reset in between.
    ///
    /// # Errors
    /// [`WalError`], or what `work` returns.
    pub fn read<R>(
        &mut self,
        work: impl FnOnce(&Reading<'_>) -> Result<R, WalError>,
    ) -> Result<R, WalError> {
        self.begin_read()?;
        let result = self.read_begun(work);
        // Ending a read transaction cannot lose anything; the next one starts afresh.
        self.end_read();
        result
    }

    fn read_begun<R>(
        &self,
        work: impl FnOnce(&Reading<'_>) -> Result<R, WalError>,
    ) -> Result<R, WalError> {
        let index = self
            .handle
            .wal_index()
            .map_err(self.failed("read the wal-index of"))?
            .ok_or_else(|| WalError::Index {
                path: self.path.clone(),
            })?;
        let salt = (index.frames > 0).then_some(Salt(index.salt));
        let position = Position {
            salt,
            frames: u64::from(index.frames),
        };
        work(&Reading::new(self, position))
    }

    /// Begins a read transaction that stays open until [`Wal::end_read`], and says what is
    /// committed.
    pub(crate) fn pin(&mut self) -> Result<Position, WalError> {
        self.begin_read()?;
        self.read_begun(|reading| Ok(reading.position()))
    }

    /// What a transaction that [`Wal::pin`] began reads.
    pub(crate) fn pinned(&self, position: Position) -> Reading<'_> {
        Reading::new(self, position)
    }

    fn begin_read(&mut self) -> Result<(), WalError> {
        self.exec("begin reading", "BEGIN")?;
        // BEGIN alone is deferred: the transaction begins with the first read.
        let read = self.exec("read", "SELECT 1 FROM sqlite_schema LIMIT 1");
        if read.is_err() {
            self.end_read();
        }
        read
    }

    fn end_read(&mut self) {
        if self.exec("end reading", "COMMIT").is_err() {
            // No transaction is open when beginning one failed.
            self.exec("end reading", "ROLLBACK").ok();
        }
    }

    /// Size of the main file in bytes, without the WAL.
    ///
    /// # Errors
    /// [`WalError`].
    pub fn main_bytes(&self) -> Result<u64, WalError> {
        self.handle
            .size(File::Main)
            .map_err(self.failed("read the main file of"))
    }

    /// A part of the main file as it is on disk, without the WAL; it must lie within the file.
    ///
    /// # Errors
    /// [`WalError`].
    pub(crate) fn main_part(&self, offset: u64, length: u64) -> Result<Vec<u8>, WalError> {
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        let mut part = vec![0; size];
        if size > 0 {
            self.handle
                .read_at(File::Main, offset, &mut part)
                .map_err(self.failed("read the main file of"))?;
        }
        Ok(part)
    }

    /// Size in bytes and digest of the main file as it is on disk, without the WAL.
    ///
    /// # Errors
    /// [`WalError`].
    pub fn main_digest(&self) -> Result<(u64, Chain), WalError> {
        /// Bytes that are read at a time.
        const PART_BYTES: usize = 1024 * 1024;
        let (mut bytes, mut hasher) = (0, blake3::Hasher::new());
        self.each_main_part(PART_BYTES, |part| {
            hasher.update(part);
            bytes += u64::try_from(part.len()).unwrap_or_default();
            Ok::<_, WalError>(())
        })?;
        Ok((bytes, Chain(*hasher.finalize().as_bytes())))
    }

    /// Gives the main file as it is on disk, without the WAL, in parts of `part_bytes`.
    ///
    /// # Errors
    /// [`WalError`], or what `each` returns.
    pub(crate) fn each_main_part<E: From<WalError>>(
        &self,
        part_bytes: usize,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = || self.failed("read the main file of");
        let mut left = self.handle.size(File::Main).map_err(failed())?;
        let (mut offset, mut part) = (0, Vec::new());
        while left > 0 {
            let size = usize::try_from(left).unwrap_or(usize::MAX).min(part_bytes);
            part.resize(size, 0);
            self.handle
                .read_at(File::Main, offset, &mut part)
                .map_err(failed())?;
            each(&part)?;
            let read = u64::try_from(size).unwrap_or(left);
            (offset, left) = (offset + read, left - read);
        }
        Ok(())
    }

    /// Appends whole transactions; `first` is the number the first frame gets.
    ///
    /// # Errors
    /// [`WalError`]; transactions before the failing one stay inserted.
    ///
    /// # Panics
    /// When the body is not whole transactions: the caller's bookkeeping is wrong.
    pub fn insert(&mut self, first: u64, body: &[u8]) -> Result<(), WalError> {
        assert!(
            body.len().is_multiple_of(FRAME_BYTES),
            "a body is whole frames"
        );
        assert!(
            frames(body).next_back().is_some_and(Frame::is_commit),
            "transactions are whole"
        );
        let mut parts = [Cow::Borrowed(body)].into_iter();
        self.insert_parts(first, || Ok(parts.next()))
    }

    /// Appends frames that come in parts, as [`Wal::insert`] does. Frames after the last commit
    /// among them do not count.
    ///
    /// # Errors
    /// [`WalError`], or what `next` returns.
    pub(crate) fn insert_parts<'a, E: From<WalError>>(
        &mut self,
        first: u64,
        mut next: impl FnMut() -> Result<Option<Cow<'a, [u8]>>, E>,
    ) -> Result<(), E> {
        self.begin_insert()?;
        let mut insert = || {
            let mut number = self.next_frame(first)?;
            while let Some(part) = next()? {
                for frame in frames(&part) {
                    self.handle
                        .insert_frame(number, frame.bytes())
                        .map_err(self.failed("insert a frame into"))?;
                    number += 1;
                }
            }
            Ok(())
        };
        let result = insert();
        let ended = self
            .handle
            .insert_end()
            .map_err(self.failed("end inserting into"));
        result.and(ended.map_err(E::from))
    }

    fn begin_insert(&mut self) -> Result<(), WalError> {
        for _ in 0..INSERT_ATTEMPTS_MAX {
            let Err(source) = self.handle.insert_begin() else {
                return Ok(());
            };
            // A failed begin leaves its read transaction open; this releases it.
            self.handle.insert_end().ok();
            if !source.is_busy() {
                return Err(self.failed("begin inserting into")(source));
            }
            // Unlike an insert, this waits for the lock.
            if self.exec("wait for", "BEGIN IMMEDIATE").is_ok() {
                self.exec("wait for", "ROLLBACK")?;
            }
        }
        Err(WalError::Busy {
            path: self.path.clone(),
        })
    }

    /// The number that the next frame gets, which the caller must know.
    fn next_frame(&self, first: u64) -> Result<u32, WalError> {
        let index = self
            .handle
            .wal_index()
            .map_err(self.failed("read the wal-index of"))?;
        let index = index.ok_or_else(|| WalError::Index {
            path: self.path.clone(),
        })?;
        let frames = u64::from(index.frames);
        if frames + 1 == first {
            return Ok(index.frames + 1);
        }
        Err(WalError::Moved {
            path: self.path.clone(),
            first,
            frames,
        })
    }

    /// Moves the WAL into the main file and empties it; the only mode this crate knows.
    ///
    /// # Errors
    /// [`WalError`].
    pub fn checkpoint_truncate(&mut self) -> Result<Checkpoint, WalError> {
        match self.handle.checkpoint_truncate() {
            Ok(()) => {}
            Err(source) if source.is_busy() => return Ok(Checkpoint::Busy),
            Err(source) => return Err(self.failed("checkpoint")(source)),
        }
        // Without this a power cut may bring the old WAL back after its successor was announced.
        self.sync()?;
        Ok(Checkpoint::Done)
    }

    /// What this crate never does, for tests of the tests.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn checkpoint_passive(&mut self) -> Result<(), WalError> {
        self.query("checkpoint", "PRAGMA wal_checkpoint(PASSIVE)")
            .map(drop)
    }

    /// Makes every frame inserted so far durable: one fsync of the WAL file.
    ///
    /// # Errors
    /// [`WalError`].
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.handle
            .sync(File::Wal)
            .map_err(self.failed("sync the WAL of"))
    }

    /// Commits a transaction that changes nothing, as the first frame of an empty WAL.
    ///
    /// It fixes the salt, so that a later foreign checkpoint cannot go unnoticed.
    pub(crate) fn mark(&mut self) -> Result<(), WalError> {
        // One transaction, so that a version another connection sets meanwhile is not undone.
        self.exec("mark", "BEGIN IMMEDIATE")?;
        let marked = self
            .query("mark", "PRAGMA user_version")
            .and_then(|version| self.exec("mark", &format!("PRAGMA user_version={version}")))
            .and_then(|()| self.exec("mark", "COMMIT"));
        if marked.is_err() {
            // The first error says what went wrong; SQLite may have rolled back already.
            self.exec("mark", "ROLLBACK").ok();
        }
        marked
    }

    fn exec(&self, doing: &'static str, sql: &str) -> Result<(), WalError> {
        self.handle.exec(sql).map(drop).map_err(self.failed(doing))
    }

    fn query(&self, doing: &'static str, sql: &str) -> Result<String, WalError> {
        self.handle
            .exec(sql)
            .map(Option::unwrap_or_default)
            .map_err(self.failed(doing))
    }

    fn failed(&self, doing: &'static str) -> impl Fn(SqliteError) -> WalError {
        move |source| WalError::Sqlite {
            doing,
            path: self.path.clone(),
            source,
        }
    }
}
