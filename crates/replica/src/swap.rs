//! Puts a whole new database file in the place of the old one, crash-safe.
//!
//! The new file waits beside as `<database>-incoming`; the record's `swap` is the durable intent;
//! every step can be repeated. No connection to the database may be open.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    crash::{self, CrashPoint},
    env::{Files, files::beside},
    limits::PAGE_BYTES,
    numbering::{Record, RecordError},
};

/// What every SQLite database file begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The record of a database.
pub(crate) fn record_path(database: &Path) -> PathBuf {
    beside(database, "-sync")
}

/// The uncommitted tail of a hub's copy.
pub(crate) fn tail_path(database: &Path) -> PathBuf {
    beside(database, "-tail")
}

/// The new file while it waits.
pub(crate) fn incoming_path(database: &Path) -> PathBuf {
    beside(database, "-incoming")
}

/// Why bytes are no base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseRefusal {
    /// The bytes are not what the sender meant to send.
    #[error("the digest of the file does not match")]
    Digest,
    /// Not a database in WAL mode with pages of 4,096 bytes.
    #[error("not a database in WAL mode with pages of {PAGE_BYTES} bytes")]
    Content,
}

/// Whether a file of that size with that first page is a database this crate can go on from.
pub(crate) fn is_base(first_page: &[u8], file_bytes: u64) -> bool {
    // Format: 16 bytes of magic, page size (2 bytes), write and read version; 2 means WAL.
    let page_bytes = u16::try_from(PAGE_BYTES).unwrap_or_default().to_be_bytes();
    first_page.len() >= PAGE_BYTES
        && file_bytes.is_multiple_of(u64::try_from(PAGE_BYTES).unwrap_or(u64::MAX))
        && first_page.starts_with(MAGIC)
        && first_page[16..18] == page_bytes
        && first_page[18..20] == [2, 2]
}

/// Removes what SQLite keeps beside the waiting file. Nobody may have that file open, and its WAL
/// holds nothing that is still needed.
pub(crate) fn clear_incoming_wal(files: &dyn Files, database: &Path) -> Result<(), RecordError> {
    let incoming = incoming_path(database);
    for part in ["-wal", "-shm"] {
        let path = beside(&incoming, part);
        files.remove_if_exists(&path).map_err(failed(&path))?;
    }
    Ok(())
}

/// Removes a file that waits and will not be used. Nobody may have it open, no intent may name it.
pub(crate) fn discard(files: &dyn Files, database: &Path) -> Result<(), RecordError> {
    clear_incoming_wal(files, database)?;
    let incoming = incoming_path(database);
    files
        .remove_if_exists(&incoming)
        .map_err(failed(&incoming))?;
    Ok(())
}

/// Completes a swap that was begun; does nothing when none was.
///
/// Where the old file cannot be moved away the record stays as it is, to be tried again.
pub(crate) fn finish(
    files: &dyn Files,
    database: &Path,
    record: &mut Record,
) -> Result<(), RecordError> {
    let Some(swap) = record.swap.clone() else {
        return Ok(());
    };
    let incoming = incoming_path(database);
    if files.exists(&incoming).map_err(failed(&incoming))? {
        put_away(files, database, swap.keep_suffix.as_deref()).map_err(failed(database))?;
        crash::pass(CrashPoint::SwapPutAway);
        files
            .rename_durable(&incoming, database)
            .map_err(failed(&incoming))?;
        crash::pass(CrashPoint::SwapRenamed);
    }
    let swapped = Record::new(Some(swap.mapping));
    swapped.store(files, &record_path(database))?;
    crash::pass(CrashPoint::SwapRecorded);
    *record = swapped;
    Ok(())
}

/// Moves the old files away, the WAL first: a main file without its WAL is still a database, a WAL
/// without its main file would be mistaken for the new one's.
fn put_away(files: &dyn Files, database: &Path, keep_suffix: Option<&str>) -> io::Result<()> {
    for part in ["-wal", "-tail", ""] {
        let old = beside(database, part);
        let Some(keep_suffix) = keep_suffix else {
            if !part.is_empty() {
                files.remove_if_exists(&old)?;
            }
            continue;
        };
        let kept = beside(&beside(database, keep_suffix), part);
        if files.exists(&old)? {
            // A kept file is never overwritten: an earlier attempt has moved it already, and what
            // stands here now was created by somebody opening the path since.
            if files.exists(&kept)? {
                files.remove_if_exists(&old)?;
            } else {
                files.rename_durable(&old, &kept)?;
            }
        }
    }
    files.remove_if_exists(&beside(database, "-shm"))?;
    files.sync_dir_of(database)
}

pub(crate) fn failed(path: &Path) -> impl Fn(io::Error) -> RecordError {
    move |source| RecordError::File {
        path: path.to_owned(),
        source,
    }
}
