//! What was sold?

use super::{Reader, StoreError};
use counterfoil_migrate::{Row, SqlError};
use counterfoil_protocol::wire::hub::SalesGroup;

/// What a report is grouped by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Grouping {
    /// By shop.
    Shop,
    /// By till.
    Node,
    /// By day, UTC, of corrected time.
    Day,
}

impl Grouping {
    /// Reads the name used in commands.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Shop, Self::Node, Self::Day]
            .into_iter()
            .find(|grouping| grouping.name() == name)
    }

    /// The name used in commands.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Shop => "shop",
            Self::Node => "node",
            Self::Day => "day",
        }
    }
}

pub(super) fn uuid_text(column: &str) -> String {
    let hex = format!("lower(hex({column}))");
    format!(
        "substr({hex},1,8)||'-'||substr({hex},9,4)||'-'||substr({hex},13,4)||'-'||\
         substr({hex},17,4)||'-'||substr({hex},21)"
    )
}

impl Reader {
    /// Sales and refunds by group, by the group's name.
    pub(crate) fn sales_by(&self, grouping: Grouping) -> Result<Vec<SalesGroup>, StoreError> {
        // First per node and day, so that the large table is walked once in its own order.
        let day = "date(receipt.corrected_ms / 1000, 'unixepoch')";
        let (per, key, name) = match grouping {
            Grouping::Shop => ("''", uuid_text("shop.id"), "shop.name".to_owned()),
            Grouping::Node => (
                "''",
                uuid_text("node.id"),
                "shop.name || '/' || lane".to_owned(),
            ),
            Grouping::Day => (day, "per".to_owned(), "per".to_owned()),
        };
        let sql = format!(
            "SELECT {key}, {name}, sum(sales), sum(refunds), sum(lines), sum(total), sum(trials),
                    sum(trial_total)
             FROM (SELECT receipt.node AS at_node, {per} AS per,
                       count(*) FILTER (WHERE topic = 1) AS sales,
                       count(*) FILTER (WHERE topic = 2) AS refunds,
                       sum((SELECT count(*) FROM receipt_line AS line
                            WHERE line.node = receipt.node AND line.seq = receipt.seq)) AS lines,
                       sum(total_minor) AS total,
                       count(*) FILTER (WHERE trial = 1) AS trials,
                       coalesce(sum(total_minor) FILTER (WHERE trial = 1), 0) AS trial_total
                   FROM receipt GROUP BY 1, 2)
             JOIN node ON node.number = at_node JOIN shop ON shop.id = node.shop
             GROUP BY 1 ORDER BY 2"
        );
        Ok(self.hub.query_map(&sql, (), group)?)
    }
}

fn group(row: &Row<'_>) -> Result<SalesGroup, SqlError> {
    Ok(SalesGroup {
        key: row.get(0)?,
        name: row.get(1)?,
        count: row.get(2)?,
        refunds: row.get(3)?,
        lines: row.get(4)?,
        total_minor: row.get(5)?,
        trial_receipts: row.get(6)?,
        trial_minor: row.get(7)?,
    })
}
