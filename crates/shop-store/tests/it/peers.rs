//! What lanes of one shop share of the catalog: edits of the others show as soon as they are held, as the hub's merge decides.

use crate::catalog::columns;
use crate::changes::page;
use crate::stock::{bring, entries, lane};
use crate::{NOW_MS, Till};
use counterfoil_domain::clock::corrected_hlc;
use counterfoil_domain::journal::EntryHead;
use counterfoil_domain::merge::{Field, Origin, Policy, Stamp, Version};
use counterfoil_domain::mesh::{Holding, LaneEntry};
use counterfoil_domain::{
    Document, DocumentId, Hlc, NodeId, Scalar, ShopId, Topic, UnitPrice, password,
};
use counterfoil_shop_store::StoreError;
use counterfoil_shop_store::employees::Purpose;
use counterfoil_testkit::SeededRandom;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const SHOP: u128 = 1;

type Row = (String, String);
type Fields = BTreeMap<String, Field>;

const ROWS: [(&str, &str); 3] = [
    ("products", "TEA"),
    ("products", "JAM"),
    ("customers", "ANNA"),
];

/// The hub as a judge: its merge over everything that it has taken in, and what it publishes of that.
struct Hub {
    node: NodeId,
    rows: BTreeMap<Row, Fields>,
    merged: BTreeMap<NodeId, i64>,
    /// What goes to quarantine.
    refused: BTreeSet<DocumentId>,
    revision: i64,
    published: BTreeMap<Row, (i64, String)>,
}

impl Hub {
    fn new() -> Self {
        Self {
            node: NodeId::from_uuid(uuid::Uuid::from_u128(99)),
            rows: BTreeMap::new(),
            merged: BTreeMap::new(),
            refused: BTreeSet::new(),
            revision: 0,
            published: BTreeMap::new(),
        }
    }

    const fn policy(column: &str) -> Policy {
        match column.as_bytes() {
            b"price_mills" | b"credit_limit_minor" => Policy::Manual,
            b"tax" => Policy::HubWins,
            _ => Policy::LastWriterWins,
        }
    }

    fn take(&mut self, entries: &[LaneEntry]) {
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
    fn edit(&mut self, row: (&str, &str), (column, value): (&str, Scalar), now_ms: i64) {
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

    fn current(&self, row: &Row, column: &str) -> Option<(Stamp, Scalar, Hlc)> {
        let field = self.rows.get(row)?.get(column)?;
        let decision = field.decide(&Self::policy(column).into(), None)?;
        let value = field.version(&decision.current)?.value.clone();
        Some((decision.current, value, decision.place.time))
    }

    /// The catalog as statements.
    fn publish(&mut self) -> String {
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

fn shop(name: &str, count: u64) -> Vec<Till> {
    let lanes = (0..count).map(|number| {
        let mut till = lane(&format!("{name}-{number}"), 1_000 * (number + 1));
        till.activate(SHOP).expect("activated");
        till
    });
    lanes.collect()
}

fn all_rows() -> Vec<Row> {
    ROWS.iter()
        .map(|(table, row)| ((*table).to_owned(), (*row).to_owned()))
        .collect()
}

/// What a lane shows of a row, without the columns that nobody has set.
fn shown(till: &mut Till, (table, row): &Row) -> Option<BTreeMap<String, Value>> {
    let found = match till.store().catalog_row(table, row) {
        Ok(found) => found,
        Err(StoreError::UnknownRow { .. }) => return None,
        Err(error) => panic!("{error}"),
    };
    let mut columns = found.columns;
    columns.retain(|column, value| !value.is_null() && (column != "deleted" || *value != json!(0)));
    Some(columns)
}

fn all_shown(till: &mut Till) -> BTreeMap<Row, Option<BTreeMap<String, Value>>> {
    all_rows()
        .into_iter()
        .map(|row| (row.clone(), shown(till, &row)))
        .collect()
}

fn holdings(till: &mut Till) -> BTreeMap<NodeId, Holding> {
    till.store().holdings().expect("read")
}

fn exchange(lanes: &mut [Till]) {
    for from in 0..lanes.len() {
        for to in 0..lanes.len() {
            if from != to {
                let [from, to] = lanes.get_disjoint_mut([from, to]).expect("two");
                bring(from, to);
            }
        }
    }
}

fn set(till: &mut Till, row: (&str, &str), column: &str, value: Value, now_ms: i64) {
    let wanted = columns(&[(column, value)]);
    till.store()
        .catalog_set(row.0, row.1, &wanted, now_ms)
        .expect("set");
}

/// Somebody changes something somewhere, to a value of its own.
fn edit_somewhere(random: &SeededRandom, till: &mut Till, now_ms: i64) {
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
struct Client {
    cursor: Option<String>,
    rows: BTreeMap<Row, (bool, BTreeMap<String, Value>)>,
}

impl Client {
    fn follow(&mut self, till: &mut Till, limit: usize) {
        loop {
            let page = match page(
                till,
                &["products", "customers"],
                self.cursor.as_deref(),
                limit,
            ) {
                Ok(page) => page,
                Err(StoreError::CursorGone) => {
                    *self = Self::default();
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
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
    fn agrees_with(&self, till: &mut Till, when: &str) {
        for row in all_rows() {
            let mut held = shown(till, &row);
            let is_deleted = held
                .as_mut()
                .and_then(|columns| columns.remove("deleted"))
                .is_some();
            match (self.rows.get(&row), held) {
                (None, None) => {}
                (Some((deleted, content)), Some(held)) => {
                    assert_eq!((*deleted, content), (is_deleted, &held), "{when}: {row:?}");
                }
                (Some((true, content)), None) if content.is_empty() => {}
                (told, held) => panic!("{when}: {row:?} is {held:?}, and was told as {told:?}"),
            }
        }
    }
}

#[test]
fn a_product_and_a_customer_of_another_lane_can_be_sold_to_and_looked_up_at_once() {
    let mut lanes = shop("peers-at-once", 2);
    let tea = columns(&[
        ("name", json!("Tea")),
        ("price_mills", json!(2550)),
        ("barcode", json!("500")),
    ]);
    lanes[0]
        .store()
        .catalog_set("products", "TEA", &tea, NOW_MS)
        .expect("set");
    let dated = columns(&[
        ("product", json!("TEA")),
        ("price_mills", json!(1990)),
        ("valid_from_ms", json!(NOW_MS + 9)),
    ]);
    lanes[0]
        .store()
        .catalog_set("prices", "P1", &dated, NOW_MS)
        .expect("set");
    set(
        &mut lanes[0],
        ("products", "TEE"),
        "name",
        json!("Tee"),
        NOW_MS,
    );
    lanes[0]
        .store()
        .merge_rows("products", "TEE", "TEA", NOW_MS)
        .expect("merged");
    set(
        &mut lanes[0],
        ("employees", "ANN"),
        "active",
        json!(0),
        NOW_MS,
    );
    set(
        &mut lanes[0],
        ("employees", "BOB"),
        "name",
        json!("Bob"),
        NOW_MS,
    );
    let pin = password::hash("4711", &SeededRandom::new(4)).expect("hashed");
    lanes[0]
        .store()
        .set_pin("BOB", Some(pin.clone()), NOW_MS)
        .expect("set");
    assert!(lanes[1].store().product("TEA", NOW_MS).is_err());
    exchange(&mut lanes);
    for again in [false, true] {
        let store = lanes[1].store();
        let product = store.product("500", NOW_MS).expect("known by its barcode");
        assert_eq!(
            (product.sku.as_str(), product.name.as_str()),
            ("TEA", "Tea")
        );
        assert_eq!(product.price, Some(UnitPrice::from_mills(2550)));
        let later = store
            .product("tee", NOW_MS + 9)
            .expect("the one it was merged into");
        assert_eq!(
            (later.sku.as_str(), later.price),
            ("TEA", Some(UnitPrice::from_mills(1990)))
        );
        let row = store.catalog_get("products", "TEA").expect("there");
        assert!(row.pending);
        assert_eq!(
            row.origin_shop_id,
            Some(uuid::Uuid::from_u128(SHOP).to_string())
        );
        assert_eq!(
            store
                .catalog_get("employees", "ANN")
                .expect("there")
                .columns["active"],
            json!(0)
        );
        assert_eq!(store.pending_edits().expect("read"), 0, "none of its own");
        let check = store
            .look_for_pin("BOB", Purpose::SignIn, NOW_MS)
            .expect("to check");
        assert_eq!(check.hash.expect("a PIN").as_str(), pin);
        if !again {
            lanes[1].open();
        }
    }
    // Whoever goes on from it replaces it: the hub will see no conflict.
    let node = lanes[0].store().node();
    let given = entries(&mut lanes[0], node, 0);
    set(
        &mut lanes[1],
        ("products", "TEA"),
        "name",
        json!("Chai"),
        NOW_MS + 10,
    );
    let own = lanes[1].store().node();
    let last = entries(&mut lanes[1], own, 0).pop().expect("an entry");
    let Ok(Document::CatalogEdit(edit)) = serde_json::from_str(&last.document) else {
        panic!("{last:?}")
    };
    let first = given
        .iter()
        .find(|entry| entry.document.contains("\"Tea\""))
        .expect("it");
    assert_eq!(edit.base["name"], [Stamp::new(first.hlc, first.origin)]);
}

#[test]
fn a_price_that_two_lanes_change_at_once_is_the_earlier_one_everywhere_and_at_the_hub() {
    let mut lanes = shop("peers-prices", 2);
    let mut hub = Hub::new();
    hub.edit(ROWS[0], ("price_mills", Scalar::Integer(100)), NOW_MS);
    let sql = hub.publish();
    for lane in &mut lanes {
        lane.elsewhere("catalog.db", &sql);
        assert!(lane.store().catch_up().expect("caught up"));
    }
    set(
        &mut lanes[1],
        ROWS[0],
        "price_mills",
        json!(220),
        NOW_MS + 20_000,
    );
    set(
        &mut lanes[0],
        ROWS[0],
        "price_mills",
        json!(210),
        NOW_MS + 10_000,
    );
    exchange(&mut lanes);
    for lane in &mut lanes {
        assert_eq!(
            shown(lane, &all_rows()[0]).expect("there")["price_mills"],
            json!(210)
        );
        let node = lane.store().node();
        let given = entries(lane, node, 0);
        hub.take(&given);
    }
    assert_eq!(
        hub.shows(&all_rows()[0]).expect("there")["price_mills"],
        json!(210)
    );
    // A person decides at one of them, over what both show.
    set(
        &mut lanes[1],
        ROWS[0],
        "price_mills",
        json!(230),
        NOW_MS + 30_000,
    );
    exchange(&mut lanes);
    assert_eq!(
        shown(&mut lanes[0], &all_rows()[0]).expect("there")["price_mills"],
        json!(230)
    );
}

#[test]
fn what_the_hub_refused_or_took_back_comes_back_at_no_lane() {
    let mut lanes = shop("peers-refused", 2);
    let mut hub = Hub::new();
    hub.edit(ROWS[0], ("name", Scalar::Text("Tea".to_owned())), NOW_MS);
    let sql = hub.publish();
    let mut clients = [Client::default(), Client::default()];
    for lane in &mut lanes {
        lane.elsewhere("catalog.db", &sql);
    }
    set(
        &mut lanes[0],
        ROWS[2],
        "name",
        json!("Anna"),
        NOW_MS + 1_000,
    );
    set(
        &mut lanes[0],
        ROWS[0],
        "name",
        json!("Typo"),
        NOW_MS + 2_000,
    );
    exchange(&mut lanes);
    for (lane, client) in lanes.iter_mut().zip(&mut clients) {
        client.follow(lane, 2);
        client.agrees_with(lane, "before");
        assert_eq!(
            shown(lane, &all_rows()[0]).expect("there")["name"],
            json!("Typo")
        );
    }
    let node = lanes[0].store().node();
    let given = entries(&mut lanes[0], node, 0);
    hub.refused = given.iter().map(|entry| entry.id).collect();
    hub.take(&given);
    let sql = hub.publish();
    for (lane, client) in lanes.iter_mut().zip(&mut clients) {
        lane.elsewhere("catalog.db", &sql);
        assert!(lane.store().catch_up().expect("caught up"));
        assert_eq!(shown(lane, &all_rows()[2]), None);
        client.follow(lane, 2);
        client.agrees_with(lane, "after");
        lane.open();
        assert_eq!(
            shown(lane, &all_rows()[0]).expect("there")["name"],
            json!("Tea")
        );
        assert_eq!(shown(lane, &all_rows()[2]), None);
    }
}

#[test]
fn lanes_that_hold_the_same_show_what_the_hub_will_publish_whatever_came_first() {
    for seed in 0..40 {
        let random = SeededRandom::new(seed);
        let mut lanes = shop(&format!("peers-judged-{seed}"), 3);
        let mut hub = Hub::new();
        for (number, row) in (1..).zip(ROWS) {
            let name = Scalar::Text(format!("H{number}"));
            hub.edit(row, ("name", name), NOW_MS - 10_000 + number);
        }
        let sql = hub.publish();
        for lane in &mut lanes {
            lane.elsewhere("catalog.db", &sql);
            lane.store().catch_up().expect("caught up");
        }
        for step in 1..30 {
            let now_ms = NOW_MS + step * 2_000;
            let [one, other] =
                [random.below(3), random.below(3)].map(|it| usize::try_from(it).expect("small"));
            match random.below(5) {
                0..=2 => edit_somewhere(&random, &mut lanes[one], now_ms),
                _ if one == other => lanes[one].open(),
                _ => {
                    let [from, to] = lanes.get_disjoint_mut([one, other]).expect("two");
                    bring(from, to);
                }
            }
        }
        exchange(&mut lanes);
        for lane in &mut lanes {
            let node = lane.store().node();
            let given = entries(lane, node, 0);
            hub.take(&given);
        }
        for row in all_rows() {
            let mut expected = hub.shows(&row).expect("there");
            expected.retain(|column, value| column != "deleted" || *value != json!(0));
            for lane in &mut lanes {
                assert_eq!(
                    shown(lane, &row).as_ref(),
                    Some(&expected),
                    "seed {seed}: {row:?}"
                );
            }
        }
    }
}

#[test]
fn lanes_and_their_clients_follow_a_hub_that_merges_in_any_order() {
    for seed in 100..140 {
        let random = SeededRandom::new(seed);
        let mut lanes = shop(&format!("peers-any-{seed}"), 3);
        let (mut hub, mut catalogs) = (Hub::new(), [0, 0, 0]);
        let mut clients: Vec<Client> = (0..3).map(|_| Client::default()).collect();
        for step in 1..60 {
            let now_ms = NOW_MS + step * 2_000;
            let [one, other] =
                [random.below(3), random.below(3)].map(|it| usize::try_from(it).expect("small"));
            match random.below(9) {
                0..=2 => edit_somewhere(&random, &mut lanes[one], now_ms),
                3 if one == other => lanes[one].open(),
                3 | 4 if one != other => {
                    let [from, to] = lanes.get_disjoint_mut([one, other]).expect("two");
                    bring(from, to);
                }
                5 => {
                    // Any lane that holds a journal may bring some of it to the hub.
                    let held = holdings(&mut lanes[one]);
                    let (node, holding) = held.iter().nth(other % held.len()).expect("one");
                    let known = hub.merged.get(node).copied().unwrap_or(0);
                    if holding.end.seq > known {
                        let mut given = entries(&mut lanes[one], *node, known);
                        given.truncate(usize::try_from(1 + random.below(4)).expect("small"));
                        hub.refused.extend(
                            given
                                .iter()
                                .filter(|_| random.below(8) == 0)
                                .map(|it| it.id),
                        );
                        hub.take(&given);
                    }
                }
                6 => hub.edit(
                    ROWS[one],
                    ("name", Scalar::Text(format!("H{step}"))),
                    now_ms,
                ),
                7 => {
                    let sql = hub.publish();
                    catalogs[one] = hub.revision;
                    lanes[one].elsewhere("catalog.db", &sql);
                    lanes[one].store().catch_up().expect("caught up");
                }
                _ => {
                    let limit = usize::try_from(1 + random.below(4)).expect("small");
                    clients[one].follow(&mut lanes[one], limit);
                    clients[one].agrees_with(&mut lanes[one], &format!("seed {seed}, step {step}"));
                }
            }
            if one != other
                && catalogs[one] == catalogs[other]
                && holdings(&mut lanes[one]) == holdings(&mut lanes[other])
            {
                let [left, right] = [one, other].map(|lane| all_shown(&mut lanes[lane]));
                assert_eq!(left, right, "seed {seed}, step {step}");
            }
        }
        exchange(&mut lanes);
        for lane in &mut lanes {
            let node = lane.store().node();
            let given = entries(lane, node, 0);
            hub.take(&given);
        }
        let sql = hub.publish();
        for (lane, client) in lanes.iter_mut().zip(&mut clients) {
            lane.elsewhere("catalog.db", &sql);
            lane.store().catch_up().expect("caught up");
            client.follow(lane, 5);
            client.agrees_with(lane, &format!("seed {seed}, at the end"));
            for row in all_rows() {
                let mut expected = hub.shows(&row);
                if let Some(columns) = &mut expected {
                    columns.retain(|column, value| column != "deleted" || *value != json!(0));
                }
                assert_eq!(shown(lane, &row), expected, "seed {seed}: {row:?}");
                let known = lane.store().catalog_row(&row.0, &row.1);
                assert!(known.is_ok_and(|it| !it.pending) || expected.is_none());
            }
        }
    }
}

#[test]
fn a_lane_whose_local_file_was_restored_or_lost_shows_the_same_when_it_holds_the_same() {
    let mut lanes = shop("peers-restored", 2);
    set(&mut lanes[0], ROWS[0], "name", json!("Tea"), NOW_MS);
    exchange(&mut lanes);
    lanes[1].store = None;
    let local = lanes[1].dir.join("local.db");
    let backup = std::fs::read(&local).expect("a file");
    lanes[1].open();
    set(
        &mut lanes[0],
        ROWS[0],
        "name",
        json!("Chai"),
        NOW_MS + 10_000,
    );
    set(
        &mut lanes[1],
        ROWS[0],
        "price_mills",
        json!(5),
        NOW_MS + 20_000,
    );
    exchange(&mut lanes);
    let expected = all_shown(&mut lanes[1]);
    for restored in [Some(&backup), None] {
        lanes[1].store = None;
        match restored {
            Some(bytes) => std::fs::write(&local, bytes).expect("restored"),
            None => std::fs::remove_file(&local).expect("lost"),
        }
        lanes[1].open();
        let own = shown(&mut lanes[1], &all_rows()[0]).expect("there");
        assert_eq!(
            own["price_mills"],
            json!(5),
            "what it wrote itself is in its book"
        );
        exchange(&mut lanes);
        assert_eq!(all_shown(&mut lanes[1]), expected);
        assert_eq!(all_shown(&mut lanes[0]), expected);
    }
}

#[test]
fn an_edit_that_no_row_takes_is_kept_and_shown_nowhere() {
    let mut lanes = shop("peers-garbage", 2);
    set(&mut lanes[0], ROWS[0], "name", json!("Tea"), NOW_MS);
    let node = lanes[0].store().node();
    let mut given = entries(&mut lanes[0], node, 0);
    for (table, column, value) in [
        ("products", "name", "7"),
        ("products", "price_mills", "\"seven\""),
        ("products", "revision", "7"),
        ("products", "deleted", "2"),
        ("products", "nothing", "7"),
        ("nothing", "name", "\"x\""),
        ("employees", "pin", "\"1234\""),
    ] {
        let last = given.last().expect("one").clone();
        let (seq, hlc) = (last.seq + 1, last.hlc.next());
        let id = DocumentId::from_uuid(uuid::Uuid::from_u128(seq.unsigned_abs().into()));
        let document = format!(
            "{{\"topic\":\"catalog_edit\",\"content\":{{\"table\":\"{table}\",\"row\":\"TEA\",\
             \"columns\":{{\"{column}\":{value}}},\"base\":{{}},\"base_revision\":0}}}}"
        );
        let head = EntryHead {
            seq,
            id,
            hlc,
            topic: Topic::CatalogEdit,
        };
        let chain = last.chain.next(&head, document.as_bytes());
        given.push(LaneEntry {
            seq,
            id,
            hlc,
            before: last.chain,
            chain,
            document,
            ..last
        });
    }
    let begin = counterfoil_domain::lineage::Point::START;
    let kept = lanes[1]
        .store()
        .keep_entries(node, begin, &given)
        .expect("kept");
    assert_eq!(kept.end.seq, given.last().expect("one").seq);
    assert_eq!(
        shown(&mut lanes[1], &all_rows()[0]),
        Some(BTreeMap::from([("name".to_owned(), json!("Tea"))]))
    );
    assert!(lanes[1].store().catalog_row("employees", "TEA").is_err());
    lanes[1].open();
    assert!(lanes[1].store().catalog_row("products", "TEA").is_ok());
}
