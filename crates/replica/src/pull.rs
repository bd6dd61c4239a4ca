//! Pulls the catalog from the hub into an embedded replica.
//!
//! The hub's word is the truth: whenever the local file does not continue it, a fresh one is
//! downloaded beside and swapped in. The node's connections read all the while.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    Retry,
    copy::wal_bytes,
    env::{Execution, Files},
    frame::{Chain, whole_transactions_bytes},
    gate::{Gate, GateClosed, GateUse, in_gate},
    limits::{REPLANS_MAX, TAIL_BYTES_MAX},
    local::{Local, LocalCheckpoint, LocalError, Writer},
    numbering::{Mapping, Swap},
    remote::{Exported, HubInfo, Pulled, Remote, RemoteError},
    swap::{self, BaseRefusal},
    wal::Checkpoint,
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
    #[error("a transaction is larger than {TAIL_BYTES_MAX} bytes")]
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
    local: Arc<Mutex<Local>>,
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

/// What to do about the hub's state.
enum Plan {
    /// Pull from the frame after this one.
    From {
        mapping: Mapping,
        frame: u64,
    },
    Bootstrap,
}

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
            local: Arc::new(Mutex::new(local)),
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
        if self.on_local(|local| local.record.swap.is_some()).await {
            self.finish_swap(gate).await?;
        }
        let mut report = PullReport::default();
        for _ in 0..REPLANS_MAX {
            let info = remote.info().await?;
            let hub = info.clone();
            match self.on_local(move |local| plan(local, &hub)).await? {
                Plan::Bootstrap => self.bootstrap(remote, gate, &info, &mut report).await?,
                Plan::From { mapping, frame } => {
                    self.pull_frames(remote, mapping, frame, &info, &mut report)
                        .await?;
                    if self.is_at(&info, &mut report).await? {
                        return Ok(report);
                    }
                }
            }
        }
        Err(PullError::Unsettled)
    }

    async fn pull_frames(
        &self,
        remote: &Remote,
        mapping: Mapping,
        mut frame: u64,
        info: &HubInfo,
        report: &mut PullReport,
    ) -> Result<(), PullError> {
        let mut held = Vec::new();
        while frame < info.max_frame_no {
            let (body, bytes) = match remote.pull(mapping.generation, frame + 1).await? {
                Pulled::Frames { body, bytes_down } => (body, bytes_down),
                Pulled::Ended | Pulled::Gone => return Ok(()),
            };
            report.bytes_down += bytes;
            let received = u64::try_from(crate::frame::frames(&body).len()).unwrap_or_default();
            frame += received;
            held.extend_from_slice(&body);
            let rest = held.split_off(whole_transactions_bytes(&held));
            if rest.len() > TAIL_BYTES_MAX {
                return Err(PullError::TransactionTooLarge);
            }
            let whole = std::mem::replace(&mut held, rest);
            if whole.is_empty() {
                continue;
            }
            report.frames += u64::try_from(crate::frame::frames(&whole).len()).unwrap_or_default();
            if !self
                .on_local(move |local| insert(local, &mapping, &whole))
                .await?
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether the catalog is what the hub described; otherwise it is planned again.
    async fn is_at(&self, info: &HubInfo, report: &mut PullReport) -> Result<bool, PullError> {
        let info = info.clone();
        let at = self.on_local(move |local| state_at(local, &info)).await?;
        let Some((generation, frame)) = at else {
            return Ok(false);
        };
        (report.generation, report.frame) = (generation, frame);
        Ok(true)
    }

    async fn bootstrap(
        &self,
        remote: &Remote,
        gate: &dyn Gate,
        info: &HubInfo,
        report: &mut PullReport,
    ) -> Result<(), PullError> {
        let (bytes, digest, bytes_down) = match remote.export(info.generation).await? {
            Exported::File {
                bytes,
                digest,
                bytes_down,
            } => (bytes, digest, bytes_down),
            // A new generation began meanwhile: plan again.
            Exported::Gone => return Ok(()),
        };
        report.bytes_down += bytes_down;
        let (generation, chain_start) = (info.generation, info.chain_start);
        let mapping = self
            .on_local(move |local| {
                let of_bytes = Chain::of_base(&bytes);
                swap::check_base(&bytes, digest.unwrap_or(of_bytes))?;
                swap::stage(local.files(), local.path(), &bytes).map_err(LocalError::from)?;
                let chain = chain_start.unwrap_or(of_bytes);
                Ok::<_, PullError>(Mapping {
                    generation,
                    shift: 0,
                    chain,
                })
            })
            .await?;
        self.swap_in(gate, mapping).await?;
        report.bootstrapped = true;
        Ok(())
    }

    async fn swap_in(&self, gate: &dyn Gate, mapping: Mapping) -> Result<(), PullError> {
        let local = Arc::clone(&self.local);
        in_gate(gate, GateUse::Swap, move || {
            let mut local = local.lock().unwrap_or_else(PoisonError::into_inner);
            let change = Swap {
                mapping,
                keep_suffix: None,
            };
            local.change_record(|record| record.swap = Some(change))?;
            complete_swap(&mut local)
        })
        .await??;
        Ok(())
    }

    async fn finish_swap(&self, gate: &dyn Gate) -> Result<(), PullError> {
        let local = Arc::clone(&self.local);
        in_gate(gate, GateUse::Swap, move || {
            complete_swap(&mut local.lock().unwrap_or_else(PoisonError::into_inner))
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
        let frames = self.on_local(|local| local.observe()).await?.frames;
        if frames == 0 || wal_bytes(frames) <= limit_bytes {
            return Ok(LocalCheckpoint::NotNeeded);
        }
        let local = Arc::clone(&self.local);
        let result = in_gate(gate, GateUse::Checkpoint, move || {
            checkpoint(&mut local.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match result.await {
            Ok(result) => result,
            Err(GateClosed) => Ok(LocalCheckpoint::Busy),
        }
    }

    async fn on_local<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Local) -> R + Send + 'static,
    ) -> R {
        let local = Arc::clone(&self.local);
        // A panic in earlier work leaves nothing half done that the next observation would not see.
        self.execution
            .blocking(move || work(&mut local.lock().unwrap_or_else(PoisonError::into_inner)))
            .await
    }
}

/// Compares the catalog with what the hub says.
fn plan(local: &mut Local, info: &HubInfo) -> Result<Plan, LocalError> {
    let frames = local.observe()?.frames;
    let Some(mut mapping) = local.record.mapping else {
        return Ok(Plan::Bootstrap);
    };
    let at = |mapping: &Mapping| u64::try_from(mapping.hub_frame(frames)).ok();
    while mapping.generation < info.generation {
        // Frames of an ended generation are not to be had: only who has all of them goes on.
        match info.end_of(mapping.generation) {
            Some(end_frame) if at(&mapping) == Some(end_frame) => {
                mapping = mapping.after_close(end_frame);
            }
            _ => return Ok(Plan::Bootstrap),
        }
    }
    let Some(frame) = at(&mapping) else {
        return Ok(Plan::Bootstrap);
    };
    if mapping.generation > info.generation || frame > info.max_frame_no {
        return Ok(Plan::Bootstrap);
    }
    let expected = match frame {
        0 => info.chain_start,
        frame if frame == info.max_frame_no => info.chain,
        _ => None,
    };
    if let Some(expected) = expected
        && local.chain_at(&mapping, frames)? != expected
    {
        tracing::warn!("the catalog is not the hub's: it is downloaded again");
        return Ok(Plan::Bootstrap);
    }
    local.change_record(|record| record.mapping = Some(mapping))?;
    Ok(Plan::From { mapping, frame })
}

/// Generation and frame of the catalog, when it holds at least what the hub described and that with
/// the same content.
fn state_at(local: &mut Local, info: &HubInfo) -> Result<Option<(u64, u64)>, LocalError> {
    let frames = local.observe()?.frames;
    let Some(mapping) = local.record.mapping else {
        return Ok(None);
    };
    let Ok(frame) = u64::try_from(mapping.hub_frame(frames)) else {
        return Ok(None);
    };
    if mapping.generation != info.generation || frame < info.max_frame_no {
        return Ok(None);
    }
    if let (Some(expected), Ok(at)) = (
        info.chain,
        u64::try_from(mapping.local_frame(info.max_frame_no)),
    ) && local.chain_at(&mapping, at)? != expected
    {
        tracing::warn!("the catalog is not the hub's: it is downloaded again");
        local.change_record(|record| record.mapping = None)?;
        return Ok(None);
    }
    Ok(Some((mapping.generation, frame)))
}

/// Inserts whole transactions; false when the WAL is another one by now.
fn insert(local: &mut Local, mapping: &Mapping, body: &[u8]) -> Result<bool, LocalError> {
    let position = local.observe()?;
    if local.record.mapping != Some(*mapping) {
        return Ok(false);
    }
    local.wal()?.insert(position.frames + 1, body)?;
    local.wal()?.sync()?;
    // Binds the salt of a WAL that was empty.
    local.observe()?;
    Ok(true)
}

fn complete_swap(local: &mut Local) -> Result<(), LocalError> {
    local.close_wal();
    let (path, mut record) = (local.path().to_owned(), local.record.clone());
    swap::finish(local.files(), &path, &mut record)?;
    local.record = record;
    local.observe()?;
    Ok(())
}

fn checkpoint(local: &mut Local) -> Result<LocalCheckpoint, LocalError> {
    let frames = local.observe()?.frames;
    let next = match local.record.mapping {
        Some(mapping) => Some(mapping.after_checkpoint(frames, local.chain_at(&mapping, frames)?)),
        None => None,
    };
    match local.checkpoint(next, || Ok(()))? {
        Checkpoint::Done => Ok(LocalCheckpoint::Done),
        Checkpoint::Busy => Ok(LocalCheckpoint::Busy),
    }
}
