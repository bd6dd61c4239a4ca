//! Where the hub's token is kept (L9): handed in by the environment, else the operating system's keyring
//! if it passes a test, else a file that only this user can read. It changes where it is kept.

mod file;

pub use file::FileStore;

use crate::config::{ConfigError, token_from_environment};
use counterfoil_domain::NodeId;
use counterfoil_domain::env::Random;
use counterfoil_domain::hex::to_hex;
use counterfoil_replica::crash::{self, CrashPoint};
use keyring_core::{CredentialStore, Entry, Error as KeyringError};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;

const SERVICE: &str = "counterfoil";

/// The token cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The environment names a file that cannot be read.
    #[error("the token of the environment cannot be read")]
    Environment(#[from] ConfigError),
    /// The store refused.
    #[error("the credential store refused")]
    Store(#[from] KeyringError),
}

/// The keyring that comes before the files.
#[derive(Clone, Debug, Default)]
pub enum Keyring {
    /// The operating system's, if it answers.
    #[default]
    System,
    /// None: files only.
    Away,
    /// One that is handed in.
    Given(Arc<CredentialStore>),
}

/// The credential stores of one node, the preferred one first.
#[derive(Clone)]
pub struct Credentials {
    stores: Vec<Arc<CredentialStore>>,
    /// The identity that the data folder began with.
    first: NodeId,
    node: NodeId,
    /// What is meant beside the token itself.
    beside: Option<&'static str>,
    /// Whether a token of the environment comes first.
    from_environment: bool,
}

impl Credentials {
    /// The stores of the node whose first identity this is: the keyring when it answers, then files
    /// below the data directory. A new token is kept in the first of them. One that is there changes in the
    /// store where it is: a till that runs with a desktop's keyring today may run as a service without one tomorrow,
    /// and finds what is in the file both times.
    pub fn open(data: &Path, first: NodeId, keyring: &Keyring, random: &dyn Random) -> Self {
        let mut credentials = Self::in_files(data, first);
        let found = match keyring {
            Keyring::System => os_keyring(first, random),
            Keyring::Away => return credentials,
            Keyring::Given(store) => Ok(Arc::clone(store)),
        };
        match found {
            Ok(store) => credentials.stores.insert(0, store),
            Err(reason) => {
                tracing::debug!(%reason, "no usable keyring, credentials are kept in files");
            }
        }
        credentials
    }

    /// Files only.
    pub fn in_files(data: &Path, first: NodeId) -> Self {
        let stores: Vec<Arc<CredentialStore>> = vec![FileStore::below(&data.join("credentials"))];
        Self {
            stores,
            first,
            node: first,
            beside: None,
            from_environment: true,
        }
    }

    /// The credentials of one identity of the node. A token of the environment is the first one's: the
    /// others are made by the node itself.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Self {
        Self {
            stores: self.stores.clone(),
            first: self.first,
            node,
            beside: None,
            from_environment: node == self.first,
        }
    }

    /// One for each store.
    fn entries_of(
        &self,
        node: NodeId,
        beside: Option<&str>,
    ) -> impl Iterator<Item = Result<Entry, KeyringError>> {
        let user = match beside {
            Some(place) => format!("node-{node}-{place}"),
            None => format!("node-{node}"),
        };
        self.stores
            .iter()
            .map(move |store| store.build(SERVICE, &user, None))
    }

    fn entries(&self) -> impl Iterator<Item = Result<Entry, KeyringError>> {
        self.entries_of(self.node, self.beside)
    }

    /// Which store the token is in; for an identity without one, which store the first identity's is in. The first
    /// one when nothing is kept anywhere.
    fn home(&self) -> Result<usize, CredentialError> {
        for node in [self.node, self.first] {
            for (index, entry) in self.entries_of(node, None).enumerate() {
                if kept(&entry?)?.is_some() {
                    return Ok(index);
                }
            }
        }
        Ok(0)
    }

    /// The token, if there is one.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn token(&self) -> Result<Option<String>, CredentialError> {
        if self.from_environment
            && let Some(token) = token_from_environment()
        {
            return Ok(Some(token?));
        }
        for entry in self.entries() {
            if let Some(token) = kept(&entry?)? {
                return Ok(Some(token));
            }
        }
        Ok(None)
    }

    /// The token, and behind it others that are kept in its place: a store that was away when the token changed
    /// holds an older one.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn tokens(&self) -> Result<Vec<String>, CredentialError> {
        if self.is_handed_in() {
            return Ok(self.token()?.into_iter().collect());
        }
        let mut tokens = Vec::new();
        for entry in self.entries() {
            if let Some(token) = kept(&entry?)?
                && !tokens.contains(&token)
            {
                tokens.push(token);
            }
        }
        Ok(tokens)
    }

    /// Forgets what is kept in the token's place besides this token, which stays where it is.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn settle(&self, token: &str) -> Result<(), CredentialError> {
        if self.is_handed_in() {
            return Ok(());
        }
        for entry in self.entries() {
            let entry = entry?;
            if kept(&entry)?.is_some_and(|kept| kept != token) {
                forget(&entry)?;
            }
        }
        Ok(())
    }

    /// The place beside the token, for one that the hub has not accepted yet.
    #[must_use]
    pub fn next(&self) -> Self {
        self.beside("next")
    }

    /// The place beside the token, for the one before it: a hub that was restored from a backup may know no
    /// other.
    #[must_use]
    pub fn previous(&self) -> Self {
        self.beside("previous")
    }

    /// Where the seed of the key is kept by which other lanes know this identity.
    fn lane(&self) -> Self {
        self.beside("lane")
    }

    /// The seed of that key, if there is one.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn lane_seed(&self) -> Result<Option<[u8; 32]>, CredentialError> {
        let kept = self.lane().token()?;
        Ok(kept.map(|text| token_digest(&text)))
    }

    /// The same, minted and kept first when there is none.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn lane_seed_or_mint(&self, random: &dyn Random) -> Result<[u8; 32], CredentialError> {
        let text = self.lane().token_or_mint(random)?;
        Ok(token_digest(&text))
    }

    /// Another one in its place: somebody else may have the one that is kept.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn renew_lane_seed(&self, random: &dyn Random) -> Result<[u8; 32], CredentialError> {
        let mut secret = [0_u8; 32];
        random.fill(&mut secret);
        let text = format!("cf_{}", to_hex(&secret));
        self.lane().replace(&text)?;
        Ok(token_digest(&text))
    }

    /// Where the seed of the key is kept by which the first lane of a trial shop signs.
    fn trial(&self) -> Self {
        self.beside("trial")
    }

    /// The seed of that key, if there is one.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn trial_authority(&self) -> Result<Option<[u8; 32]>, CredentialError> {
        let kept = self.trial().token()?;
        Ok(kept.map(|text| token_digest(&text)))
    }

    /// Mints and keeps another one.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn mint_trial_authority(&self, random: &dyn Random) -> Result<(), CredentialError> {
        self.trial().forget()?;
        self.trial().token_or_mint(random).map(|_| ())
    }

    /// Signs nothing any more.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn forget_trial_authority(&self) -> Result<(), CredentialError> {
        self.trial().forget()
    }

    fn beside(&self, place: &'static str) -> Self {
        Self {
            stores: self.stores.clone(),
            first: self.first,
            node: self.node,
            beside: Some(place),
            from_environment: false,
        }
    }

    /// Whether the token is one of the environment, which the node cannot change.
    #[must_use]
    pub fn is_handed_in(&self) -> bool {
        self.from_environment && token_from_environment().is_some()
    }

    /// Puts the next token in place of the one that is kept; that one is kept as the previous one. May be cut off
    /// anywhere and begun again: one of the two is in its place, and the other one beside it.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn advance(&self, next: &str) -> Result<(), CredentialError> {
        if let Some(present) = self.token()?.filter(|present| present != next) {
            self.previous().replace(&present)?;
            crash::pass(CrashPoint::TokenKept);
            self.replace(next)?;
            crash::pass(CrashPoint::TokenTaken);
        }
        self.next().forget()
    }

    /// Puts another token in the place of the one that is kept, in the same store. May be cut off anywhere: the one
    /// or the other is found.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn replace(&self, token: &str) -> Result<(), CredentialError> {
        let home = self.home()?;
        for entry in self.entries().skip(home).take(1) {
            entry?.set_password(token)?;
        }
        // What another store holds in this place is refused, and would be found when this one is away.
        for (index, entry) in self.entries().enumerate() {
            if index != home {
                forget(&entry?)?;
            }
        }
        Ok(())
    }

    /// Forgets the token.
    ///
    /// # Errors
    /// [`CredentialError::Store`].
    pub fn forget(&self) -> Result<(), CredentialError> {
        for entry in self.entries() {
            forget(&entry?)?;
        }
        Ok(())
    }

    /// The token, minted and kept first when there is none: 256 random bits.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn token_or_mint(&self, random: &dyn Random) -> Result<String, CredentialError> {
        if let Some(token) = self.token()? {
            return Ok(token);
        }
        let mut secret = [0_u8; 32];
        random.fill(&mut secret);
        let token = format!("cf_{}", to_hex(&secret));
        for entry in self.entries().skip(self.home()?).take(1) {
            entry?.set_password(&token)?;
        }
        Ok(token)
    }
}

fn kept(entry: &Entry) -> Result<Option<String>, CredentialError> {
    match entry.get_password() {
        Ok(token) => Ok(Some(token)),
        Err(KeyringError::NoEntry) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn forget(entry: &Entry) -> Result<(), CredentialError> {
    match entry.delete_credential() {
        Ok(()) | Err(KeyringError::NoEntry) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// SHA-256 of a token: what the hub keeps.
pub fn token_digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The same, hexadecimal.
pub fn token_hash(token: &str) -> String {
    to_hex(&token_digest(token))
}

#[cfg(not(feature = "os-keyring"))]
fn os_keyring(_node: NodeId, _random: &dyn Random) -> Result<Arc<CredentialStore>, String> {
    Err("built without the keyring".to_owned())
}

/// The operating system's keyring, if it can write, read and delete within two seconds. A locked one may
/// wait for a prompt that nobody sees, so it is asked on a thread of its own.
#[cfg(feature = "os-keyring")]
fn os_keyring(node: NodeId, random: &dyn Random) -> Result<Arc<CredentialStore>, String> {
    use std::sync::mpsc;
    use std::time::Duration;
    const ANSWER_WITHIN: Duration = Duration::from_secs(2);

    let mut nonce = [0_u8; 4];
    random.fill(&mut nonce);
    let user = format!("probe-{node}-{}", to_hex(&nonce));
    let (sender, receiver) = mpsc::channel();
    let probe = move || -> Result<Arc<CredentialStore>, KeyringError> {
        match keyring::Entry::store_status() {
            Ok(()) => {}
            Err(error) => return Err(KeyringError::NotSupportedByStore(error.to_string())),
        }
        let store = keyring_core::get_default_store().ok_or(KeyringError::NoDefaultStore)?;
        let entry = store.build(SERVICE, &user, None)?;
        entry.set_password("probe")?;
        let answer = entry.get_password()?;
        entry.delete_credential()?;
        match answer.as_str() {
            "probe" => Ok(store),
            _ => Err(KeyringError::BadStoreFormat(
                "it read back something else".to_owned(),
            )),
        }
    };
    std::thread::spawn(move || {
        // Nobody listens any more when the answer took too long.
        let _late = sender.send(probe().map_err(|error| error.to_string()));
    });
    match receiver.recv_timeout(ANSWER_WITHIN) {
        Ok(answer) => answer,
        Err(_) => Err("no answer: locked, or waiting for a prompt".to_owned()),
    }
}

#[cfg(test)]
mod tests;
