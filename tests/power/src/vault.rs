//! The till's tokens on its disk in memory, by the steps that it takes for them on a real one.

use crate::disk::MemoryDisk;
use counterfoil_replica::env::Files;
use keyring_core::api::{Credential, CredentialApi, CredentialStoreApi};
use keyring_core::{CredentialStore, Entry, Error, Result};
use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A store of credentials that a power cut takes back with the rest of the disk.
pub(crate) fn vault(disk: &Arc<MemoryDisk>, data: &Path) -> Arc<CredentialStore> {
    Arc::new(Vault {
        files: Arc::clone(disk) as Arc<dyn Files>,
        folder: data.join("credentials"),
    })
}

struct Vault {
    files: Arc<dyn Files>,
    folder: PathBuf,
}

impl CredentialStoreApi for Vault {
    fn vendor(&self) -> String {
        "a disk in memory".to_owned()
    }

    fn id(&self) -> String {
        self.folder.display().to_string()
    }

    fn build(&self, service: &str, user: &str, _: Option<&HashMap<&str, &str>>) -> Result<Entry> {
        let path = self.folder.join(format!("{service}-{user}"));
        let files = Arc::clone(&self.files);
        Ok(Entry::new_with_credential(Arc::new(Secret { files, path })))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn debug_fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

struct Secret {
    files: Arc<dyn Files>,
    path: PathBuf,
}

fn failed(error: io::Error) -> Error {
    Error::PlatformFailure(Box::new(error))
}

impl CredentialApi for Secret {
    fn set_secret(&self, secret: &[u8]) -> Result<()> {
        self.files.write_atomic(&self.path, secret).map_err(failed)
    }

    fn get_secret(&self) -> Result<Vec<u8>> {
        let held = self.files.read(&self.path).map_err(failed)?;
        held.ok_or(Error::NoEntry)
    }

    fn delete_credential(&self) -> Result<()> {
        match self.files.remove_if_exists(&self.path) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::NoEntry),
            Err(error) => Err(failed(error)),
        }
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

    fn debug_fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
