//! Databases at the hub that are not what was written: found, set aside, and put on record.
//!
//! A book or a free-standing database is set aside whole by [`Copies`], and its clients send what the fresh copy
//! lacks. The catalog is written again from `hub.db`, when the hub starts.

use crate::copies::{Copies, CopyFailure, CopyKey};
use crate::datadir::DataDir;
use crate::history::{HistoriesError, Past};
use crate::hub::Hub;
use crate::limits::VERIFY_INTERVAL;
use crate::store::{self, StoreError};
use counterfoil_replica::env::Files;
use counterfoil_replica::{Copy, CopyInfo};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// When each database was read as a whole.
#[derive(Default)]
pub(crate) struct Verifier {
    last: Mutex<BTreeMap<Past, Instant>>,
}

impl Verifier {
    /// The database that was not read for longest, when one is due; it counts as read from now on.
    fn next(&self, all: Vec<Past>) -> Option<Past> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|past, _| all.contains(past));
        let next = all
            .into_iter()
            .min_by_key(|past| last.get(past).copied())
            .filter(|past| {
                let read = last.get(past);
                read.is_none_or(|read| read.elapsed() >= VERIFY_INTERVAL)
            })?;
        last.insert(next.clone(), Instant::now());
        Some(next)
    }
}

/// Takes the catalog, making it by `schema` when there is none; one that is damaged is replaced by one with nothing in it, which the store fills.
///
/// # Errors
/// [`CopyFailure`], [`StoreError`].
pub(crate) async fn open_catalog(
    copies: &Copies,
    dir: &DataDir,
    files: &dyn Files,
    schema: i32,
    now_ms: i64,
) -> Result<CopyInfo, OpenCatalogError> {
    let path = dir.catalog_db();
    store::create_catalog(&path, files, schema, now_ms)?;
    let damage = match verified(copies).await {
        Err(CopyFailure::Copy(error)) if error.is_damage() => error,
        result => return Ok(result?),
    };
    let fresh = store::fresh_catalog(&path, files, schema, now_ms)?;
    copies.renew_catalog(damage, fresh).await?;
    Ok(verified(copies).await?)
}

async fn verified(copies: &Copies) -> Result<CopyInfo, CopyFailure> {
    let verify = |copy: &mut Copy| {
        copy.verify()?;
        copy.info()
    };
    copies.work(copies.catalog().await?, verify).await
}

/// Why the catalog cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenCatalogError {
    #[error(transparent)]
    Copy(#[from] CopyFailure),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Hub {
    /// Puts on record which copies were set aside since the last time.
    pub(crate) async fn report_damages(&self) {
        for (past, aside) in self.copies.take_damages() {
            let node = match past {
                Past::Pushed(CopyKey::Book(node)) => Some(node),
                Past::Pushed(CopyKey::Database { .. }) | Past::Catalog => None,
            };
            let detail = format!(
                "{past} was damaged and is kept as {}: {}; its content is asked for again, generation {} is current",
                aside.kept.display(),
                aside.why,
                aside.generation
            );
            self.alert("copy_damaged", node, &detail).await;
        }
    }

    /// Reads one database as a whole, when one is due.
    pub(crate) async fn verify_next(&self) -> Result<(), HistoriesError> {
        let mut all = Vec::new();
        for (past, _) in self.pasts().await? {
            let is_there = match &past {
                Past::Catalog => true,
                Past::Pushed(key) => self
                    .env
                    .files
                    .exists(&self.copies.path(key))
                    .unwrap_or_default(),
            };
            if is_there {
                all.push(past);
            }
        }
        let Some(past) = self.verifier.next(all) else {
            return Ok(());
        };
        let verified = match self.copies.held(&past).await {
            Ok(held) => self.copies.work(held, Copy::verify).await,
            Err(error) => Err(error),
        };
        match verified {
            Ok(()) => tracing::debug!(%past, "read as a whole"),
            Err(CopyFailure::Copy(error)) if error.is_damage() && past == Past::Catalog => {
                let detail = format!(
                    "the catalog is damaged: {error}; it is written again when the hub is started again"
                );
                self.alert("copy_damaged", None, &detail).await;
            }
            // What is damaged was set aside; anything else is found again at the next use.
            Err(error) => tracing::warn!(
                %past, error = &error as &dyn std::error::Error, "cannot be read as a whole"
            ),
        }
        self.report_damages().await;
        Ok(())
    }
}
