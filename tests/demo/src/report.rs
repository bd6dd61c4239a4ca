//! The result as a value for programs; `page` sets it for people.

use crate::format::money;
use crate::names::Names;
use counterfoil_shop_node::import::RejectedLine;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What came of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// `pass` or `fail`.
    pub verdict: String,
    /// What does not agree, in words; empty when all does.
    pub differences: Vec<String>,
    /// Seed of the made-up trade and of the kills.
    pub seed: u64,
    /// The file that was replayed.
    pub data: Option<String>,
    /// Tills in each shop.
    pub lanes: usize,
    /// One entry a shop.
    pub shops: Vec<ShopReport>,
    /// Documents that tills acknowledged.
    pub documents: u64,
    /// Sales and refunds among them.
    pub receipts: u64,
    /// Acknowledged documents that are not at the hub.
    pub lost: u64,
    /// Documents that are at the hub more than once.
    pub duplicated: u64,
    /// Documents at the hub that no till acknowledged.
    pub unexpected: u64,
    /// Documents at the hub with another kind or total.
    pub altered: u64,
    /// Lines of the file that were not taken over.
    pub rejected: Vec<RejectedInShop>,
    /// Newest revision of the catalog.
    pub catalog_revision: i64,
    /// Rows of all catalog tables, without deleted ones.
    pub catalog_rows: i64,
    /// Digest of the catalog by who holds it: `hub`, or `shop/lane`.
    pub catalog_digests: BTreeMap<String, String>,
    /// Conflicts that the hub recorded.
    pub conflicts: u64,
    /// Some of them.
    pub conflict_examples: Vec<ConflictShown>,
    /// The names of products, computed a second time by another program; absent for made-up trade.
    pub names: Option<Names>,
    /// Entries in the hub's quarantine.
    pub quarantined: u64,
    /// What the hub says of the days that the tills closed.
    pub closed_days: DaysReport,
    /// Processes killed with SIGKILL.
    pub kills: u64,
    /// The same, by program.
    pub kills_by: Kills,
    /// Length of the story, from the start of the hub to the end of all processes.
    pub seconds: f64,
    /// Receipts recorded in trial.
    pub trial_receipts: u64,
    /// From the first join code handed over until all of them were consolidated and every till had
    /// the catalog.
    pub trial_seconds: f64,
    /// From the last document until all agreed.
    pub settle_seconds: f64,
    /// From tills to hub, bytes on the wire with all headers.
    pub bytes_up: u64,
    /// From hub to tills, bytes on the wire with all headers.
    pub bytes_down: u64,
    /// `bytes_up` divided by the receipts, rounded down.
    pub bytes_up_per_receipt: u64,
    /// Connections from tills to the hub.
    pub connections: u64,
    /// Most memory that a process held.
    pub peak_memory: Memory,
    /// Where databases and logs were kept.
    pub kept: Option<String>,
}

/// Closed days, as the hub proves them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DaysReport {
    /// Days that a till has closed.
    pub days: u64,
    /// Those of them that are proved for all tills.
    pub proved: u64,
    /// Closures of tills.
    pub closures: u64,
    /// Receipts that the proofs are about, each counted once.
    pub receipts: i64,
    /// Their sum, minor units.
    pub total_minor: i64,
}

/// One shop in a report.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShopReport {
    /// Its name.
    pub name: String,
    /// Sales in the input.
    pub sales: u64,
    /// Refunds in the input.
    pub refunds: u64,
    /// Lines of both.
    pub lines: u64,
    /// Stock movements in the input.
    pub adjustments: u64,
    /// Lines of the input that were rejected.
    pub rejected: u64,
    /// Sum of sales and refunds counted from the input, minor units.
    pub total_minor_input: i64,
    /// The same sum read from the hub's consolidated tables.
    pub total_minor_hub: i64,
    /// Sales at the hub.
    pub sales_hub: u64,
    /// Refunds at the hub.
    pub refunds_hub: u64,
    /// Lines of both at the hub.
    pub lines_hub: u64,
    /// Stock movements at the hub.
    pub adjustments_hub: u64,
}

/// A rejected line with the shop it belongs to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RejectedInShop {
    /// Name of the shop.
    pub shop: String,
    /// The line.
    #[serde(flatten)]
    pub line: RejectedLine,
}

/// A conflict as an example.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConflictShown {
    /// Catalog table.
    pub table: String,
    /// Row of the table.
    pub row: String,
    /// Column of the row.
    pub column: String,
    /// What became current.
    pub winner_value: Value,
    /// What lost and is kept.
    pub loser_value: Value,
    /// How it was settled.
    pub policy: String,
}

/// Processes killed with SIGKILL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Kills {
    /// Processes of the hub.
    pub hub: u64,
    /// Processes of nodes.
    pub nodes: u64,
}

/// Most memory that a process held, in bytes; 0 where the system does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// The hub.
    pub hub_bytes: u64,
    /// The largest node.
    pub node_bytes: u64,
}

impl ShopReport {
    /// Where input and hub disagree.
    pub(crate) fn difference(&self) -> Option<String> {
        let input = [self.sales, self.refunds, self.lines, self.adjustments];
        let hub = [
            self.sales_hub,
            self.refunds_hub,
            self.lines_hub,
            self.adjustments_hub,
        ];
        if input == hub && self.total_minor_input == self.total_minor_hub {
            return None;
        }
        let side = |counts: [u64; 4], total| {
            let [sales, refunds, lines, adjustments] = counts;
            let total = money(total);
            format!(
                "{sales} sales, {refunds} refunds, {lines} lines, {adjustments} adjustments, {total}"
            )
        };
        let (put_in, at_hub) = (
            side(input, self.total_minor_input),
            side(hub, self.total_minor_hub),
        );
        Some(format!(
            "{}: {put_in} put in, {at_hub} at the hub",
            self.name
        ))
    }
}

impl Report {
    /// Whether everything agrees.
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }

    pub(crate) fn add_difference(&mut self, text: &str) {
        self.differences.push(text.to_owned());
        "fail".clone_into(&mut self.verdict);
    }
}
