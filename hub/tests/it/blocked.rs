//! A record that is damaged beyond its rules must not hold up what stands behind it in its till.

use crate::hub::{Client, TestHub, parse, problem};
use crate::kinds::{open, record, send};
use crate::till::Till;
use counterfoil_domain::{Document, Topic};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::hub::HubStatus;
use counterfoil_protocol::wire::monitor::AlertRow;
use counterfoil_protocol::wire::quarantine::QuarantineAnswer;
use serde_json::json;

/// Takes from a table of the book what keeps damage out of it.
fn unguard(till: &Till, table: &str) {
    let sql = format!(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(replace(sql, 'NOT NULL', ''), ') STRICT', ')')
         WHERE name = '{table}';
         PRAGMA writable_schema = RESET;"
    );
    till.book.execute_batch(&sql).unwrap();
}

fn stopped(status: &HubStatus) -> usize {
    let alerts = status.alerts.iter();
    alerts.filter(|alert| alert.kind == "diverged").count()
}

async fn settled(client: &Client, till: &Till) -> HubStatus {
    till.push(client).await.unwrap();
    client.settle().await
}

#[tokio::test]
async fn a_text_that_became_bytes_steps_aside_alone() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    till.sell(2);
    let seq = record(&mut till, Topic::Expense);
    unguard(&till, "expense");
    till.tamper("UPDATE expense SET note = x'FF00'");
    for _ in 0..3 {
        till.move_stock(500);
    }
    till.sell(2);
    let status = settled(&client, &till).await;
    assert_eq!(
        (status.receipts, status.documents, stopped(&status)),
        (2, 3, 0)
    );
    assert_eq!(open(&client).await, [(seq, "value_damaged".to_owned())]);
    let note = json!({"note": "cleaning"});
    let answer: QuarantineAnswer = parse(&send(&client, &till, seq, &note).await);
    assert_eq!((answer.taken_in, answer.open), (1, 0));
}

#[tokio::test]
async fn an_entry_without_a_sound_id_topic_or_priority_steps_aside_alone() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    for _ in 0..8 {
        till.sell(2);
    }
    unguard(&till, "journal");
    for sql in [
        "UPDATE journal SET id = 'no id at all' WHERE seq = 2",
        "UPDATE journal SET id = NULL WHERE seq = 3",
        "UPDATE journal SET topic = NULL WHERE seq = 4",
        "UPDATE journal SET topic = 'sale' WHERE seq = 5",
        "UPDATE journal SET priority = NULL WHERE seq = 6",
        "UPDATE journal SET priority = 'soon' WHERE seq = 7",
    ] {
        till.tamper(sql);
    }
    let status = settled(&client, &till).await;
    assert_eq!((status.receipts, stopped(&status)), (4, 0));
    let codes = ["id_damaged", "id_damaged", "topic_unknown", "topic_unknown"];
    let expected: Vec<_> = (2..).zip(codes.map(str::to_owned)).collect();
    assert_eq!(open(&client).await, expected);
    for seq in [2, 3] {
        let id = json!({"id": format!("0190aaaa-0000-7000-8000-00000000000{seq}")});
        let answer: QuarantineAnswer = parse(&send(&client, &till, seq, &id).await);
        assert_eq!(answer.taken_in, 1, "{seq}");
    }
    assert_eq!(client.settle().await.receipts, 6);
}

#[tokio::test]
async fn a_person_is_told_once_of_an_entry_that_cannot_even_be_put_aside() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    let mut other = Till::of(&client, "Crail", 2).await;
    till.sell(2);
    till.sell(2);
    other.sell(2);
    other.push(&client).await.unwrap();
    unguard(&till, "journal");
    till.tamper("UPDATE journal SET chain = NULL WHERE seq = 2");
    for _ in 0..3 {
        let status = settled(&client, &till).await;
        assert_eq!((status.receipts, stopped(&status)), (2, 1), "{status:?}");
    }
    let halted = till.hello(&client).await.halted.unwrap();
    assert!(halted.contains("damaged beyond quarantine"), "{halted}");
    till.sell(2);
    let status = settled(&client, &till).await;
    assert_eq!((status.receipts, status.quarantined), (4, 0));
    assert_eq!(till.hello(&client).await.halted, None);
}

#[tokio::test]
async fn a_series_that_is_no_text_steps_aside_and_can_be_told() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    for _ in 0..3 {
        till.sell(2);
    }
    till.book
        .execute_batch("DROP INDEX receipt_by_number")
        .unwrap();
    till.tamper("UPDATE journal SET series = CAST(x'FF' AS TEXT), number = 1 WHERE seq < 3");
    let status = settled(&client, &till).await;
    assert_eq!((status.receipts, status.quarantined), (1, 2));
    let code = "value_out_of_range".to_owned();
    assert_eq!(open(&client).await, [(1, code.clone()), (2, code)]);
    let told = |alert: &AlertRow| alert.kind == "quarantine_not_empty";
    assert!(status.alerts.iter().any(told), "{:?}", status.alerts);
}

#[tokio::test]
async fn a_book_that_fails_keeps_no_other_record_in_quarantine_and_no_alert_back() {
    let mut hub = TestHub::start().await;
    let client = hub.client();
    let mut tills = Vec::new();
    for seed in 1..=3 {
        tills.push(Till::of(&client, "Leith", seed).await);
    }
    let receipt = tills[2].receipt(2);
    let (_, sale, _) = tills[2].record(&Document::Sale(receipt));
    for till in &mut tills[..2] {
        till.take_back(Some(sale));
        till.push(&client).await.unwrap();
    }
    assert_eq!(client.settle().await.quarantined, 2);
    hub.stop().await;
    let wal = format!("{}.db-wal", tills[0].id);
    let wal = hub.dir.join("books").join(wal);
    drop(std::fs::remove_file(&wal));
    std::fs::create_dir_all(wal.join("in the way")).unwrap();
    let hub = hub.restart().await;
    let client = hub.client();
    tills[2].tamper("UPDATE journal SET at_ms = 0 WHERE seq = 2");
    tills[2].sell(2);
    tills[2].tamper("UPDATE journal SET at_ms = 0 WHERE seq = 2");
    tills[2].push(&client).await.unwrap();
    let path = "/v1/admin/consolidate";
    let answer = client.post(path, Some(&client.admin), &json!(null)).await;
    assert_eq!(answer.status, 500, "the failure is told");
    let status: HubStatus = client.admin_get("status").await;
    let still: Vec<_> = open(&client)
        .await
        .into_iter()
        .map(|(_, code)| code)
        .collect();
    assert_eq!(still, ["refund_of_unknown", "time_impossible"]);
    let told = |alert: &&AlertRow| {
        alert.kind == "quarantine_not_empty" && alert.node_id == Some(tills[2].id)
    };
    assert_eq!(
        status.alerts.iter().filter(told).count(),
        1,
        "{:?}",
        status.alerts
    );
}

#[tokio::test]
async fn a_waiver_steps_over_one_rule_and_no_other() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    till.sell(2);
    till.tamper("UPDATE receipt_item SET unit_price_mills = unit_price_mills + 100");
    let missing = "0190aaaa-0000-7000-8000-000000000077".parse().unwrap();
    till.take_back(Some(missing));
    till.tamper("UPDATE journal SET total_minor = total_minor - 1");
    till.push(&client).await.unwrap();
    assert_eq!(client.settle().await.quarantined, 2);
    let waive = async |seq: i64, why: &str| {
        let path = format!("/v1/admin/quarantine/{}/{seq}/waive", till.id);
        let body = json!({"who": "Ann", "why": why});
        client.post(&path, Some(&client.admin), &body).await
    };
    for (seq, first, second) in [
        (1, "line_amount_wrong", "total_wrong"),
        (2, "total_wrong", "refund_of_unknown"),
    ] {
        let code = |all: Vec<(i64, String)>| all.into_iter().find(|(at, _)| *at == seq).unwrap().1;
        assert_eq!(code(open(&client).await), first);
        let mut words = 0;
        while code(open(&client).await) != second {
            words += 1;
            let answer: QuarantineAnswer = parse(&waive(seq, &format!("counted {words}")).await);
            assert_eq!(answer.taken_in, 0);
            assert!(words < 3);
        }
        // An answer was lost.
        let again = problem(&waive(seq, "counted 1").await);
        assert_eq!(again.code, Code::Invalid);
        assert!(again.detail.contains(first), "{}", again.detail);
    }
    assert_eq!(client.settle().await.receipts, 0);
    // What the refund takes back arrives: what was waived before stays waived.
    let mut other = Till::of(&client, "Leith", 2).await;
    let sale = other.receipt(1);
    other.record_as(&Document::Sale(sale), missing);
    other.push(&client).await.unwrap();
    assert_eq!(client.settle().await.receipts, 2);
    let mut words = 10;
    while client.settle().await.quarantined > 0 {
        words += 1;
        parse::<QuarantineAnswer>(&waive(1, &format!("counted {words}")).await);
        assert!(words < 13);
    }
    assert_eq!(client.settle().await.receipts, 3);
}
