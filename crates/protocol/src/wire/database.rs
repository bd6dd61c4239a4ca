//! Free-standing databases: any program that uses libSQL offline writes syncs with them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// Most characters of a name: it is part of an address and of file names.
pub const DATABASE_NAME_CHARS_MAX: usize = 63;

/// Name of a free-standing database: 1 to 63 small letters, digits, `-` and `_`, a letter first. So
/// it is the same in an address, on every file system, and never a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
pub struct DatabaseName(String);

/// The text is no name of a database.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{text}` cannot be the name of a database: 1 to 63 small letters, digits, `-` and `_`, a \
     letter first"
)]
pub struct DatabaseNameError {
    /// What was given.
    pub text: String,
}

/// Names that Windows takes for devices, whatever follows a dot.
fn is_device(text: &str) -> bool {
    let numbered = |prefix: &str| {
        let number = text.strip_prefix(prefix);
        number.is_some_and(|number| number.len() == 1 && number.as_bytes()[0].is_ascii_digit())
    };
    ["con", "prn", "aux", "nul"].contains(&text) || numbered("com") || numbered("lpt")
}

impl FromStr for DatabaseName {
    type Err = DatabaseNameError;

    fn from_str(text: &str) -> Result<Self, DatabaseNameError> {
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        let good = text.len() <= DATABASE_NAME_CHARS_MAX
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(allowed)
            && !is_device(text);
        if good {
            return Ok(Self(text.to_owned()));
        }
        Err(DatabaseNameError {
            text: text.to_owned(),
        })
    }
}

impl TryFrom<String> for DatabaseName {
    type Error = DatabaseNameError;

    fn try_from(text: String) -> Result<Self, DatabaseNameError> {
        text.parse()
    }
}

impl From<DatabaseName> for String {
    fn from(name: DatabaseName) -> Self {
        name.0
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl DatabaseName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Base of a database's sync protocol; the token of that database.
pub fn database_path(name: &DatabaseName) -> String {
    format!("/v1/db/database/{name}")
}

/// `POST /v1/admin/databases` makes a database.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DatabaseAddRequest {
    /// Name of the database.
    pub name: String,
    /// URL under which its clients reach the hub; the hub's own idea when absent.
    pub hub_url: Option<String>,
}

/// `POST /v1/admin/databases/{name}/token` makes a new token.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DatabaseTokenRequest {
    /// URL under which its clients reach the hub; the hub's own idea when absent.
    pub hub_url: Option<String>,
}

/// What a libSQL client needs to sync. The token is shown once; the hub keeps its hash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DatabaseAccess {
    /// Where the client syncs.
    pub sync_url: String,
    /// What it shows.
    pub auth_token: String,
}

/// A database in a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DatabaseRow {
    /// Its name.
    pub name: DatabaseName,
    /// Size of its file and of its write-ahead log, in bytes.
    pub size_bytes: u64,
    /// The part of the size that the write-ahead log takes, in bytes; a fold empties it.
    pub wal_bytes: u64,
    /// Current generation, at least 1; 0 when the database cannot be read now.
    pub generation: u64,
    /// Frames of committed transactions in this generation.
    pub frames: u64,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Last request with its token, milliseconds since the Unix epoch; up to 10 seconds behind.
    pub seen_ms: Option<i64>,
    /// Why it cannot be read now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A database was removed. Its files stay.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DatabaseRemoved {
    /// Its name, which may be used again.
    pub name: DatabaseName,
    /// The folder that holds its files now; delete it to have the room.
    pub kept: String,
}

/// `POST /v1/admin/databases/{name}/fold`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DatabaseFoldRequest {
    /// The operator has seen to it that every client is in sync.
    pub in_sync: bool,
}

/// What became of a fold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DatabaseFolded {
    /// Current generation.
    pub generation: u64,
    /// Frames that were folded into the file; 0 when there was none and no generation began.
    pub frames: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_everywhere_and_never_a_path() {
        for good in ["a", "notes", "notes-2026_v2", &"n".repeat(63), "com10"] {
            assert_eq!(good.parse::<DatabaseName>().unwrap().as_str(), good);
        }
        let long = "n".repeat(64);
        for bad in [
            "", ".", "..", "a/b", "a\\b", "../a", "A", "1a", "-a", "_a", "a b", "a.db", "é", "a\0",
            "nul", "com1", "a%2fb", &long,
        ] {
            assert!(bad.parse::<DatabaseName>().is_err(), "{bad}");
            let json = serde_json::to_string(bad).unwrap();
            assert!(
                serde_json::from_str::<DatabaseName>(&json).is_err(),
                "{bad}"
            );
        }
    }
}
