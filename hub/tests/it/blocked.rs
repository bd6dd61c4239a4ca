//! A record that is damaged beyond its rules must not hold up what stands behind it in its till.

use crate::hub::{Client, TestHub, parse};
use crate::kinds::{open, record, send};
use crate::till::Till;
use counterfoil_domain::Topic;
use counterfoil_protocol::wire::hub::HubStatus;
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
