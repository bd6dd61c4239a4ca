//! What the lanes have acknowledged: the driver's own account, by which the shop is judged at the end.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Counted once, while all lanes were connected; its level is known ever after.
pub(super) const TEA: &str = "TEA";
/// Counted by any lane at any time; what it comes to depends on who had heard of what.
pub(super) const JAM: &str = "JAM";
/// Of which there are few: sold by right.
pub(super) const LAMP: &str = "LAMP";
/// What there was of each before anybody came, in pieces.
pub(super) const TEA_COUNTED: i64 = 500;
pub(super) const LAMPS: i64 = 12;

/// A receipt that was printed.
#[derive(Clone, Debug, Default)]
pub(super) struct Receipt {
    pub(super) lane: usize,
    pub(super) single_copy: bool,
    /// The sale that it takes back.
    pub(super) refund_of: Option<String>,
    /// The parked sale that it finishes.
    pub(super) finishes: Option<String>,
}

/// A value that a person entered at a lane.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    pub(super) lane: usize,
    /// Table, row and column.
    pub(super) field: (&'static str, String, &'static str),
    /// No value is entered twice.
    pub(super) value: String,
    /// What the lane showed just before.
    pub(super) shown: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    /// By document; refunds too.
    pub(super) receipts: BTreeMap<String, Receipt>,
    /// Of which any may be taken back, in the order in which they were sold.
    pub(super) sales: Vec<String>,
    /// What went out of and came into the shop, in thousandths.
    pub(super) moved: BTreeMap<&'static str, i64>,
    pub(super) edits: Vec<Edit>,
    pub(super) parked: BTreeSet<String>,
    /// How often each thing was done, and each was refused.
    pub(super) deeds: BTreeMap<&'static str, usize>,
    pub(super) refusals: BTreeMap<&'static str, usize>,
    /// Makes values that nobody entered before.
    values: u64,
}

impl Account {
    pub(super) fn new_value(&mut self) -> u64 {
        self.values += 1;
        self.values
    }

    pub(super) fn moved(&mut self, sku: &'static str, pieces: i64) {
        *self.moved.entry(sku).or_default() += pieces * 1_000;
    }

    pub(super) fn did(&mut self, deed: &'static str) {
        *self.deeds.entry(deed).or_default() += 1;
    }

    pub(super) fn was_refused(&mut self, deed: &'static str) {
        *self.refusals.entry(deed).or_default() += 1;
    }

    /// What must be there of a product, in thousandths.
    pub(super) fn level(&self, sku: &str, counted: i64) -> i64 {
        counted * 1_000 + self.moved.get(sku).copied().unwrap_or(0)
    }

    /// By what `of` says of a receipt, the receipts of which it says so.
    pub(super) fn by(&self, of: impl Fn(&Receipt) -> Option<&String>) -> BTreeMap<&str, Vec<&str>> {
        let mut by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (id, receipt) in &self.receipts {
            if let Some(other) = of(receipt) {
                by.entry(other).or_default().push(id);
            }
        }
        by
    }

    /// Parked sales that nobody has finished.
    pub(super) fn open(&self) -> BTreeSet<String> {
        let finished = self.by(|it| it.finishes.as_ref());
        let open = self.parked.iter();
        open.filter(|id| !finished.contains_key(id.as_str()))
            .cloned()
            .collect()
    }

    /// What customers never did, though they were to.
    pub(super) fn undone(&self, deeds: &[&str]) -> Vec<String> {
        let never = deeds.iter().filter(|deed| !self.deeds.contains_key(*deed));
        never
            .map(|deed| format!("nobody ever did this: {deed}"))
            .collect()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let twice = |by: BTreeMap<&str, Vec<&str>>| by.values().filter(|it| it.len() > 1).count();
        write!(
            f,
            "{:?}, refused {:?}; {} sales taken back twice, {} parked sales finished twice",
            self.deeds,
            self.refusals,
            twice(self.by(|it| it.refund_of.as_ref())),
            twice(self.by(|it| it.finishes.as_ref())),
        )
    }
}

/// A value of the catalog as SQLite shows it.
pub(super) fn text(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    }
}
