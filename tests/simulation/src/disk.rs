//! Files of a simulated machine: any operation may be the last one before the lights go out.
//!
//! At such an operation the folder's image is taken and the machine is cut off, so that nothing it
//! does later in the same step is seen by anybody. The step's end is the crash, and the image is
//! what is left.

use crate::files::Image;
use counterfoil_replica::env::{Files, OsFiles};
use counterfoil_testkit::SeededRandom;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// One operation in this many is the last one.
const LAST_EVERY: u64 = 60;

/// The disk of one host.
pub(crate) struct Disk {
    host: &'static str,
    /// Who hears from the host.
    peers: Vec<&'static str>,
    folder: PathBuf,
    luck: SeededRandom,
    armed: AtomicBool,
    doom: Mutex<Option<Image>>,
}

impl Disk {
    pub(crate) fn new(
        host: &'static str,
        peers: Vec<&'static str>,
        folder: PathBuf,
        seed: u64,
    ) -> Self {
        let (luck, armed) = (SeededRandom::new(seed), AtomicBool::new(false));
        Self {
            host,
            peers,
            folder,
            luck,
            armed,
            doom: Mutex::new(None),
        }
    }

    /// Whether operations may be the last one from now on.
    pub(crate) fn arm(&self, armed: bool) {
        self.armed.store(armed, Ordering::SeqCst);
    }

    /// What is left of the folder, when the lights went out.
    pub(crate) fn take_doom(&self) -> Option<Image> {
        self.doom
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Whether the lights go out during the operation that begins now.
    fn ends_here(&self) -> bool {
        let drawn = self.luck.below(LAST_EVERY) == 0;
        let lit = self
            .doom
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none();
        drawn && lit && self.armed.load(Ordering::SeqCst)
    }

    /// The lights go out now.
    fn end(&self) -> io::Result<()> {
        let image = Image::take(&self.folder)?;
        *self.doom.lock().unwrap_or_else(PoisonError::into_inner) = Some(image);
        for peer in &self.peers {
            turmoil::partition(self.host, *peer);
        }
        Ok(())
    }

    /// Runs an operation that takes place as a whole: the lights go out before it or after it.
    fn whole<T>(&self, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let (ends, before) = (self.ends_here(), self.luck.below(2) == 0);
        if ends && before {
            self.end()?;
        }
        let done = operation();
        if ends && !before {
            self.end()?;
        }
        done
    }
}

fn halves(content: &[u8]) -> (&[u8], &[u8]) {
    content.split_at(content.len().div_euclid(2))
}

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        OsFiles.read(path)
    }

    fn write_atomic(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        if self.luck.below(3) == 0 && self.ends_here() {
            // Half of the new content, under its temporary name.
            let mut name = path.as_os_str().to_owned();
            name.push(".tmp");
            std::fs::write(PathBuf::from(name), halves(content).0)?;
            self.end()?;
        }
        self.whole(|| OsFiles.write_atomic(path, content))
    }

    fn read_range(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        OsFiles.read_range(path, offset, length)
    }

    fn append(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.whole(|| OsFiles.append(path, content))
    }

    fn append_sync(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        if !self.ends_here() {
            return OsFiles.append_sync(path, content);
        }
        let (first, second) = halves(content);
        OsFiles.append_sync(path, first)?;
        self.end()?;
        OsFiles.append_sync(path, second)
    }

    fn truncate_sync(&self, path: &Path, length: u64) -> io::Result<()> {
        self.whole(|| OsFiles.truncate_sync(path, length))
    }

    fn rename_durable(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.whole(|| OsFiles.rename_durable(from, to))
    }

    fn remove_if_exists(&self, path: &Path) -> io::Result<bool> {
        self.whole(|| OsFiles.remove_if_exists(path))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        OsFiles.exists(path)
    }

    fn sync_dir_of(&self, path: &Path) -> io::Result<()> {
        self.whole(|| OsFiles.sync_dir_of(path))
    }

    fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        OsFiles.size(path)
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<Option<u64>> {
        // That of the real disk would be another one in each run.
        Ok(None)
    }
}
