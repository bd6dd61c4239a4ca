//! Figures that are read when somebody asks for them.

use super::metrics::{Gauges, Labels};
use crate::limits::METRIC_NODES_MAX;
use counterfoil_protocol::wire::hub::{HubStatus, NodeRow};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Figures that are read when somebody asks.
#[derive(Default)]
pub(super) struct Collected {
    info: Gauges,
    nodes: Gauges,
    silence: Gauges,
    pub(super) lag: Gauges,
    pub(super) lag_max: Gauge,
    catalog_behind: Gauges,
    quarantine: Gauge,
    conflicts: Gauge,
    proofs_failed: Gauge,
    alerts: Gauges,
    outbox: Gauge,
    wal: Gauges,
    disk: Gauge,
    revision: Gauge,
    receipts: Gauge,
}

impl Collected {
    pub(super) fn register(&self, to: &mut Registry) {
        let it = self;
        to.register(
            "info",
            "Always 1; the labels name the program and the hub",
            it.info.clone(),
        );
        to.register("nodes", "Tills by state", it.nodes.clone());
        to.register_with_unit(
            "node_silence",
            "Time since a till was heard of, of those that are silent for longest",
            Unit::Seconds,
            it.silence.clone(),
        );
        to.register_with_unit(
            "node_lag",
            "Time for which something that a till sent has been waiting to be consolidated",
            Unit::Seconds,
            it.lag.clone(),
        );
        to.register_with_unit(
            "consolidation_lag",
            "The longest node lag; 0 when nothing waits",
            Unit::Seconds,
            it.lag_max.clone(),
        );
        to.register(
            "node_catalog_behind_revisions",
            "Publications of the catalog that a till has not pulled, of those furthest behind",
            it.catalog_behind.clone(),
        );
        self.register_rest(to);
    }

    fn register_rest(&self, to: &mut Registry) {
        let it = self;
        to.register(
            "quarantine_open",
            "Records in quarantine",
            it.quarantine.clone(),
        );
        to.register(
            "conflicts_open",
            "Conflicts that wait for a person",
            it.conflicts.clone(),
        );
        to.register(
            "proofs_failed",
            "Closed days of tills that are not what was consolidated",
            it.proofs_failed.clone(),
        );
        to.register(
            "alerts_open",
            "Alerts that ask for a person, by kind",
            it.alerts.clone(),
        );
        to.register(
            "alert_outbox",
            "Messages about alerts that wait to be delivered",
            it.outbox.clone(),
        );
        to.register_with_unit(
            "wal",
            "Size of the write-ahead logs, by database; all books together",
            Unit::Bytes,
            it.wal.clone(),
        );
        to.register_with_unit(
            "disk_free",
            "Room on the hub's disk; -1 where the system does not say",
            Unit::Bytes,
            it.disk.clone(),
        );
        to.register(
            "catalog_revision",
            "Newest revision of the catalog",
            it.revision.clone(),
        );
        to.register(
            "receipts",
            "Consolidated sales and refunds",
            it.receipts.clone(),
        );
    }
}

/// What a scrape read.
pub(super) struct Scrape {
    pub(super) status: HubStatus,
    pub(super) nodes: Vec<NodeRow>,
    pub(super) alerts: Vec<(String, i64)>,
    pub(super) outbox: i64,
    pub(super) wals: [(&'static str, u64); 3],
    pub(super) free: Option<u64>,
}

pub(super) fn till(row: &NodeRow) -> Labels {
    vec![
        ("node", row.node_id.to_string()),
        ("till", format!("{}/{}", row.shop, row.lane)),
    ]
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Collected {
    pub(super) fn set(&self, scrape: &Scrape, now_ms: i64) {
        let status = &scrape.status;
        self.info.clear();
        let names = vec![
            ("hub", status.hub_id.to_string()),
            ("version", status.version.clone()),
        ];
        self.info.get_or_create(&names).set(1);
        self.quarantine.set(status.quarantined);
        self.conflicts.set(status.conflicts_open);
        self.revision.set(status.catalog_revision);
        self.receipts.set(status.receipts);
        self.outbox.set(scrape.outbox);
        self.disk.set(scrape.free.map_or(-1, whole));
        self.alerts.clear();
        let mut failed = 0;
        for (kind, count) in &scrape.alerts {
            let labels = vec![("kind", kind.clone())];
            self.alerts.get_or_create(&labels).set(*count);
            if kind == "proof_failed" {
                failed = *count;
            }
        }
        self.proofs_failed.set(failed);
        for (database, bytes) in scrape.wals {
            let labels = vec![("database", database.to_owned())];
            self.wal.get_or_create(&labels).set(whole(bytes));
        }
        self.set_nodes(&scrape.nodes, now_ms);
    }

    fn set_nodes(&self, nodes: &[NodeRow], now_ms: i64) {
        self.nodes.clear();
        for row in nodes {
            let labels = vec![("state", row.state.clone())];
            self.nodes.get_or_create(&labels).inc();
        }
        let silence = |row: &NodeRow| {
            let seen_ms = row.seen_ms?;
            Some(now_ms.saturating_sub(seen_ms).max(0).div_euclid(1_000))
        };
        fill(&self.silence, nodes, silence);
        fill(&self.catalog_behind, nodes, |row| Some(row.catalog_pending));
    }
}

/// Sets a gauge of those tills whose figure is largest; revoked ones are not expected to do anything.
fn fill(gauges: &Gauges, nodes: &[NodeRow], figure: impl Fn(&NodeRow) -> Option<i64>) {
    gauges.clear();
    let nodes = nodes.iter().filter(|row| row.state != "revoked");
    let mut figures: Vec<_> = nodes.filter_map(|row| Some((figure(row)?, row))).collect();
    figures.sort_by_key(|(figure, _)| std::cmp::Reverse(*figure));
    for (figure, row) in figures.into_iter().take(METRIC_NODES_MAX) {
        gauges.get_or_create(&till(row)).set(figure);
    }
}
