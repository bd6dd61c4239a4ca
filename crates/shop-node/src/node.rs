//! One lane: its databases behind one writer, their replicas, and what is known about the hub.

use crate::config::Config;
use crate::credentials::{Credentials, Keyring};
use crate::limits::PIN_CHECKS_MAX;
use crate::marks::{KeptMarks, Marks};
use crate::mesh::Mesh;
use crate::mesh::pairing::Pairing;
use crate::mesh::trust::Trust;
use crate::monitor::Monitor;
use crate::repair;
use crate::sync::{News, SyncState};
use counterfoil_domain::NodeId;
use counterfoil_domain::env::uuid_v7;
use counterfoil_migrate::Kind;
use counterfoil_protocol::gate::Schemas;
use counterfoil_replica::env::{BoxFuture, Env, Worker, create_folder};
use counterfoil_replica::{
    BookReplica, CatalogReplica, Gate, GateClosed, GateJob, GateUse, LocalError,
};
use counterfoil_shop_store::{OpenStoreError, Paths, ShopStore, StoreError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A node that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenNodeError {
    /// The data directory cannot be used.
    #[error("cannot use the data directory")]
    Directory(#[source] io::Error),
    /// A database cannot be opened for replication.
    #[error("cannot prepare a database for sync")]
    Replica(#[from] LocalError),
    /// The databases cannot be opened.
    #[error("cannot open the node")]
    Store(#[from] OpenStoreError),
}

/// One lane. Cheap to clone; the last clone closes the databases.
#[derive(Clone)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// Names this opening of the node, so that a caller can tell it from whatever else listens on an
    /// address that was its own.
    pub(crate) instance: String,
    pub(crate) env: Env,
    pub(crate) config: Config,
    pub(crate) schemas: Schemas,
    /// Of every identity; [`Node::credentials`] are the present one's.
    pub(crate) credentials: Credentials,
    // Dropped in this order: the store's connections close while the replicas still pin the WALs.
    pub(crate) store: Worker<ShopStore>,
    pub(crate) book: BookReplica,
    pub(crate) catalog: CatalogReplica,
    /// How far the journal is, outside of the folder.
    pub(crate) marks: Option<KeptMarks>,
    /// There is something to mark.
    pub(crate) to_mark: Notify,
    /// There is something to count into the levels of stock.
    pub(crate) to_count: Notify,
    /// Something urgent was recorded.
    pub(crate) urgent: Notify,
    /// Something was recorded that can wait for company.
    pub(crate) written: Notify,
    /// Somebody wants a sync now.
    pub(crate) nudge: Notify,
    /// What the hub says by itself.
    pub(crate) news: News,
    pub(crate) state: Mutex<SyncState>,
    pub(crate) monitor: Monitor,
    /// The other lanes of the shop.
    pub(crate) mesh: Arc<Mesh>,
    /// By what they know this one.
    pub(crate) trust: Trust,
    /// How others come in by a code, in trial.
    pub(crate) pairing: Pairing,
    pub(crate) paths: Paths,
    /// Held while a PIN is hashed: one at a time.
    pub(crate) pin_turn: tokio::sync::Mutex<()>,
    /// Of those who wait for that.
    pub(crate) pin_places: tokio::sync::Semaphore,
    /// Held while stock is compared with other lanes': once at a time.
    pub(crate) reconciling: tokio::sync::Mutex<()>,
    /// Held while an activation runs: one at a time.
    pub(crate) activating: tokio::sync::Mutex<()>,
    /// Held while a sync runs: one at a time.
    pub(crate) syncing: tokio::sync::Mutex<()>,
}

/// What a program can be told about itself that tests may want to change.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The schemas that the program knows: it migrates up to them and states them to the hub.
    pub schemas: Schemas,
    /// The keyring that comes before files.
    pub keyring: Keyring,
    /// Folders outside of the data folder in which a mark may lie; without any a folder that was restored or copied is
    /// not known before somebody says so.
    pub marks: Vec<PathBuf>,
    /// The id of a node that is made; without one it is drawn.
    pub id: Option<NodeId>,
}

impl NodeOptions {
    /// Those of the program on a machine.
    pub fn of_machine(config: &Config) -> Self {
        Self {
            marks: config.fence_folders(),
            ..Self::default()
        }
    }
}

impl Default for NodeOptions {
    fn default() -> Self {
        let schemas = Schemas {
            book: Kind::Book.schema_version(),
            catalog: Kind::Catalog.schema_version(),
        };
        Self {
            schemas,
            keyring: Keyring::System,
            marks: Vec::new(),
            id: None,
        }
    }
}

impl Node {
    /// Opens the node of a data directory, making it on the first start. Blocks. The caller holds
    /// the directory's lock.
    ///
    /// # Errors
    /// [`OpenNodeError`].
    pub fn open(
        data: &Path,
        config: Config,
        env: Env,
        options: &NodeOptions,
    ) -> Result<Self, OpenNodeError> {
        create_folder(data).map_err(OpenNodeError::Directory)?;
        let paths = Paths::of(data);
        let (book, catalog, mut store) = match open_databases(&paths, options, &env) {
            Ok(open) => open,
            // The catalog comes from the hub and local.db can be rebuilt: damage to them must not
            // keep a till from selling. The book is never touched.
            Err(error) if repair::put_damaged_aside(&paths, &env)? => {
                tracing::warn!(error = %crate::problem::chain(&error), "opening again");
                open_databases(&paths, options, &env)?
            }
            Err(error) => return Err(error),
        };
        let marks = Marks::of(data, &paths, &options.marks, &env.files);
        let marks = match marks {
            Some(mut marks) => {
                marks.settle(&mut store, env.clock.now_ms());
                let kept = KeptMarks::start(marks, env.execution);
                Some(kept.map_err(OpenNodeError::Directory)?)
            }
            None => None,
        };
        let former = store.formers().first().map(|former| former.node);
        let first = former.unwrap_or_else(|| store.node());
        let credentials = Credentials::open(data, first, &options.keyring, env.random.as_ref());
        let state = store.sync_state().ok().flatten();
        // A state that cannot be read is known again after one run.
        let state = state
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let mesh: Arc<Mesh> = Arc::default();
        let lanes = Arc::clone(&mesh);
        store.ask_connected(move || lanes.caught_up_with());
        let lanes = Arc::clone(&mesh);
        store.ask_reachable(move || lanes.connected());
        let store =
            Worker::start(env.execution, "store", store).map_err(OpenNodeError::Directory)?;
        let instance = uuid_v7(env.clock.now_ms(), env.random.as_ref()).to_string();
        let inner = Inner {
            instance,
            schemas: options.schemas,
            credentials,
            store,
            book,
            catalog,
            marks,
            to_mark: Notify::new(),
            to_count: Notify::new(),
            urgent: Notify::new(),
            written: Notify::new(),
            nudge: Notify::new(),
            news: News::default(),
            state: Mutex::new(state),
            monitor: Monitor::new(&mesh.traffic),
            mesh,
            trust: Trust::default(),
            pairing: Pairing::default(),
            paths,
            pin_turn: tokio::sync::Mutex::new(()),
            pin_places: tokio::sync::Semaphore::new(PIN_CHECKS_MAX),
            reconciling: tokio::sync::Mutex::new(()),
            activating: tokio::sync::Mutex::new(()),
            syncing: tokio::sync::Mutex::new(()),
            config,
            env,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Runs a closure on the store's thread.
    pub(crate) async fn store<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut ShopStore) -> R + Send + 'static,
    ) -> R {
        self.inner.store.call(work).await
    }

    /// Where the token of the present identity is kept.
    pub(crate) async fn credentials(&self) -> Credentials {
        let node = self.store(|store| store.node()).await;
        self.inner.credentials.of(node)
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.inner.env.clock.now_ms()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, SyncState> {
        // The state is plain values: what a panicking holder left is as good as any.
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The replicas first: they pin the WALs.
fn open_databases(
    paths: &Paths,
    options: &NodeOptions,
    env: &Env,
) -> Result<(BookReplica, CatalogReplica, ShopStore), OpenNodeError> {
    let book = BookReplica::open(&paths.book, Arc::clone(&env.files), env.execution)?;
    let catalog = CatalogReplica::open(&paths.catalog, Arc::clone(&env.files), env.execution)?;
    let named = (env.clock.now_ms(), options.id);
    let store = ShopStore::open_named(paths, options.schemas, named, Arc::clone(&env.random))?;
    Ok((book, catalog, store))
}

/// The writer gate: a job runs on the store's thread, so no sale is being written meanwhile.
pub(crate) struct StoreGate {
    pub(crate) store: Worker<ShopStore>,
}

impl Gate for StoreGate {
    fn run(&self, gate_use: GateUse, job: GateJob) -> BoxFuture<'_, Result<(), GateClosed>> {
        let store = self.store.clone();
        Box::pin(async move {
            let run = move |store: &mut ShopStore| -> Result<(), StoreError> {
                match gate_use {
                    GateUse::Checkpoint => {
                        job();
                        Ok(())
                    }
                    GateUse::Swap => store.swap_catalog(job),
                }
            };
            store.call(run).await.map_err(|error| {
                tracing::error!(error = %crate::problem::chain(&error), "the catalog cannot be swapped");
                GateClosed
            })
        })
    }
}
