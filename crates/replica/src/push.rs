//! Pushes the node's book to the hub: resumable, idempotent, never in the way of a sale.
//!
//! Nothing has to be remembered between pushes but the record of `numbering.rs`: the hub says what
//! it has, the rolling checksum says whether that is ours, and the rest is sent. When the two do not
//! belong together the pages that differ are sent, with leave (`DESIGN.md`, rules 3 to 5).

mod backlog;
mod book;
mod difference;
mod fold;
mod sending;
mod stock;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

pub use self::fold::{WalLimit, WalLimits};
use self::{
    backlog::Backlog,
    book::{Encodings, Plan},
};
use crate::{
    Retry,
    copy::wal_bytes,
    env::{Execution, Files},
    frame::Chain,
    gate::{Gate, GateClosed, GateUse, in_gate},
    limits::REPLANS_MAX,
    local::{Local, LocalCheckpoint, LocalError, Writer},
    remote::{HubInfo, Remote, RemoteError},
    wal::{Checkpoint, WalError},
};

/// Why a push ended early. What the hub has answered for stays pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The hub, or the way there.
    #[error("the push did not reach the hub")]
    Remote(#[from] RemoteError),
    /// Hub and book do not continue each other, and nothing is overwritten without leave, see
    /// [`Supersede`].
    #[error(
        "{divergence}: the hub has {hub_frames} frames of generation {generation}, this book has \
         {local_frames}"
    )]
    Diverged {
        /// What does not fit.
        divergence: Divergence,
        /// The hub's generation.
        generation: u64,
        /// Frames of it at the hub.
        hub_frames: u64,
        /// Frames of it here; those in the WAL when they have no numbers there.
        local_frames: u64,
    },
    /// The pages that differ would have to be sent, and this server does not say which.
    #[error("the server does not say which pages it has")]
    DifferenceNotTaken,
    /// Hub and node changed their minds too often in one push.
    #[error("hub and node did not agree on where to go on")]
    Unsettled,
    /// The writer has stopped.
    #[error("the book's writer has stopped")]
    GateClosed(#[from] GateClosed),
    /// The local database.
    #[error("the local side of the push failed")]
    Local(#[from] LocalError),
}

impl PushError {
    /// What the caller should do.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Remote(error) => error.retry(),
            Self::Local(error) => error.retry(),
            Self::Unsettled | Self::DifferenceNotTaken | Self::Diverged { .. } => Retry::Later,
            Self::GateClosed(_) => Retry::Never,
        }
    }
}

/// Whether a push may put this book in the place of other content at the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supersede {
    /// What the hub has is continued, or the push ends as [`PushError::Diverged`]. An empty copy at
    /// the hub is always filled.
    Never,
    /// The book is the truth as long as the hub has what it had when that was found out: a twin may have
    /// pushed since.
    Only(Seen),
    /// The book is the truth: what the hub has is replaced by it.
    Allowed,
}

impl Supersede {
    fn covers(self, info: &HubInfo) -> bool {
        match self {
            Self::Never => info.empty,
            Self::Only(seen) => info.empty || seen == Seen::of(info),
            Self::Allowed => true,
        }
    }
}

/// What the hub's copy held at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    generation: u64,
    frames: u64,
    chain: Option<Chain>,
}

impl Seen {
    fn of(info: &HubInfo) -> Self {
        Self {
            generation: info.generation,
            frames: info.committed_frame_no,
            chain: info.committed_chain,
        }
    }
}

/// Why frames are not enough to bring the hub up to the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Divergence {
    /// The book has never been pushed from here, or its numbers are lost.
    #[error("the book's frames have no numbers at the hub")]
    NoNumbers,
    /// Another program folded the WAL, or replaced the file.
    #[error("another program made a checkpoint of the book")]
    ForeignCheckpoint,
    /// Frames were damaged on disk and folded before more was lost.
    #[error("the book's WAL was damaged on disk")]
    Damaged,
    /// The WAL was folded at its limit before the hub had all of it.
    #[error("the book's WAL was folded at its limit, before the hub had it")]
    FoldedAtLimit,
    /// The hub does not know where the book's generation ended, or has not come to it.
    #[error("the hub does not know the book's generation")]
    GenerationLost,
    /// The hub lacks frames that are not in the WAL any more.
    #[error("the hub has less than was sent")]
    HubBehind,
    /// The hub has frames that this book does not have: two books under one name, or an old one.
    #[error("the hub has more than this book")]
    HubAhead,
    /// The hub's frames are other frames.
    #[error("the hub has other content")]
    OtherContent,
    /// The hub's frames are the same, and its pages are not what they add up to.
    #[error("the hub's pages were damaged")]
    HubDamaged,
}

/// What a push did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushReport {
    /// Frames sent and acknowledged.
    pub frames: u64,
    /// Bytes of bodies sent, as they went over the line.
    pub bytes_up: u64,
    /// The hub's generation.
    pub generation: u64,
    /// The hub's highest frame.
    pub max_frame_no: u64,
    /// Pages that were sent because frames were not enough; `None` when they were. Also counted in
    /// `frames`.
    pub difference_pages: Option<u64>,
    /// Batches of delta frames that the hub asked for whole, because its pages are other ones.
    pub deltas_refused: u64,
    /// What did not fit and does now; `None` at the first contact.
    pub divergence: Option<Divergence>,
}

/// How far a push is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Frames acknowledged in this push.
    pub frames_done: u64,
    /// Frames this push is about.
    pub frames_total: u64,
    /// Bytes of bodies sent so far.
    pub bytes_up: u64,
}

/// Where a book stands, without asking the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookStatus {
    /// The hub's generation, once the hub has the book.
    pub generation: Option<u64>,
    /// Frames in the WAL.
    pub frames: u64,
    /// Of them, frames the hub has answered for since this process began.
    pub frames_acknowledged: u64,
    /// Size of the WAL in bytes.
    pub wal_bytes: u64,
}

/// The node's book as it travels up. Open it before every other connection to the book and drop it
/// after them: it keeps SQLite from folding the WAL away.
#[derive(Clone)]
pub struct BookReplica {
    local: Arc<Mutex<Local>>,
    /// Pushes and checkpoints exclude each other.
    operation: Arc<tokio::sync::Mutex<()>>,
    execution: Execution,
}

impl std::fmt::Debug for BookReplica {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("BookReplica")
            .finish_non_exhaustive()
    }
}

impl BookReplica {
    /// Opens the book, creating an empty one when there is none. Blocking.
    ///
    /// # Errors
    /// [`LocalError`].
    pub fn open(
        path: &Path,
        files: Arc<dyn Files>,
        execution: Execution,
    ) -> Result<Self, LocalError> {
        let local = Local::open(path, files, Writer::Node)?;
        Ok(Self {
            local: Arc::new(Mutex::new(local)),
            operation: Arc::default(),
            execution,
        })
    }

    /// What the hub's copy holds now, for [`Supersede::Only`].
    ///
    /// # Errors
    /// [`PushError::Remote`].
    pub async fn seen(&self, remote: &Remote) -> Result<Seen, PushError> {
        let mut info = remote.info().await?;
        self.describe(remote, &mut info).await?;
        Ok(Seen::of(&info))
    }

    /// Brings the hub's copy up to what the book holds now. Safe to drop at any point.
    ///
    /// # Errors
    /// [`PushError`].
    pub async fn push(
        &self,
        remote: &Remote,
        gate: &dyn Gate,
        progress: &(dyn Fn(Progress) + Send + Sync),
        supersede: Supersede,
    ) -> Result<PushReport, PushError> {
        let _operation = self.operation.lock().await;
        let mut report = PushReport::default();
        let result = self
            .push_rounds(remote, progress, supersede, &mut report)
            .await;
        match result {
            Err(PushError::Local(LocalError::Wal(error @ WalError::Damaged { .. }))) => {
                tracing::error!(%error, "the book's WAL is folded to save what follows");
                self.fold_damaged(gate).await?;
                self.push_rounds(remote, progress, supersede, &mut report)
                    .await?;
            }
            result => result?,
        }
        Ok(report)
    }

    /// Saves what a damaged WAL still holds.
    async fn fold_damaged(&self, gate: &dyn Gate) -> Result<(), PushError> {
        let local = Arc::clone(&self.local);
        let folded = in_gate(gate, GateUse::Checkpoint, move || {
            let mut local = local.lock().unwrap_or_else(PoisonError::into_inner);
            let folded = fold::fold_damaged(&mut local)?;
            Ok((folded, local.path().to_owned()))
        });
        match folded.await?.map_err(PushError::Local)? {
            (Checkpoint::Done, _) => Ok(()),
            (Checkpoint::Busy, path) => Err(PushError::Local(LocalError::Busy { path })),
        }
    }

    async fn push_rounds(
        &self,
        remote: &Remote,
        progress: &(dyn Fn(Progress) + Send + Sync),
        supersede: Supersede,
        report: &mut PushReport,
    ) -> Result<(), PushError> {
        let mut is_condensed = false;
        for _ in 0..REPLANS_MAX {
            let mut info = remote.info().await?;
            self.describe(remote, &mut info).await?;
            let hub = info.clone();
            match self.on_local(move |local| book::plan(local, &hub)).await? {
                Plan::Other {
                    divergence,
                    local_frames,
                } => {
                    if !supersede.covers(&info) {
                        return Err(PushError::Diverged {
                            divergence,
                            generation: info.generation,
                            hub_frames: info.committed_frame_no,
                            local_frames,
                        });
                    }
                    if report.difference_pages.is_some() {
                        return Err(PushError::Unsettled);
                    }
                    tracing::info!(%divergence, "the pages that differ are sent");
                    if !info.empty || divergence != Divergence::NoNumbers {
                        report.divergence = Some(divergence);
                    }
                    self.send_difference(remote, &info, report, progress)
                        .await?;
                }
                Plan::Send(sending) => {
                    let encodings = Encodings {
                        zstd: info.takes_zstd,
                        delta: info.takes_delta && report.deltas_refused == 0,
                    };
                    if !is_condensed && Backlog::is_worth_it(&sending, &info) {
                        // Once: what is written meanwhile goes as frames, so a push ends.
                        is_condensed = true;
                        let sent = self.send_backlog(remote, &info, sending, report, progress);
                        sent.await?;
                        continue;
                    }
                    let sent = self.send(remote, sending, encodings, report, progress);
                    if sent.await? {
                        let is_healed = report.difference_pages.is_some();
                        if report.deltas_refused == 0 || is_healed || !info.says_pages {
                            return Ok(());
                        }
                        // The hub has the same history and other pages: its file is damaged. What
                        // was replaced is whole again, the rest is compared.
                        let info = remote.info().await?;
                        let stands_at = (info.generation, info.max_frame_no);
                        if stands_at != (report.generation, report.max_frame_no) {
                            // Somebody else has pushed since: whether to go on is decided anew.
                            continue;
                        }
                        report.divergence = Some(Divergence::HubDamaged);
                        self.send_difference(remote, &info, report, progress)
                            .await?;
                    }
                }
            }
        }
        Err(PushError::Unsettled)
    }

    /// Folds the WAL into the main file when it has passed a limit.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn checkpoint_if_over(
        &self,
        gate: &dyn Gate,
        limits: WalLimits,
    ) -> Result<LocalCheckpoint, LocalError> {
        let _operation = self.operation.lock().await;
        let due = self
            .on_local(move |local| fold::is_due(local, &limits))
            .await?;
        if !matches!(due, LocalCheckpoint::Done | LocalCheckpoint::DoneEarly) {
            return Ok(due);
        }
        let local = Arc::clone(&self.local);
        let result = in_gate(gate, GateUse::Checkpoint, move || {
            let mut local = local.lock().unwrap_or_else(PoisonError::into_inner);
            fold::fold_if_due(&mut local, &limits)
        });
        match result.await {
            Ok(result) => result,
            Err(GateClosed) => Ok(LocalCheckpoint::Busy),
        }
    }

    /// Where the book stands, without asking the hub.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn status(&self) -> Result<BookStatus, LocalError> {
        self.on_local(|local| {
            let position = local.observe()?;
            Ok(BookStatus {
                generation: local.record.mapping.map(|mapping| mapping.generation),
                frames: position.frames,
                frames_acknowledged: local.acknowledged(),
                wal_bytes: wal_bytes(position.frames),
            })
        })
        .await
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
