//! The result: a value for programs, and a page for people.

use crate::format::{bytes, count, money, plural};
use crate::timeline::Style;
use comfy_table::{CellAlignment, Table, presets};
use counterfoil_shop_node::import::RejectedLine;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Rejected lines that the page shows; the JSON has them all.
const REJECTED_SHOWN: usize = 5;
/// Digits of a digest that a person compares.
const DIGEST_SHOWN: usize = 12;

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
    /// Entries in the hub's quarantine.
    pub quarantined: u64,
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
        let hub = [self.sales_hub, self.refunds_hub, self.lines_hub, self.adjustments_hub];
        if input == hub && self.total_minor_input == self.total_minor_hub {
            return None;
        }
        let side = |counts: [u64; 4], total| {
            let [sales, refunds, lines, adjustments] = counts;
            let total = money(total);
            format!("{sales} sales, {refunds} refunds, {lines} lines, {adjustments} adjustments, {total}")
        };
        let (put_in, at_hub) = (side(input, self.total_minor_input), side(hub, self.total_minor_hub));
        Some(format!("{}: {put_in} put in, {at_hub} at the hub", self.name))
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

    /// The page for people.
    pub fn to_text(&self, style: Style) -> String {
        let mut text = format!("\n{}\n{}\n\n", style.bold("Report"), self.table());
        for (name, value) in self.facts() {
            let _ = writeln!(text, "  {} {value}", style.dim(&format!("{name:<10}")));
        }
        let verdict = if self.passed() { "PASS" } else { "FAIL" };
        let _ = writeln!(text, "\n  {} {}", style.bold(&format!("{verdict:<10}")), self.reason());
        for difference in &self.differences {
            let _ = writeln!(text, "  {:<10} - {difference}", "");
        }
        text
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header([
            "shop", "sales", "refunds", "lines", "adjust.", "rejected", "total put in", "total at hub", "",
        ]);
        for shop in self.shops.iter().chain([&self.sum()]) {
            table.add_row([
                shop.name.clone(),
                count(shop.sales),
                count(shop.refunds),
                count(shop.lines),
                count(shop.adjustments),
                count(shop.rejected),
                money(shop.total_minor_input),
                money(shop.total_minor_hub),
                if shop.difference().is_none() { "agree" } else { "DIFFER" }.to_owned(),
            ]);
        }
        for column in table.column_iter_mut().skip(1).take(7) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }

    fn sum(&self) -> ShopReport {
        let sum = |field: fn(&ShopReport) -> u64| self.shops.iter().map(field).sum();
        let money = |field: fn(&ShopReport) -> i64| self.shops.iter().map(field).sum();
        ShopReport {
            name: "all".to_owned(),
            sales: sum(|shop| shop.sales),
            refunds: sum(|shop| shop.refunds),
            lines: sum(|shop| shop.lines),
            adjustments: sum(|shop| shop.adjustments),
            rejected: sum(|shop| shop.rejected),
            total_minor_input: money(|shop| shop.total_minor_input),
            total_minor_hub: money(|shop| shop.total_minor_hub),
            sales_hub: sum(|shop| shop.sales_hub),
            refunds_hub: sum(|shop| shop.refunds_hub),
            lines_hub: sum(|shop| shop.lines_hub),
            adjustments_hub: sum(|shop| shop.adjustments_hub),
        }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let nodes = self.catalog_digests.len().saturating_sub(1) as u64;
        let digests: BTreeSet<&str> = self.catalog_digests.values().map(String::as_str).collect();
        let digest: String = digests.iter().flat_map(|digest| digest.chars()).take(DIGEST_SHOWN).collect();
        let same = match digests.len() {
            1 => format!("the same on the hub and {} ({digest})", plural(nodes, "node")),
            different => format!("{different} different ones on the hub and {}", plural(nodes, "node")),
        };
        let rows = u64::try_from(self.catalog_rows).unwrap_or_default();
        let mut facts = vec![
            ("documents", format!("{} acknowledged by tills: {} lost, {} doubled, {} altered, {} unexpected",
                count(self.documents), self.lost, self.duplicated, self.altered, self.unexpected)),
            ("catalog", format!("{} at revision {}, {same}", plural(rows, "row"), self.catalog_revision)),
            ("conflicts", self.conflict_text()),
            ("kills", format!("{} with SIGKILL: hub {}, nodes {}", self.kills, self.kills_by.hub, self.kills_by.nodes)),
            ("network", format!("{} up ({} a receipt), {} down, {}", bytes(self.bytes_up),
                bytes(self.bytes_up_per_receipt), bytes(self.bytes_down), plural(self.connections, "connection"))),
            ("memory", format!("hub {}, largest node {}", bytes(self.peak_memory.hub_bytes), bytes(self.peak_memory.node_bytes))),
            ("time", format!("{:.1} s; trial consolidated in {:.2} s, all agreed {:.1} s after the last sale",
                self.seconds, self.trial_seconds, self.settle_seconds)),
        ];
        for rejected in self.rejected.iter().take(REJECTED_SHOWN) {
            let RejectedLine { line, invoice, reason } = &rejected.line;
            facts.push(("rejected", format!("line {line}, invoice {invoice}: {reason}")));
        }
        if self.rejected.len() > REJECTED_SHOWN {
            facts.push(("", format!("... {} in all", count(self.rejected.len() as u64))));
        }
        facts.extend(self.kept.iter().map(|path| ("kept", path.clone())));
        facts
    }

    fn conflict_text(&self) -> String {
        let mut text = plural(self.conflicts, "conflict");
        if let Some(example) = self.conflict_examples.first() {
            let ConflictShown { table, row, column, winner_value, loser_value, policy } = example;
            let _ = write!(
                text,
                ", both values kept; such as {table} {row} {column}: {winner_value} won over {loser_value} ({policy})"
            );
        }
        text
    }

    fn reason(&self) -> String {
        if self.passed() {
            let documents = plural(self.documents, "acknowledged document");
            format!("each of {documents} is at the hub exactly once, every total agrees to the penny, and all catalogs are the same")
        } else {
            format!("{} found:", plural(self.differences.len() as u64, "difference"))
        }
    }
}
