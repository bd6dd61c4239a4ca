//! The past of every database that travels: which are there, restored from, pruned.

use crate::copies::{CopyFailure, CopyKey};
use crate::hub::Hub;
use crate::limits::HISTORY_PRUNE_INTERVAL;
use crate::store::StoreError;
use counterfoil_migrate::{Connection, Durability};
use counterfoil_protocol::wire::history::HistoryRow;
use counterfoil_replica::history::{Commit, HistoryError, Moment};
use counterfoil_replica::{Copy, RestoreError};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// How much of the past is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// How far back, in days; 0 keeps nothing.
    pub days: u32,
    /// All histories together, in bytes; beyond it the largest forgets its oldest part.
    pub bytes_max: u64,
}

impl Retention {
    pub(crate) fn is_on(self) -> bool {
        self.days > 0
    }

    /// What ended before this time may be forgotten.
    fn limit_ms(self, now_ms: i64) -> i64 {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        now_ms.saturating_sub(i64::from(self.days) * DAY_MS)
    }
}

/// A database that has a past.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Past {
    /// The catalog.
    Catalog,
    /// A database that others push to.
    Pushed(CopyKey),
}

impl fmt::Display for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalog => f.write_str("catalog"),
            Self::Pushed(key) => key.fmt(f),
        }
    }
}

/// What came of a restoration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RestoredFile {
    pub(crate) commit: Commit,
    pub(crate) at_ms: Option<i64>,
    pub(crate) journal_seq: Option<i64>,
}

/// Why a file was not restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreFailure {
    #[error("the database cannot be used")]
    Copy(#[from] CopyFailure),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error("the restored file cannot be opened")]
    Open(#[from] counterfoil_migrate::OpenError),
    #[error("the restored file cannot be read")]
    Sql(#[from] counterfoil_migrate::SqlError),
    #[error("the restored file is damaged: {0}")]
    Damaged(String),
}

/// When histories were pruned last.
#[derive(Default)]
pub(crate) struct Pruner {
    last: Mutex<Option<Instant>>,
}

impl Pruner {
    fn is_due(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= HISTORY_PRUNE_INTERVAL);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

impl Hub {
    /// Every database that may have a past, with the name that people know.
    pub(crate) async fn pasts(&self) -> Result<Vec<(Past, String)>, StoreError> {
        let (nodes, databases) = self
            .lookups
            .call(|reader| Ok::<_, StoreError>((reader.node_ids()?, reader.databases()?)))
            .await?;
        let books = nodes.into_iter().map(|node| {
            let past = Past::Pushed(CopyKey::Book(node));
            (past, format!("node {node}"))
        });
        let databases = databases.into_iter().map(|database| {
            let folder = database.folder;
            let past = Past::Pushed(CopyKey::Database { folder });
            (past, format!("database {}", database.name))
        });
        let catalog = (Past::Catalog, "catalog".to_owned());
        Ok([catalog]
            .into_iter()
            .chain(books)
            .chain(databases)
            .collect())
    }

    /// What is kept of every database.
    pub(crate) async fn histories(&self) -> Result<Vec<HistoryRow>, HistoriesError> {
        let mut rows = Vec::new();
        for (past, database) in self.pasts().await? {
            let kept = self
                .copies
                .on_history(&past, |history| {
                    Ok::<_, HistoryError>((history.generations()?.len(), history.bytes()?))
                })
                .await?;
            let (generations, bytes) = kept;
            rows.push(HistoryRow {
                database,
                generations: u64::try_from(generations).unwrap_or(u64::MAX),
                bytes,
            });
        }
        Ok(rows)
    }

    /// Forgets what is older than the operator wants, now and then.
    pub(crate) async fn prune_histories(&self) -> Result<(), HistoriesError> {
        if !self.config.history.is_on() || !self.pruner.is_due() {
            return Ok(());
        }
        let limit_ms = self.config.history.limit_ms(self.now_ms());
        let mut sizes = BTreeMap::new();
        for (past, _) in self.pasts().await? {
            let prune = move |history: &mut counterfoil_replica::history::History| {
                history.prune(limit_ms)?;
                history.bytes()
            };
            match self.copies.on_history(&past, prune).await {
                Ok(bytes) => {
                    sizes.insert(past, bytes);
                }
                // A history that cannot be read must not keep the others from being pruned.
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    ?past,
                    "a history cannot be pruned"
                ),
            }
        }
        while sizes.values().sum::<u64>() > self.config.history.bytes_max {
            let Some(largest) = sizes
                .iter()
                .max_by_key(|(_, bytes)| **bytes)
                .map(|(past, _)| past.clone())
            else {
                break;
            };
            let forget = |history: &mut counterfoil_replica::history::History| {
                history.forget_oldest()?;
                history.bytes()
            };
            let bytes = self.copies.on_history(&largest, forget).await?;
            tracing::info!(
                ?largest,
                bytes,
                "the histories are too large: the oldest part is gone"
            );
            sizes.insert(largest, bytes);
        }
        Ok(())
    }

    /// Writes a database as of a moment to a file, and looks whether it is sound.
    pub(crate) async fn restore(
        &self,
        past: &Past,
        moment: Moment,
        to: PathBuf,
    ) -> Result<RestoredFile, RestoreFailure> {
        let held = self.copies.held(past).await?;
        let into = to.clone();
        let restored = self
            .copies
            .work(held, move |copy: &mut Copy| Ok(copy.restore(moment, &into)))
            .await??;
        let (commit, at_ms) = restored;
        let checked = self
            .env
            .execution
            .blocking(move || {
                let checked = check(&to);
                if checked.is_err() {
                    remove_all(&to);
                }
                checked
            })
            .await;
        Ok(RestoredFile {
            commit,
            at_ms,
            journal_seq: checked?,
        })
    }
}

/// Why histories cannot be listed or pruned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoriesError {
    #[error("cannot tell which databases there are")]
    Store(#[from] StoreError),
    #[error("a history cannot be used")]
    History(#[from] HistoryError),
}

/// The last entry of the journal, if there is one, of a sound database.
fn check(path: &Path) -> Result<Option<i64>, RestoreFailure> {
    let database = Connection::open(path, Durability::Full)?;
    let found: String = database.query_value("PRAGMA integrity_check", ())?;
    if found != "ok" {
        return Err(RestoreFailure::Damaged(found));
    }
    let has_journal = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'journal')";
    let seq = if database.query_value(has_journal, ())? {
        database.query_value("SELECT max(seq) FROM journal", ())?
    } else {
        None
    };
    // Leaves one file: what is read only has no WAL to fold.
    database.close();
    for suffix in ["-wal", "-shm"] {
        std::fs::remove_file(with_suffix(path, suffix)).ok();
    }
    Ok(seq)
}

fn remove_all(path: &Path) {
    // The error that led here is the one to tell.
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(with_suffix(path, suffix)).ok();
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
