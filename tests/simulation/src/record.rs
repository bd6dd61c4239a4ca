//! What the people of the simulation were told: the other half of every check.

use crate::plan::NODES;
use counterfoil_domain::DocumentId;
use counterfoil_protocol::wire::node::{CatalogDigest, NodeStatus};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A document that a node answered for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) node: usize,
    pub(crate) topic: String,
    pub(crate) seq: i64,
    /// Series, number and total of a receipt.
    pub(crate) receipt: Option<(String, i64, i64)>,
    pub(crate) trial: bool,
    /// The world's time when it was answered for, milliseconds since the Unix epoch; unknown where clocks
    /// jump.
    pub(crate) true_ms: Option<i64>,
}

/// An import batch that a node answered for: its invoices with their totals.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Invoice {
    pub(crate) node: usize,
    pub(crate) number: String,
    pub(crate) total_minor: i64,
}

/// A catalog edit that was answered for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Edit {
    pub(crate) table: &'static str,
    pub(crate) row: String,
    pub(crate) column: &'static str,
    /// JSON scalar.
    pub(crate) value: String,
}

/// What a node said about itself last.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) status: NodeStatus,
    pub(crate) digest: CatalogDigest,
}

/// What the hub said about its catalog last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HubReport {
    pub(crate) revision: i64,
    pub(crate) digest: String,
    pub(crate) quarantined: i64,
}

/// Everything that was acknowledged, and everything that was tried.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) acknowledged: BTreeMap<DocumentId, Acknowledged>,
    /// Ids that a till sent, answered or not.
    pub(crate) attempted: BTreeSet<DocumentId>,
    pub(crate) invoices: Vec<Invoice>,
    /// Numbers of invoices that a till sent, answered or not.
    pub(crate) invoices_attempted: BTreeSet<String>,
    pub(crate) edits: BTreeSet<Edit>,
    pub(crate) reports: [Option<Report>; NODES],
    pub(crate) hub: Option<HubReport>,
    /// Answers that contradict each other or a rule.
    pub(crate) contradictions: Vec<String>,
}

/// Faults and oddities that were met; a test that never meets them proves nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sometimes {
    counts: BTreeMap<&'static str, u64>,
}

impl Sometimes {
    /// Notes that it happened once more.
    pub fn saw(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// Notes that it happened a number of times.
    pub fn add(&mut self, what: &'static str, times: u64) {
        if times > 0 {
            *self.counts.entry(what).or_default() += times;
        }
    }

    /// How often it happened.
    #[must_use]
    pub fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or_default()
    }

    /// Adds what another run met.
    pub fn merge(&mut self, other: &Self) {
        for (what, times) in &other.counts {
            self.add(what, *times);
        }
    }

    /// Everything that happened, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counts.iter().map(|(what, times)| (*what, *times))
    }
}

/// What the hosts of one run share besides the network: a notice board, no part of the product.
#[derive(Default)]
pub(crate) struct Board {
    pub(crate) record: RefCell<Record>,
    pub(crate) sometimes: RefCell<Sometimes>,
    /// Join codes by node, once the office has made them.
    pub(crate) join_codes: RefCell<[Option<String>; NODES]>,
    /// Which nodes were asked to activate.
    pub(crate) activating: RefCell<[bool; NODES]>,
    /// Which nodes were seen active.
    pub(crate) active: RefCell<[bool; NODES]>,
    /// New customers come in.
    pub(crate) trading: Cell<bool>,
    /// Reports that were asked for in an earlier round do not count.
    pub(crate) round: Cell<u32>,
    /// People at a till who still wait for an answer.
    pub(crate) waiting: RefCell<BTreeSet<String>>,
}

pub(crate) type SharedBoard = Rc<Board>;

impl Board {
    pub(crate) fn saw(&self, what: &'static str) {
        self.sometimes.borrow_mut().saw(what);
    }

    pub(crate) fn contradiction(&self, text: String) {
        self.record.borrow_mut().contradictions.push(text);
    }
}
