//! Why a WAL cannot be used, and what that means for whoever asked.

use std::path::PathBuf;

use super::SqliteError;
use crate::limits::PAGE_BYTES;

/// Why a WAL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The path cannot be given to SQLite.
    #[error("the database path {path} is not valid text")]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// SQLite refused.
    #[error("cannot {doing} {path}")]
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// The database.
        path: PathBuf,
        /// SQLite's code and text.
        #[source]
        source: SqliteError,
    },
    /// The database cannot be replicated frame by frame.
    #[error("the database {path} has pages of {bytes} bytes, replication needs {PAGE_BYTES}")]
    PageSize {
        /// The database.
        path: PathBuf,
        /// Its page size.
        bytes: u64,
    },
    /// The database did not switch to write-ahead logging.
    #[error("the database {path} is in journal mode {mode}, not wal")]
    JournalMode {
        /// The database.
        path: PathBuf,
        /// Its journal mode.
        mode: String,
    },
    /// The wal-index did not come to rest while it was read.
    #[error("the wal-index of {path} cannot be read")]
    Index {
        /// The database.
        path: PathBuf,
    },
    /// Another connection holds the write lock.
    #[error("the database {path} is busy")]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// A frame is not part of the WAL it was asked for; another program restarted the WAL.
    #[error("frame {frame} of {path} belongs to another WAL")]
    Restarted {
        /// The database.
        path: PathBuf,
        /// The frame, counted from 1.
        frame: u64,
    },
    /// A frame is not what was written: its checksum does not follow from the one before.
    #[error("frame {frame} of the WAL of {path} is damaged")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// The frame, counted from 1.
        frame: u64,
    },
    /// The WAL does not end where the caller thinks: somebody else wrote. Nothing was inserted.
    #[error("frame {first} does not follow the {frames} frames of {path}")]
    Moved {
        /// The database.
        path: PathBuf,
        /// The first frame that was to be inserted.
        first: u64,
        /// Committed frames.
        frames: u64,
    },
}

impl WalError {
    /// Whether waiting helps.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Busy { .. }
            | Self::Restarted { .. }
            | Self::Moved { .. }
            | Self::Index { .. } => true,
            Self::Sqlite { source, .. } => source.is_busy(),
            Self::Path { .. }
            | Self::PageSize { .. }
            | Self::JournalMode { .. }
            | Self::Damaged { .. } => false,
        }
    }

    /// Whether the file itself is no database any more, or not the one that was written.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::PageSize { .. } => true,
            Self::Sqlite { source, .. } => source.is_damage(),
            Self::Path { .. }
            | Self::JournalMode { .. }
            | Self::Index { .. }
            | Self::Busy { .. }
            | Self::Restarted { .. }
            | Self::Moved { .. } => false,
        }
    }
}
