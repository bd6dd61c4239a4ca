//! What was sold?

use super::{Reader, StoreError};
use counterfoil_migrate::{Row, SqlError, params};
use counterfoil_protocol::wire::hub::SalesGroup;
use serde::Deserialize;
use utoipa::ToSchema;

/// What a report is grouped by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Grouping {
    /// By shop.
    Shop,
    /// By till.
    Node,
    /// By day, UTC, of corrected time.
    Day,
    /// By customer; one that was merged counts for the one that stands for it.
    Customer,
    /// By product, likewise.
    Product,
}

impl Grouping {
    /// The name used in commands.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Shop => "shop",
            Self::Node => "node",
            Self::Day => "day",
            Self::Customer => "customer",
            Self::Product => "product",
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
        match grouping {
            Grouping::Shop | Grouping::Node | Grouping::Day => {}
            Grouping::Customer => return self.sales_by_identity("customers", BY_CUSTOMER),
            Grouping::Product => return self.sales_by_identity("products", BY_PRODUCT),
        }
        // First per node and day, so that the large table is walked once in its own order.
        let day = "date(receipt.corrected_ms / 1000, 'unixepoch')";
        let (per, key, name) = match grouping {
            Grouping::Shop => ("''", uuid_text("shop.id"), "shop.name".to_owned()),
            Grouping::Node => (
                "''",
                uuid_text("node.id"),
                "shop.name || '/' || lane".to_owned(),
            ),
            Grouping::Day | Grouping::Customer | Grouping::Product => {
                (day, "per".to_owned(), "per".to_owned())
            }
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

    /// Sales by a customer or product, under the id and name of the row that stands for it.
    fn sales_by_identity(&self, table: &str, sql: &str) -> Result<Vec<SalesGroup>, StoreError> {
        let aliases = self.aliases(table)?;
        let aliases = serde_json::to_string(&aliases).map_err(|source| StoreError::Json {
            what: "map of aliases",
            source,
        })?;
        let mut groups = self.hub.query_map(sql, params![aliases], group)?;
        let name = format!("SELECT name FROM {table} WHERE id = ?1");
        for group in &mut groups {
            let found = self
                .catalog
                .query_optional(&name, params![group.key.as_str()], |row| {
                    row.get::<Option<String>>(0)
                })?;
            if let Some(name) = found.flatten() {
                group.name = name;
            }
        }
        Ok(groups)
    }
}

/// The alias of each row that was merged, with an index of its own: a table-valued function has none.
const BY_CUSTOMER: &str = "WITH alias (id, survivor) AS MATERIALIZED
        (SELECT key, value FROM json_each(?1))
    SELECT coalesce(alias.survivor, customer, ''), coalesce(alias.survivor, customer, '(nobody)'),
        count(*) FILTER (WHERE topic = 1), count(*) FILTER (WHERE topic = 2),
        sum((SELECT count(*) FROM receipt_line AS line
             WHERE line.node = receipt.node AND line.seq = receipt.seq)),
        sum(total_minor), count(*) FILTER (WHERE trial = 1),
        coalesce(sum(total_minor) FILTER (WHERE trial = 1), 0)
    FROM receipt LEFT JOIN alias ON alias.id = customer
    GROUP BY 1 ORDER BY 1";

/// A receipt with several lines of one product counts once; the amounts are those of the lines.
const BY_PRODUCT: &str = "WITH alias (id, survivor) AS MATERIALIZED
        (SELECT key, value FROM json_each(?1))
    SELECT product, product, sum(topic = 1), sum(topic = 2), sum(lines), sum(amount), sum(trial),
        coalesce(sum(amount) FILTER (WHERE trial = 1), 0)
    FROM (SELECT coalesce(alias.survivor, line.sku) AS product, topic, trial, count(*) AS lines,
              sum(line.amount_minor) AS amount
          FROM receipt_line AS line JOIN receipt USING (node, seq)
              LEFT JOIN alias ON alias.id = line.sku
          GROUP BY line.node, line.seq, product)
    GROUP BY product ORDER BY product";

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
