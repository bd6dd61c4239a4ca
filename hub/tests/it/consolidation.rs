use crate::hub::TestHub;
use crate::till::Till;
use counterfoil_domain::{Document, Scalar};
use counterfoil_hub::limits::CONSOLIDATE_ENTRIES_MAX;
use counterfoil_migrate::Connection;
use counterfoil_protocol::wire::hub::{NodeRow, SalesGroup};
use counterfoil_protocol::wire::quarantine::QuarantineRow;

fn hub_sum(hub: &TestHub, sql: &str) -> i64 {
    let db = Connection::open_read_only(hub.dir.join("hub.db")).unwrap();
    db.query_value(sql, ()).unwrap()
}

#[tokio::test]
async fn everything_pushed_is_consolidated_once_however_often_it_is_asked_for() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    let mut total = 0;
    for round in 1..=4 {
        for _ in 0..5 {
            total += till.sell(3);
        }
        till.move_stock(-1_000);
        till.push(&client).await.unwrap();
        for _ in 0..3 {
            let status = client.settle().await;
            assert_eq!((status.receipts, status.documents), (5 * round, round));
        }
    }
    let report: Vec<SalesGroup> = client.admin_get("reports/sales?by=shop").await;
    assert_eq!(report.len(), 1);
    let group = &report[0];
    assert_eq!(
        (group.count, group.lines, group.total_minor),
        (20, 60, total)
    );
    let standing = till.hello(&client).await;
    assert_eq!(
        (standing.consolidated_seq, standing.quarantined),
        (till.seq, 0)
    );
}

#[tokio::test]
async fn a_push_is_consolidated_without_being_asked_for() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    till.sell(1);
    till.push(&client).await.unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(120);
    while till.hello(&client).await.consolidated_seq < till.seq {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not consolidated in 120 s"
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_till_whose_first_push_was_cut_off_is_not_taken_for_a_damaged_one() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    // It asked where the hub stands, and got no further.
    let path = format!("/v1/db/book/{}/info", till.id);
    assert!(
        client
            .get(&path, Some(&till.token))
            .await
            .status
            .is_success()
    );
    let status = client.settle().await;
    assert_eq!(status.alerts, []);
    till.sell(1);
    till.push(&client).await.unwrap();
    assert_eq!(client.settle().await.receipts, 1);
}

#[tokio::test]
async fn more_entries_than_one_batch_holds_all_arrive() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    // Not what is tested here, and it takes its time.
    till.book.execute_batch("PRAGMA synchronous=OFF").unwrap();
    let (mut total, count) = (0, CONSOLIDATE_ENTRIES_MAX + 200);
    for index in 0..count {
        total += till.sell(1);
        if index % 7 == 0 {
            till.move_stock(1_000);
        }
    }
    till.push(&client).await.unwrap();
    let status = client.settle().await;
    assert_eq!(status.receipts, count);
    assert_eq!(hub_sum(&hub, "SELECT sum(total_minor) FROM receipt"), total);
    assert_eq!(till.hello(&client).await.consolidated_seq, till.seq);
}

#[tokio::test]
async fn a_book_that_is_uploaded_again_is_not_consolidated_again() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    for _ in 0..10 {
        till.sell(2);
    }
    till.push(&client).await.unwrap();
    assert_eq!(client.settle().await.receipts, 10);
    // Somebody opened the book with another program: its frame numbers are gone.
    till.book.checkpoint_truncate().unwrap();
    till.sell(2);
    let report = till.push(&client).await.unwrap();
    assert!(report.difference_pages.is_some(), "{report:?}");
    assert_eq!(client.settle().await.receipts, 11);
    let report: Vec<SalesGroup> = client.admin_get("reports/sales?by=node").await;
    assert_eq!((report[0].count, report[0].lines), (11, 22));
}

#[tokio::test]
async fn a_record_that_breaks_a_rule_steps_aside_and_the_rest_goes_on() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    for _ in 0..8 {
        till.sell(2);
    }
    till.move_stock(5_000);
    let unknown = till.seq + 1;
    till.tamper("UPDATE journal SET total_minor = total_minor + 1 WHERE seq = 2");
    till.tamper("DELETE FROM receipt_item WHERE key >> 16 = 3 AND sku IS NOT NULL");
    till.tamper("UPDATE receipt_item SET amount_minor = 0 WHERE key >> 16 = 4 AND tender = 'cash'");
    till.tamper("UPDATE journal SET series = NULL WHERE seq = 5");
    till.tamper(&format!(
        "INSERT INTO journal (seq, id, hlc, topic, priority, chain)
         VALUES ({unknown}, randomblob(16), 1, 77, 9, randomblob(32))"
    ));
    till.tamper("UPDATE journal SET id = x'00' WHERE seq = 6");
    // A sum with it would overflow.
    till.tamper(
        "UPDATE receipt_item SET amount_minor = 9223372036854775807 WHERE key >> 16 = 7 AND sku <> ''",
    );
    // The hub's table has no place for it.
    till.tamper("UPDATE receipt_item SET sku = NULL WHERE key >> 16 = 8 AND sku <> ''");
    till.push(&client).await.unwrap();
    let status = client.settle().await;
    assert_eq!(
        (status.receipts, status.documents, status.quarantined),
        (1, 1, 8)
    );
    let rows: Vec<QuarantineRow> = client.admin_get("quarantine").await;
    let reasons: Vec<_> = rows
        .iter()
        .map(|row| (row.seq, row.reason.as_str()))
        .collect();
    let check = |seq, part: &str| {
        let (_, reason) = reasons.iter().find(|(at, _)| *at == seq).unwrap();
        assert!(reason.contains(part), "{seq}: {reason}");
    };
    check(2, "but the total says");
    check(3, "has no lines");
    check(4, "the payments come to 0");
    check(5, "the receipt itself is missing");
    check(6, "id is damaged");
    check(7, "that cannot be true");
    check(8, "cannot be stored");
    check(unknown, "update the hub");
    let standing = till.hello(&client).await;
    assert_eq!(
        (standing.consolidated_seq, standing.quarantined),
        (unknown, 8)
    );
}

#[tokio::test]
async fn the_same_document_from_two_tills_counts_once() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut first = Till::of(&client, "A", 1).await;
    let mut second = Till::of(&client, "B", 2).await;
    let (id, sale) = (first.next_id(), Document::Sale(first.receipt(1)));
    first.record_as(&sale, id);
    second.record_as(&sale, id);
    first.push(&client).await.unwrap();
    client.settle().await;
    second.push(&client).await.unwrap();
    let status = client.settle().await;
    assert_eq!((status.receipts, status.quarantined), (1, 1));
}

#[tokio::test]
async fn a_book_with_another_past_stops_its_node_alone() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "A", 1).await;
    let mut other = Till::of(&client, "B", 2).await;
    for _ in 0..3 {
        till.sell(1);
    }
    till.push(&client).await.unwrap();
    assert_eq!(client.settle().await.receipts, 3);
    till.tamper("UPDATE journal SET chain = randomblob(32) WHERE seq = 3");
    till.sell(1);
    other.sell(1);
    till.push(&client).await.unwrap();
    other.push(&client).await.unwrap();
    let status = client.settle().await;
    assert_eq!(status.receipts, 4);
    assert!(
        status
            .alerts
            .iter()
            .any(|alert| { alert.kind == "diverged" && alert.node_id == Some(till.id) })
    );
    let nodes: Vec<NodeRow> = client.admin_get("nodes").await;
    let state = |till: &Till| {
        nodes
            .iter()
            .find(|row| row.node_id == till.id)
            .unwrap()
            .state
            .clone()
    };
    assert_eq!(
        (state(&till).as_str(), state(&other).as_str()),
        ("diverged", "active")
    );
    assert_eq!(till.hello(&client).await.consolidated_seq, 3);
}

#[tokio::test]
async fn a_book_that_is_no_book_stops_its_node_alone() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "A", 1).await;
    till.tamper("DROP TABLE cash_session");
    till.push(&client).await.unwrap();
    let status = client.settle().await;
    assert!(
        status.alerts.iter().any(|alert| alert.kind == "diverged"),
        "{:?}",
        status.alerts
    );
    assert_eq!(status.receipts, 0);
}

#[tokio::test]
async fn a_book_of_another_schema_stops_its_node_and_loses_no_record_to_quarantine() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "A", 1).await;
    till.sell(2);
    till.tamper("ALTER TABLE journal RENAME COLUMN employee TO clerk");
    till.push(&client).await.unwrap();
    let status = client.settle().await;
    assert_eq!((status.receipts, status.quarantined), (0, 0));
    let standing = till.hello(&client).await;
    assert!(standing.halted.unwrap().contains("another version"));
    till.tamper("ALTER TABLE journal RENAME COLUMN clerk TO employee");
    till.push(&client).await.unwrap();
    assert_eq!(client.settle().await.receipts, 1);
    assert_eq!(till.hello(&client).await.halted, None);
}

#[tokio::test]
async fn wals_stay_below_their_limit_while_tills_push() {
    let hub = TestHub::start_with(|config| config.wal_limit_bytes = 256 * 1024).await;
    let client = hub.client();
    let mut till = Till::of(&client, "A", 1).await;
    for round in 0..12 {
        for index in 0..20 {
            till.sell(2);
            let name = Scalar::Text(format!("tea {round}"));
            till.edit(&format!("P{index}"), ("name", name), &[]);
        }
        till.push(&client).await.unwrap();
        client.settle().await;
    }
    assert_eq!(client.settle().await.receipts, 240);
    let book = hub.dir.join("books").join(format!("{}.db-wal", till.id));
    let wals = [book, hub.dir.join("catalog.db-wal")];
    for wal in wals {
        let size = std::fs::metadata(&wal).unwrap().len();
        assert!(size < 2 * 1024 * 1024, "{} has {size} bytes", wal.display());
    }
}

#[tokio::test]
async fn more_tills_than_books_are_held_open_all_arrive() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let count = counterfoil_hub::limits::COPIES_OPEN_MAX + 6;
    let mut tills = Vec::new();
    for seed in 0..count {
        tills.push(Till::of(&client, "Leith", u64::try_from(seed).unwrap()).await);
    }
    for _ in 0..2 {
        for till in &mut tills {
            till.sell(1);
            till.push(&client).await.unwrap();
        }
    }
    let receipts = i64::try_from(count * 2).unwrap();
    assert_eq!(client.settle().await.receipts, receipts);
}
