//! Files beside the databases: sidecar records, held tails, databases on their way in.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use crate::planted::PlantedBug;

/// Durable file operations, built from [`DiskSteps`]. The simulation has an implementation of its own
/// that injects faults.
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

    /// Size in bytes, or `None` when the file does not exist. The file is not opened.
    ///
    /// # Errors
    /// What the operating system reports.
    fn size(&self, path: &Path) -> io::Result<Option<u64>>;

    /// Bytes that this user may still write on the disk that holds the path; `None` where nobody can say.
    ///
    /// # Errors
    /// What the operating system reports.
    fn free_bytes(&self, path: &Path) -> io::Result<Option<u64>>;
}

/// The plain steps that durable operations are made of.
///
/// What makes an operation durable is written once, in [`Files`], on top of these; so a test that
/// records the steps sees the very order that is used on a real disk.
pub trait DiskSteps: Send + Sync {
    /// As [`Files::read`].
    ///
    /// # Errors
    /// What the disk reports.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;

    /// As [`Files::read_range`].
    ///
    /// # Errors
    /// What the disk reports.
    fn read_range(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>>;

    /// Creates or empties a file, writes the content and syncs it; its name is not synced.
    ///
    /// # Errors
    /// What the disk reports; a part of the content may then stand in the file.
    fn write_synced(&self, path: &Path, content: &[u8]) -> io::Result<()>;

    /// Appends, creating the file when needed; neither content nor name is synced.
    ///
    /// # Errors
    /// What the disk reports; a part of the bytes may then have been written.
    fn append(&self, path: &Path, content: &[u8]) -> io::Result<()>;

    /// Appends, creating the file when needed, and syncs the file; its name is not synced.
    ///
    /// # Errors
    /// What the disk reports; a part of the bytes may then have been written.
    fn append_synced(&self, path: &Path, content: &[u8]) -> io::Result<()>;

    /// Cuts the file off after `length` bytes and syncs it. Does nothing where there is no file.
    ///
    /// # Errors
    /// What the disk reports.
    fn truncate_synced(&self, path: &Path, length: u64) -> io::Result<()>;

    /// Renames over an existing target.
    ///
    /// # Errors
    /// What the disk reports.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the file; false when there was none.
    ///
    /// # Errors
    /// What the disk reports.
    fn remove(&self, path: &Path) -> io::Result<bool>;

    /// Whether the path exists.
    ///
    /// # Errors
    /// What the disk reports.
    fn has(&self, path: &Path) -> io::Result<bool>;

    /// Syncs the names in the path's folder.
    ///
    /// # Errors
    /// What the disk reports.
    fn sync_names_beside(&self, path: &Path) -> io::Result<()>;

    /// As [`Files::size`].
    ///
    /// # Errors
    /// What the disk reports.
    fn length(&self, path: &Path) -> io::Result<Option<u64>> {
        let content = self.read(path)?;
        Ok(content.map(|content| u64::try_from(content.len()).unwrap_or(u64::MAX)))
    }

    /// As [`Files::free_bytes`].
    ///
    /// # Errors
    /// What the disk reports.
    fn room(&self, _path: &Path) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

impl<D: DiskSteps> Files for D {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        DiskSteps::read(self, path)
    }

    fn write_atomic(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let temporary = beside(path, ".tmp");
        self.write_synced(&temporary, content)?;
        self.rename_durable(&temporary, path)
    }

    fn read_range(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        DiskSteps::read_range(self, path, offset, length)
    }

    fn append(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        DiskSteps::append(self, path, content)
    }

    fn append_sync(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        // A file that holds something has a name that is durable, also after an append that failed half-way.
        if DiskSteps::read_range(self, path, 0, 1)?.is_empty() {
            DiskSteps::append(self, path, &[])?;
            self.sync_names_beside(path)?;
        }
        self.append_synced(path, content)
    }

    fn truncate_sync(&self, path: &Path, length: u64) -> io::Result<()> {
        self.truncate_synced(path, length)
    }

    fn rename_durable(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename(from, to)?;
        if PlantedBug::RenameWithoutSync.is_planted() {
            return Ok(());
        }
        self.sync_names_beside(to)
    }

    fn remove_if_exists(&self, path: &Path) -> io::Result<bool> {
        self.remove(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.has(path)
    }

    fn sync_dir_of(&self, path: &Path) -> io::Result<()> {
        self.sync_names_beside(path)
    }

    fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        self.length(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<Option<u64>> {
        self.room(path)
    }
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFiles;

impl DiskSteps for OsFiles {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
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

    fn write_synced(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(content)?;
        file.sync_all()
    }

    fn append(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        file.write_all(content)
    }

    fn append_synced(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        file.write_all(content)?;
        file.sync_data()
    }

    fn truncate_synced(&self, path: &Path, length: u64) -> io::Result<()> {
        let file = match OpenOptions::new().write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        file.set_len(length)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<bool> {
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn has(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn sync_names_beside(&self, path: &Path) -> io::Result<()> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        sync_folder(folder)
    }

    fn length(&self, path: &Path) -> io::Result<Option<u64>> {
        match fs::metadata(path) {
            Ok(known) => Ok(Some(known.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn room(&self, path: &Path) -> io::Result<Option<u64>> {
        free_room(path)
    }
}

#[cfg(unix)]
fn free_room(path: &Path) -> io::Result<Option<u64>> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(Some(disk.f_bavail.saturating_mul(disk.f_frsize)))
}

#[cfg(not(unix))]
fn free_room(_path: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

/// Makes a folder and those above it; a power cut takes none of them away afterwards. One that is there
/// may have been made by a process that died before its name was durable.
///
/// # Errors
/// What the operating system reports.
pub fn create_folder(path: &Path) -> io::Result<()> {
    if let Some(above) = path.parent()
        && !above.as_os_str().is_empty()
        && !above.is_dir()
    {
        create_folder(above)?;
    }
    match fs::create_dir(path) {
        Ok(()) => OsFiles.sync_names_beside(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
            match OsFiles.sync_names_beside(path) {
                // Whose folder it is in made it, and not for us to look around there.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                synced => synced,
            }
        }
        Err(error) => Err(error),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A disk with one file, on which a step fails once, half-way.
    #[derive(Default)]
    struct OneFile(Mutex<State>);

    #[derive(Default)]
    struct State {
        content: Option<Vec<u8>>,
        name_is_durable: bool,
        fails: Option<Step>,
    }

    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Step {
        Append,
        SyncNames,
    }

    impl State {
        fn fails(&mut self, step: Step) -> bool {
            self.fails.take_if(|it| *it == step).is_some()
        }
    }

    impl DiskSteps for OneFile {
        fn read(&self, _path: &Path) -> io::Result<Option<Vec<u8>>> {
            Ok(self.0.lock().unwrap().content.clone())
        }

        fn read_range(&self, path: &Path, _offset: u64, length: usize) -> io::Result<Vec<u8>> {
            let content = DiskSteps::read(self, path)?.unwrap_or_default();
            Ok(content.into_iter().take(length).collect())
        }

        fn write_synced(&self, _path: &Path, _content: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn append(&self, _path: &Path, content: &[u8]) -> io::Result<()> {
            let mut state = self.0.lock().unwrap();
            let fails = !content.is_empty() && state.fails(Step::Append);
            let written = if fails { 1 } else { content.len() };
            let file = state.content.get_or_insert_default();
            file.extend_from_slice(&content[..written]);
            if fails {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }

        fn append_synced(&self, path: &Path, content: &[u8]) -> io::Result<()> {
            DiskSteps::append(self, path, content)
        }

        fn truncate_synced(&self, _path: &Path, _length: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn remove(&self, _path: &Path) -> io::Result<bool> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn has(&self, path: &Path) -> io::Result<bool> {
            Ok(DiskSteps::read(self, path)?.is_some())
        }

        fn sync_names_beside(&self, _path: &Path) -> io::Result<()> {
            let mut state = self.0.lock().unwrap();
            if state.fails(Step::SyncNames) {
                return Err(io::ErrorKind::Other.into());
            }
            state.name_is_durable = state.content.is_some();
            Ok(())
        }
    }

    #[test]
    fn what_was_appended_after_a_failure_has_a_durable_name() {
        let path = Path::new("tail");
        for step in [Step::Append, Step::SyncNames] {
            let disk = OneFile::default();
            disk.0.lock().unwrap().fails = Some(step);
            assert!(disk.append_sync(path, b"ab").is_err(), "{step:?}");
            disk.append_sync(path, b"ab").unwrap();
            assert!(disk.0.lock().unwrap().name_is_durable, "{step:?}");
        }
    }
}
