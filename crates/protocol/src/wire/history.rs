//! The past of the hub's databases, as the operator's commands ask for it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A database with a past, in `GET /v1/admin/history`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct HistoryRow {
    /// `catalog`, `node <id>` or `database <name>`.
    pub database: String,
    /// Generations that have ended and can be restored.
    pub generations: u64,
    /// Their size on disk in bytes.
    pub bytes: u64,
}

/// A generation of one database, in `GET /v1/admin/history/...`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct GenerationRow {
    /// Number of the generation.
    pub generation: u64,
    /// Its last frame.
    pub end_frame: u64,
    /// When its first commit had arrived, milliseconds since the Unix epoch; absent when unknown.
    pub first_ms: Option<i64>,
    /// When its last commit had arrived.
    pub last_ms: Option<i64>,
    /// Size on disk in bytes; 0 for the one that has not ended.
    pub bytes: u64,
    /// Whether it has not ended yet.
    pub open: bool,
}

/// A moment to go back to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoreMoment {
    /// The last commit that had arrived by then, milliseconds since the Unix epoch.
    AtMs(i64),
    /// The last commit up to a frame of a generation.
    Frame {
        /// The generation.
        generation: u64,
        /// The frame.
        frame: u64,
    },
}

/// `POST /v1/admin/history/...`: writes a database file as of a moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RestoreRequest {
    /// As of when.
    pub moment: RestoreMoment,
    /// Absolute path on the hub's machine; nothing may be there yet.
    pub to: String,
}

/// What was restored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Restored {
    /// Generation of the commit.
    pub generation: u64,
    /// Frame of the commit.
    pub frame: u64,
    /// When the commit had arrived, milliseconds since the Unix epoch; absent when unknown.
    pub at_ms: Option<i64>,
    /// The file.
    pub to: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Last entry of the journal, when the database is a book.
    pub journal_seq: Option<i64>,
}
