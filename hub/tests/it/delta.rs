//! Books and the catalog travel as delta frames, and a hub whose pages are damaged gets them again.

use crate::hub::{TestHub, parse};
use crate::till::Till;
use counterfoil_protocol::wire::hub::CATALOG_PATH;
use counterfoil_protocol::wire::replication::{Info, PushAnswer};
use counterfoil_replica::env::{Env, Execution, OsFiles};
use counterfoil_replica::{CatalogReplica, Copy, CopyKind, OpenGate, Remote, Rotation};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of a page.
const PAGE_BYTES: usize = 4096;

/// Pages before this one hold the schema and the roots of tables: without them no program opens a
/// database.
const FIRST_DAMAGED: usize = 30;

fn copy_path(hub: &TestHub, till: &Till) -> PathBuf {
    let books = counterfoil_hub::DataDir::new(hub.dir.path()).books();
    books.join(format!("{}.db", till.id))
}

/// What two databases hold, row by row.
fn rows(path: &std::path::Path, sql: &str) -> Vec<String> {
    let output = std::process::Command::new("sqlite3")
        .arg("-quote")
        .arg(path)
        .arg(sql)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_sale_travels_as_a_few_hundred_bytes() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "France", 1).await;
    for _ in 0..200 {
        till.sell(4);
    }
    till.push(&client).await.unwrap();
    for _ in 0..20 {
        till.sell(4);
        let report = till.push(&client).await.unwrap();
        assert_eq!(report.deltas_refused, 0);
        assert!(report.frames >= 4, "{report:?}");
        assert!(report.bytes_up < 1_000, "{report:?}");
    }
    for _ in 0..300 {
        till.sell(4);
    }
    let report = till.push(&client).await.unwrap();
    assert!(report.bytes_up < 300 * 300, "{report:?}");
    assert_eq!(client.settle().await.receipts, 520);
}

#[tokio::test]
async fn a_hub_whose_pages_are_damaged_asks_for_whole_frames_and_gets_what_differs() {
    let mut hub = TestHub::start().await;
    let mut till = Till::of(&hub.client(), "France", 1).await;
    for _ in 0..700 {
        till.sell(4);
    }
    till.push(&hub.client()).await.unwrap();
    hub.client().settle().await;
    hub.stop().await;
    let path = copy_path(&hub, &till);
    let mut copy = Copy::open(&path, CopyKind::Pushed, Arc::new(OsFiles)).unwrap();
    let rotation = copy.begin_generation().unwrap();
    assert!(matches!(rotation, Rotation::Rotated { .. }), "{rotation:?}");
    drop(copy);
    // The last byte of a page belongs to its oldest row. The first pages hold the schema.
    let mut file = std::fs::read(&path).unwrap();
    let pages = file.len().div_euclid(PAGE_BYTES);
    assert!(pages > FIRST_DAMAGED + 10, "{pages} pages");
    for page in FIRST_DAMAGED..=pages {
        file[page * PAGE_BYTES - 1] ^= 1;
    }
    std::fs::write(&path, &file).unwrap();

    let hub = hub.restart().await;
    let client = hub.client();
    till.sell(4);
    let report = till.push(&client).await.unwrap();
    assert_eq!(report.deltas_refused, 1, "{report:?}");
    let healed = report.difference_pages.unwrap();
    assert!(healed > 5, "{report:?}");
    till.sell(4);
    let report = till.push(&client).await.unwrap();
    assert_eq!((report.deltas_refused, report.difference_pages), (0, None));
    let mut hub = hub;
    hub.stop().await;
    let sql = "SELECT * FROM journal; SELECT * FROM receipt; PRAGMA integrity_check";
    let here = rows(&path, sql);
    assert_eq!(here.last().unwrap(), "'ok'");
    assert!(here.len() > 1_400);
    let file = "SELECT file FROM pragma_database_list WHERE name = 'main'";
    let book: String = till.book.query_value(file, ()).unwrap();
    assert!(
        here == rows(book.as_ref(), sql),
        "hub and till hold the same rows"
    );
}

#[tokio::test]
async fn nonsense_as_delta_frames_is_refused_and_nothing_is_lost() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "France", 1).await;
    till.sell(4);
    till.push(&client).await.unwrap();
    let book = counterfoil_protocol::wire::hub::book_path(till.id);
    let info: Info = parse(&client.get(&format!("{book}/info"), Some(&till.token)).await);
    assert!(info.extensions.iter().any(|it| it == "delta"));
    let start = info.max_frame_no + 1;
    let path = format!(
        "{book}/sync/{}/{start}/{}",
        info.current_generation,
        start + 3
    );
    let chain = info.chain.clone();
    let ask = async |body: &[u8], headers: &[(&str, &str)]| {
        client
            .send(crate::hub::Ask {
                method: http::Method::POST,
                path: &path,
                token: Some(&till.token),
                headers,
                body: bytes::Bytes::copy_from_slice(body),
            })
            .await
    };
    let encoding = ("content-encoding", "x-counterfoil-delta");
    let proved = [
        encoding,
        ("x-counterfoil-chain-before", chain.as_str()),
        ("x-counterfoil-chain", chain.as_str()),
    ];
    // Not delta frames, a length without end, pages that do not exist.
    for body in [
        &b"nonsense"[..],
        &[],
        &[
            1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0,
        ],
        &[1, 9, 9, 1, 200, 1, 200, 1],
    ] {
        let answer: PushAnswer = parse(&ask(body, &proved).await);
        assert!(answer.send_whole, "{body:?}: {answer:?}");
        assert_eq!(answer.max_frame_no, info.max_frame_no);
    }
    assert_eq!(ask(&[1], &[encoding]).await.status.as_u16(), 400);
    till.sell(4);
    let report = till.push(&client).await.unwrap();
    assert_eq!((report.deltas_refused, report.difference_pages), (0, None));
    assert_eq!(client.settle().await.receipts, 2);
}

#[tokio::test]
async fn a_changed_price_comes_down_as_a_few_hundred_bytes() {
    let mut hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "France", 1).await;
    let set = async |sku: usize, price: i64| {
        let columns = json!({"columns": {"name": format!("ARTICLE {sku}"), "price_mills": price.to_string()}});
        let path = format!("catalog/products/SKU{sku}");
        client.admin_post::<Value>(&path, &columns).await;
    };
    for sku in 0..100 {
        set(sku, 100).await;
    }
    client.settle().await;
    let path = hub.dir.join("pulled.db");
    let catalog = CatalogReplica::open(&path, Arc::new(OsFiles), Execution::Threads).unwrap();
    let url = format!("{}{CATALOG_PATH}", hub.url);
    let remote = Remote::new(&Env::system().http(), &url, Some(till.token.clone()));
    assert!(catalog.pull(&remote, &OpenGate).await.unwrap().bootstrapped);
    for sku in [3, 50, 97] {
        set(sku, 250).await;
        client.settle().await;
        let report = catalog.pull(&remote, &OpenGate).await.unwrap();
        assert!(report.frames >= 2 && !report.bootstrapped, "{report:?}");
        assert!(report.bytes_down < 1_000, "{report:?}");
    }
    drop(catalog);
    hub.stop().await;
    let sql = "SELECT * FROM products; SELECT * FROM catalog_state; PRAGMA integrity_check";
    assert!(rows(&path, sql) == rows(&hub.dir.join("catalog.db"), sql));
}
