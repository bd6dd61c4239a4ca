//! Who is signed in on this machine, and where: one file that only this user can read.

use super::Failure;
use super::client::Whereabouts;
use crate::secrets;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A session as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SignedIn {
    pub(super) token: String,
    pub(super) name: String,
    pub(super) expires_ms: i64,
}

/// Where the session with one hub is kept.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// `None`: there is no folder to keep one in.
    file: Option<PathBuf>,
    /// The hub: its URL, or its folder.
    hub: String,
}

type Kept = BTreeMap<String, SignedIn>;

/// Where the session with a hub is kept.
pub(super) fn place(file: Option<PathBuf>, hub: &Whereabouts) -> Place {
    let hub = match hub {
        Whereabouts::Url(url) => url.to_string(),
        Whereabouts::Folder(folder) => {
            let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
            absolute.display().to_string()
        }
    };
    let file = file.or_else(crate::config::session_file);
    Place { file, hub }
}

impl Place {
    fn all(&self) -> Result<Kept, Failure> {
        let Some(file) = &self.file else {
            return Ok(Kept::new());
        };
        match std::fs::read(file) {
            // What cannot be read as such is as good as signed out.
            Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept::new()),
            Err(error) => Err(failed(file, &error)),
        }
    }

    /// The session with this hub.
    pub(super) fn kept(&self) -> Result<Option<SignedIn>, Failure> {
        Ok(self.all()?.remove(&self.hub))
    }

    /// Keeps a session, in place of an earlier one with this hub.
    pub(super) fn keep(&self, session: &SignedIn) -> Result<(), Failure> {
        let mut all = self.all()?;
        all.insert(self.hub.clone(), session.clone());
        self.write(&all)
    }

    /// Forgets the session with this hub.
    pub(super) fn forget(&self) -> Result<(), Failure> {
        let mut all = self.all()?;
        if all.remove(&self.hub).is_none() {
            return Ok(());
        }
        self.write(&all)
    }

    fn write(&self, all: &Kept) -> Result<(), Failure> {
        let missing = || {
            Failure::usage("there is no home folder to keep a session in")
                .hint("--session FILE or COUNTERFOIL_SESSION names a file")
        };
        let file = self.file.as_ref().ok_or_else(missing)?;
        let text = serde_json::to_vec_pretty(all).map_err(|error| Failure::from_chain(&error))?;
        let write = || {
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder)?;
            }
            secrets::write_file(file, &text)
        };
        write().map_err(|error| failed(file, &error))
    }
}

fn failed(file: &Path, error: &io::Error) -> Failure {
    let failure = Failure::from_chain(error);
    Failure::unusable(format!("{}: {}", file.display(), failure.text))
        .hint("--session FILE or COUNTERFOIL_SESSION keeps the session elsewhere")
}
