//! What a sale costs at the till beside a plain libSQL transaction that writes the same rows: the
//! commit by itself, and with its prices looked up in the catalog.
//!
//! `cargo bench -p counterfoil-shop-store` prints a table. Both sides run in turns in one process, on
//! one disk, with `synchronous = FULL` read back, so that the ratio holds whatever else the machine
//! does.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::expect_used, reason = "a benchmark may stop")]
#![expect(clippy::float_arithmetic, reason = "a ratio is for people")]

use counterfoil_domain::Document;
use counterfoil_domain::item::{line_key, payment_key};
use counterfoil_migrate::{Connection, Kind, open_and_migrate, params};
use counterfoil_protocol::wire::node::{LineRequest, ReceiptRequest};
use counterfoil_shop_store::record::Entry;
use counterfoil_shop_store::{Paths, ShopStore};
use counterfoil_testkit::{SeededRandom, TempDir};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

const WARM_UP: usize = 200;
const SALES: usize = 3_000;
const LINES: i64 = 4;
const NOW_MS: i64 = 1_291_192_000_000;

fn main() {
    let dir = TempDir::new("bench-sale");
    let paths = Paths::of(dir.path());
    let mut store =
        ShopStore::open(&paths, NOW_MS, Arc::new(SeededRandom::new(1))).expect("the store opens");
    for sku in 0..LINES {
        let columns = [
            ("name", json!("WHITE HANGING HEART T-LIGHT HOLDER")),
            ("price_mills", json!(2550)),
        ];
        let columns = columns.map(|(name, value)| (name.to_owned(), value)).into();
        store
            .catalog_set("products", &format!("SKU{sku}"), &columns, NOW_MS)
            .expect("a product");
    }
    let plain = open_and_migrate(dir.join("plain.db"), Kind::Book, NOW_MS).expect("opens");
    let (mut whole, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..WARM_UP + SALES {
        let request = request();
        let started = Instant::now();
        let document = store
            .draft_receipt(&request, false, NOW_MS)
            .expect("a sale");
        let drafted = started.elapsed();
        record(&mut store, document);
        let sold = started.elapsed();
        let started = Instant::now();
        write_plain(&plain, i64::try_from(round).expect("small") + 1);
        let written = started.elapsed();
        if round >= WARM_UP {
            whole.push(sold);
            ours.push(sold.saturating_sub(drafted));
            theirs.push(written);
        }
    }
    println!("save a 4-line sale, {SALES} times in turns, synchronous = FULL\n");
    println!("{:<34} {:>10} {:>10}", "", "median", "p99");
    let (whole, ours, theirs) = (
        figures(&mut whole),
        figures(&mut ours),
        figures(&mut theirs),
    );
    row("Counterfoil, prices looked up", whole);
    row("Counterfoil, the commit by itself", ours);
    row("plain libSQL, the same rows", theirs);
    let ratio = |ours: Duration, theirs: Duration| ours.as_secs_f64() / theirs.as_secs_f64();
    for (name, mine) in [
        ("ratio with look-ups", whole),
        ("ratio of the commit", ours),
    ] {
        println!(
            "{name:<36} {:>6.2} {:>10.2}",
            ratio(mine.0, theirs.0),
            ratio(mine.1, theirs.1)
        );
    }
}

fn row(name: &str, (median, p99): (Duration, Duration)) {
    println!(
        "{name:<36} {:>6.3} ms {:>7.3} ms",
        median.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3
    );
}

fn figures(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent).div_euclid(100).min(times.len() - 1)];
    (at(50), at(99))
}

fn request() -> ReceiptRequest {
    let line = |sku: i64| LineRequest {
        sku: format!("SKU{sku}"),
        quantity: "2".to_owned(),
        unit_price: None,
        description: None,
    };
    ReceiptRequest {
        id: None,
        lines: (0..LINES).map(line).collect(),
        tender: "cash".to_owned(),
        customer: None,
        employee: None,
        refund_of: None,
        parked: None,
    }
}

fn record(store: &mut ShopStore, document: Document) {
    store
        .record(Entry {
            id: None,
            document,
            now_ms: NOW_MS,
        })
        .expect("recorded");
}

/// The same rows in the same tables, by a program without a journal to keep in order.
fn write_plain(conn: &Connection, seq: i64) {
    conn.transaction(|tx| -> Result<(), counterfoil_migrate::SqlError> {
        let mut id = [7_u8; 16];
        id[..8].copy_from_slice(&seq.to_be_bytes());
        tx.execute(
            "INSERT INTO journal (seq, id, hlc, topic, priority, chain, trial, series, number, at_ms, \
             currency, total_minor) VALUES (?1, ?2, ?1, 1, 1, ?3, 1, 'T1', ?1, ?4, 'GBP', 2040)",
            params![seq, id.to_vec(), vec![9_u8; 32], NOW_MS],
        )?;
        for line in 1..=LINES {
            tx.execute(
                "INSERT INTO receipt_item (key, sku, description, quantity_milli, \
                 unit_price_mills, amount_minor) VALUES (?1, ?2, ?3, 2000, 2550, 510)",
                params![
                    line_key(seq, line),
                    format!("SKU{line}"),
                    "WHITE HANGING HEART T-LIGHT HOLDER"
                ],
            )?;
        }
        tx.execute(
            "INSERT INTO receipt_item (key, tender, amount_minor) VALUES (?1, 'cash', 2040)",
            [payment_key(seq, 1)],
        )?;
        Ok(())
    })
    .expect("written");
}
