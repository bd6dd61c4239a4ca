//! Levels of stock from the journals of all lanes.

use crate::{NOW_MS, Till};
use counterfoil_domain::document::{Line, Payment, Receipt, StockCount, StockMovement, Tender};
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::mesh::conversation::Window;
use counterfoil_domain::stock::{Effect, Sight, effects, level};
use counterfoil_domain::{Currency, Document, NodeId, Quantity, UnitPrice};
use counterfoil_protocol::wire::stock::StockLevel;
use counterfoil_shop_store::levels::LevelFilter;
use counterfoil_shop_store::record::Entry;
use counterfoil_testkit::{SeededRandom, TempDir};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

pub(crate) const ALL: Window = Window {
    messages: 100_000,
    bytes: 1 << 30,
};
const HOUR_MS: i64 = 3_600_000;

pub(crate) fn lane(name: &str, seed: u64) -> Till {
    let (dir, store) = (TempDir::new(name), None);
    let mut till = Till { dir, store, seed };
    till.open();
    till
}

pub(crate) fn record(till: &mut Till, document: Document, now_ms: i64) {
    let entry = Entry {
        id: None,
        document,
        now_ms,
    };
    till.store().record(entry).expect("recorded");
}

pub(crate) fn sold(sku: &str, units: i64) -> Document {
    let (quantity, price) = (
        Quantity::from_milli(units * 1000),
        UnitPrice::from_mills(2000),
    );
    let line = Line::new(sku, "", quantity, price).expect("small");
    let total_minor = line.amount_minor;
    Document::Sale(Receipt {
        trial: false,
        series: String::new(),
        number: 0,
        at_ms: NOW_MS,
        currency: Currency::GBP,
        total_minor,
        customer: None,
        employee: None,
        refund_of: None,
        external_ref: None,
        parked: None,
        lines: vec![line],
        payments: vec![Payment {
            tender: Tender::Cash,
            amount_minor: total_minor,
        }],
    })
}

fn delivered(sku: &str, units: i64) -> Document {
    Document::StockMovement(StockMovement {
        sku: sku.to_owned(),
        quantity: Quantity::from_milli(units * 1000),
        reason: "delivery".to_owned(),
        at_ms: NOW_MS,
        external_ref: None,
    })
}

pub(crate) fn counted(sku: &str, units: i64) -> Document {
    Document::StockCount(StockCount {
        sku: sku.to_owned(),
        quantity: Quantity::from_milli(units * 1000),
        at_ms: NOW_MS,
        seen: None,
    })
}

pub(crate) fn entries(till: &mut Till, origin: NodeId, after: i64) -> Vec<LaneEntry> {
    till.store().lane_entries(origin, after, ALL).expect("read")
}

/// Everything of `from`'s own journal that `to` lacks.
pub(crate) fn bring(from: &mut Till, to: &mut Till) {
    let origin = from.store().node();
    let begin = from.store().own_holding().begin;
    let held = to.store().holdings().expect("read").get(&origin).copied();
    let news = entries(from, origin, held.map_or(begin.seq, |held| held.end.seq));
    to.store().keep_entries(origin, begin, &news).expect("kept");
}

/// Counts to the end, a few entries at a time.
pub(crate) fn count(till: &mut Till) {
    loop {
        let counted = till.store().count_stock(3, NOW_MS).expect("counted");
        assert!(counted.unreadable.is_empty());
        if counted.behind == 0 {
            return;
        }
        assert!(counted.entries > 0, "it goes on");
    }
}

fn levels(till: &mut Till) -> BTreeMap<String, i64> {
    count(till);
    let filter = LevelFilter {
        limit: 1_000,
        ..LevelFilter::default()
    };
    let levels = till.store().stock_levels(&filter).expect("read");
    let milli = |level: StockLevel| (level.sku, level.level_milli);
    levels.into_iter().map(milli).collect()
}

pub(crate) fn units(till: &mut Till, sku: &str) -> Option<i64> {
    count(till);
    let found = till.store().stock_level(sku).expect("read");
    found.map(|level| level.level_milli.div_euclid(1000))
}

/// What the rules make of everything that a lane holds.
fn by_the_rules(till: &mut Till) -> BTreeMap<String, i64> {
    let (mut of_sku, mut sight) = (BTreeMap::<String, Vec<Effect>>::new(), Sight::default());
    for (origin, holding) in till.store().holdings().expect("read") {
        for entry in entries(till, origin, holding.begin.seq) {
            let (said, seen) = effects(&entry);
            for effect in said {
                of_sku.entry(effect.sku.clone()).or_default().push(effect);
            }
            if let Some(seen) = seen {
                sight.note(origin, entry.seq, &seen);
            }
        }
    }
    let levels = of_sku.into_iter();
    let levels = levels.map(|(sku, said)| (sku, level(said.iter(), &sight).milli));
    levels.collect()
}

/// Lanes that sell off the same shelves, and what is really there.
struct Shop {
    lanes: Vec<Till>,
    names: Vec<NodeId>,
    connected: Vec<Arc<Mutex<BTreeSet<NodeId>>>>,
    /// What each lane's clock is wrong by.
    wrong_ms: Vec<i64>,
    shelf: BTreeMap<&'static str, i64>,
    now_ms: i64,
}

const PRODUCTS: [&str; 2] = ["TEA", "JAM"];

impl Shop {
    fn open(seed: u64, wrong_ms: Vec<i64>) -> Self {
        let mut lanes: Vec<Till> = (0..wrong_ms.len())
            .map(|number| {
                lane(
                    &format!("stock-{seed}-{number}"),
                    seed * 1000 + number as u64 * 100,
                )
            })
            .collect();
        let names: Vec<NodeId> = lanes.iter_mut().map(|till| till.store().node()).collect();
        let connected: Vec<Arc<Mutex<BTreeSet<NodeId>>>> =
            names.iter().map(|_| Arc::default()).collect();
        for (till, connected) in lanes.iter_mut().zip(&connected) {
            let lanes = Arc::clone(connected);
            let ask = move || lanes.lock().expect("whole").clone();
            till.store().ask_connected(ask);
        }
        Self {
            lanes,
            names,
            connected,
            wrong_ms,
            shelf: PRODUCTS.map(|sku| (sku, 0)).into(),
            now_ms: NOW_MS,
        }
    }

    /// Who sees whom from here on, and gets what was missed.
    fn connect(&mut self, groups: &[usize]) {
        for (lane, group) in groups.iter().enumerate() {
            let seen = (0..groups.len()).filter(|other| groups[*other] == *group && *other != lane);
            *self.connected[lane].lock().expect("whole") =
                seen.map(|other| self.names[other]).collect();
        }
        self.exchange();
    }

    fn exchange(&mut self) {
        for from in 0..self.lanes.len() {
            for to in 0..self.lanes.len() {
                let is_heard = self.connected[to]
                    .lock()
                    .expect("whole")
                    .contains(&self.names[from]);
                if is_heard {
                    let [from, to] = self.lanes.get_disjoint_mut([from, to]).expect("two");
                    bring(from, to);
                }
            }
        }
    }

    /// Somebody does something at a lane.
    fn act(&mut self, random: &SeededRandom) {
        let number = usize::try_from(random.below(self.lanes.len() as u64)).expect("small");
        let sku = PRODUCTS[usize::try_from(random.below(2)).expect("small")];
        let units = i64::try_from(random.below(5)).expect("small") + 1;
        self.now_ms += 1_000;
        let now_ms = self.now_ms + self.wrong_ms[number];
        let there = self.shelf.get_mut(sku).expect("known");
        let document = match random.below(6) {
            0 => {
                // Somebody forgot to write down what came, or something was stolen.
                *there += i64::try_from(random.below(7)).expect("small") - 3;
                *there = (*there).max(0);
                counted(sku, *there)
            }
            1 => {
                *there += units * 3;
                delivered(sku, units * 3)
            }
            _ => {
                *there -= units;
                sold(sku, units)
            }
        };
        record(&mut self.lanes[number], document, now_ms);
        self.exchange();
        if random.below(4) == 0 {
            count(&mut self.lanes[number]);
        }
    }

    fn settle(&mut self) {
        let all = vec![0; self.lanes.len()];
        self.connect(&all);
        // Everything is counted once, by the shelf.
        let first = levels(&mut self.lanes[0]);
        for till in &mut self.lanes {
            assert_eq!(levels(till), first, "every lane says the same");
            assert_eq!(by_the_rules(till), first, "and it is what the journals say");
        }
    }
}

fn number(seed: u64) -> i64 {
    i64::try_from(seed % 1_000).expect("small")
}

#[test]
fn a_level_is_what_is_on_the_shelf_though_the_clocks_are_hours_apart() {
    for seed in 1..=16 {
        let random = SeededRandom::new(seed);
        let wrong = number(random.next()) * (HOUR_MS.div_euclid(100));
        let mut shop = Shop::open(seed, vec![0, wrong, -wrong]);
        shop.connect(&[0, 0, 0]);
        count_all(&mut shop);
        (0..40).for_each(|_| shop.act(&random));
        shop.settle();
        assert_shelf(&mut shop, seed);
    }
}

#[test]
fn a_level_is_what_is_on_the_shelf_though_lanes_are_apart_for_a_time() {
    for seed in 11..=16 {
        let random = SeededRandom::new(seed);
        let mut shop = Shop::open(seed, vec![0, 0, 0]);
        shop.connect(&[0, 0, 0]);
        count_all(&mut shop);
        for _ in 0..60 {
            if random.below(8) == 0 {
                let groups: Vec<usize> = (0..3)
                    .map(|_| usize::try_from(random.below(2)).expect("small"))
                    .collect();
                shop.connect(&groups);
            }
            shop.act(&random);
        }
        shop.settle();
        assert_shelf(&mut shop, seed);
    }
}

/// Somebody begins with a count of all shelves.
fn count_all(shop: &mut Shop) {
    for sku in PRODUCTS {
        shop.shelf.insert(sku, 100);
        shop.now_ms += 1_000;
        let now_ms = shop.now_ms + shop.wrong_ms[0];
        record(&mut shop.lanes[0], counted(sku, 100), now_ms);
    }
    shop.exchange();
}

fn assert_shelf(shop: &mut Shop, seed: u64) {
    let shelf = shop.shelf.clone();
    for (sku, there) in shelf {
        let says = units(&mut shop.lanes[1], sku);
        assert_eq!(says, Some(there), "{sku} of seed {seed}");
    }
}

#[test]
fn lanes_that_hold_the_same_say_the_same_whatever_came_first() {
    for seed in 21..=24 {
        let random = SeededRandom::new(seed);
        // Clocks are wrong, lanes are apart, and who is connected is made up: the truth is lost, agreement is not.
        let mut shop = Shop::open(seed, vec![0, 5 * HOUR_MS, -HOUR_MS, 0]);
        for _ in 0..80 {
            if random.below(5) == 0 {
                let groups: Vec<usize> = (0..4)
                    .map(|_| usize::try_from(random.below(3)).expect("small"))
                    .collect();
                shop.connect(&groups);
            }
            shop.act(&random);
            if random.below(10) == 0 {
                let lane = usize::try_from(random.below(4)).expect("small");
                shop.lanes[lane].open();
            }
        }
        shop.settle();
    }
}

#[test]
fn a_count_says_what_it_had_seen_and_says_it_once() {
    let mut shop = Shop::open(31, vec![0, 0]);
    record(&mut shop.lanes[1], sold("TEA", 1), NOW_MS);
    shop.connect(&[0, 0]);
    for units in [5, 6] {
        record(&mut shop.lanes[0], counted("TEA", units), NOW_MS + units);
    }
    let origin = shop.names[0];
    let said: Vec<bool> = entries(&mut shop.lanes[0], origin, 0)
        .iter()
        .map(|entry| entry.document.contains("\"seen\""))
        .collect();
    assert_eq!(said, [true, false]);
    shop.lanes[0].open();
    record(&mut shop.lanes[0], counted("TEA", 7), NOW_MS + 9);
    let last = entries(&mut shop.lanes[0], origin, 2).remove(0);
    assert!(
        last.document.contains("\"connected\":false"),
        "they parted: {}",
        last.document
    );
    assert!(last.is_whole());
}

#[test]
fn a_lane_by_itself_counts_as_it_always_did() {
    let mut till = lane("stock-alone", 41);
    record(&mut till, counted("TEA", 5), NOW_MS);
    let node = till.store().node();
    let entry = entries(&mut till, node, 0).remove(0);
    let old =
        r#"{"topic":"stock_count","content":{"sku":"TEA","quantity":5000,"at_ms":1291192000000}}"#;
    assert_eq!(entry.document, old);
}

#[test]
fn who_sells_more_than_was_counted_is_told_once_and_a_count_ends_it() {
    let mut till = lane("stock-oversold", 51);
    let round = |till: &mut Till| {
        till.store()
            .count_stock(100, NOW_MS)
            .expect("counted")
            .oversold
    };
    record(&mut till, sold("JAM", 3), NOW_MS);
    assert!(round(&mut till).is_empty(), "nobody has counted it");
    record(&mut till, counted("TEA", 2), NOW_MS + 1);
    record(&mut till, sold("TEA", 2), NOW_MS + 2);
    assert!(round(&mut till).is_empty(), "it was the last");
    record(&mut till, sold("TEA", 1), NOW_MS + 3);
    assert_eq!(round(&mut till), BTreeSet::from(["TEA".to_owned()]));
    record(&mut till, sold("TEA", 1), NOW_MS + 4);
    assert!(round(&mut till).is_empty(), "that is known");
    assert_eq!(till.store().oversold().expect("read"), 1);
    let filter = LevelFilter {
        oversold: true,
        limit: 10,
        ..LevelFilter::default()
    };
    let listed = till.store().stock_levels(&filter).expect("read");
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].level_milli, listed[0].oversold), (-2000, true));
    record(&mut till, counted("TEA", 0), NOW_MS + 5);
    assert!(round(&mut till).is_empty());
    assert_eq!(till.store().stock_levels(&filter).expect("read"), []);
    let changes = till.store().stock_changes("tea", None, 10).expect("read");
    let told: Vec<(i64, i64)> = changes
        .iter()
        .map(|change| (change.quantity_milli, change.level_milli))
        .collect();
    let expected = [
        (0, 0),
        (-1000, -2000),
        (-1000, -1000),
        (-2000, 0),
        (2000, 2000),
    ];
    assert_eq!(told, expected, "newest first");
}

#[test]
fn products_that_were_merged_have_one_level() {
    let mut till = lane("stock-merged", 81);
    for sku in ["TEA", "TEE"] {
        let columns = BTreeMap::from([("name".to_owned(), serde_json::json!("Tea"))]);
        till.store()
            .catalog_set("products", sku, &columns, NOW_MS)
            .expect("set");
    }
    record(&mut till, counted("TEA", 10), NOW_MS);
    record(&mut till, sold("TEE", 2), NOW_MS + 1);
    assert_eq!(
        (units(&mut till, "TEA"), units(&mut till, "TEE")),
        (Some(10), Some(-2))
    );
    let merged = till
        .store()
        .merge_rows("products", "TEE", "TEA", NOW_MS + 2);
    merged.expect("merged");
    assert_eq!(
        (units(&mut till, "TEA"), units(&mut till, "tee")),
        (Some(8), Some(8))
    );
    assert_eq!(
        levels(&mut till),
        BTreeMap::from([("TEA".to_owned(), 8000)])
    );
    assert_eq!(
        till.store()
            .stock_changes("TEA", None, 10)
            .expect("read")
            .len(),
        2
    );
    till.store()
        .unmerge_row("products", "TEE", NOW_MS + 3)
        .expect("taken back");
    assert_eq!(
        (units(&mut till, "TEA"), units(&mut till, "TEE")),
        (Some(10), Some(-2))
    );
}

#[test]
fn a_lane_counts_after_what_it_holds_though_it_has_not_added_it_up() {
    let mut shop = Shop::open(91, vec![5 * HOUR_MS, 0]);
    shop.connect(&[0, 0]);
    record(&mut shop.lanes[0], counted("TEA", 9), NOW_MS + 5 * HOUR_MS);
    shop.exchange();
    // The entry is here, and no level was asked for yet.
    record(&mut shop.lanes[1], counted("TEA", 4), NOW_MS + 1);
    shop.exchange();
    for lane in &mut shop.lanes {
        assert_eq!(units(lane, "TEA"), Some(4));
    }
}
