//! The node's side of sync: one run, and the loop that decides when.
//!
//! A run says hello (the schema gate, what is consolidated), pushes the book, pulls the catalog,
//! and folds WALs that have grown. It never stands between a customer and a sale: it uses the
//! writer's thread only for milliseconds at a time.

mod conflicts;
mod fold;
mod identity;
mod lanes;
mod link;
mod listen;
pub(crate) mod relay;
mod state;
mod token;
mod undo;
mod wait;

pub(crate) use link::post;
pub(crate) use listen::News;
pub(crate) use state::notice;
pub use state::{Phase, SyncState};
pub(crate) use undo::undo;
pub(crate) use wait::{Pace, doubled, jittered};

use self::identity::Pushed;
use self::link::HubLink;
use crate::credentials::CredentialError;
use crate::mesh::trust::TrustError;
use crate::node::{Node, StoreGate};
use crate::problem::chain;
use counterfoil_domain::Priority;
use counterfoil_protocol::gate::{Gate as SchemaGate, Schemas};
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::hub::{CATALOG_PATH, HelloAnswer};
use counterfoil_protocol::wire::node::{LogRow, SyncReport};
use counterfoil_replica::{LocalError, PullError, PushError, RemoteError};
use counterfoil_shop_store::StoreError;
use counterfoil_shop_store::delivery::Reader;
use fold::fold;
use listen::Place;
use tokio::time::Instant;

/// Changes of identity in one run; then the run fails and the next one goes on. One is what a restored
/// or cloned folder needs, a second when the copy was made in the middle of the first.
const IDENTITY_CHANGES_MAX: usize = 4;

/// A day in milliseconds.
const DAY_MS: i64 = 86_400_000;

/// A sync run that did not complete; what it had delivered stays delivered.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The node is in trial.
    #[error("this till is in trial: nothing is sent before it is activated")]
    NotActivated,
    /// The hub cannot be reached.
    #[error("the hub at {url} cannot be reached: {reason}")]
    Offline {
        /// Base URL of the hub.
        url: String,
        /// What the network said.
        reason: String,
    },
    /// The hub's address is not one that may be used.
    #[error("{}; {}", .0.detail, .0.hint.as_deref().unwrap_or("selling goes on"))]
    Way(Problem),
    /// The hub answered with a problem.
    #[error("the hub refused: {0}")]
    Refused(Problem),
    /// The hub takes nothing from a till that is older than itself.
    #[error("schema version mismatch, update required: this till has book {} and catalog {}, the hub has book {} \
             and catalog {} and takes nothing until the till is updated",
            till.book, till.catalog, hub.book, hub.catalog)]
    ShutOut {
        /// What this till reads and writes.
        till: Schemas,
        /// What the hub reads and writes.
        hub: Schemas,
    },
    /// There is no token.
    #[error("the hub's token cannot be read")]
    Credential(#[from] CredentialError),
    /// The token is gone from the credential store.
    #[error("the hub's token is gone from the credential store")]
    NoToken,
    /// What other lanes know this one by.
    #[error("the certificate of this lane cannot be had")]
    Lanes(#[from] TrustError),
    /// The book cannot be pushed.
    #[error("the book cannot be pushed")]
    Push(#[from] PushError),
    /// The catalog cannot be pulled.
    #[error("the catalog cannot be pulled")]
    Pull(#[from] PullError),
    /// The identity changed again and again.
    #[error("the hub gave this till one identity after another")]
    Unsettled,
    /// A replica's own file.
    #[error("a database cannot be read for sync")]
    Local(#[from] LocalError),
    /// The store.
    #[error("the store refused")]
    Store(#[from] StoreError),
}

impl SyncError {
    /// What kind of waiting this asks for.
    pub fn phase(&self) -> Phase {
        match self {
            Self::NotActivated => Phase::Trial,
            Self::Offline { .. } => Phase::Offline,
            Self::NoToken => Phase::AuthRefused,
            Self::ShutOut { .. } => Phase::UpdateRequired,
            Self::Refused(problem) => match problem.code {
                _ if problem.status >= 500 => Phase::Offline,
                Code::Unauthorized | Code::Forbidden => Phase::AuthRefused,
                Code::UpdateRequired => Phase::UpdateRequired,
                _ => Phase::Failed,
            },
            Self::Push(PushError::Remote(remote)) | Self::Pull(PullError::Remote(remote)) => {
                remote_phase(remote)
            }
            Self::Way(_)
            | Self::Credential(_)
            | Self::Lanes(_)
            | Self::Push(_)
            | Self::Pull(_)
            | Self::Unsettled
            | Self::Local(_)
            | Self::Store(_) => Phase::Failed,
        }
    }

    /// Whether whatever else is asked now would fail too.
    fn ends_the_run(&self) -> bool {
        matches!(
            self,
            Self::Offline { .. } | Self::Push(PushError::Remote(RemoteError::Offline(_)))
        ) || self.phase() == Phase::AuthRefused
    }

    /// As the local API answers it.
    pub fn problem(&self) -> Problem {
        let detail = chain(self);
        match (self, self.phase()) {
            (Self::Way(problem), _) => problem.clone(),
            (Self::NotActivated, _) => Problem::new(Code::NotActivated, detail)
                .hint("counterfoil-node activate --data DIR --join CODE"),
            (_, Phase::Offline) => Problem::new(Code::HubUnreachable, detail)
                .hint("selling goes on; what is not delivered yet waits and is sent later"),
            (_, Phase::AuthRefused) => Problem::new(Code::Unauthorized, detail)
                .hint("ask the operator for a new join code; selling goes on"),
            (_, Phase::UpdateRequired) => Problem::new(Code::UpdateRequired, detail)
                .hint("install the newer Counterfoil on this till; selling goes on"),
            (Self::Push(PushError::Diverged { .. }), _) => Problem::new(Code::Diverged, detail),
            _ => crate::problem::internal(self),
        }
    }
}

fn remote_phase(error: &RemoteError) -> Phase {
    match error {
        RemoteError::Offline(_) | RemoteError::Unavailable { .. } => Phase::Offline,
        RemoteError::Unauthorized { .. } => Phase::AuthRefused,
        RemoteError::UpdateRequired => Phase::UpdateRequired,
        RemoteError::Request(_) | RemoteError::Status { .. } | RemoteError::Answer { .. } => {
            Phase::Failed
        }
    }
}

/// The background: syncs when something happened here or at the hub, when it is time, and after a
/// pause when it failed. Ends only with the task.
pub async fn run(node: Node) {
    tokio::join!(sync_forever(&node), listen::run(&node));
}

async fn sync_forever(node: &Node) {
    let mut pace = Pace::new(&node.inner.config);
    loop {
        node.inner.monitor.turned();
        let random = node.inner.env.random.as_ref();
        if node.is_bound().await {
            let outcome = sync_once(node).await;
            let settled = node.is_settled().await;
            pace.after(&outcome, settled, random);
        } else {
            match crate::activation::resume(node).await {
                Some(Ok(_)) => continue,
                Some(Err(_)) => pace.failed(random),
                None => pace.rest(),
            }
            if let Err(error) = fold(node).await {
                tracing::warn!(error = %chain(&error), "a write-ahead log cannot be folded");
            }
        }
        wait(node, &pace).await;
    }
}

/// Waits for the next reason to sync. After a failure a sale is no reason: the pause is there to
/// spare a hub that is down; a person, an activation, a hub that can be heard again or the end of the
/// pause is.
async fn wait(node: &Node, pace: &Pace) {
    let inner = &node.inner;
    if pace.is_failing() {
        tokio::select! {
            biased;
            () = inner.nudge.notified() => {}
            () = inner.news.opened() => {}
            () = tokio::time::sleep(pace.pause()) => {}
        }
        return;
    }
    tokio::select! {
        biased;
        () = inner.nudge.notified() => {}
        () = inner.urgent.notified() => {}
        () = inner.news.told() => {}
        () = inner.written.notified() => {
            // Edits and stock wait a moment for company; a sale does not.
            tokio::select! {
                biased;
                () = inner.nudge.notified() => {}
                () = inner.urgent.notified() => {}
                () = tokio::time::sleep(pace.gather()) => {}
            }
        }
        () = tokio::time::sleep(pace.pause()) => {}
    }
}

/// One run, recorded in the state and the log. Only one runs at a time; a second waits.
///
/// # Errors
/// [`SyncError`].
pub async fn sync_once(node: &Node) -> Result<SyncReport, SyncError> {
    let _one_at_a_time = node.inner.syncing.lock().await;
    node.state().begin();
    let began = Instant::now();
    let outcome = exchange(node).await;
    let (now_ms, took) = (node.now_ms(), began.elapsed());
    let entry = node
        .state()
        .end(&outcome, now_ms, node.inner.config.attempts_max);
    match &outcome {
        Ok(report) => {
            node.inner.news.reached();
            tracing::debug!(?report, "sync complete");
        }
        Err(error) => {
            tracing::info!(error = %chain(error), "sync incomplete");
            if let Err(error) = fold(node).await {
                tracing::warn!(error = %chain(&error), "a write-ahead log cannot be folded");
            }
        }
    }
    node.keep_state().await;
    let phase = node.state().phase;
    node.inner.monitor.count_run(&outcome, phase, took);
    if let Some(mut entry) = entry {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if let Some(detail) = entry.detail.as_object_mut() {
            detail.insert("took_ms".to_owned(), took_ms.into());
        }
        tracing::info!(event = %entry.event, detail = %entry.detail, "sync");
        node.log(entry).await;
    }
    outcome
}

/// A run under one identity, and again when that had to change.
async fn exchange(node: &Node) -> Result<SyncReport, SyncError> {
    let (mut readmitted, mut fell_back) = (false, false);
    for _ in 0..IDENTITY_CHANGES_MAX {
        let hub = HubLink::open(node).await?;
        match exchange_as(node, &hub).await {
            Ok(Exchanged::Done(report)) => return Ok(report),
            Ok(Exchanged::Renamed) => {}
            Err(SyncError::Refused(problem))
                if problem.status == 401
                    && !std::mem::replace(&mut fell_back, true)
                    && token::other(node, &hub).await? => {}
            // A hub that was restored from a backup has forgotten who came later.
            Err(SyncError::Refused(problem)) if problem.status == 401 && !readmitted => {
                readmitted = true;
                if !identity::readmit(node).await? {
                    return Err(SyncError::Refused(problem));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(SyncError::Unsettled)
}

/// How a run under one identity ended.
enum Exchanged {
    Done(SyncReport),
    /// The till is another node from here on, or has another token.
    Renamed,
}

async fn exchange_as(node: &Node, hub: &HubLink<'_>) -> Result<Exchanged, SyncError> {
    let (catalog_revision, journal_seq) = node
        .store(|store| -> Result<_, StoreError> {
            Ok((store.catalog_revision()?, store.journal_seq()))
        })
        .await?;
    let hello = hub.hello(catalog_revision).await?;
    match token::rotate(node, hub, &hello).await {
        Ok(true) => return Ok(Exchanged::Renamed),
        Ok(false) => {}
        Err(error) if error.ends_the_run() => return Err(error),
        // The present token is good still, and sales wait.
        Err(error) => tracing::warn!(error = %chain(&error), "the token cannot be changed now"),
    }
    match lanes::renew(node, hub, &hello).await {
        Ok(()) => {}
        // The one that there is holds for months, and sales wait: whether the hub is away, the push finds out.
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the certificate of this lane cannot be renewed now");
        }
    }
    if !hello.takes_book {
        return shut_out(node, &hello).await;
    }

    let gate = StoreGate {
        store: node.inner.store.clone(),
    };
    let pushed = match identity::push(node, hub, &hello, &gate).await {
        Ok(Pushed::Renamed) => return Ok(Exchanged::Renamed),
        Ok(Pushed::Report(report)) => Ok(report),
        Err(error) if error.ends_the_run() => return Err(error),
        // The hub is there: the catalog comes also when the book cannot go.
        Err(error) => Err(error),
    };
    let now_ms = node.now_ms();
    let consolidated = hello.consolidated_seq;
    let received = pushed.is_ok();
    node.store(move |store| -> Result<(), StoreError> {
        if received {
            store.note(Reader::HubReceived, journal_seq, now_ms)?;
        }
        store.note(Reader::HubConsolidated, consolidated, now_ms)
    })
    .await?;

    let sent = pushed.as_ref().ok().copied().unwrap_or_default();
    let mut report = SyncReport {
        frames_up: sent.frames,
        bytes_up: sent.bytes_up,
        frames_down: 0,
        bytes_down: 0,
        hub_received_seq: journal_seq,
        hub_consolidated_seq: consolidated,
        catalog_revision,
        changes_from_others: 0,
        healed: sent.divergence.map(|divergence| divergence.to_string()),
        update_required: hello.gate == SchemaGate::UpdateRequired,
    };
    let pulled = if report.update_required {
        Ok(())
    } else {
        pull(node, hub, &gate, &mut report).await
    };
    // What failed first is told.
    pushed?;
    pulled?;
    conflicts::hear(node, hub, &hello).await?;
    fold(node).await?;
    Ok(Exchanged::Done(report))
}

/// Notes what the hub said, and nothing more: it takes nothing from this till until that is updated (L4).
async fn shut_out(node: &Node, hello: &HelloAnswer) -> Result<Exchanged, SyncError> {
    let (consolidated, now_ms) = (hello.consolidated_seq, node.now_ms());
    node.store(move |store| store.note(Reader::HubConsolidated, consolidated, now_ms))
        .await?;
    Err(SyncError::ShutOut {
        till: node.inner.schemas,
        hub: hello.schemas,
    })
}

async fn pull(
    node: &Node,
    hub: &HubLink<'_>,
    gate: &StoreGate,
    report: &mut SyncReport,
) -> Result<(), SyncError> {
    let pulled = node
        .inner
        .catalog
        .pull(&hub.remote(CATALOG_PATH), gate)
        .await;
    // What has come is in force, also when the rest has not, or an earlier run ended before this.
    let changed = node.store(|store| store.catch_up()).await?;
    let pulled = pulled?;
    let (generation, frame) = (pulled.generation, pulled.frame);
    node.inner.news.pulled(Place { generation, frame });
    report.frames_down = pulled.frames;
    report.bytes_down = pulled.bytes_down;
    if !changed && pulled.frames == 0 && !pulled.bootstrapped {
        return Ok(());
    }
    let before = if pulled.bootstrapped {
        0
    } else {
        report.catalog_revision
    };
    let (revision, changes) = node
        .store(move |store| -> Result<_, StoreError> {
            Ok((
                store.catalog_revision()?,
                store.changes_from_others(before)?,
            ))
        })
        .await?;
    report.catalog_revision = revision;
    report.changes_from_others = changes;
    Ok(())
}

impl Node {
    /// Something was recorded: a sale asks for a sync at once, the rest after a moment (T4).
    pub(crate) fn recorded(&self, priority: Priority) {
        self.inner.mesh.grown();
        self.inner.to_mark.notify_one();
        self.inner.to_count.notify_one();
        match priority {
            Priority::Critical | Priority::High => self.inner.urgent.notify_one(),
            Priority::Normal | Priority::Low => self.inner.written.notify_one(),
        }
    }

    /// A person or an activation wants a sync now, whatever failed before.
    pub(crate) fn nudge(&self) {
        self.inner.nudge.notify_one();
    }

    pub(crate) async fn is_bound(&self) -> bool {
        self.store(|store| store.binding().is_some()).await
    }

    /// Whether the hub has consolidated everything and merged every edit, as far as is known.
    async fn is_settled(&self) -> bool {
        self.store(|store| -> Result<bool, StoreError> {
            let consolidated = store.watermark(Reader::HubConsolidated)?;
            Ok(consolidated >= store.journal_seq() && store.pending_edits()? == 0)
        })
        .await
        .unwrap_or(false)
    }

    /// Entries that the hub has not received, and those of them that failed as often as the limit says.
    pub(super) async fn undelivered(&self) -> Result<(i64, i64), StoreError> {
        let waiting = self.store(|store| -> Result<i64, StoreError> {
            Ok(store.journal_seq() - store.watermark(Reader::HubReceived)?)
        });
        let waiting = waiting.await?.max(0);
        let given_up = self.state().keeps_failing(self.inner.config.attempts_max);
        Ok((waiting, if given_up { waiting } else { 0 }))
    }

    /// Keeps what is known about the hub for commands that run without the daemon.
    async fn keep_state(&self) {
        let state = self.state().clone();
        let kept = self.store(move |store| -> Result<(), StoreError> {
            store.keep_sync_state(&serde_json::to_string(&state)?)
        });
        if let Err(error) = kept.await {
            tracing::warn!(error = %chain(&error), "the state of the sync cannot be kept");
        }
    }

    /// Adds a line to the sync log; a log that cannot be written does not stop a sync.
    pub(crate) async fn log(&self, entry: LogRow) {
        let keep_ms = i64::from(self.inner.config.log_days).saturating_mul(DAY_MS);
        if let Err(error) = self.store(move |store| store.log(&entry, keep_ms)).await {
            tracing::warn!(error = %chain(&error), "the sync log cannot be written");
        }
    }
}
