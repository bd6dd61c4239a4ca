//! Pulls the catalog from the hub into an embedded replica.
//!
//! The hub's word is the truth: whenever the local file does not continue it, a fresh one is
//! downloaded beside, brought up to the hub's last frame and swapped in. The node's connections read
//! all the while, and never an older catalog than before.

mod catalog;
mod delta;
mod download;
mod incoming;
mod staged;
mod steps;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use self::{
    catalog::{
        Catalog, Plan, begin_swap, checkpoint, complete_swap, fold, insert, insert_staged, plan,
        state_at,
    },
    incoming::{Need, need, take_part},
};
use crate::{
    Retry,
    copy::wal_bytes,
    env::{Execution, Files},
    frame::{frames, whole_transactions_bytes},
    gate::{Gate, GateClosed, GateUse, in_gate},
    limits::{PULL_TAIL_BYTES_MAX, REPLANS_MAX},
    local::{Local, LocalCheckpoint, LocalError, Writer},
    numbering::Mapping,
    remote::{Exported, HubInfo, Pulled, Remote, RemoteError},
    swap::BaseRefusal,
};

/// Why a pull ended early. The catalog is what it was, or a newer whole one.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The hub, or the way there.
    #[error("the pull did not reach the hub")]
    Remote(#[from] RemoteError),
    /// The downloaded file cannot be used.
    #[error("the hub's export cannot be used")]
    Base(#[from] BaseRefusal),
    /// A transaction is larger than is held in memory.
    #[error("a transaction is larger than {PULL_TAIL_BYTES_MAX} bytes")]
    TransactionTooLarge,
    /// Hub and node changed their minds too often in one pull.
    #[error("hub and node did not agree on where to go on")]
    Unsettled,
    /// The reader has stopped.
    #[error("the catalog's reader has stopped")]
    GateClosed(#[from] GateClosed),
    /// The local database.
    #[error("the local side of the pull failed")]
    Local(#[from] LocalError),
}

impl PullError {
    /// What the caller should do.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Remote(error) => error.retry(),
            Self::Local(error) => error.retry(),
            Self::Base(_) | Self::TransactionTooLarge | Self::Unsettled => Retry::Later,
            Self::GateClosed(_) => Retry::Never,
        }
    }
}

/// What a pull did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PullReport {
    /// Frames applied.
    pub frames: u64,
    /// Bytes of bodies received, as they came over the line.
    pub bytes_down: u64,
    /// The hub's generation.
    pub generation: u64,
    /// Last frame of it that is applied.
    pub frame: u64,
    /// Whether a whole file was downloaded and swapped in.
    pub bootstrapped: bool,
}

/// The catalog on a node. Open it before every other connection to the file and drop it after them.
#[derive(Clone)]
pub struct CatalogReplica {
    catalog: Arc<Mutex<Catalog>>,
    operation: Arc<tokio::sync::Mutex<()>>,
    execution: Execution,
}

impl std::fmt::Debug for CatalogReplica {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CatalogReplica")
            .finish_non_exhaustive()
    }
}

/// Where pulled frames go: the catalog, the mapping they are numbered by, the first one's number
/// at the hub, whole transactions. False when they do not follow what is there.
type Insert = fn(&mut Catalog, &Mapping, u64, &[u8]) -> Result<bool, LocalError>;

impl CatalogReplica {
    /// Opens the catalog, an empty one when there is none. Blocking.
    ///
    /// # Errors
    /// [`LocalError`].
    pub fn open(
        path: &Path,
        files: Arc<dyn Files>,
        execution: Execution,
    ) -> Result<Self, LocalError> {
        let local = Local::open(path, files, Writer::Replication)?;
        Ok(Self {
            catalog: Arc::new(Mutex::new(Catalog::new(local))),
            operation: Arc::default(),
            execution,
        })
    }

    /// Brings the catalog up to what the hub has now. Safe to drop at any point.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn pull(&self, remote: &Remote, gate: &dyn Gate) -> Result<PullReport, PullError> {
        let _operation = self.operation.lock().await;
        if self
            .on_catalog(|catalog| catalog.local.record.swap.is_some())
            .await
        {
            self.finish_swap(gate).await?;
        }
        let mut report = PullReport::default();
        for _ in 0..REPLANS_MAX {
            let info = remote.info().await?;
            let hub = info.clone();
            match self.on_catalog(move |catalog| plan(catalog, &hub)).await? {
                Plan::Bootstrap => self.bootstrap(remote, gate, &info, &mut report).await?,
                Plan::From { mapping, frame } => {
                    self.pull_frames(remote, insert, (mapping, frame), &info, &mut report)
                        .await?;
                    if self.is_at(&info, &mut report).await? {
                        return Ok(report);
                    }
                }
            }
        }
        Err(PullError::Unsettled)
    }

    /// Pulls from after a frame up to what the hub described; ends early when the numbers are not
    /// valid any more.
    async fn pull_frames(
        &self,
        remote: &Remote,
        insert: Insert,
        (mapping, mut inserted): (Mapping, u64),
        info: &HubInfo,
        report: &mut PullReport,
    ) -> Result<(), PullError> {
        let mut received = inserted;
        let mut held = Vec::new();
        // What is staged has no pages that the hub could know of.
        let mut takes_delta = info.takes_delta;
        while received < info.max_frame_no {
            let before = match takes_delta && held.is_empty() {
                true => {
                    self.on_catalog(move |catalog| delta::before(catalog, &mapping, received))
                        .await?
                }
                false => None,
            };
            let (first, generation) = (received + 1, mapping.generation);
            let (body, bytes) = match remote.pull(generation, first, before).await? {
                Pulled::Frames { body, bytes_down } => (body, bytes_down),
                Pulled::Delta(pulled) => {
                    let bytes_down = u64::try_from(pulled.bytes.len()).unwrap_or(u64::MAX);
                    let decode =
                        move |catalog: &mut Catalog| delta::decode(catalog, before, &pulled);
                    let Some(body) = self.on_catalog(decode).await? else {
                        report.bytes_down += bytes_down;
                        takes_delta = false;
                        continue;
                    };
                    (body, bytes_down)
                }
                Pulled::Ended | Pulled::Gone => return Ok(()),
            };
            report.bytes_down += bytes;
            received += count(&body);
            held.extend_from_slice(&body);
            let rest = held.split_off(whole_transactions_bytes(&held));
            if rest.len() > PULL_TAIL_BYTES_MAX {
                return Err(PullError::TransactionTooLarge);
            }
            let whole = std::mem::replace(&mut held, rest);
            if whole.is_empty() {
                continue;
            }
            let (first, frames) = (inserted + 1, count(&whole));
            if !self
                .on_catalog(move |catalog| insert(catalog, &mapping, first, &whole))
                .await?
            {
                return Ok(());
            }
            inserted += frames;
            report.frames += frames;
        }
        Ok(())
    }

    /// Whether the catalog is what the hub described; otherwise it is planned again.
    async fn is_at(&self, info: &HubInfo, report: &mut PullReport) -> Result<bool, PullError> {
        let info = info.clone();
        let at = self
            .on_catalog(move |catalog| state_at(&mut catalog.local, &info))
            .await?;
        let Some((generation, frame)) = at else {
            return Ok(false);
        };
        (report.generation, report.frame) = (generation, frame);
        Ok(true)
    }

    /// Downloads the generation's file and its frames beside the catalog and swaps them in together.
    async fn bootstrap(
        &self,
        remote: &Remote,
        gate: &dyn Gate,
        info: &HubInfo,
        report: &mut PullReport,
    ) -> Result<(), PullError> {
        let Some(staged) = self.download(remote, info, report).await? else {
            return Ok(());
        };
        self.pull_frames(remote, insert_staged, staged, info, report)
            .await?;
        let hub = info.clone();
        let folded = self.on_catalog(move |catalog| fold(catalog, &hub)).await?;
        let Some(mapping) = folded else {
            return Ok(());
        };
        report.bootstrapped |= self.swap_in(gate, mapping).await?;
        Ok(())
    }

    /// Downloads what is missing of the file that the generation began with; `None` when the plan
    /// does not hold any more.
    async fn download(
        &self,
        remote: &Remote,
        info: &HubInfo,
        report: &mut PullReport,
    ) -> Result<Option<(Mapping, u64)>, PullError> {
        loop {
            let hub = info.clone();
            let need = self.on_catalog(move |catalog| need(catalog, &hub)).await?;
            let first = match need {
                Some(Need::Frames(mapping, frame)) => return Ok(Some((mapping, frame))),
                Some(Need::Part(first)) => first,
                None => return Ok(None),
            };
            let part = match remote.export(info.generation, first).await? {
                Exported::Part(part) => part,
                Exported::Gone => return Ok(None),
            };
            report.bytes_down += part.bytes_down;
            let hub = info.clone();
            let taken = self
                .on_catalog(move |catalog| take_part(catalog, first, &part, &hub))
                .await?;
            if !taken? {
                return Ok(None);
            }
        }
    }

    /// False when what was folded is not there any more.
    async fn swap_in(&self, gate: &dyn Gate, mapping: Mapping) -> Result<bool, PullError> {
        let catalog = Arc::clone(&self.catalog);
        let swapped = in_gate(gate, GateUse::Swap, move || {
            let mut catalog = catalog.lock().unwrap_or_else(PoisonError::into_inner);
            begin_swap(&mut catalog, mapping)
        });
        Ok(swapped.await??)
    }

    async fn finish_swap(&self, gate: &dyn Gate) -> Result<(), PullError> {
        let catalog = Arc::clone(&self.catalog);
        in_gate(gate, GateUse::Swap, move || {
            let mut catalog = catalog.lock().unwrap_or_else(PoisonError::into_inner);
            complete_swap(&mut catalog.local)
        })
        .await??;
        Ok(())
    }

    /// Folds the WAL into the main file when it is larger than the limit.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn checkpoint_if_over(
        &self,
        gate: &dyn Gate,
        limit_bytes: u64,
    ) -> Result<LocalCheckpoint, LocalError> {
        let _operation = self.operation.lock().await;
        let observed = self.on_catalog(|catalog| catalog.local.observe()).await?;
        let frames = observed.frames;
        if frames == 0 || wal_bytes(frames) <= limit_bytes {
            return Ok(LocalCheckpoint::NotNeeded);
        }
        let catalog = Arc::clone(&self.catalog);
        let result = in_gate(gate, GateUse::Checkpoint, move || {
            let mut catalog = catalog.lock().unwrap_or_else(PoisonError::into_inner);
            checkpoint(&mut catalog.local)
        });
        match result.await {
            Ok(result) => result,
            Err(GateClosed) => Ok(LocalCheckpoint::Busy),
        }
    }

    async fn on_catalog<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Catalog) -> R + Send + 'static,
    ) -> R {
        let catalog = Arc::clone(&self.catalog);
        // A panic in earlier work leaves nothing half done that the next observation would not see.
        self.execution
            .blocking(move || work(&mut catalog.lock().unwrap_or_else(PoisonError::into_inner)))
            .await
    }
}

fn count(body: &[u8]) -> u64 {
    u64::try_from(frames(body).len()).unwrap_or(u64::MAX)
}
