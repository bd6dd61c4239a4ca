//! Secrets as files that only their owner can read: what is left where no keyring answers.

use keyring_core::api::{Credential, CredentialApi, CredentialStoreApi};
use keyring_core::{Entry, Error, Result};
use std::any::Any;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory (mode 0700) with one file (mode 0600) per secret.
#[derive(Debug)]
pub struct FileStore {
    directory: PathBuf,
}

impl FileStore {
    /// The store below a directory, which is made when the first secret is written.
    pub fn below(directory: &Path) -> Arc<Self> {
        Arc::new(Self {
            directory: directory.to_owned(),
        })
    }
}

impl CredentialStoreApi for FileStore {
    fn vendor(&self) -> String {
        "counterfoil files".to_owned()
    }

    fn id(&self) -> String {
        self.directory.display().to_string()
    }

    fn build(
        &self,
        service: &str,
        user: &str,
        _modifiers: Option<&HashMap<&str, &str>>,
    ) -> Result<Entry> {
        let plain = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if !plain(service) || !plain(user) {
            return Err(Error::Invalid(
                "user".to_owned(),
                "letters, digits and - only".to_owned(),
            ));
        }
        let path = self.directory.join(format!("{service}-{user}"));
        Ok(Entry::new_with_credential(Arc::new(FileCredential {
            path,
        })))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn debug_fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

#[derive(Debug)]
struct FileCredential {
    path: PathBuf,
}

fn storage(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::NoEntry,
        _ => Error::PlatformFailure(Box::new(error)),
    }
}

impl FileCredential {
    /// Writes beside, syncs, renames, syncs the directory: the old secret or the new one.
    fn write(&self, secret: &[u8]) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or_else(|| Path::new("."));
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let beside = self.path.with_extension("new");
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(secret)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        File::open(directory)?.sync_all()?;
        // The directory's own name, which may be new.
        match directory.parent() {
            Some(above) if !above.as_os_str().is_empty() => File::open(above)?.sync_all(),
            _ => Ok(()),
        }
    }
}

impl CredentialApi for FileCredential {
    fn set_secret(&self, secret: &[u8]) -> Result<()> {
        self.write(secret).map_err(storage)
    }

    fn get_secret(&self) -> Result<Vec<u8>> {
        let mut file = File::open(&self.path).map_err(storage)?;
        let mode = file.metadata().map_err(storage)?.mode();
        if mode & 0o077 != 0 {
            let path = self.path.display();
            let text = format!(
                "{path} can be read by others (mode {:o}): chmod 600 it",
                mode & 0o777
            );
            return Err(Error::NoStorageAccess(text.into()));
        }
        let mut secret = Vec::new();
        file.read_to_end(&mut secret).map_err(storage)?;
        Ok(secret)
    }

    fn delete_credential(&self) -> Result<()> {
        fs::remove_file(&self.path).map_err(storage)
    }

    fn get_credential(&self) -> Result<Option<Arc<Credential>>> {
        Ok(None)
    }

    fn get_specifiers(&self) -> Option<(String, String)> {
        None
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn debug_fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_testkit::TempDir;
    use std::os::unix::fs::PermissionsExt as _;

    fn entry(dir: &TempDir) -> Entry {
        FileStore::below(&dir.join("credentials"))
            .build("counterfoil", "node-1", None)
            .expect("plain")
    }

    #[test]
    fn a_secret_is_kept_for_its_owner_alone_until_it_is_deleted() {
        let dir = TempDir::new("secret");
        let entry = entry(&dir);
        assert!(matches!(entry.get_password(), Err(Error::NoEntry)));
        entry.set_password("old").expect("kept");
        entry.set_password("new").expect("replaced");
        assert_eq!(entry.get_password().expect("kept"), "new");
        let mode = |path| fs::metadata(path).expect("there").mode() & 0o777;
        assert_eq!(mode(dir.join("credentials")), 0o700);
        assert_eq!(
            mode(dir.join("credentials").join("counterfoil-node-1")),
            0o600
        );
        entry.delete_credential().expect("deleted");
        assert!(matches!(entry.get_password(), Err(Error::NoEntry)));
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let dir = TempDir::new("loose");
        let entry = entry(&dir);
        entry.set_password("token").expect("kept");
        let path = dir.join("credentials").join("counterfoil-node-1");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("own file");
        let error = entry.get_password().expect_err("refused").to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_name_that_leaves_the_directory_is_refused() {
        let store = FileStore::below(Path::new("nowhere"));
        assert!(store.build("counterfoil", "../node", None).is_err());
    }
}
