//! Delta frames over what the engine really writes.

use std::{collections::BTreeMap, path::Path, sync::atomic::Ordering};

use counterfoil_replica::{
    Chain, Copy, Durability, Wal,
    delta::{self, Delta, KnownPages},
    frame::frames,
};

use crate::{
    shop::Shop,
    support::{connect, folder},
};

/// What each page holds now.
type Pages = BTreeMap<u32, Vec<u8>>;

fn known_pages(pages: &Pages, wanted: &[u32]) -> KnownPages {
    let mut known = KnownPages::default();
    for page in wanted {
        if let Some(content) = pages.get(page) {
            known.push(*page, content);
        }
    }
    known
}

/// The frames of each transaction.
fn transactions(path: &Path) -> Vec<Vec<u8>> {
    let mut wal = Wal::open(path, Durability::Full).unwrap();
    let last = wal.position().unwrap().frames;
    let mut body = Vec::new();
    wal.read(|reading| reading.frames_into(1, last, &mut body))
        .unwrap();
    let mut transactions = vec![Vec::new()];
    for frame in frames(&body) {
        transactions
            .last_mut()
            .unwrap()
            .extend_from_slice(frame.bytes());
        if frame.is_commit() {
            transactions.push(Vec::new());
        }
    }
    transactions.retain(|transaction| !transaction.is_empty());
    transactions
}

const SCHEMA: &str = "
    CREATE TABLE journal (seq INTEGER PRIMARY KEY, id BLOB NOT NULL, chain BLOB NOT NULL);
    CREATE UNIQUE INDEX journal_by_id ON journal (id);
    CREATE TABLE line (seq INTEGER, line INTEGER, sku TEXT, description TEXT,
                       PRIMARY KEY (seq, line)) WITHOUT ROWID;
    CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT);";

/// A sale: what is random in one, and lines from a small range.
fn sale(number: usize) -> String {
    let sku = number * 7 % 90;
    format!(
        "BEGIN IMMEDIATE;
         INSERT INTO journal VALUES ({number}, randomblob(16), randomblob(32));
         INSERT INTO line VALUES ({number}, 1, 'SKU{sku}', 'WHITE HANGING HEART NUMBER {sku}');
         INSERT INTO line VALUES ({number}, 2, 'SKU{sku}B', 'RED WOOLLY HOTTIE NUMBER {sku}');
         COMMIT"
    )
}

#[tokio::test]
async fn every_transaction_of_a_database_survives_the_way() {
    const SALES: usize = 400;
    let folder = folder();
    let path = folder.path().join("book.db");
    let _pin = Wal::open(&path, Durability::Full).unwrap();
    let connection = connect(&path).await;
    connection.execute_batch(SCHEMA).await.unwrap();
    for number in 1..=SALES {
        connection.execute_batch(&sale(number)).await.unwrap();
        // What a book hardly does, but a database may: long rows, updates, deletions, shrinking.
        let other = match number % 40 {
            7 => "INSERT INTO note (text) VALUES (hex(randomblob(9000)))",
            17 => "UPDATE note SET text = hex(randomblob(300)) WHERE id % 2",
            27 => "DELETE FROM note WHERE id % 3 = 0",
            37 => "VACUUM",
            _ => continue,
        };
        connection.execute_batch(other).await.unwrap();
    }
    let (mut pages, mut chain) = (Pages::new(), Chain([0; 32]));
    let mut sizes = Vec::new();
    let mut copy = Wal::open(&folder.path().join("copy.db"), Durability::Normal).unwrap();
    let mut first = 1;
    for body in transactions(&path) {
        let size = pages.keys().next_back().copied().unwrap_or(0);
        let count = frames(&body).len();
        if count <= 1024 {
            let known = known_pages(&pages, &delta::pages_wanted(&body, size));
            let bytes = delta::encode(&body, &known).unwrap();
            let delta = Delta::parse(&bytes, count).unwrap();
            let decoded = delta.decode(&known_pages(&pages, delta.pages())).unwrap();
            assert_eq!(chain.after_all(&decoded), chain.after_all(&body));
            copy.insert(first, &decoded).unwrap();
            sizes.push(bytes.len());
        }
        chain = chain.after_all(&body);
        first += u64::try_from(count).unwrap();
        for frame in frames(&body) {
            pages.insert(frame.page_number(), frame.bytes()[24..].to_vec());
        }
    }
    drop(copy);
    assert!(sizes.len() > SALES);
    sizes.sort_unstable();
    let median = sizes[sizes.len() >> 1];
    // 48 bytes of each are random.
    assert!(median < 200, "{median} bytes");
    let copy = connect(&folder.path().join("copy.db")).await;
    let mut rows = copy.query("PRAGMA integrity_check", ()).await.unwrap();
    let row = rows.next().await.unwrap().unwrap();
    assert_eq!(row.get::<String>(0).unwrap(), "ok");
}

#[tokio::test]
async fn an_extension_that_a_hub_does_not_announce_is_not_used() {
    let mut shop = Shop::open().await;
    shop.push().await;
    for (announced, encoding) in [
        (vec![], None),
        (vec!["zstd"], Some("zstd")),
        (vec!["zstd", "pages"], Some("zstd")),
        (vec!["zstd", "pages", "delta"], Some("x-counterfoil-delta")),
    ] {
        let names = announced.into_iter().map(str::to_owned).collect();
        *shop.hub.announced.lock().unwrap() = Some(names);
        shop.hub.encodings.lock().unwrap().clear();
        // Text that compresses: a body that does not is sent as it is.
        shop.sell_at_once(40).await;
        let report = shop.push().await;
        assert_eq!(report.difference_pages, None, "{report:?}");
        let seen = shop.hub.encodings.lock().unwrap().clone();
        assert_eq!(seen, [encoding.map(str::to_owned)]);
    }
}

#[tokio::test]
async fn delta_frames_follow_a_transaction_that_came_in_part() {
    let mut shop = Shop::open().await;
    shop.push().await;
    // One transaction over several batches: the hub holds back what it has of it.
    shop.sell_at_once(40_000).await;
    shop.hub.pushes_to_take.store(1, Ordering::SeqCst);
    shop.try_push().await.unwrap_err();
    let info = shop.hub.on_copy(Copy::info).unwrap();
    assert!(info.max_frame_no > info.committed_frame_no, "{info:?}");
    shop.hub.pushes_to_take.store(u32::MAX, Ordering::SeqCst);
    shop.sell(5).await;
    shop.hub.encodings.lock().unwrap().clear();
    let report = shop.push().await;
    assert_eq!((report.deltas_refused, report.difference_pages), (0, None));
    let seen = shop.hub.encodings.lock().unwrap().clone();
    assert!(seen.len() > 1);
    assert!(
        seen.iter().all(|it| it.as_deref() == Some(delta::ENCODING)),
        "{seen:?}"
    );
}
