//! Figures for Prometheus: counters and histograms as things happen, gauges when somebody asks.
//!
//! `docs/metrics.md` lists them all; a test holds it against what is exposed.

use super::gauges::{Collected, Scrape, till};
use super::lock;
use crate::consolidator::ConsolidateError;
use crate::copies::CopyKey;
use crate::hub::Hub;
use crate::limits::METRIC_NODES_MAX;
use crate::store::{Channel, Moved, NewRun};
use counterfoil_domain::Priority;
use counterfoil_protocol::wire::closure::{Proof, ProofState};
use counterfoil_protocol::wire::monitor::{RunKind, RunResult};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// Names and values that tell the lines of one metric apart.
pub(super) type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
pub(super) type Gauges = Family<Labels, Gauge>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// How an attempt to deliver a message ends.
const DELIVERY_RESULTS: [&str; 2] = ["failed", "delivered"];

/// From a millisecond to half a minute: an acknowledged push takes some milliseconds, a first upload seconds.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

/// All figures of a hub.
pub(crate) struct Metrics {
    /// Held while figures are collected and written, so that two who ask do not mix.
    registry: Mutex<Registry>,
    requests: Counters,
    request_seconds: Histograms,
    frames_received: Counter,
    frames_sent: Counter,
    bytes_received: Counter,
    bytes_sent: Counter,
    entries: Counters,
    edits: Counter,
    quarantined: Counter,
    batch_seconds: Histograms,
    proofs: Counters,
    deliveries: Counters,
    gauges: Collected,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("counterfoil_hub")),
            requests: Counters::default(),
            request_seconds: Histograms::new_with_constructor(durations),
            frames_received: Counter::default(),
            frames_sent: Counter::default(),
            bytes_received: Counter::default(),
            bytes_sent: Counter::default(),
            entries: Counters::default(),
            edits: Counter::default(),
            quarantined: Counter::default(),
            batch_seconds: Histograms::new_with_constructor(durations),
            proofs: Counters::default(),
            deliveries: Counters::default(),
            gauges: Collected::default(),
        };
        metrics.register();
        metrics.begin_at_zero();
        metrics
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    fn register(&self) {
        let to = &mut *lock(&self.registry);
        to.register(
            "sync_requests",
            "Requests of tills, by kind and result",
            self.requests.clone(),
        );
        to.register_with_unit(
            "sync_request_duration",
            "Time of a till's request, by kind",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        to.register(
            "frames_received",
            "Frames of books that came up",
            self.frames_received.clone(),
        );
        to.register(
            "frames_sent",
            "Frames of books and of the catalog that went down",
            self.frames_sent.clone(),
        );
        to.register_with_unit(
            "received",
            "Bodies of requests of tills, as on the wire",
            Unit::Bytes,
            self.bytes_received.clone(),
        );
        to.register_with_unit(
            "sent",
            "Bodies of answers to tills, as on the wire",
            Unit::Bytes,
            self.bytes_sent.clone(),
        );
        to.register(
            "consolidated_entries",
            "Journal entries that were consolidated, by priority",
            self.entries.clone(),
        );
        to.register(
            "merged_edits",
            "Edits of the catalog that were merged",
            self.edits.clone(),
        );
        to.register(
            "quarantined_entries",
            "Journal entries that stepped aside",
            self.quarantined.clone(),
        );
        to.register_with_unit(
            "consolidation_duration",
            "Time of one batch of a consolidation, by priority",
            Unit::Seconds,
            self.batch_seconds.clone(),
        );
        to.register(
            "proof_checks",
            "Days of tills whose proof was computed by the watcher, by state",
            self.proofs.clone(),
        );
        to.register(
            "alert_deliveries",
            "Attempts to deliver a message about an alert, by channel and result",
            self.deliveries.clone(),
        );
        self.gauges.register(to);
    }

    /// Makes the counters that are known to come, so that what has not happened yet is a zero and no hole.
    fn begin_at_zero(&self) {
        for kind in [RunKind::Hello, RunKind::Push, RunKind::Pull] {
            let kind = ("kind", kind.name().to_owned());
            drop(self.request_seconds.get_or_create(&vec![kind.clone()]));
            for result in RunResult::ALL {
                let result = ("result", result.name().to_owned());
                drop(self.requests.get_or_create(&vec![kind.clone(), result]));
            }
        }
        for priority in Priority::ALL {
            let labels = vec![("priority", priority.name().to_owned())];
            drop(self.entries.get_or_create(&labels));
            drop(self.batch_seconds.get_or_create(&labels));
        }
        for state in ProofState::ALL {
            let labels = vec![("state", state.name().to_owned())];
            drop(self.proofs.get_or_create(&labels));
        }
        for channel in [Channel::Webhook, Channel::Command] {
            for result in DELIVERY_RESULTS {
                let channel = ("channel", channel.name().to_owned());
                let labels = vec![channel, ("result", result.to_owned())];
                drop(self.deliveries.get_or_create(&labels));
            }
        }
    }

    /// Counts a run; a consolidation counts with its batches.
    pub(super) fn count_run(&self, run: &NewRun) {
        let rows = run.rows.max(0).unsigned_abs();
        match run.kind {
            RunKind::Hello | RunKind::Consolidate => {}
            RunKind::Push => {
                self.frames_received.inc_by(rows);
            }
            RunKind::Pull => {
                self.frames_sent.inc_by(rows);
            }
        }
    }

    /// Counts a request of a till.
    pub(crate) fn count_request(&self, run: &NewRun, up: u64, down: u64, took: Duration) {
        let kind = ("kind", run.kind.name().to_owned());
        let result = ("result", run.result.name().to_owned());
        self.requests
            .get_or_create(&vec![kind.clone(), result])
            .inc();
        self.request_seconds
            .get_or_create(&vec![kind])
            .observe(took.as_secs_f64());
        self.bytes_received.inc_by(up);
        self.bytes_sent.inc_by(down);
    }

    pub(super) fn count_batch(&self, priority: Priority, moved: &Moved, took: Duration) {
        let labels = vec![("priority", priority.name().to_owned())];
        let entries = moved.entries.max(0).unsigned_abs();
        self.entries.get_or_create(&labels).inc_by(entries);
        self.edits.inc_by(moved.edits.max(0).unsigned_abs());
        self.quarantined.inc_by(moved.quarantined);
        self.batch_seconds
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    pub(super) fn count_proof(&self, proof: &Proof) {
        for row in &proof.rows {
            let labels = vec![("state", row.state.name().to_owned())];
            self.proofs.get_or_create(&labels).inc();
        }
    }

    pub(super) fn count_delivery(&self, channel: Channel, delivered: bool) {
        let [failed, done] = DELIVERY_RESULTS;
        let result = if delivered { done } else { failed };
        let labels = vec![
            ("channel", channel.name().to_owned()),
            ("result", result.to_owned()),
        ];
        self.deliveries.get_or_create(&labels).inc();
    }
}

impl Hub {
    /// All figures as OpenMetrics text.
    ///
    /// # Errors
    /// [`ConsolidateError`].
    pub(crate) async fn metrics(&self) -> Result<String, ConsolidateError> {
        let scrape = self.scrape().await?;
        let lags = self.monitor.waiting();
        let metrics = &self.monitor.metrics;
        let registry = lock(&metrics.registry);
        metrics.gauges.set(&scrape, self.now_ms());
        let lag = &metrics.gauges.lag;
        lag.clear();
        let mut longest: Vec<_> = lags.into_iter().collect();
        longest.sort_by_key(|(_, waited)| std::cmp::Reverse(*waited));
        let seconds = |waited: Duration| i64::try_from(waited.as_secs()).unwrap_or(i64::MAX);
        let first = longest.first().map_or(0, |(_, waited)| seconds(*waited));
        metrics.gauges.lag_max.set(first);
        for (node, waited) in longest.into_iter().take(METRIC_NODES_MAX) {
            let row = scrape.nodes.iter().find(|row| row.node_id == node);
            if let Some(row) = row {
                lag.get_or_create(&till(row)).set(seconds(waited));
            }
        }
        let mut text = String::new();
        encode(&mut text, &registry).map_err(|_: fmt::Error| io_error())?;
        Ok(text)
    }

    async fn scrape(&self) -> Result<Scrape, ConsolidateError> {
        let (id, url, schemas) = (self.id, self.url.get().cloned(), self.config.schemas);
        let read = move |reader: &mut crate::store::Reader| {
            let status = reader.status(id, url, None)?;
            let nodes = reader.nodes(schemas)?;
            Ok::<_, crate::store::StoreError>((
                status,
                nodes,
                reader.open_alerts()?,
                reader.outbox_size()?,
            ))
        };
        let (status, nodes, alerts, outbox) = self.reports.call(read).await?;
        let books: Vec<PathBuf> = nodes
            .iter()
            .map(|row| self.copies.path(&CopyKey::Book(row.node_id)))
            .collect();
        let (hub_db, catalog_db) = (self.dir.hub_db(), self.dir.catalog_db());
        let files = self.env.files.clone();
        let measure = move || {
            let wal = |path: &Path| -> io::Result<u64> {
                let mut name = path.as_os_str().to_owned();
                name.push("-wal");
                Ok(files.size(Path::new(&name))?.unwrap_or(0))
            };
            let mut all = 0_u64;
            for book in &books {
                all = all.saturating_add(wal(book)?);
            }
            Ok([
                ("hub", wal(&hub_db)?),
                ("catalog", wal(&catalog_db)?),
                ("books", all),
            ])
        };
        let wals: io::Result<_> = self.env.execution.blocking(measure).await;
        Ok(Scrape {
            status,
            nodes,
            alerts,
            outbox,
            wals: wals.map_err(ConsolidateError::Files)?,
            free: self.disk_free().await.map_err(ConsolidateError::Files)?,
        })
    }
}

fn io_error() -> ConsolidateError {
    ConsolidateError::Files(io::Error::other("the figures cannot be written as text"))
}
