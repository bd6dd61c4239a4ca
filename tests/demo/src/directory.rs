//! Where the databases and logs of a run stand.

use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Attempts to remove a directory in which a killed process may be writing its last bytes.
const REMOVE_ATTEMPTS_MAX: usize = 100;

/// The directory of a run; removed at the end unless it is to be kept.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    keep: bool,
}

impl Directory {
    /// Makes it, named for whose it is, or takes the one to keep; that one must not hold an earlier run.
    pub fn create(name: &str, keep: Option<&Path>) -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = match keep {
            Some(path) => std::path::absolute(path)?,
            None => {
                let number = NEXT.fetch_add(1, Ordering::Relaxed);
                let name = format!("counterfoil-{name}-{}-{number}", std::process::id());
                std::env::temp_dir().join(name)
            }
        };
        if path.join("hub").exists() || path.join("nodes").exists() {
            bail!(
                "{} holds the data of an earlier run; name an empty one",
                path.display()
            );
        }
        for folder in ["nodes", "logs"] {
            let folder = path.join(folder);
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        Ok(Self {
            path,
            keep: keep.is_some(),
        })
    }

    /// Data of the hub.
    pub fn hub(&self) -> PathBuf {
        self.path.join("hub")
    }

    /// Data of a till.
    pub fn node(&self, shop: &str, lane: usize) -> PathBuf {
        self.path
            .join("nodes")
            .join(format!("{shop}-{lane}").replace(['/', '\\'], "_"))
    }

    /// Marks of the tills, as a machine has them outside of their folders.
    pub fn fence(&self) -> PathBuf {
        self.path.join("fence")
    }

    /// Copies of databases that are read when the processes have ended.
    pub fn copies(&self) -> PathBuf {
        self.path.join("copies")
    }

    /// What a process wrote to stderr, and to stdout after its first line.
    pub fn log(&self, name: &str) -> PathBuf {
        self.path
            .join("logs")
            .join(format!("{}.log", name.replace(['/', '\\'], "-")))
    }

    /// The directory itself, when it stays.
    pub fn kept(&self) -> Option<&Path> {
        self.keep.then_some(self.path.as_path())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        for _ in 0..REMOVE_ATTEMPTS_MAX {
            // What cannot be removed is left to the operating system's clean-up.
            if std::fs::remove_dir_all(&self.path).is_ok() || !self.path.exists() {
                return;
            }
        }
    }
}
