//! Saves the databases of a till as a program leaves them that knows the schemas up to a version.
//!
//! `system-save VERSION FOLDER [SEED]` writes `book.db.gz` and `catalog.db.gz`, the same bytes every time: clock and
//! randomness are set by hand. Another seed makes another till. See `tests/system/saved/README.md`.

use anyhow::Context as _;
use axum::body::Body;
use counterfoil_domain::closure::DayRule;
use counterfoil_domain::employee::{EmployeeEvent, EventKind, Outcome};
use counterfoil_domain::{Document, DocumentId, password};
use counterfoil_hub::{DataDir, Hub, HubConfig, router};
use counterfoil_migrate::{Connection, Durability, Kind};
use counterfoil_protocol::gate::Schemas;
use counterfoil_protocol::wire::node::{
    CashRequest, ExpenseRequest, LedgerRequest, LineRequest, OrderRequest, ReceiptRequest,
    StockRequest,
};
use counterfoil_replica::env::{Env, Execution};
use counterfoil_shop_store::record::Entry;
use counterfoil_shop_store::{CloseDay, Paths, ShopStore};
use counterfoil_testkit::{ManualClock, SeededRandom, TempDir};
use flate2::{Compression, GzBuilder};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tower::ServiceExt as _;

/// The first of December 2010, when the file of the main job begins, in milliseconds.
const BEGIN_MS: i64 = 1_291_192_000_000;
const MINUTE_MS: i64 = 60_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let version: i32 = arguments.next().context("a version")?.parse()?;
    let folder = PathBuf::from(arguments.next().context("a folder")?);
    let seed: u64 = arguments.next().map_or(Ok(2), |seed| seed.parse())?;
    let schemas = Schemas {
        book: version.min(Kind::Book.schema_version()),
        catalog: version.min(Kind::Catalog.schema_version()),
    };
    let dir = TempDir::new("save");
    let (hub, till) = (dir.join("hub"), dir.join("till"));
    std::fs::create_dir_all(&till)?;
    std::fs::create_dir_all(&folder)?;
    publish(&hub, schemas).await?;
    fold(&hub.join("catalog.db"))?;
    std::fs::copy(hub.join("catalog.db"), till.join("catalog.db"))?;
    trade(&till, schemas, seed)?;
    for kind in [Kind::Book, Kind::Catalog] {
        let database = till.join(format!("{kind}.db"));
        fold(&database)?;
        let file = std::fs::File::create(folder.join(format!("{kind}.db.gz")))?;
        let mut gz = GzBuilder::new().mtime(0).write(file, Compression::best());
        gz.write_all(&std::fs::read(database)?)?;
        gz.finish()?.sync_all()?;
    }
    Ok(())
}

/// Brings what is in the write-ahead log into the file.
fn fold(database: &Path) -> anyhow::Result<()> {
    let conn = Connection::open_existing(database, Durability::Full)?;
    conn.checkpoint_truncate()?;
    conn.close();
    Ok(())
}

/// A hub publishes a catalog.
async fn publish(data: &Path, schemas: Schemas) -> anyhow::Result<()> {
    let env = Env {
        clock: Arc::new(ManualClock::at(BEGIN_MS)),
        random: Arc::new(SeededRandom::new(1)),
        execution: Execution::Inline,
        ..Env::system()
    };
    let mut config = HubConfig::new(data);
    config.schemas = schemas;
    let hub = Hub::open(config, env).await?;
    let token = DataDir::new(data).existing_token()?.context("a token")?;
    let mut rows = vec![
        (
            "products/TEA",
            json!({"name": "Tea", "price_mills": "2550"}),
        ),
        (
            "products/MILK",
            json!({"name": "Milk", "price_mills": "990", "unit": "litre"}),
        ),
        (
            "customers/C1",
            json!({"name": "Campbell", "phone": "0131 000"}),
        ),
    ];
    if schemas.catalog >= 2 {
        rows.push((
            "customers/C2",
            json!({"name": "Ross", "address": "1 Shore\nLeith"}),
        ));
    }
    if schemas.catalog >= 3 {
        rows.push(("suppliers/S1", json!({"name": "Lipton"})));
        rows.push(("products/TEA", json!({"supplier": "S1"})));
    }
    if schemas.catalog >= 4 {
        let pin = password::hash("4711", &SeededRandom::new(1))?;
        let columns = json!({"name": "Jo", "permissions": "refund", "pin": pin});
        rows.push(("employees/JO", columns));
    }
    for (row, columns) in rows {
        let body: Value = json!({"columns": columns});
        let request = Request::post(format!("/v1/admin/catalog/{row}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))?;
        let answer = router(Arc::clone(&hub)).oneshot(request).await?;
        anyhow::ensure!(answer.status() == StatusCode::OK, "{row}: {answer:?}");
    }
    Ok(())
}

/// A till in trial does everything that a till does.
fn trade(data: &Path, schemas: Schemas, seed: u64) -> anyhow::Result<()> {
    let random = Arc::new(SeededRandom::new(seed));
    let mut store = ShopStore::open_as(&Paths::of(data), schemas, BEGIN_MS, random)?;
    let mut now_ms = BEGIN_MS;
    let mut first = None;
    for (quantity, tender, refund_of) in [
        ("2", "cash", false),
        ("1.5", "card", false),
        ("1", "cash", true),
        ("7", "voucher", false),
    ] {
        now_ms += MINUTE_MS;
        let request = ReceiptRequest {
            id: None,
            lines: vec![line("TEA", quantity, None), line("CUP", "1", Some("4.20"))],
            tender: tender.to_owned(),
            customer: Some("C1".to_owned()),
            employee: None,
            refund_of: first.filter(|_| refund_of),
            parked: None,
        };
        let document = store.draft_receipt(&request, refund_of, now_ms)?;
        let recorded = record(&mut store, document, now_ms)?;
        first = first.or(Some(recorded));
    }
    now_ms += MINUTE_MS;
    for document in others(&store, schemas, now_ms)? {
        record(&mut store, document, now_ms)?;
    }
    now_ms += MINUTE_MS;
    let columns = [("name".to_owned(), json!("Green tea"))].into();
    store.catalog_set("products", "TEA", &columns, now_ms)?;
    store.close_day(&CloseDay {
        day: None,
        rule: DayRule {
            utc_offset_minutes: 0,
            cutoff_minutes: 0,
        },
        key: None,
        now_ms: now_ms + MINUTE_MS,
    })?;
    Ok(())
}

/// Every other kind of document.
fn others(store: &ShopStore, schemas: Schemas, now_ms: i64) -> anyhow::Result<Vec<Document>> {
    let stock = |quantity: &str, count| StockRequest {
        id: None,
        sku: "TEA".to_owned(),
        quantity: quantity.to_owned(),
        count,
        reason: None,
    };
    let mut documents = vec![
        store.draft_stock(&stock("48", false), now_ms)?,
        store.draft_stock(&stock("47", true), now_ms)?,
        store.draft_ledger(
            &LedgerRequest {
                id: None,
                customer: "C1".to_owned(),
                amount: "5.00".to_owned(),
                note: String::new(),
            },
            now_ms,
        )?,
        store.draft_order(
            &OrderRequest {
                id: None,
                customer: "C1".to_owned(),
                due_ms: now_ms + MINUTE_MS,
                lines: vec![line("TEA", "3", None)],
                deposit: Some("1.00".to_owned()),
            },
            now_ms,
        )?,
        store.draft_cash(
            &CashRequest {
                id: None,
                event: "open".to_owned(),
                counted: "100.00".to_owned(),
                employee: None,
            },
            now_ms,
        )?,
    ];
    // Programs of today record an expense only as the third schema has it.
    if schemas.book >= 3 {
        let expense = ExpenseRequest {
            id: None,
            category: "cleaning".to_owned(),
            amount: "12.50".to_owned(),
            note: String::new(),
            employee: Some("JO".to_owned()),
        };
        documents.push(store.draft_expense(&expense, now_ms)?);
    }
    if schemas.book >= 4 {
        documents.push(Document::EmployeeEvent(EmployeeEvent {
            employee: "JO".to_owned(),
            event: EventKind::SignIn,
            permission: None,
            outcome: Outcome::Granted,
            unlooked: 0,
            at_ms: now_ms,
        }));
    }
    Ok(documents)
}

fn record(store: &mut ShopStore, document: Document, now_ms: i64) -> anyhow::Result<DocumentId> {
    let entry = Entry {
        id: None,
        document,
        now_ms,
    };
    Ok(store.record(entry)?.id)
}

fn line(sku: &str, quantity: &str, unit_price: Option<&str>) -> LineRequest {
    LineRequest {
        sku: sku.to_owned(),
        quantity: quantity.to_owned(),
        unit_price: unit_price.map(str::to_owned),
        description: None,
    }
}
