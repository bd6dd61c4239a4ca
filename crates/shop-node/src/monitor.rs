//! What the node knows of its own work: whether its sync turns, and figures for Prometheus.
//!
//! `docs/metrics.md` lists the figures; a test holds it against what is exposed.

use crate::mesh::Traffic;
use crate::node::Node;
use crate::sync::{Phase, SyncError};
use counterfoil_protocol::wire::node::{NodeStatus, SyncReport};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Time without a turn of the sync or a part of the book that has gone up, beyond its longest pause, after which the process
/// counts as dead: a catalog over a slow line may take an hour.
const SYNC_SILENCE_MAX: Duration = Duration::from_secs(2 * 3_600);

/// Names and values that tell the lines of one metric apart.
type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge>;

/// See the module.
pub(crate) struct Monitor {
    turned: Mutex<Option<Instant>>,
    /// Held while figures are collected and written, so that two who ask do not mix.
    registry: Mutex<Registry>,
    runs: Family<Labels, Counter>,
    seconds: Histogram,
    bytes_up: Counter,
    bytes_down: Counter,
    frames_up: Counter,
    frames_down: Counter,
    gauges: Collected,
}

/// Figures that are read when somebody asks.
#[derive(Default)]
struct Collected {
    info: Gauges,
    phase: Gauges,
    receipts: Gauge,
    journal: Gauge,
    received: Gauge,
    consolidated: Gauge,
    pending: Gauges,
    failed: Gauge,
    quarantined: Gauge,
    edits: Gauge,
    revision: Gauge,
    last_synced: Gauge,
    clock: Gauge,
    lanes: Gauge,
    reconciled: Gauge,
    unreconciled: Gauge,
    size: Gauges,
    wal: Gauges,
    disk: Gauge,
}

impl Collected {
    fn register(&self, to: &mut Registry) {
        let it = self;
        to.register(
            "info",
            "Always 1; the labels name the program and the till",
            it.info.clone(),
        );
        to.register(
            "sync_phase",
            "1 for where the sync stands, 0 for the rest",
            it.phase.clone(),
        );
        to.register(
            "receipts",
            "Sales and refunds in the book",
            it.receipts.clone(),
        );
        to.register(
            "journal_entries",
            "Entries of the journal",
            it.journal.clone(),
        );
        to.register(
            "received_entries",
            "Entries that the hub has, durably",
            it.received.clone(),
        );
        to.register(
            "consolidated_entries",
            "Entries that the hub has consolidated",
            it.consolidated.clone(),
        );
        to.register(
            "pending_entries",
            "Entries that the hub does not have, by priority",
            it.pending.clone(),
        );
        to.register(
            "failed_entries",
            "Those of them that failed as often as the limit says; sync goes on trying",
            it.failed.clone(),
        );
        self.register_rest(to);
    }

    fn register_rest(&self, to: &mut Registry) {
        let it = self;
        to.register(
            "quarantined_entries",
            "Entries in the hub's quarantine",
            it.quarantined.clone(),
        );
        to.register(
            "pending_edits",
            "Catalog edits that are not merged yet",
            it.edits.clone(),
        );
        to.register(
            "catalog_revision",
            "Catalog revision that is held",
            it.revision.clone(),
        );
        to.register_with_unit(
            "last_synced_timestamp",
            "End of the last complete sync since the Unix epoch; 0 before the first",
            Unit::Seconds,
            it.last_synced.clone(),
        );
        to.register_with_unit(
            "clock_offset",
            "This clock minus the hub's; 0 before the first contact",
            Unit::Other("milliseconds".to_owned()),
            it.clock.clone(),
        );
        self.register_lanes(to);
        to.register_with_unit(
            "database",
            "Size of a database's file",
            Unit::Bytes,
            it.size.clone(),
        );
        to.register_with_unit(
            "wal",
            "Size of a database's write-ahead log",
            Unit::Bytes,
            it.wal.clone(),
        );
        to.register_with_unit(
            "disk_free",
            "Room on the till's disk; -1 where the system does not say",
            Unit::Bytes,
            it.disk.clone(),
        );
    }

    fn register_lanes(&self, to: &mut Registry) {
        let it = self;
        to.register(
            "connected_lanes",
            "Other lanes of the shop that are connected",
            it.lanes.clone(),
        );
        to.register_with_unit(
            "reconciled_timestamp",
            "End of the last comparison of stock with other lanes since the Unix epoch; 0 before the first",
            Unit::Seconds,
            it.reconciled.clone(),
        );
        to.register(
            "unreconciled_products",
            "Products that stayed different then; 10 are 10 or more",
            it.unreconciled.clone(),
        );
    }
}

impl Monitor {
    /// What is said to other lanes is counted where it is said.
    pub(crate) fn new(lanes: &Traffic) -> Self {
        let monitor = Self {
            turned: Mutex::default(),
            registry: Mutex::new(Registry::with_prefix("counterfoil_node")),
            runs: Family::default(),
            seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            bytes_up: Counter::default(),
            bytes_down: Counter::default(),
            frames_up: Counter::default(),
            frames_down: Counter::default(),
            gauges: Collected::default(),
        };
        monitor.register(lanes);
        for phase in Phase::ALL {
            // What has not happened yet is a zero and no hole.
            drop(monitor.runs.get_or_create(&phase_labels(phase)));
        }
        monitor
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

/// Plain values: what a holder that panicked left is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn phase_labels(phase: Phase) -> Labels {
    vec![("phase", phase.name().to_owned())]
}

impl Monitor {
    fn register(&self, lanes: &Traffic) {
        let to = &mut *lock(&self.registry);
        to.register(
            "sync_runs",
            "Syncs, by where they left the till",
            self.runs.clone(),
        );
        to.register_with_unit(
            "sync_duration",
            "Time of a sync",
            Unit::Seconds,
            self.seconds.clone(),
        );
        to.register_with_unit(
            "sent",
            "Frames of the book, as on the wire",
            Unit::Bytes,
            self.bytes_up.clone(),
        );
        to.register_with_unit(
            "received",
            "Frames of the catalog, as on the wire",
            Unit::Bytes,
            self.bytes_down.clone(),
        );
        to.register("frames_sent", "Frames of the book", self.frames_up.clone());
        to.register(
            "frames_received",
            "Frames of the catalog",
            self.frames_down.clone(),
        );
        to.register_with_unit(
            "lanes_sent",
            "Frames to other lanes, as on the wire",
            Unit::Bytes,
            lanes.sent.clone(),
        );
        to.register_with_unit(
            "lanes_plain",
            "Frames to other lanes before they were packed",
            Unit::Bytes,
            lanes.plain.clone(),
        );
        self.gauges.register(to);
    }

    /// Notes a sign of life of the sync: a turn of its loop, or something that it has sent.
    pub(crate) fn turned(&self) {
        *lock(&self.turned) = Some(Instant::now());
    }

    /// Counts a sync and where it left the till.
    pub(crate) fn count_run(
        &self,
        outcome: &Result<SyncReport, SyncError>,
        phase: Phase,
        took: Duration,
    ) {
        self.runs.get_or_create(&phase_labels(phase)).inc();
        self.seconds.observe(took.as_secs_f64());
        if let Ok(report) = outcome {
            self.bytes_up.inc_by(report.bytes_up);
            self.bytes_down.inc_by(report.bytes_down);
            self.frames_up.inc_by(report.frames_up);
            self.frames_down.inc_by(report.frames_down);
        }
    }
}

/// Sizes on the disk: of each database its file and its log, and what is left.
struct Sizes {
    databases: Vec<(&'static str, u64, u64)>,
    free: Option<u64>,
}

impl Node {
    /// What is dead in this process; nothing when it lives.
    pub(crate) fn dead(&self) -> Option<String> {
        let turned = *lock(&self.inner.monitor.turned);
        let silent = turned?.elapsed();
        let limit = self
            .inner
            .config
            .sync_interval()
            .saturating_add(SYNC_SILENCE_MAX);
        (silent > limit).then(|| format!("the sync gave no sign for {} s", silent.as_secs()))
    }

    /// What keeps the till from recording a sale; nothing when it is ready.
    pub(crate) async fn unready(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let now_ms = self.now_ms();
        let tried = self.store(move |store| (store.try_writing(now_ms), store.book_schema()));
        let (written, schema) = tried.await;
        if let Err(error) = written {
            let why = crate::problem::chain(&error);
            problems.push(format!("database: it cannot be written: {why}"));
        }
        let wanted = counterfoil_migrate::Kind::Book.schema_version();
        match schema {
            Ok(Some(found)) if found == wanted => {}
            Ok(found) => {
                let found = found.map_or_else(|| "none".to_owned(), |it| it.to_string());
                problems.push(format!(
                    "schema: the book has {found}, this program is of {wanted}"
                ));
            }
            Err(error) => problems.push(format!("schema: {}", crate::problem::chain(&error))),
        }
        match self.disk_free().await {
            Ok(Some(free)) if free >> 20 < self.inner.config.disk_limit_mib => {
                let (free, limit) = (free >> 20, self.inner.config.disk_limit_mib);
                problems.push(format!("disk: {free} MiB are left, less than {limit} MiB"));
            }
            Ok(_) => {}
            Err(error) => problems.push(format!("disk: its room cannot be read: {error}")),
        }
        problems
    }

    async fn disk_free(&self) -> io::Result<Option<u64>> {
        let env = &self.inner.env;
        let (files, path) = (env.files.clone(), self.inner.paths.book.clone());
        let free = move || files.free_bytes(&path);
        env.execution.blocking(free).await
    }

    async fn sizes(&self) -> io::Result<Sizes> {
        let (files, paths) = (self.inner.env.files.clone(), self.inner.paths.clone());
        let measure = move || {
            let size = |path: &Path, suffix: &str| -> io::Result<u64> {
                let mut name = path.as_os_str().to_owned();
                name.push(suffix);
                Ok(files.size(Path::new(&name))?.unwrap_or(0))
            };
            let mut sizes = Vec::new();
            for (name, path) in [
                ("book", &paths.book),
                ("catalog", &paths.catalog),
                ("local", &paths.local),
            ] {
                sizes.push((name, size(path, "")?, size(path, "-wal")?));
            }
            io::Result::Ok(sizes)
        };
        Ok(Sizes {
            databases: self.inner.env.execution.blocking(measure).await?,
            free: self.disk_free().await?,
        })
    }

    /// All figures as OpenMetrics text.
    ///
    /// # Errors
    /// What the operating system reports about the files.
    pub(crate) async fn metrics(&self, status: &NodeStatus) -> io::Result<String> {
        let sizes = self.sizes().await?;
        let monitor = &self.inner.monitor;
        let registry = lock(&monitor.registry);
        let at = self.state().phase;
        monitor.gauges.set(status, at, &sizes);
        let mut text = String::new();
        encode(&mut text, &registry).map_err(io::Error::other)?;
        Ok(text)
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Collected {
    fn set(&self, status: &NodeStatus, at: Phase, sizes: &Sizes) {
        self.info.clear();
        let names = vec![
            ("node", status.node_id.to_string()),
            ("version", status.version.clone()),
        ];
        self.info.get_or_create(&names).set(1);
        self.phase.clear();
        for phase in Phase::ALL {
            let here = i64::from(phase == at);
            self.phase.get_or_create(&phase_labels(phase)).set(here);
        }
        self.receipts.set(status.receipts);
        self.journal.set(status.journal_seq);
        self.received.set(status.hub_received_seq);
        self.consolidated.set(status.hub_consolidated_seq);
        for priority in counterfoil_domain::Priority::ALL {
            let name = priority.name();
            let pending = status.pending_by_priority.get(name).copied();
            let labels = vec![("priority", name.to_owned())];
            self.pending
                .get_or_create(&labels)
                .set(pending.unwrap_or(0));
        }
        self.failed.set(status.failed);
        self.quarantined.set(status.quarantined);
        self.edits.set(status.pending_edits);
        self.revision.set(status.catalog_revision);
        let synced_ms = status.last_synced_ms.unwrap_or(0);
        self.last_synced.set(synced_ms.div_euclid(1_000));
        self.clock.set(status.clock_offset_ms.unwrap_or(0));
        let mesh = status.mesh.as_ref();
        let connections = mesh.map_or(0, |mesh| mesh.connections);
        self.lanes
            .set(i64::try_from(connections).unwrap_or(i64::MAX));
        let reconciled = mesh.and_then(|mesh| mesh.reconciliation.as_ref());
        let reconciled_ms = reconciled.map_or(0, |it| it.at_ms);
        self.reconciled.set(reconciled_ms.div_euclid(1_000));
        let open = reconciled.map_or(0, |it| it.open.len());
        self.unreconciled
            .set(i64::try_from(open).unwrap_or(i64::MAX));
        for (name, size, wal) in &sizes.databases {
            let labels = vec![("database", (*name).to_owned())];
            self.size.get_or_create(&labels).set(whole(*size));
            self.wal.get_or_create(&labels).set(whole(*wal));
        }
        self.disk.set(sizes.free.map_or(-1, whole));
    }
}
