//! Two runs of a seed are one run: the same bytes in every database and WAL.

use crate::files::files_below;
use std::io;
use std::path::Path;

/// The BLAKE3 digest over all databases and WALs below a folder, by sorted path, and their number.
/// The index of a WAL (`-shm`) is memory, not content.
pub(crate) fn of_databases(folder: &Path) -> io::Result<(String, usize)> {
    let mut hasher = blake3::Hasher::new();
    let mut count = 0;
    for path in files_below(folder)? {
        let relative = path
            .strip_prefix(folder)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        if relative.ends_with(".db") || relative.ends_with(".db-wal") {
            // Ids that stand in names of files are part of what must repeat.
            hasher.update(relative.as_bytes());
            hasher.update(&[0]);
            let content = std::fs::read(&path)?;
            hasher.update(&(content.len() as u64).to_be_bytes());
            hasher.update(&content);
            count += 1;
        }
    }
    Ok((hasher.finalize().to_hex().to_string(), count))
}
