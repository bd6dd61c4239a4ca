//! The judgement: what tills acknowledged against what stands in the hub's tables.

use crate::account::{Account, Acknowledged, ShopAccount};
use crate::report::{ConflictShown, ShopReport};
use anyhow::Context as _;
use counterfoil_domain::{DocumentId, Topic};
use counterfoil_migrate::{Connection, Row, SqlError};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Topics of the trade; activation and catalog edits are judged by the catalogs' digests.
const TOPICS: [Topic; 6] = [
    Topic::Sale,
    Topic::Refund,
    Topic::Expense,
    Topic::StockMovement,
    Topic::StockCount,
    Topic::LedgerEntry,
];

/// A document as the hub has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub shop: String,
    pub id: DocumentId,
    pub topic: Topic,
    /// Number in the imported system.
    pub reference: Option<String>,
    /// Of a receipt; 0 for other documents.
    pub total_minor: i64,
}

/// A number series of a till.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Series {
    pub name: String,
    pub count: i64,
    pub first: i64,
    pub last: i64,
}

/// The consolidated tables of the hub.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Books {
    pub found: Vec<Found>,
    /// Lines of receipts by shop.
    pub lines: BTreeMap<String, u64>,
    pub series: Vec<Series>,
    /// Receipts whose lines do not add up to their total.
    pub unbalanced: u64,
    pub conflicts: Vec<ConflictShown>,
    pub quarantined: u64,
}

impl Books {
    /// Reads `hub.db` of a hub that was stopped.
    pub fn read(hub: &Path) -> anyhow::Result<Self> {
        let path = hub.join("hub.db");
        let db = Connection::open_read_only(&path).context("cannot open the hub's database")?;
        Self::query(&db).context("cannot read the hub's tables")
    }

    fn query(db: &Connection) -> Result<Self, SqlError> {
        let mut found = db.query_map(
            "SELECT s.name, r.id, r.topic, r.external_ref, r.total_minor FROM receipt r
             JOIN node n ON n.number = r.node JOIN shop s ON s.id = n.shop",
            (),
            |row| Found::read(row, row.get(3)?, row.get(4)?),
        )?;
        found.extend(db.query_map(
            "SELECT s.name, d.id, d.topic, d.content FROM document d
             JOIN node n ON n.number = d.node JOIN shop s ON s.id = n.shop",
            (),
            |row| {
                Found::read(
                    row,
                    row.get_with(3, |content: String| reference(&content))?,
                    0,
                )
            },
        )?);
        let lines = db.query_map(
            "SELECT s.name, count(*) FROM receipt_line l
             JOIN node n ON n.number = l.node JOIN shop s ON s.id = n.shop GROUP BY s.name",
            (),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let series = db.query_map(
            "SELECT s.name || '/' || n.lane || ' ' || r.series, count(*), min(r.number), max(r.number)
             FROM receipt r JOIN node n ON n.number = r.node JOIN shop s ON s.id = n.shop
             GROUP BY r.node, r.series",
            (),
            Series::read,
        )?;
        let unbalanced = db.query_value(
            "SELECT count(*) FROM receipt r WHERE total_minor <> (SELECT coalesce(sum(amount_minor), 0)
             FROM receipt_line l WHERE l.node = r.node AND l.seq = r.seq)",
            (),
        )?;
        let conflicts = db.query_map(
            "SELECT table_name, row_id, column_name, winner_value, loser_value, policy
             FROM conflict ORDER BY id",
            (),
            ConflictShown::read,
        )?;
        let quarantined = db.query_value("SELECT count(*) FROM quarantine", ())?;
        let lines = lines.into_iter().collect();
        Ok(Self {
            found,
            lines,
            series,
            unbalanced,
            conflicts,
            quarantined,
        })
    }
}

impl Found {
    fn read(row: &Row<'_>, reference: Option<String>, total_minor: i64) -> Result<Self, SqlError> {
        Ok(Self {
            shop: row.get(0)?,
            id: row.get_with(1, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?,
            topic: row.get_with(2, |code: i64| {
                Topic::from_code(code).ok_or("an unknown topic")
            })?,
            reference,
            total_minor,
        })
    }
}

fn reference(content: &str) -> Result<Option<String>, serde_json::Error> {
    let content: Value = serde_json::from_str(content)?;
    Ok(content
        .get("external_ref")
        .and_then(Value::as_str)
        .map(str::to_owned))
}

impl Series {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self {
            name: row.get(0)?,
            count: row.get(1)?,
            first: row.get(2)?,
            last: row.get(3)?,
        })
    }
}

impl ConflictShown {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self {
            table: row.get(0)?,
            row: row.get(1)?,
            column: row.get(2)?,
            winner_value: row.get_with(3, |text: String| serde_json::from_str::<Value>(&text))?,
            loser_value: row.get_with(4, |text: String| serde_json::from_str::<Value>(&text))?,
            policy: row.get(5)?,
        })
    }
}

/// What the comparison found; everything agrees when `differences` is empty.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Comparison {
    pub shops: Vec<ShopReport>,
    /// Acknowledged, and not at the hub.
    pub lost: u64,
    /// More than once at the hub.
    pub duplicated: u64,
    /// At the hub, and never acknowledged.
    pub unexpected: u64,
    /// At the hub with another shop, kind or total.
    pub altered: u64,
    pub differences: Vec<String>,
}

/// Names in one difference, so that a total loss does not fill the screen.
const EXAMPLES_MAX: usize = 5;

/// Compares the driver's account with the hub's tables and the catalogs with each other.
pub fn compare(account: &Account, books: &Books, digests: &BTreeMap<String, String>) -> Comparison {
    let mut comparison = Comparison::default();
    let mut judge = Judge::default();
    for shop in &account.shops {
        judge.shop(shop, books);
        comparison.shops.push(shop_report(shop, books));
    }
    judge.ids_at_wrong_shops(account, books);
    let mut differences = account.contradictions.clone();
    for (what, names) in [
        ("lost", &judge.lost),
        ("more than once at the hub", &judge.duplicated),
        ("at the hub, but never acknowledged", &judge.unexpected),
        (
            "at the hub with another shop, kind or total",
            &judge.altered,
        ),
    ] {
        differences.extend(summary(what, names));
    }
    for shop in &comparison.shops {
        differences.extend(shop.difference());
    }
    for series in &books.series {
        if series.first != 1 || series.last != series.count {
            let Series {
                name,
                count,
                first,
                last,
            } = series;
            differences.push(format!(
                "{name}: {count} receipts are numbered {first} to {last}"
            ));
        }
    }
    if books.unbalanced > 0 {
        let count = books.unbalanced;
        differences.push(format!(
            "{count} receipts at the hub differ from the sum of their lines"
        ));
    }
    if books.quarantined > 0 {
        differences.push(format!(
            "{} entries are in the hub's quarantine",
            books.quarantined
        ));
    }
    differences.extend(digest_difference(digests));
    comparison.lost = judge.lost.len() as u64;
    comparison.duplicated = judge.duplicated.len() as u64;
    comparison.unexpected = judge.unexpected.len() as u64;
    comparison.altered = judge.altered.len() as u64;
    comparison.differences = differences;
    comparison
}

/// One name for each document that is not right.
#[derive(Default)]
struct Judge {
    lost: Vec<String>,
    duplicated: Vec<String>,
    unexpected: Vec<String>,
    altered: Vec<String>,
}

impl Judge {
    fn shop(&mut self, shop: &ShopAccount, books: &Books) {
        let mut by_id: BTreeMap<DocumentId, Vec<&Found>> = BTreeMap::new();
        let mut by_reference: BTreeMap<&str, Vec<&Found>> = BTreeMap::new();
        let mut movements: BTreeMap<&str, u64> = BTreeMap::new();
        let trade = |found: &&Found| found.shop == shop.name && TOPICS.contains(&found.topic);
        for found in books.found.iter().filter(trade) {
            match (&found.reference, found.topic) {
                (Some(reference), Topic::StockMovement) => {
                    *movements.entry(reference).or_default() += 1;
                }
                (Some(reference), _) => by_reference.entry(reference).or_default().push(found),
                (None, _) => by_id.entry(found.id).or_default().push(found),
            }
        }
        let name = &shop.name;
        for (id, acknowledged) in &shop.documents {
            let found = by_id.remove(id).unwrap_or_default();
            self.one(&format!("{name} {id}"), acknowledged, &found);
        }
        for (reference, acknowledged) in &shop.references {
            let found = by_reference.remove(reference.as_str()).unwrap_or_default();
            self.one(&format!("{name} invoice {reference}"), acknowledged, &found);
        }
        self.unexpected
            .extend(by_id.keys().map(|id| format!("{name} {id}")));
        let unknown = by_reference
            .keys()
            .map(|reference| format!("{name} invoice {reference}"));
        self.unexpected.extend(unknown);
        self.movements(shop, &movements);
    }

    fn one(&mut self, name: &str, acknowledged: &Acknowledged, found: &[&Found]) {
        let Some((first, more)) = found.split_first() else {
            return self.lost.push(name.to_owned());
        };
        self.duplicated.extend(more.iter().map(|_| name.to_owned()));
        if first.topic != acknowledged.topic || first.total_minor != acknowledged.total_minor {
            self.altered.push(name.to_owned());
        }
    }

    /// Imported stock movements: the till names them, so only their number is known.
    fn movements(&mut self, shop: &ShopAccount, found: &BTreeMap<&str, u64>) {
        let name = |text: &str| format!("{} stock movement {text}", shop.name);
        for (reference, count) in found {
            self.duplicated.extend((1..*count).map(|_| name(reference)));
        }
        let (known, expected) = (found.len() as u64, shop.adjustments);
        self.lost
            .extend((known..expected).map(|_| name("of an import")));
        self.unexpected
            .extend((expected..known).map(|_| name("of an import")));
    }

    /// An id that several shops have is one document more than once, whatever each shop says.
    fn ids_at_wrong_shops(&mut self, account: &Account, books: &Books) {
        let known: BTreeSet<&str> = account
            .shops
            .iter()
            .map(|shop| shop.name.as_str())
            .collect();
        let mut seen: BTreeMap<DocumentId, &str> = BTreeMap::new();
        for found in &books.found {
            if !known.contains(found.shop.as_str()) && TOPICS.contains(&found.topic) {
                self.unexpected.push(format!("{} {}", found.shop, found.id));
            }
            match seen.insert(found.id, &found.shop) {
                Some(shop) if shop != found.shop => {
                    self.duplicated.push(format!("{} {}", found.shop, found.id));
                }
                _ => {}
            }
        }
    }
}

fn shop_report(shop: &ShopAccount, books: &Books) -> ShopReport {
    let of = |topic| {
        books
            .found
            .iter()
            .filter(move |found| found.shop == shop.name && found.topic == topic)
    };
    let input = &shop.input;
    ShopReport {
        name: shop.name.clone(),
        sales: input.sales,
        refunds: input.refunds,
        lines: input.lines,
        adjustments: input.adjustments,
        rejected: input.rejected,
        total_minor_input: input.total_minor,
        total_minor_hub: of(Topic::Sale)
            .chain(of(Topic::Refund))
            .map(|found| found.total_minor)
            .sum(),
        sales_hub: of(Topic::Sale).count() as u64,
        refunds_hub: of(Topic::Refund).count() as u64,
        lines_hub: books.lines.get(&shop.name).copied().unwrap_or_default(),
        adjustments_hub: of(Topic::StockMovement).count() as u64,
    }
}

fn summary(what: &str, names: &[String]) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let examples = names[..names.len().min(EXAMPLES_MAX)].join(", ");
    let more = if names.len() > EXAMPLES_MAX {
        ", ..."
    } else {
        ""
    };
    Some(format!("{} {what}: {examples}{more}", names.len()))
}

fn digest_difference(digests: &BTreeMap<String, String>) -> Option<String> {
    let hub = digests.get("hub");
    let differ = |(_, digest): &(&String, &String)| Some(*digest) != hub;
    let names: Vec<String> = digests
        .iter()
        .filter(differ)
        .map(|(name, _)| name.clone())
        .collect();
    summary("catalogs differ from the hub's", &names)
}

#[cfg(test)]
mod tests;
