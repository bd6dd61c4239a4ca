//! The databases that travel, each used by one request at a time.
//!
//! An open [`struct@Copy`] is also what keeps SQLite from folding a WAL away when another connection of
//! the hub closes: whoever attaches a book holds its guard.

use crate::limits::COPIES_OPEN_MAX;
use counterfoil_domain::NodeId;
use counterfoil_replica::env::Env;
use counterfoil_replica::{Copy, CopyError, CopyInfo, CopyKind, Retry};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OwnedMutexGuard;

type Slot = Arc<tokio::sync::Mutex<Option<Copy>>>;

/// An open copy that nobody else uses meanwhile.
pub struct Held {
    guard: OwnedMutexGuard<Option<Copy>>,
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
    books: PathBuf,
    catalog_path: PathBuf,
    catalog: Slot,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    slots: BTreeMap<NodeId, (u64, Slot)>,
    uses: u64,
}

impl Copies {
    /// Names the folder of the books and the catalog; opens nothing.
    pub fn new(env: Env, books: PathBuf, catalog_path: PathBuf) -> Self {
        let open = Mutex::default();
        Self {
            env,
            books,
            catalog_path,
            catalog: Slot::default(),
            open,
        }
    }

    /// Path of a node's book.
    pub fn book_path(&self, node: NodeId) -> PathBuf {
        self.books.join(format!("{node}.db"))
    }

    /// Whether the node ever pushed.
    ///
    /// # Errors
    /// What the operating system reports.
    pub fn has_book(&self, node: NodeId) -> std::io::Result<bool> {
        self.env.files.exists(&self.book_path(node))
    }

    /// Takes a node's book, opening it when needed.
    ///
    /// # Errors
    /// [`CopyFailure::Copy`].
    pub async fn book(&self, node: NodeId) -> Result<Held, CopyFailure> {
        let slot = self.slot(node);
        self.hold(slot, self.book_path(node), CopyKind::Pushed)
            .await
    }

    /// Takes the catalog.
    ///
    /// # Errors
    /// [`CopyFailure::Copy`].
    pub async fn catalog(&self) -> Result<Held, CopyFailure> {
        let slot = Arc::clone(&self.catalog);
        self.hold(slot, self.catalog_path.clone(), CopyKind::Written)
            .await
    }

    async fn hold(&self, slot: Slot, path: PathBuf, kind: CopyKind) -> Result<Held, CopyFailure> {
        let mut guard = slot.lock_owned().await;
        if guard.is_none() {
            let files = Arc::clone(&self.env.files);
            let open = move || Copy::open(&path, kind, files);
            *guard = Some(self.env.execution.blocking(open).await?);
        }
        Ok(Held { guard })
    }

    /// Runs blocking work on a copy that is held, and gives it back.
    ///
    /// # Errors
    /// [`CopyFailure`]; a copy that cannot be trusted any more is opened anew at the next use.
    pub async fn work<R: Send + 'static>(
        &self,
        held: Held,
        work: impl FnOnce(&mut Copy) -> Result<R, CopyError> + Send + 'static,
    ) -> Result<R, CopyFailure> {
        let Held { mut guard } = held;
        let task = move || {
            let copy = guard.as_mut().ok_or(CopyFailure::Closed)?;
            let result = work(copy);
            if let Err(error) = &result
                && error.retry() == Retry::Never
            {
                *guard = None;
            }
            Ok(result?)
        };
        self.env.execution.blocking(task).await
    }

    /// What a copy holds; the copy stays held.
    ///
    /// # Errors
    /// [`CopyFailure`].
    pub async fn info(&self, held: Held) -> Result<(Held, CopyInfo), CopyFailure> {
        let Held { mut guard } = held;
        let task = move || {
            let copy = guard.as_mut().ok_or(CopyFailure::Closed)?;
            let info = copy.info()?;
            Ok((Held { guard }, info))
        };
        self.env.execution.blocking(task).await
    }

    /// The slot of a book; closes the book used longest ago when too many are open.
    fn slot(&self, node: NodeId) -> Slot {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.uses += 1;
        let now = open.uses;
        if let Some((used, slot)) = open.slots.get_mut(&node) {
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
                .map(|(node, _)| *node);
            let Some(oldest) = oldest else { break };
            open.slots.remove(&oldest);
        }
        let slot = Slot::default();
        open.slots.insert(node, (now, Arc::clone(&slot)));
        slot
    }
}
