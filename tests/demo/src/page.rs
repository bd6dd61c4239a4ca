//! The report as a page for people.

use crate::format::{bytes, count, money, plural};
use crate::report::{ConflictShown, Report, ShopReport};
use crate::timeline::Style;
use comfy_table::{CellAlignment, Table, presets};
use counterfoil_shop_node::import::RejectedLine;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Rejected lines that the page shows; the JSON has them all.
const REJECTED_SHOWN: usize = 5;
/// Digits of a digest that a person compares.
const DIGEST_SHOWN: usize = 12;

impl Report {
    /// The page for people.
    pub fn to_text(&self, style: Style) -> String {
        let mut text = format!("\n{}\n{}\n\n", style.bold("Report"), self.table());
        for (name, value) in self.facts() {
            let _ = writeln!(text, "  {} {value}", style.dim(&format!("{name:<10}")));
        }
        let verdict = if self.passed() { "PASS" } else { "FAIL" };
        let _ = writeln!(
            text,
            "\n  {} {}",
            style.bold(&format!("{verdict:<10}")),
            self.reason()
        );
        for difference in &self.differences {
            let _ = writeln!(text, "  {:<10} - {difference}", "");
        }
        text
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "shop",
            "sales",
            "refunds",
            "lines",
            "adjust.",
            "rejected",
            "total put in",
            "total at hub",
            "",
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
                if shop.difference().is_none() {
                    "agree"
                } else {
                    "DIFFER"
                }
                .to_owned(),
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
        let Self {
            lost,
            duplicated,
            altered,
            unexpected,
            kills,
            kills_by,
            ..
        } = self;
        let documents = count(self.documents);
        let mut facts = vec![
            (
                "documents",
                format!(
                    "{documents} acknowledged by tills: {lost} lost, {duplicated} doubled, \
                     {altered} altered, {unexpected} unexpected"
                ),
            ),
            ("proof", self.proof_text()),
            ("catalog", self.catalog_text()),
            ("conflicts", self.conflict_text()),
            ("names", self.names_text()),
            (
                "kills",
                format!(
                    "{kills} with SIGKILL: hub {}, nodes {}",
                    kills_by.hub, kills_by.nodes
                ),
            ),
            ("network", self.network_text()),
            ("memory", self.memory_text()),
            (
                "time",
                format!(
                    "{:.1} s; trial consolidated in {:.2} s; all agreed {:.1} s after the last sale",
                    self.seconds, self.trial_seconds, self.settle_seconds
                ),
            ),
        ];
        for rejected in self.rejected.iter().take(REJECTED_SHOWN) {
            let RejectedLine {
                line,
                invoice,
                reason,
            } = &rejected.line;
            facts.push((
                "rejected",
                format!("line {line}, invoice {invoice}: {reason}"),
            ));
        }
        if self.rejected.len() > REJECTED_SHOWN {
            facts.push((
                "",
                format!("... {} in all", count(self.rejected.len() as u64)),
            ));
        }
        facts.extend(self.kept.iter().map(|path| ("kept", path.clone())));
        facts
    }

    fn catalog_text(&self) -> String {
        let nodes = plural(self.catalog_digests.len().saturating_sub(1) as u64, "node");
        let digests: BTreeSet<&str> = self.catalog_digests.values().map(String::as_str).collect();
        let rows = plural(u64::try_from(self.catalog_rows).unwrap_or_default(), "row");
        let revision = self.catalog_revision;
        let content = match digests.first() {
            Some(digest) if digests.len() == 1 => {
                let shown: String = digest.chars().take(DIGEST_SHOWN).collect();
                format!("the same on the hub and {nodes} ({shown})")
            }
            _ => format!("{} different ones on the hub and {nodes}", digests.len()),
        };
        format!("{rows} at revision {revision}, {content}")
    }

    fn proof_text(&self) -> String {
        let closed = &self.closed_days;
        let receipts = u64::try_from(closed.receipts).unwrap_or_default();
        format!(
            "{} of {} proved by the hub: {}, {}, {}",
            closed.proved,
            plural(closed.days, "closed day"),
            plural(closed.closures, "closure"),
            plural(receipts, "receipt"),
            money(closed.total_minor)
        )
    }

    fn network_text(&self) -> String {
        let (up, down) = (bytes(self.bytes_up), bytes(self.bytes_down));
        let each = bytes(self.bytes_up_per_receipt);
        format!(
            "{up} up ({each} a receipt), {down} down, {}",
            plural(self.connections, "connection")
        )
    }

    fn memory_text(&self) -> String {
        let (hub, node) = (self.peak_memory.hub_bytes, self.peak_memory.node_bytes);
        format!("hub {}, largest node {}, at most", bytes(hub), bytes(node))
    }

    fn names_text(&self) -> String {
        let Some(names) = &self.names else {
            return "made up: computed a second time only for a file".to_owned();
        };
        let mut text = format!(
            "{} with {}, of which {} lost; computed a second time by python3 from the books alone",
            plural(names.products, "product"),
            plural(names.versions, "name"),
            count(names.losers)
        );
        if let Some((row, name)) = &names.example {
            let count = count(names.put_back);
            let _ = write!(
                text,
                "; {count} of these put back, such as `{name}` of {row}"
            );
        }
        text
    }

    fn conflict_text(&self) -> String {
        let mut text = plural(self.conflicts, "conflict");
        if let Some(example) = self.conflict_examples.first() {
            let ConflictShown {
                table,
                row,
                column,
                winner_value,
                loser_value,
                policy,
            } = example;
            let _ = write!(
                text,
                ", both values kept; such as {table} {row} {column}: {winner_value} counts, not {loser_value} ({policy})"
            );
        }
        text
    }

    fn reason(&self) -> String {
        if self.passed() {
            let documents = plural(self.documents, "acknowledged document");
            format!(
                "each of {documents} is at the hub exactly once, every total agrees to the penny, and all catalogs are the same"
            )
        } else {
            format!(
                "{} found:",
                plural(self.differences.len() as u64, "difference")
            )
        }
    }
}
