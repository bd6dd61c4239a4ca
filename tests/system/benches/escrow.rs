//! What escrow costs: sales and what other lanes bring, beside many products under escrow, in the store of one lane.
//!
//! `cargo bench -p system-tests --bench escrow` prints the table.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::expect_used, reason = "a benchmark may stop")]

use counterfoil_domain::lineage::Point;
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::mesh::conversation::Window;
use counterfoil_domain::{Document, HubId, ShopId};
use counterfoil_protocol::wire::escrow::{EscrowOrder, EscrowRequest};
use counterfoil_protocol::wire::hub::{ActivateAnswer, Admission};
use counterfoil_protocol::wire::node::{LineRequest, ReceiptRequest};
use counterfoil_shop_store::record::Entry;
use counterfoil_shop_store::{Paths, PendingActivation, ShopStore};
use counterfoil_testkit::{SeededRandom, TempDir};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use system_tests::figures::milliseconds;
use uuid::Uuid;

const NOW_MS: i64 = 1_291_192_000_000;
/// Products under escrow: none, a few, and every piece of a shop that sells by serial number.
const SCARCE: [usize; 3] = [0, 100, 10_000];
const SALES: usize = 400;
/// Entries that come at once.
const BATCH: usize = 100;

fn main() {
    println!("sales of one line, entries in batches of {BATCH}; median, milliseconds\n");
    println!(
        "| products under escrow | heard and joined | ordinary sale | sale by right | ordinary entries of another lane | opening |\n\
         |---|---|---|---|---|---|"
    );
    for scarce in SCARCE {
        row(scarce);
    }
}

fn row(scarce: usize) {
    let (first, second) = (TempDir::new("bench-escrow"), TempDir::new("bench-escrow"));
    let (mut other, mut till) = (lane(&first, 1), lane(&second, 2));
    for number in 0..scarce {
        let sku = format!("SERIAL-{number}");
        let columns = [("price".to_owned(), json!("9.00"))].into();
        let set = other.catalog_set("products", &sku, &columns, NOW_MS);
        set.expect("set");
        let request = EscrowRequest {
            id: None,
            sku,
            what: EscrowOrder::Begin,
            quantity: Some("1".to_owned()),
            lane: None,
            node: None,
            employee: None,
        };
        let document = other.draft_escrow(&request, NOW_MS);
        record(&mut other, document.expect("a product"));
    }
    let began = Instant::now();
    bring(&mut other, &mut till);
    let heard = began.elapsed();
    // What it sells by right it began itself.
    let mut ordinary = times(SALES, || sell(&mut till, "TEA"));
    let mut by_right = vec![Duration::ZERO];
    if scarce > 0 {
        let columns = [("price".to_owned(), json!("9.00"))].into();
        let set = till.catalog_set("products", "LAMP", &columns, NOW_MS);
        set.expect("set");
        let request = EscrowRequest {
            id: None,
            sku: "LAMP".to_owned(),
            what: EscrowOrder::Begin,
            quantity: Some("100000".to_owned()),
            lane: None,
            node: None,
            employee: None,
        };
        let document = till.draft_escrow(&request, NOW_MS);
        record(&mut till, document.expect("a product"));
        by_right = times(SALES, || sell(&mut till, "LAMP"));
    }
    for _ in 0..SALES {
        sell(&mut other, "TEA");
    }
    let mut brought = bring(&mut other, &mut till);
    drop(till);
    let mut opened = times(5, || drop(open(&second, 9)));
    println!(
        "| {scarce} | {} | {:.2} | {:.2} | {:.2} | {:.1} |",
        heard.as_millis(),
        milliseconds(&mut ordinary, 50),
        milliseconds(&mut by_right, 50),
        milliseconds(&mut brought, 50),
        milliseconds(&mut opened, 50)
    );
}

fn times(count: usize, mut act: impl FnMut()) -> Vec<Duration> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        act();
        times.push(began.elapsed());
    }
    times
}

fn open(dir: &TempDir, seed: u64) -> ShopStore {
    let random = Arc::new(SeededRandom::new(seed));
    ShopStore::open(&Paths::of(dir.path()), NOW_MS, random).expect("opens")
}

fn lane(dir: &TempDir, seed: u64) -> ShopStore {
    let mut store = open(dir, seed);
    let answer = ActivateAnswer {
        hub: HubId::from_uuid(Uuid::from_u128(9)),
        shop: ShopId::from_uuid(Uuid::from_u128(3)),
        shop_name: "France".to_owned(),
        lane: 1,
        epoch: None,
    };
    let used = PendingActivation {
        hub_url: "http://hub".to_owned(),
        admission: Admission::JoinSecret("secret".to_owned()),
    };
    let bound = store.finish_activation(&answer, &used, NOW_MS);
    bound.expect("bound");
    store
}

fn record(store: &mut ShopStore, document: Document) {
    let entry = Entry {
        id: None,
        document,
        now_ms: NOW_MS,
    };
    store.record(entry).expect("recorded");
}

fn sell(store: &mut ShopStore, sku: &str) {
    let request = ReceiptRequest {
        id: None,
        lines: vec![LineRequest {
            sku: sku.to_owned(),
            quantity: "1".to_owned(),
            unit_price: Some("9.00".to_owned()),
            description: None,
        }],
        tender: "cash".to_owned(),
        customer: None,
        employee: None,
        refund_of: None,
        parked: None,
    };
    let sale = store.draft_receipt(&request, false, NOW_MS);
    record(store, sale.expect("a sale"));
}

/// Brings what one lane wrote to another as connections do, and how long each batch took there.
fn bring(from: &mut ShopStore, to: &mut ShopStore) -> Vec<Duration> {
    let origin = from.node();
    let mut times = Vec::new();
    loop {
        let held = to.holdings().expect("read").get(&origin).copied();
        let after = held.map_or(0, |held| held.end.seq);
        let room = Window {
            messages: BATCH,
            bytes: usize::MAX,
        };
        let entries: Vec<LaneEntry> = from.lane_entries(origin, after, room).expect("read");
        if entries.is_empty() {
            return times;
        }
        let began = Instant::now();
        to.keep_entries(origin, Point::START, &entries)
            .expect("kept");
        to.escrow_news(&entries, NOW_MS).expect("looked at");
        times.push(began.elapsed());
    }
}
