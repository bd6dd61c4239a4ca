//! The hub's folder: who owns it now, and how a command finds the owner.

use crate::secrets;
use counterfoil_domain::env::Random;
use counterfoil_domain::hex::{array_from_hex, to_hex};
use counterfoil_replica::env::{Env, create_folder};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Paths of one hub.
#[derive(Clone, Debug)]
pub struct DataDir {
    root: PathBuf,
}

/// Ownership of a folder; the operating system takes it back when the process ends.
#[derive(Debug)]
pub struct Ownership {
    _lock: File,
}

/// What `hub.json` says about the running hub.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Running {
    /// URL of the admin API.
    pub url: String,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// A file or folder operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The secret of the lanes' authorities is there and is none.
    #[error(
        "{} is damaged: it holds 64 hexadecimal digits; put it back from the backup, or, when there is none, move it away and \
         start again: then the hub makes another, and every lane needs another certificate",
        path.display()
    )]
    LaneSecret {
        /// The file.
        path: PathBuf,
    },
    /// There is no hub in the folder.
    #[error("there is no hub in {}", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_path_buf();
    move |source| DataDirError::Io {
        action,
        path,
        source,
    }
}

impl DataDir {
    /// Names the folder; touches nothing.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The hub's own database.
    #[must_use]
    pub fn hub_db(&self) -> PathBuf {
        self.root.join("hub.db")
    }

    /// What tills pull.
    #[must_use]
    pub fn catalog_db(&self) -> PathBuf {
        self.root.join("catalog.db")
    }

    /// Copies of the nodes' books, `<node id>.db`.
    #[must_use]
    pub fn books(&self) -> PathBuf {
        self.root.join("books")
    }

    /// What the catalog and the books were, a folder each.
    #[must_use]
    pub fn history(&self) -> PathBuf {
        self.root.join("history")
    }

    /// Free-standing databases, a folder each.
    #[must_use]
    pub fn databases(&self) -> PathBuf {
        self.root.join("databases")
    }

    /// The file of a free-standing database, by the name of its folder.
    #[must_use]
    pub fn database(&self, folder: &str) -> PathBuf {
        self.databases().join(folder).join("database.db")
    }

    /// Makes the folder of a free-standing database.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn create_database(&self, folder: &str) -> Result<(), DataDirError> {
        let path = self.databases().join(folder);
        create_folder(&path).map_err(io_error("make", &path))
    }

    /// The hub's own certificate authority.
    #[must_use]
    pub fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }

    fn lane_secret_file(&self) -> PathBuf {
        self.root.join("lanes.secret")
    }

    /// The secret of which the authorities of all shops' lanes are made; `None` when there is none.
    ///
    /// # Errors
    /// [`DataDirError::LaneSecret`] for one that is damaged, [`DataDirError::Io`].
    pub fn lane_secret(&self) -> Result<Option<[u8; 32]>, DataDirError> {
        let path = self.lane_secret_file();
        let kept = match std::fs::read(&path) {
            Ok(kept) => kept,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error("read", &path)(source)),
        };
        let text = String::from_utf8_lossy(&kept);
        match array_from_hex(text.trim()) {
            Some(secret) => Ok(Some(secret)),
            None => Err(DataDirError::LaneSecret { path }),
        }
    }

    /// Makes that secret. Lanes that have certificates of another one know each other again as soon as each has asked for
    /// the next.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn make_lane_secret(&self, random: &dyn Random) -> Result<[u8; 32], DataDirError> {
        let path = self.lane_secret_file();
        let mut secret = [0; 32];
        random.fill(&mut secret);
        let text = to_hex(&secret);
        secrets::write_file(&path, text.as_bytes()).map_err(io_error("write", &path))?;
        Ok(secret)
    }

    fn token_file(&self) -> PathBuf {
        self.root.join("admin.token")
    }

    fn running_file(&self) -> PathBuf {
        self.root.join("hub.json")
    }

    /// Makes the folders when they are missing.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn create(&self) -> Result<(), DataDirError> {
        let books = self.books();
        create_folder(&books).map_err(io_error("make", &books))
    }

    /// Fails unless a hub was set up here.
    ///
    /// # Errors
    /// [`DataDirError::Missing`].
    pub fn require(&self) -> Result<(), DataDirError> {
        if self.hub_db().is_file() {
            return Ok(());
        }
        Err(DataDirError::Missing {
            path: self.root.clone(),
        })
    }

    /// Takes the folder; `None` when another process has it.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn own(&self) -> Result<Option<Ownership>, DataDirError> {
        let path = self.root.join("hub.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = file.map_err(io_error("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Ownership { _lock: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(io_error("lock", &path)(source)),
        }
    }

    /// The secret of the admin API; minted at the first start, readable by the owner only.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn admin_token(&self, random: &dyn Random) -> Result<String, DataDirError> {
        let path = self.token_file();
        if let Some(token) = self.existing_token()? {
            return Ok(token);
        }
        let token = secrets::secret(random);
        secrets::write_file(&path, token.as_bytes()).map_err(io_error("write", &path))?;
        Ok(token)
    }

    /// The secret of the admin API when there is one.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn existing_token(&self) -> Result<Option<String>, DataDirError> {
        let path = self.token_file();
        match std::fs::read_to_string(&path) {
            // One that is short was damaged: then a new one is minted.
            Ok(token) => Ok(Some(token.trim().to_owned()).filter(|token| token.len() == 64)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io_error("read", &path)(source)),
        }
    }

    /// Where the running hub listens, if one said so.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn running(&self, env: &Env) -> Result<Option<Running>, DataDirError> {
        let path = self.running_file();
        let text = env.files.read(&path).map_err(io_error("read", &path))?;
        // A file that cannot be parsed is as good as none: the caller asks again.
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Says where the hub listens.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn announce(&self, env: &Env, running: &Running) -> Result<(), DataDirError> {
        let path = self.running_file();
        let text = serde_json::to_vec(running).map_err(io::Error::from);
        let written = text.and_then(|text| env.files.write_atomic(&path, &text));
        written.map_err(io_error("write", &path))
    }

    /// Takes the announcement back; only the folder's owner may.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn withdraw(&self, env: &Env) -> Result<(), DataDirError> {
        let path = self.running_file();
        env.files
            .remove_if_exists(&path)
            .map_err(io_error("remove", &path))?;
        Ok(())
    }
}
