//! The run's folder, and what a crash leaves of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder in memory where there is one, removed with everything in it when it is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    kept: bool,
}

impl Scratch {
    pub(crate) fn new(seed: u64) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let memory = PathBuf::from("/dev/shm");
        let below = if memory.is_dir() {
            memory
        } else {
            std::env::temp_dir()
        };
        let name = format!(
            "counterfoil-simulation-{seed}-{}-{number}",
            std::process::id()
        );
        let path = below.join(name);
        fs::create_dir_all(&path)?;
        Ok(Self { path, kept: false })
    }

    /// A folder that stays; it is emptied first.
    pub(crate) fn kept(path: PathBuf) -> io::Result<Self> {
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(Self { path, kept: true })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed stays behind; the run has its result already.
            fs::remove_dir_all(&self.path).ok();
        }
    }
}

/// All files below a folder, by path.
pub(crate) fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files_below(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What a program's folder held at one moment.
///
/// A simulated crash drops the program, which closes its databases in an orderly way. A killed
/// process does no such thing, so the folder is put back to what it was when the crash struck.
#[derive(Clone)]
pub(crate) struct Image {
    folder: PathBuf,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Image {
    /// Takes the image of a folder. The index of a WAL (`-shm`) is left out: SQLite builds it anew.
    pub(crate) fn take(folder: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        if folder.is_dir() {
            for path in files_below(folder)? {
                if !path.to_string_lossy().ends_with("-shm") {
                    let content = fs::read(&path)?;
                    files.push((path, content));
                }
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            files,
        })
    }

    /// Loses a database with everything that stands beside it; false when it is not there.
    pub(crate) fn lose(&mut self, database: &Path) -> bool {
        let name = database.as_os_str().to_string_lossy().into_owned();
        let before = self.files.len();
        self.files
            .retain(|(path, _)| !path.to_string_lossy().starts_with(&name));
        self.files.len() < before
    }

    /// Databases of the image below a folder.
    pub(crate) fn databases_below(&self, folder: &Path) -> Vec<PathBuf> {
        let of = |path: &Path| {
            path.starts_with(folder) && path.extension().is_some_and(|extension| extension == "db")
        };
        self.files
            .iter()
            .map(|(path, _)| path.clone())
            .filter(|path| of(path))
            .collect()
    }

    /// Puts the folder back to the image. Nobody may have a file of it open.
    pub(crate) fn put_back(self) -> io::Result<()> {
        if self.folder.is_dir() {
            for path in files_below(&self.folder)? {
                fs::remove_file(path)?;
            }
        }
        for (path, content) in self.files {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let private = path
                .parent()
                .is_some_and(|parent| parent.ends_with("credentials"))
                || path
                    .extension()
                    .is_some_and(|extension| extension == "token");
            fs::write(&path, content)?;
            if private {
                only_for_owner(&path)?;
            }
        }
        Ok(())
    }
}

#[cfg(unix)]
fn only_for_owner(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn only_for_owner(_path: &Path) -> io::Result<()> {
    Ok(())
}
