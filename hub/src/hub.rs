//! One open hub: its databases, its copies, and what both the daemon and the commands do on them.

use crate::config::HubConfig;
use crate::consolidator::Inbox;
use crate::copies::{Copies, CopyFailure};
use crate::datadir::{DataDir, DataDirError, Ownership};
use crate::history::Pruner;
use crate::integrity::{self, OpenCatalogError, Verifier};
use crate::lanes::LaneAuthorities;
use crate::limits::{EXPORTS_AT_ONCE_MAX, PUSHES_AT_ONCE_MAX, SIGN_INS_WAITING_MAX};
use crate::monitor::Monitor;
use crate::news::{News, Place};
use crate::store::{NewAlert, Reader, Store, StoreError};
use counterfoil_domain::{HubId, NodeId};
use counterfoil_protocol::wire::access::AccessLogRow;
use counterfoil_replica::env::{Env, Worker};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// See the module. Fields drop in this order: connections close before the copies that pin them,
/// and the folder is given up last.
pub struct Hub {
    /// Answers who is calling; never behind a report.
    pub(crate) lookups: Worker<Reader>,
    pub(crate) reports: Worker<Reader>,
    /// Closes after the readers, so that `hub.db` is left without a WAL.
    pub(crate) writer: Worker<Store>,
    pub(crate) copies: Copies,
    pub(crate) inbox: Inbox,
    pub(crate) news: News,
    pub(crate) pruner: Pruner,
    pub(crate) verifier: Verifier,
    /// The turn to check a password: one at a time, so that the lockout counts each.
    pub(crate) sign_in: tokio::sync::Mutex<()>,
    /// Places of those who wait for it.
    pub(crate) sign_ins: tokio::sync::Semaphore,
    pub(crate) monitor: Monitor,
    /// Turns for parts of a file on their way out.
    pub(crate) exports: tokio::sync::Semaphore,
    /// Turns for pushes that have arrived.
    pub(crate) pushes: tokio::sync::Semaphore,
    pub(crate) config: HubConfig,
    pub(crate) env: Env,
    pub(crate) id: HubId,
    pub(crate) admin_token: String,
    /// They sign the certificates of lanes.
    pub(crate) lanes: LaneAuthorities,
    /// URL it listens on, once it does.
    pub(crate) url: OnceLock<String>,
    pub(crate) dir: DataDir,
    /// False while a catalog that was lost is written again: no till may take the half for the whole.
    pub(crate) catalog_is_whole: AtomicBool,
    _ownership: Ownership,
}

/// Why a hub cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenHubError {
    /// Its folder.
    #[error("the hub's folder cannot be used")]
    DataDir(#[from] DataDirError),
    /// Another process works on the folder.
    #[error("another process works on this folder")]
    InUse,
    /// Its databases.
    #[error("the hub's databases cannot be opened")]
    Store(#[from] StoreError),
    /// The catalog that tills pull.
    #[error("the catalog cannot be opened for tills")]
    Catalog(#[from] CopyFailure),
    /// The operating system has no thread to give.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

impl From<OpenCatalogError> for OpenHubError {
    fn from(error: OpenCatalogError) -> Self {
        match error {
            OpenCatalogError::Copy(error) => Self::Catalog(error),
            OpenCatalogError::Store(error) => Self::Store(error),
        }
    }
}

impl Hub {
    /// Opens a hub, setting it up at the first time.
    ///
    /// # Errors
    /// [`OpenHubError`].
    pub async fn open(config: HubConfig, env: Env) -> Result<Arc<Self>, OpenHubError> {
        let dir = DataDir::new(&config.data);
        dir.create()?;
        let ownership = dir.own()?.ok_or(OpenHubError::InUse)?;
        Self::open_owned(config, env, ownership).await
    }

    /// Opens a hub in a folder that the caller owns already.
    ///
    /// # Errors
    /// [`OpenHubError`].
    pub async fn open_owned(
        config: HubConfig,
        env: Env,
        ownership: Ownership,
    ) -> Result<Arc<Self>, OpenHubError> {
        let dir = DataDir::new(&config.data);
        dir.create()?;
        // Whoever owns the folder knows that no hub listens.
        dir.withdraw(&env)?;
        let admin_token = dir.admin_token(&*env.random)?;
        let lane_secret = dir.lane_secret()?;
        let now_ms = env.clock.now_ms();
        let (hub_db, catalog_db) = (dir.hub_db(), dir.catalog_db());
        let copies = Copies::new(env.clone(), dir.clone(), config.history);
        // From here on the catalog's WAL is pinned, whichever connection closes.
        let schema = config.schemas.catalog;
        let catalog = integrity::open_catalog(&copies, &dir, &*env.files, schema, now_ms).await?;
        let mut store = Store::open(&hub_db, &catalog_db, config.schemas, now_ms)?;
        let id = store.hub_id(now_ms, &*env.random)?;
        store.settle_price_policies(id, now_ms)?;
        let lane_secret = match lane_secret {
            Some(secret) => secret,
            None => {
                // Told before it is made: a kill in between costs a repetition.
                store.tell_lane_secret_lost(now_ms)?;
                dir.make_lane_secret(&*env.random)?
            }
        };
        let lanes = LaneAuthorities::new(lane_secret);
        let lookups = Reader::open(&hub_db, &catalog_db)?;
        let reports = Reader::open(&hub_db, &catalog_db)?;
        let start = |name, reader| Worker::start(env.execution, name, reader);
        let catalog_is_whole = AtomicBool::new(!store.catalog_was_lost);
        let hub = Self {
            writer: Worker::start(env.execution, "hub-writer", store)
                .map_err(OpenHubError::Thread)?,
            lookups: start("hub-lookups", lookups).map_err(OpenHubError::Thread)?,
            reports: start("hub-reports", reports).map_err(OpenHubError::Thread)?,
            copies,
            inbox: Inbox::default(),
            news: News::new(Place::of(&catalog)),
            pruner: Pruner::default(),
            verifier: Verifier::default(),
            sign_in: tokio::sync::Mutex::new(()),
            sign_ins: tokio::sync::Semaphore::new(SIGN_INS_WAITING_MAX),
            monitor: Monitor::default(),
            exports: tokio::sync::Semaphore::new(EXPORTS_AT_ONCE_MAX),
            pushes: tokio::sync::Semaphore::new(PUSHES_AT_ONCE_MAX),
            config,
            env,
            id,
            admin_token,
            lanes,
            url: OnceLock::new(),
            dir,
            catalog_is_whole,
            _ownership: ownership,
        };
        if !hub.catalog_is_whole.load(Ordering::Acquire)
            && let Err(error) = hub.publish().await
        {
            // Books are taken in all the same, and the next sweep tries again.
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "the catalog is not whole and cannot be written now");
        }
        Ok(Arc::new(hub))
    }

    /// The hub's id.
    #[must_use]
    pub fn id(&self) -> HubId {
        self.id
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.env.clock.now_ms()
    }

    /// How long a token of a till holds; `None`: for ever.
    pub(crate) fn token_life_ms(&self) -> Option<i64> {
        let life = self.config.token_life?;
        Some(i64::try_from(life.as_millis()).unwrap_or(i64::MAX))
    }

    /// When a token that is given now ends. A clock that is behind, as that of a machine without a battery is until it
    /// has asked for the time, must not give tokens that have ended when it is right again.
    pub(crate) async fn token_expires_ms(&self) -> Result<Option<i64>, StoreError> {
        let Some(life_ms) = self.token_life_ms() else {
            return Ok(None);
        };
        let known_ms = self.lookups.call(|reader| reader.known_ms()).await?;
        Ok(Some(self.now_ms().max(known_ms).saturating_add(life_ms)))
    }

    /// Logs something that a person should look at, and puts it on record.
    pub(crate) async fn alert(&self, kind: &'static str, node: Option<NodeId>, detail: &str) {
        if let Err(error) = self.written_alert(kind, node, detail).await {
            // The line in the log is the fallback.
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot store the alert"
            );
        }
    }

    /// The same for what may not get lost.
    pub(crate) async fn written_alert(
        &self,
        kind: &'static str,
        node: Option<NodeId>,
        detail: &str,
    ) -> Result<(), StoreError> {
        tracing::warn!(
            kind,
            node = node.map(tracing::field::display),
            detail,
            "alert"
        );
        let (at_ms, detail) = (self.now_ms(), detail.to_owned());
        let alert = NewAlert {
            at_ms,
            kind,
            node,
            subject: String::new(),
            detail,
        };
        self.writer.call(move |store| store.alert(&alert)).await
    }

    /// Puts on record that a caller asked for something that is not for them.
    pub(crate) async fn refused(&self, who: &str, what: &str) {
        tracing::warn!(who, what, "refused");
        self.log_access(who, what, "refused").await;
    }

    /// Puts on record what became of somebody's wish.
    pub(crate) async fn log_access(&self, who: &str, what: &str, outcome: &str) {
        let row = AccessLogRow {
            id: 0,
            at_ms: self.now_ms(),
            who: who.to_owned(),
            what: what.to_owned(),
            outcome: outcome.to_owned(),
            times: 1,
        };
        if let Err(error) = self.writer.call(move |store| store.log_access(&row)).await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(
                error,
                who,
                what,
                outcome,
                "cannot store who was let in or refused"
            );
        }
    }

    /// URL that join codes carry unless the operator gives another.
    pub(crate) async fn join_url(&self) -> Result<String, StoreError> {
        let remembered = self.writer.call(|store| store.remembered_url()).await?;
        Ok(remembered.unwrap_or_else(|| format!("http://{}", crate::config::LISTEN_DEFAULT)))
    }
}
