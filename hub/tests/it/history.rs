//! Every database can be had as it was.

use crate::hub::{HubProcess, TestHub, command, command_json};
use crate::till::Till;
use counterfoil_migrate::Connection;
use counterfoil_protocol::wire::history::{GenerationRow, HistoryRow, Restored};
use counterfoil_protocol::wire::hub::CatalogSetAnswer;
use counterfoil_testkit::TempDir;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// What a till knew at a time: journal entries and the sum of its receipts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known {
    at_ms: i64,
    entries: i64,
    total_minor: i64,
}

async fn known(till: &Till) -> Known {
    // The next push comes later than this, also in milliseconds.
    let pause = async || tokio::time::sleep(Duration::from_millis(3)).await;
    pause().await;
    let at_ms = till.now_ms();
    pause().await;
    let Account {
        entries,
        total_minor,
    } = account(&till.book);
    Known {
        at_ms,
        entries,
        total_minor,
    }
}

struct Account {
    entries: i64,
    total_minor: i64,
}

fn account(book: &Connection) -> Account {
    let sum = "SELECT coalesce(sum(total_minor), 0) FROM receipt";
    Account {
        entries: book
            .query_value("SELECT count(*) FROM journal", ())
            .unwrap(),
        total_minor: book.query_value(sum, ()).unwrap(),
    }
}

/// Restores the book as of each time with the program, and compares.
fn check(data: &Path, till: &Till, then: &[Known]) {
    let node = till.id.to_string();
    let out = TempDir::new("restored");
    for (number, known) in then.iter().enumerate() {
        let to = out.join(&format!("{number}.db"));
        let at = time_text(known.at_ms);
        let to_text = to.to_str().unwrap();
        let args = ["restore", "--node", &node, "--at", &at, "--to", to_text];
        let restored: Restored = command_json(data, &args);
        assert_eq!(restored.journal_seq, Some(known.entries), "{known:?}");
        assert!(restored.at_ms.unwrap() <= known.at_ms);
        let book = Connection::open_read_only(&to).unwrap();
        let found = account(&book);
        assert_eq!(
            (found.entries, found.total_minor),
            (known.entries, known.total_minor)
        );
        drop(book);
        // The same commit by its number, and never over a file that is there.
        let frame = format!("{}/{}", restored.generation, restored.frame);
        let refused = command(
            data,
            &[
                "restore", "--node", &node, "--frame", &frame, "--to", to_text,
            ],
        );
        assert!(!refused.status.success());
        let again = out.join("again.db");
        let again_text = again.to_str().unwrap();
        let args = [
            "restore", "--node", &node, "--frame", &frame, "--to", again_text,
        ];
        let same: Restored = command_json(data, &args);
        assert_eq!(same.journal_seq, restored.journal_seq);
        assert_eq!(std::fs::read(&to).unwrap(), std::fs::read(&again).unwrap());
        std::fs::remove_file(&again).unwrap();
    }
}

/// As RFC 3339 with milliseconds, which the program's own parser must read.
fn time_text(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms)
        .unwrap()
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_book_comes_back_as_it_was_at_any_time() {
    let hub = TestHub::start_with(|config| config.wal_limit_bytes = 300_000).await;
    let client = hub.client();
    let mut till = Till::of(&client, "North", 1).await;
    let mut then = Vec::new();
    for _ in 0..6 {
        for _ in 0..20 {
            till.sell(4);
        }
        till.push(&client).await.unwrap();
        then.push(known(&till).await);
        client.settle().await;
    }
    let data = hub.dir.path();
    let node = till.id.to_string();
    let kept: Vec<GenerationRow> = command_json(data, &["history", "--node", &node]);
    assert!(kept.len() > 2, "{kept:?}");
    assert!(kept.last().unwrap().open);
    check(data, &till, &then);
    let rows: Vec<HistoryRow> = command_json(data, &["history"]);
    let row = rows
        .iter()
        .find(|row| row.database.contains(&node))
        .unwrap();
    assert!(row.bytes > 0 && row.generations > 1);

    let early = command(
        data,
        &[
            "restore",
            "--node",
            &node,
            "--at",
            "2001-01-01T00:00:00Z",
            "--to",
            "/tmp/none.db",
        ],
    );
    let says = String::from_utf8_lossy(&early.stderr).into_owned();
    assert!(says.contains("does not reach back"), "{says}");
    assert!(says.contains("counterfoil-hub history"), "{says}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_comes_back_as_it_was_before_an_edit() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut revisions = Vec::new();
    for price in ["100", "200", "300"] {
        let body = json!({"columns": {"name": "Tea", "price_mills": price}});
        let set: CatalogSetAnswer = client.admin_post("catalog/products/A", &body).await;
        let rows: Vec<GenerationRow> = client.admin_get("history/catalog").await;
        revisions.push((set.revision, *rows.last().unwrap(), price));
    }
    let out = TempDir::new("restored");
    for (revision, row, price) in revisions {
        let to = out.join(&format!("{revision}.db"));
        let frame = format!("{}/{}", row.generation, row.end_frame);
        let args = [
            "restore",
            "--catalog",
            "--frame",
            &frame,
            "--to",
            to.to_str().unwrap(),
        ];
        let restored: Restored = command_json(hub.dir.path(), &args);
        assert_eq!(restored.journal_seq, None);
        let catalog = Connection::open_read_only(&to).unwrap();
        let sql = "SELECT CAST(price_mills AS TEXT) FROM products WHERE id = 'A'";
        assert_eq!(catalog.query_value::<String>(sql, ()).unwrap(), price);
    }
}

/// How often a hub is killed, the first time at once and each time later.
const KILLS: u64 = 12;

#[tokio::test]
async fn what_was_keeps_its_worth_when_the_hub_is_killed_while_generations_end() {
    let data = TempDir::new("hub");
    // Every push ends a generation.
    let options = ["--wal-limit-mib", "0"];
    let mut hub = HubProcess::start_with(data.path(), "127.0.0.1:0", &options);
    let mut till = Till::of(&hub.client(data.path()), "North", 2).await;
    let mut then = Vec::new();
    for round in 0..KILLS {
        for _ in 0..3 {
            for _ in 0..5 {
                till.sell(4);
            }
            till.push(&hub.client(data.path())).await.unwrap();
            then.push(known(&till).await);
        }
        // Consolidation and the end of the generation follow the push.
        tokio::time::sleep(Duration::from_millis(round * 2)).await;
        hub.kill();
        hub = HubProcess::start_with(data.path(), "127.0.0.1:0", &options);
        // What the kill did not let it end it ends now: one generation a round, however slow it is.
        hub.client(data.path()).settle().await;
    }
    let node = till.id.to_string();
    let kept: Vec<GenerationRow> = command_json(data.path(), &["history", "--node", &node]);
    println!("{} generations after {KILLS} kills", kept.len());
    assert!(u64::try_from(kept.len()).unwrap() > KILLS);
    check(data.path(), &till, &then);
    hub.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_book_that_cannot_be_opened_does_not_keep_room_from_being_made() {
    let mut hub = TestHub::start_with(|config| config.wal_limit_bytes = 300_000).await;
    let client = hub.client();
    let mut till = Till::of(&client, "North", 1).await;
    for _ in 0..4 {
        for _ in 0..20 {
            till.sell(4);
        }
        till.push(&client).await.unwrap();
        client.settle().await;
    }
    let broken = Till::of(&client, "South", 2).await;
    broken.push(&client).await.unwrap();
    client.settle().await;
    let bytes = |data: &Path| -> u64 {
        let rows: Vec<HistoryRow> = command_json(data, &["history"]);
        rows.iter().map(|row| row.bytes).sum()
    };
    assert!(bytes(hub.dir.path()) > 0);
    hub.stop().await;
    let record = hub.dir.join(&format!("books/{}.db-sync", broken.id));
    // As a later version of the hub would leave it.
    std::fs::write(&record, r#"{"format": 99}"#).unwrap();
    let hub = hub
        .restart_with(|config| config.history.bytes_max = 0)
        .await;
    let made_room = async {
        while bytes(hub.dir.path()) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(120), made_room).await;
    in_time.expect("the sweep goes on after a failure");
    let kept = std::fs::read_to_string(&record).unwrap();
    assert!(kept.contains("99"), "nothing was made of it: {kept}");
}
