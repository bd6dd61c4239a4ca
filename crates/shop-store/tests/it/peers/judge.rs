//! The hub as a judge of what lanes show, and clients that follow them.

use crate::NOW_MS;
use crate::Till;
use crate::catalog::columns;
use crate::changes::page;
use crate::stock::{bring, entries, lane};
use counterfoil_domain::clock::corrected_hlc;
use counterfoil_domain::merge::{Field, Origin, Policy, Stamp, Version};
use counterfoil_domain::mesh::{Holding, LaneEntry};
use counterfoil_domain::{Document, DocumentId, Hlc, NodeId, Scalar, ShopId};
use counterfoil_shop_store::StoreError;
use counterfoil_testkit::SeededRandom;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const SHOP: u128 = 1;

pub(super) type Row = (String, String);
type Fields = BTreeMap<String, Field>;

pub(super) const ROWS: [(&str, &str); 3] = [
    ("products", "TEA"),
    ("products", "JAM"),
    ("customers", "ANNA"),
];

/// The hub as a judge: its merge over everything that it has taken in, and what it publishes of that.
pub(super) struct Hub {
    pub(super) node: NodeId,
    pub(super) rows: BTreeMap<Row, Fields>,
    pub(super) merged: BTreeMap<NodeId, i64>,
    /// What goes to quarantine.
    pub(super) refused: BTreeSet<DocumentId>,
    pub(super) revision: i64,
    pub(super) published: BTreeMap<Row, (i64, String)>,
}

impl Hub {
    pub(super) fn new() -> Self {
        Self {
            node: NodeId::from_uuid(uuid::Uuid::from_u128(99)),
            rows: BTreeMap::new(),
            merged: BTreeMap::new(),
            refused: BTreeSet::new(),
            revision: 0,
            published: BTreeMap::new(),
        }
    }

    pub(super) const fn policy(column: &str) -> Policy {
        match column.as_bytes() {
            b"price_mills" | b"credit_limit_minor" => Policy::Manual,
            b"tax" => Policy::HubWins,
            _ => Policy::LastWriterWins,
        }
    }

    pub(super) fn take(&mut self, entries: &[LaneEntry]) {
        for entry in entries {
            let known = self.merged.entry(entry.origin).or_default();
            assert!(entry.seq <= *known + 1, "in order");
            if entry.seq <= *known {
                continue;
            }
            *known = entry.seq;
            let document: Document = serde_json::from_str(&entry.document).expect("a document");
            let Document::CatalogEdit(edit) = document else {
                continue;
            };
            if self.refused.contains(&entry.id) {
                continue;
            }
            let row = self.rows.entry((edit.table, edit.row)).or_default();
            for (column, value) in edit.columns {
                let version = Version {
                    value,
                    base: edit
                        .base
                        .get(&column)
                        .into_iter()
                        .flatten()
                        .copied()
                        .collect(),
                    corrected: corrected_hlc(entry.hlc, edit.at_ms.expect("a time")),
                    origin: Origin {
                        edit: entry.id,
                        node: entry.origin,
                        shop: Some(ShopId::from_uuid(uuid::Uuid::from_u128(SHOP))),
                        imported: false,
                    },
                };
                let stamp = Stamp::new(entry.hlc, entry.origin);
                row.entry(column).or_default().insert(stamp, version);
            }
        }
    }

    /// A person at the hub, who has seen everything there.
    pub(super) fn edit(&mut self, row: (&str, &str), (column, value): (&str, Scalar), now_ms: i64) {
        let row = (row.0.to_owned(), row.1.to_owned());
        let field = self
            .rows
            .entry(row)
            .or_default()
            .entry(column.to_owned())
            .or_default();
        let stamp = Stamp::new(Hlc::at_millis(now_ms), self.node);
        let version = Version {
            value,
            base: field.heads().into_iter().collect(),
            corrected: stamp.hlc,
            origin: Origin {
                edit: DocumentId::from_uuid(uuid::Uuid::from_u128(now_ms.unsigned_abs().into())),
                node: self.node,
                shop: None,
                imported: false,
            },
        };
        field.insert(stamp, version);
    }

    pub(super) fn current(&self, row: &Row, column: &str) -> Option<(Stamp, Scalar, Hlc)> {
        let field = self.rows.get(row)?.get(column)?;
        let decision = field.decide(&Self::policy(column).into(), None)?;
        let value = field.version(&decision.current)?.value.clone();
        Some((decision.current, value, decision.place.time))
    }

    /// The catalog as statements.
    pub(super) fn publish(&mut self) -> String {
        self.revision += 1;
        let mut sql = "DELETE FROM merged_edits; DELETE FROM products; DELETE FROM customers;
             INSERT OR REPLACE INTO policy (table_name, column_name, policy) VALUES
                 ('products', 'price_mills', 'manual'), ('products', 'tax', 'hub_wins');"
            .to_owned();
        let mut newest = Hlc::ZERO;
        for (row, fields) in &self.rows {
            let (mut names, mut values, mut versions) = (vec![], vec![], BTreeMap::new());
            let mut modified = Hlc::ZERO;
            for column in fields.keys() {
                let Some((stamp, value, at)) = self.current(row, column) else {
                    continue;
                };
                names.push(column.as_str());
                values.push(match value {
                    Scalar::Text(text) => format!("'{text}'"),
                    Scalar::Integer(number) => number.to_string(),
                    Scalar::Null => "NULL".to_owned(),
                });
                versions.insert(column, stamp);
                modified = modified.max(at);
            }
            newest = newest.max(modified);
            let versions = serde_json::to_string(&versions).expect("JSON");
            let content = format!(
                "({}, id, last_modified_at, versions, revision) VALUES ({}, '{}', {}, '{versions}'",
                names.join(", "),
                values.join(", "),
                row.1,
                modified.raw()
            );
            let known = self.published.entry(row.clone()).or_default();
            if known.1 != content {
                *known = (self.revision, content);
            }
            sql += &format!("INSERT INTO {} {}, {});", row.0, known.1, known.0);
        }
        for (node, seq) in &self.merged {
            sql += &format!("INSERT INTO merged_edits VALUES ('{node}', {seq});");
        }
        sql + &format!(
            "UPDATE catalog_state SET revision = {}, hlc = max(hlc, {});",
            self.revision,
            newest.raw()
        )
    }

    /// A lane that holds a journal brings some of it.
    pub(super) fn hear(&mut self, random: &SeededRandom, till: &mut Till, nth: usize) {
        let held = holdings(till);
        let (node, holding) = held.iter().nth(nth % held.len()).expect("one");
        let known = self.merged.get(node).copied().unwrap_or(0);
        if holding.end.seq > known {
            let mut given = entries(till, *node, known);
            given.truncate(usize::try_from(1 + random.below(4)).expect("small"));
            let refused = given.iter().filter(|_| random.below(8) == 0);
            self.refused.extend(refused.map(|entry| entry.id));
            self.take(&given);
        }
    }

    /// All lanes bring all that they have.
    pub(super) fn hear_all(&mut self, lanes: &mut [Till]) {
        for lane in lanes {
            let node = lane.store().node();
            let given = entries(lane, node, 0);
            self.take(&given);
        }
    }

    /// A lane has everything that is published; `when` says so.
    pub(super) fn agrees_with(&self, lane: &mut Till, when: &str) {
        for row in all_rows() {
            let mut expected = self.shows(&row);
            if let Some(columns) = &mut expected {
                columns.retain(|column, value| column != "deleted" || *value != json!(0));
            }
            assert_eq!(shown(lane, &row), expected, "{when}: {row:?}");
        }
    }

    /// What a row shows where everything that is here has been published.
    fn shows(&self, row: &Row) -> Option<BTreeMap<String, Value>> {
        let fields = self.rows.get(row)?;
        let shown = fields.keys().filter_map(|column| {
            let (_, value, _) = self.current(row, column)?;
            Some((column.clone(), serde_json::to_value(value).expect("JSON")))
        });
        Some(shown.collect())
    }
}

pub(super) fn shop(name: &str, count: u64) -> Vec<Till> {
    let lanes = (0..count).map(|number| {
        let mut till = lane(&format!("{name}-{number}"), 1_000 * (number + 1));
        till.activate(SHOP).expect("activated");
        till
    });
    lanes.collect()
}

pub(super) fn all_rows() -> Vec<Row> {
    ROWS.iter()
        .map(|(table, row)| ((*table).to_owned(), (*row).to_owned()))
        .collect()
}

/// What a lane shows of a row, without the columns that nobody has set.
pub(super) fn shown(till: &mut Till, (table, row): &Row) -> Option<BTreeMap<String, Value>> {
    let found = match till.store().catalog_row(table, row) {
        Err(StoreError::UnknownRow { .. }) => return None,
        found => found,
    };
    let mut columns = found.expect("read").columns;
    columns.retain(|column, value| !value.is_null() && (column != "deleted" || *value != json!(0)));
    Some(columns)
}

pub(super) fn all_shown(till: &mut Till) -> BTreeMap<Row, Option<BTreeMap<String, Value>>> {
    all_rows()
        .into_iter()
        .map(|row| (row.clone(), shown(till, &row)))
        .collect()
}

pub(super) fn holdings(till: &mut Till) -> BTreeMap<NodeId, Holding> {
    till.store().holdings().expect("read")
}

pub(super) fn exchange(lanes: &mut [Till]) {
    for from in 0..lanes.len() {
        for to in 0..lanes.len() {
            if from != to {
                let [from, to] = lanes.get_disjoint_mut([from, to]).expect("two");
                bring(from, to);
            }
        }
    }
}

pub(super) fn set(till: &mut Till, row: (&str, &str), column: &str, value: Value, now_ms: i64) {
    let wanted = columns(&[(column, value)]);
    till.store()
        .catalog_set(row.0, row.1, &wanted, now_ms)
        .expect("set");
}

/// Somebody changes something somewhere, to a value of its own.
pub(super) fn edit_somewhere(random: &SeededRandom, till: &mut Till, now_ms: i64) {
    let row = ROWS[usize::try_from(random.below(3)).expect("small")];
    let number = now_ms - NOW_MS;
    match (row.0, random.below(4)) {
        (_, 0) => set(till, row, "deleted", json!(random.below(2)), now_ms),
        ("products", 1) => set(till, row, "price_mills", json!(number), now_ms),
        ("products", 2) => set(till, row, "tax", json!(format!("T{number}")), now_ms),
        ("customers", 1 | 2) => set(till, row, "credit_limit_minor", json!(number), now_ms),
        _ => set(till, row, "name", json!(format!("N{number}")), now_ms),
    }
}

/// What a client knows that follows a lane's changes.
#[derive(Default)]
pub(super) struct Client {
    pub(super) cursor: Option<String>,
    pub(super) rows: BTreeMap<Row, (bool, BTreeMap<String, Value>)>,
}

impl Client {
    pub(super) fn follow(&mut self, till: &mut Till, limit: usize) {
        loop {
            let types = ["products", "customers"];
            let page = page(till, &types, self.cursor.as_deref(), limit);
            if matches!(page, Err(StoreError::CursorGone)) {
                *self = Self::default();
                continue;
            }
            let page = page.expect("a page");
            for change in page.changes {
                let content = change
                    .content
                    .into_iter()
                    .filter(|(_, value)| !value.is_null());
                self.rows.insert(
                    (change.entity, change.id),
                    (change.deleted, content.collect()),
                );
            }
            self.cursor = Some(page.cursor);
            if !page.more {
                return;
            }
        }
    }

    /// It shows what its lane shows.
    pub(super) fn agrees_with(&self, till: &mut Till, when: &str) {
        for row in all_rows() {
            let mut held = shown(till, &row);
            let is_deleted = held
                .as_mut()
                .and_then(|columns| columns.remove("deleted"))
                .is_some();
            let mut told = self.rows.get(&row).cloned();
            // One that went to quarantine is told as gone.
            told =
                told.filter(|(deleted, content)| held.is_some() || !deleted || !content.is_empty());
            let held = held.map(|columns| (is_deleted, columns));
            assert_eq!(told, held, "{when}: {row:?}");
        }
    }
}
