//! Files beside the databases: sidecar records, held tails, databases on their way in.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use crate::planted::PlantedBug;

/// Durable file operations. The simulation has a second implementation that injects faults.
///
/// None of these may touch a database that is open in this process, nor its `-shm`: closing any
/// descriptor of such a file drops the POSIX locks SQLite holds on it. A `-wal` carries no locks.
pub trait Files: Send + Sync {
    /// The whole content, or `None` when the file does not exist.
    ///
    /// # Errors
    /// What the operating system reports.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;

    /// Replaces the file so that after a power cut either the old or the new content is there.
    ///
    /// # Errors
    /// What the operating system reports; the old content is then still in place.
    fn write_atomic(&self, path: &Path, content: &[u8]) -> io::Result<()>;

    /// Bytes from `offset` on, at most `length`; fewer where the file ends, none where there is no
    /// file.
    ///
    /// # Errors
    /// What the operating system reports.
    fn read_range(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>>;

    /// Appends, creating the file when needed. A power cut may take the bytes away again.
    ///
    /// # Errors
    /// What the operating system reports; a part of the bytes may then have been written.
    fn append(&self, path: &Path, content: &[u8]) -> io::Result<()>;

    /// Appends, creating the file when needed, and returns once the bytes are durable.
    ///
    /// # Errors
    /// What the operating system reports; a part of the bytes may then have been written.
    fn append_sync(&self, path: &Path, content: &[u8]) -> io::Result<()>;

    /// Cuts the file off after `length` bytes, durably. Does nothing where there is no file.
    ///
    /// # Errors
    /// What the operating system reports.
    fn truncate_sync(&self, path: &Path, length: u64) -> io::Result<()>;

    /// Renames over an existing target and makes the rename durable.
    ///
    /// # Errors
    /// What the operating system reports.
    fn rename_durable(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the file; false when there was none. The removal is durable after `sync_dir_of`.
    ///
    /// # Errors
    /// What the operating system reports.
    fn remove_if_exists(&self, path: &Path) -> io::Result<bool>;

    /// Whether the path exists.
    ///
    /// # Errors
    /// What the operating system reports.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Makes creations, renames and removals in the path's folder durable.
    ///
    /// # Errors
    /// What the operating system reports.
    fn sync_dir_of(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFiles;

impl Files for OsFiles {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write_atomic(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let temporary = beside(path, ".tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        drop(file);
        self.rename_durable(&temporary, path)
    }

    fn read_range(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(u64::try_from(length).unwrap_or(u64::MAX))
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        file.write_all(content)
    }

    fn append_sync(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let created = !self.exists(path)?;
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        file.write_all(content)?;
        file.sync_data()?;
        if created {
            self.sync_dir_of(path)?;
        }
        Ok(())
    }

    fn truncate_sync(&self, path: &Path, length: u64) -> io::Result<()> {
        let file = match OpenOptions::new().write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        file.set_len(length)?;
        file.sync_all()
    }

    fn rename_durable(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        if PlantedBug::RenameWithoutSync.is_planted() {
            return Ok(());
        }
        self.sync_dir_of(to)
    }

    fn remove_if_exists(&self, path: &Path) -> io::Result<bool> {
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn sync_dir_of(&self, path: &Path) -> io::Result<()> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        sync_folder(folder)
    }
}

/// Folders can be opened and synced on Unix; elsewhere the rename itself is all there is.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// The path with `suffix` added to its file name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
