//! The databases that travel, each used by one request at a time.
//!
//! An open [`struct@Copy`] is also what keeps SQLite from folding a WAL away when another connection of
//! the hub closes: whoever attaches a book holds its guard.

use crate::datadir::DataDir;
use crate::history::{Past, Retention};
use crate::limits::COPIES_OPEN_MAX;
use counterfoil_domain::NodeId;
use counterfoil_replica::env::Env;
use counterfoil_replica::history::History;
use counterfoil_replica::{Copy, CopyError, CopyInfo, CopyKind, Retry, SetAside};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, OwnedMutexGuard};

/// Names a copy that others push to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CopyKey {
    /// A node's book.
    Book(NodeId),
    /// A free-standing database, by the folder that is its own for ever: a later database of the same
    /// name has another.
    Database {
        /// Name of the folder.
        folder: String,
    },
}

impl fmt::Display for CopyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Book(node) => write!(f, "book {node}"),
            Self::Database { folder } => write!(f, "database {folder}"),
        }
    }
}

type Slot = Arc<tokio::sync::Mutex<Option<Copy>>>;

/// An open copy that nobody else uses meanwhile.
pub struct Held {
    guard: OwnedMutexGuard<Option<Copy>>,
    past: Past,
}

/// Why a copy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CopyFailure {
    /// The copy itself.
    #[error("the copy of a database cannot be used")]
    Copy(#[from] CopyError),
    /// It was closed behind the holder's back, which the code rules out.
    #[error("the copy is not open")]
    Closed,
}

/// See the module.
pub struct Copies {
    env: Env,
    dir: DataDir,
    retention: Retention,
    catalog: Slot,
    open: Mutex<Open>,
    damages: Arc<Damages>,
}

/// Copies that were damaged and set aside, until somebody puts that on record.
#[derive(Default)]
struct Damages {
    found: Mutex<Vec<(Past, SetAside)>>,
    news: Notify,
}

impl Damages {
    fn add(&self, past: Past, aside: SetAside) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.push((past, aside));
        self.news.notify_one();
    }
}

#[derive(Default)]
struct Open {
    slots: BTreeMap<CopyKey, (u64, Slot)>,
    uses: u64,
}

impl Copies {
    /// Names the hub's folder; opens nothing.
    pub fn new(env: Env, dir: DataDir, retention: Retention) -> Self {
        let open = Mutex::default();
        Self {
            env,
            dir,
            retention,
            catalog: Slot::default(),
            open,
            damages: Arc::default(),
        }
    }

    /// Waits until a copy was set aside.
    pub(crate) async fn damaged(&self) {
        self.damages.news.notified().await;
    }

    /// Copies that were set aside since the last call.
    pub(crate) fn take_damages(&self) -> Vec<(Past, SetAside)> {
        let found = self.damages.found.lock();
        std::mem::take(&mut *found.unwrap_or_else(PoisonError::into_inner))
    }

    /// Path of a copy.
    pub fn path(&self, key: &CopyKey) -> PathBuf {
        match key {
            CopyKey::Book(node) => self.dir.books().join(format!("{node}.db")),
            CopyKey::Database { folder } => self.dir.database(folder),
        }
    }

    /// Path of a node's book.
    pub fn book_path(&self, node: NodeId) -> PathBuf {
        self.path(&CopyKey::Book(node))
    }

    /// Whether the node ever pushed.
    ///
    /// # Errors
    /// What the operating system reports.
    pub fn has_book(&self, node: NodeId) -> std::io::Result<bool> {
        self.env.files.exists(&self.book_path(node))
    }

    /// Takes a copy that others push to, opening it when needed.
    ///
    /// # Errors
    /// [`CopyFailure::Copy`].
    pub async fn pushed(&self, key: &CopyKey) -> Result<Held, CopyFailure> {
        let slot = self.slot(key);
        let past = Past::Pushed(key.clone());
        self.hold(slot, self.path(key), past).await
    }

    /// Takes a node's book, see [`Self::pushed`].
    ///
    /// # Errors
    /// [`CopyFailure::Copy`].
    pub async fn book(&self, node: NodeId) -> Result<Held, CopyFailure> {
        self.pushed(&CopyKey::Book(node)).await
    }

    /// Closes a copy when nobody uses it any more; the next use opens it again.
    pub async fn close(&self, key: &CopyKey) {
        let known = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.slots.get(key).map(|(_, slot)| Arc::clone(slot))
        };
        // The slot stays: whoever waits for it and whoever comes later take turns on the same one.
        if let Some(slot) = known {
            let mut guard = slot.lock_owned().await;
            let close = move || *guard = None;
            self.env.execution.blocking(close).await;
        }
    }

    /// Takes the catalog.
    ///
    /// # Errors
    /// [`CopyFailure::Copy`].
    pub async fn catalog(&self) -> Result<Held, CopyFailure> {
        let slot = Arc::clone(&self.catalog);
        let path = self.dir.catalog_db();
        self.hold(slot, path, Past::Catalog).await
    }

    /// Puts a catalog with nothing in it in the place of a damaged one; nobody may have it open.
    ///
    /// # Errors
    /// [`CopyFailure::Copy`].
    pub(crate) async fn renew_catalog(
        &self,
        damage: CopyError,
        fresh: Vec<u8>,
    ) -> Result<(), CopyFailure> {
        let mut guard = Arc::clone(&self.catalog).lock_owned().await;
        let (path, files) = (self.dir.catalog_db(), Arc::clone(&self.env.files));
        let damages = Arc::clone(&self.damages);
        let renew = move || {
            *guard = None;
            let aside = Copy::set_aside(&path, &*files, &damage, &fresh)?;
            damages.add(Past::Catalog, aside);
            Ok(())
        };
        self.env.execution.blocking(renew).await
    }

    /// Takes a database that has a past.
    ///
    /// # Errors
    /// [`CopyFailure::Copy`].
    pub(crate) async fn held(&self, past: &Past) -> Result<Held, CopyFailure> {
        match past {
            Past::Catalog => self.catalog().await,
            Past::Pushed(key) => self.pushed(key).await,
        }
    }

    /// Works on a history while nobody uses its database, which is not opened for it.
    pub(crate) async fn on_history<R: Send + 'static>(
        &self,
        past: &Past,
        work: impl FnOnce(&mut History) -> R + Send + 'static,
    ) -> R {
        let slot = match past {
            Past::Catalog => Arc::clone(&self.catalog),
            Past::Pushed(key) => self.slot(key),
        };
        let guard = slot.lock_owned().await;
        let mut history = self.history(past);
        let task = move || {
            let result = work(&mut history);
            drop(guard);
            result
        };
        self.env.execution.blocking(task).await
    }

    fn history(&self, past: &Past) -> History {
        let folder = match past {
            Past::Catalog => self.dir.history().join("catalog"),
            Past::Pushed(CopyKey::Book(node)) => self.dir.history().join(format!("book-{node}")),
            // With the database, so that what is removed or copied is whole.
            Past::Pushed(CopyKey::Database { folder }) => {
                self.dir.databases().join(folder).join("history")
            }
        };
        History::new(folder, Arc::clone(&self.env.files))
    }

    async fn hold(&self, slot: Slot, path: PathBuf, past: Past) -> Result<Held, CopyFailure> {
        let mut guard = slot.lock_owned().await;
        if guard.is_none() {
            let files = Arc::clone(&self.env.files);
            let history = self.retention.is_on().then(|| self.history(&past));
            let (damages, past) = (Arc::clone(&self.damages), past.clone());
            let open = move || {
                let (mut copy, aside) = match past {
                    Past::Catalog => (Copy::open(&path, CopyKind::Written, files)?, None),
                    Past::Pushed(_) => Copy::open_or_set_aside(&path, files)?,
                };
                if let Some(aside) = aside {
                    damages.add(past, aside);
                }
                if let Some(history) = history {
                    copy.keep_history(history);
                }
                *guard = Some(copy);
                Ok::<_, CopyError>(guard)
            };
            // The guard goes along: when nobody waits any more, the opening ends before another begins.
            guard = self.env.execution.blocking(open).await?;
        }
        Ok(Held { guard, past })
    }

    /// Runs blocking work on a copy that is held, and gives it back.
    ///
    /// # Errors
    /// [`CopyFailure`]; a copy that cannot be trusted any more is opened anew at the next use, one that
    /// turned out to be damaged has been set aside.
    pub async fn work<R: Send + 'static>(
        &self,
        held: Held,
        work: impl FnOnce(&mut Copy) -> Result<R, CopyError> + Send + 'static,
    ) -> Result<R, CopyFailure> {
        let (held, result) = self.on_copy(held, work).await;
        drop(held);
        result
    }

    /// What a copy holds; the copy stays held.
    ///
    /// # Errors
    /// [`CopyFailure`].
    pub async fn info(&self, held: Held) -> Result<(Held, CopyInfo), CopyFailure> {
        let (held, info) = self.on_copy(held, Copy::info).await;
        Ok((held, info?))
    }

    /// Runs blocking work on a copy that stays held; one that turned out to be damaged is set aside.
    pub(crate) async fn on_copy<R: Send + 'static>(
        &self,
        mut held: Held,
        work: impl FnOnce(&mut Copy) -> Result<R, CopyError> + Send + 'static,
    ) -> (Held, Result<R, CopyFailure>) {
        let (files, damages) = (Arc::clone(&self.env.files), Arc::clone(&self.damages));
        let task = move || {
            let Some(copy) = held.guard.as_mut() else {
                return (held, Err(CopyFailure::Closed));
            };
            let result = work(copy);
            if let Err(error) = &result {
                let path = copy.path().to_owned();
                if error.is_damage() && held.past != Past::Catalog {
                    *held.guard = None;
                    match Copy::set_aside(&path, &*files, error, &[]) {
                        Ok(aside) => damages.add(held.past.clone(), aside),
                        // What was begun is completed when the copy is opened; else it is found again.
                        Err(error) => tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "a damaged copy cannot be set aside"
                        ),
                    }
                } else if error.retry() == Retry::Never {
                    *held.guard = None;
                }
            }
            (held, result.map_err(CopyFailure::Copy))
        };
        self.env.execution.blocking(task).await
    }

    /// The slot of a copy; closes the one used longest ago when too many are open.
    fn slot(&self, key: &CopyKey) -> Slot {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.uses += 1;
        let now = open.uses;
        if let Some((used, slot)) = open.slots.get_mut(key) {
            *used = now;
            return Arc::clone(slot);
        }
        while open.slots.len() >= COPIES_OPEN_MAX {
            let idle = open
                .slots
                .iter()
                .filter(|(_, (_, slot))| Arc::strong_count(slot) == 1);
            let oldest = idle
                .min_by_key(|(_, (used, _))| *used)
                .map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            open.slots.remove(&oldest);
        }
        let slot = Slot::default();
        open.slots.insert(key.clone(), (now, Arc::clone(&slot)));
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_testkit::TempDir;
    use std::future::Future as _;
    use std::task::Poll;

    #[tokio::test]
    async fn an_opening_that_nobody_waits_for_ends_before_another_begins() {
        let dir = TempDir::new("opening");
        let data = DataDir::new(dir.path());
        data.create().unwrap();
        let retention = Retention {
            days: 0,
            bytes_max: 0,
        };
        let copies = Copies::new(Env::system(), data, retention);
        let key = CopyKey::Book(NodeId::from_uuid(uuid::Uuid::from_u128(7)));
        {
            let mut opening = std::pin::pin!(copies.pushed(&key));
            std::future::poll_fn(|cx| {
                assert!(opening.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        let guard = copies.slot(&key).lock_owned().await;
        assert!(
            guard.is_some(),
            "it was open when the next one could use it"
        );
    }
}
