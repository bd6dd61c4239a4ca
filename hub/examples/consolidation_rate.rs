//! Measures the consolidation of one large book against plain `INSERT ... SELECT` of the same rows.
//!
//! `cargo run --release -p counterfoil-hub --example consolidation_rate [RECEIPTS LINES EDITS]`
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::float_arithmetic,
    reason = "a measurement for people, by the real clock"
)]

use counterfoil_domain::ids::NodeId;
use counterfoil_domain::item::{line_key, payment_key};
use counterfoil_hub::{Hub, HubConfig, router};
use counterfoil_migrate::{Connection, Durability, Kind, SqlError, open_and_migrate, params};
use counterfoil_protocol::join::JoinCode;
use counterfoil_protocol::wire::hub::ShopAdded;
use counterfoil_replica::env::Env;
use counterfoil_testkit::TempDir;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tower::ServiceExt as _;

const NOW_MS: i64 = 1_700_000_000_000;

async fn post(hub: &Arc<Hub>, token: &str, path: &str, body: &Value) -> Value {
    let request = http::Request::post(path)
        .header("authorization", format!("Bearer {token}"))
        .body(axum::body::Body::from(body.to_string()));
    let answer = router(Arc::clone(hub))
        .oneshot(request.unwrap())
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX)
        .await
        .unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn write_book(path: &Path, receipts: i64, lines: i64, edits: i64) -> Result<(), SqlError> {
    let book = open_and_migrate(path, Kind::Book, NOW_MS).unwrap();
    book.transaction(|tx| -> Result<(), SqlError> {
        let journal = "INSERT INTO journal (seq, id, hlc, topic, priority, payload, chain)
             SELECT ?1, randomblob(16), ?2, ?3, ?4, ?5, randomblob(32)";
        for seq in 1..=receipts {
            tx.execute(
                journal,
                params![seq, (NOW_MS + seq) << 16, 1, 1, None::<String>],
            )?;
            tx.execute(
                "UPDATE journal SET trial = 0, series = 'L1', number = ?1, at_ms = ?2,
                 currency = 'GBP', total_minor = ?3 WHERE seq = ?1",
                params![seq, NOW_MS + seq, lines * 255],
            )?;
            for line in 1..=lines {
                tx.execute(
                    "INSERT INTO receipt_item VALUES (?1, ?2, ?3, 1000, 2550, NULL, 255)",
                    params![
                        line_key(seq, line),
                        format!("{}", 20_000 + line),
                        "WHITE HANGING HEART LIGHT"
                    ],
                )?;
            }
            tx.execute(
                "INSERT INTO receipt_item (key, tender, amount_minor) VALUES (?1, 'card', ?2)",
                params![payment_key(seq, 1), lines * 255],
            )?;
        }
        for edit in 1..=edits {
            let seq = receipts + edit;
            let payload = json!({"table": "products", "row": format!("P{}", edit >> 2),
                "columns": {"name": format!("name {edit}"), "price_mills": edit},
                "base": {}, "base_revision": 0});
            let payload = Some(payload.to_string());
            tx.execute(journal, params![seq, (NOW_MS + seq) << 16, 7, 2, payload])?;
        }
        Ok(())
    })
}

fn plain_copy(dir: &TempDir, book: &Path) -> f64 {
    let target = open_and_migrate(dir.join("plain.db"), Kind::Hub, NOW_MS).unwrap();
    target.attach(book, "book").unwrap();
    let begun = Instant::now();
    target
        .transaction(|tx| -> Result<(), SqlError> {
            for sql in [
                "INSERT INTO receipt (node, seq, id, topic, hlc, trial, series, number, at_ms, currency,
                 total_minor, customer, employee, refund_of, external_ref, corrected_ms)
                 SELECT 1, seq, id, topic, hlc, trial, series, number, at_ms,
                 currency, total_minor, customer, employee, refund_of, external_ref, at_ms
                 FROM book.journal WHERE number IS NOT NULL",
                // Keys of lines and payments tell them apart; no judgement, no order but the table's.
                "INSERT INTO receipt_line SELECT 1, key >> 16, key & 32767, sku, description,
                 quantity_milli, unit_price_mills, amount_minor FROM book.receipt_item
                 WHERE key & 32768 = 0",
                "INSERT INTO payment SELECT 1, key >> 16, key & 32767, tender, amount_minor
                 FROM book.receipt_item WHERE key & 32768 <> 0",
            ] {
                tx.execute(sql, ())?;
            }
            Ok(())
        })
        .unwrap();
    begun.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() {
    let given: Vec<i64> = std::env::args()
        .skip(1)
        .map(|text| text.parse().unwrap())
        .collect();
    let [receipts, lines, edits] = given[..].try_into().unwrap_or([18_786, 20, 0]);
    let dir = TempDir::new("consolidation-rate");
    let hub = Hub::open(HubConfig::new(dir.join("hub")), Env::system())
        .await
        .unwrap();
    let admin = std::fs::read_to_string(dir.join("hub/admin.token")).unwrap();
    let added = post(&hub, &admin, "/v1/admin/shops", &json!({"name": "one"})).await;
    let added: ShopAdded = serde_json::from_value(added).unwrap();
    let secret = added.join_code.parse::<JoinCode>().unwrap().secret;
    let node = NodeId::from_uuid(uuid::Uuid::from_u128(7));
    let activation = json!({"node": node, "token_hash": "00".repeat(32),
        "admission": {"join_secret": secret}, "schemas": counterfoil_hub::HubConfig::new("").schemas});
    post(&hub, "", "/v1/activate", &activation).await;
    let book = dir.join("hub/books").join(format!("{node}.db"));
    write_book(&book, receipts, lines, edits).unwrap();

    let begun = Instant::now();
    post(&hub, &admin, "/v1/admin/consolidate", &Value::Null).await;
    let consolidated = begun.elapsed().as_secs_f64();
    let db = Connection::open_existing(dir.join("hub/hub.db"), Durability::Full).unwrap();
    let count = "SELECT (SELECT count(*) FROM receipt) + (SELECT count(*) FROM receipt_line)
                 + (SELECT count(*) FROM payment)";
    let rows: u32 = db.query_value(count, ()).unwrap();
    drop((db, hub));
    let plain = plain_copy(&dir, &book);
    println!("{rows} rows and {edits} edits consolidated in {consolidated:.3} s");
    println!("the rows alone by INSERT ... SELECT in {plain:.3} s");
    println!(
        "{:.0} rows/s, ratio {:.2}",
        f64::from(rows) / consolidated,
        consolidated / plain
    );
}
