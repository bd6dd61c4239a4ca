//! Records of every kind in quarantine, and what is decided about them.

use crate::hub::{Client, TestHub, parse, problem};
use crate::till::{TIME_MS, Till};
use counterfoil_domain::{Document, Scalar, Topic};
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::hub::ShopRow;
use counterfoil_protocol::wire::quarantine::{QuarantineAnswer, QuarantineDetail, QuarantineRow};
use counterfoil_replica::env::HttpResponse;
use serde_json::{Value, json};

/// A sound row of a kind, with the journal's number at `?1`.
const SOUND: [(Topic, &str); 11] = [
    (
        Topic::Activation,
        "INSERT INTO activation VALUES (?1, x'0190AAAA000070008000000000000001', 'Leith', 1700000000000)",
    ),
    (
        Topic::LedgerEntry,
        "INSERT INTO ledger_entry VALUES (?1, 'C1', 500, 'GBP', '', 1700000000000)",
    ),
    (
        Topic::AdvanceOrder,
        "INSERT INTO advance_order VALUES (?1, 'C1', 1900000000000,
             '[{\"sku\":\"TEA\",\"amount_minor\":300},{\"sku\":\"CUP\",\"amount_minor\":200}]',
             500, 100, 'GBP', 1700000000000)",
    ),
    (
        Topic::CashSession,
        "INSERT INTO cash_session VALUES (?1, 'open', 500, 'GBP', NULL, 1700000000000)",
    ),
    (
        Topic::Expense,
        "INSERT INTO expense VALUES (?1, 'cleaning', 500, 'GBP', '', 1700000000000, 'E1')",
    ),
    (
        Topic::StockMovement,
        "INSERT INTO stock_movement VALUES (?1, 'TEA', 500, 'delivery', 1700000000000, NULL)",
    ),
    (
        Topic::StockCount,
        "INSERT INTO stock_count VALUES (?1, 'TEA', 500, 1700000000000, NULL)",
    ),
    (
        Topic::EmployeeEvent,
        "INSERT INTO employee_event VALUES (?1, 'E1', 'sign_in', NULL, 'granted', 0, 1700000000000)",
    ),
    (
        Topic::ParkedSale,
        "UPDATE journal SET payload = '{\"total_minor\":500}', at_ms = 1700000000000 WHERE seq = ?1",
    ),
    (
        Topic::ParkedDiscard,
        "UPDATE journal SET payload = '{\"lane\":2}', at_ms = 1700000000000 WHERE seq = ?1",
    ),
    (
        Topic::Escrow,
        "UPDATE journal SET payload = '{\"sku\":\"LAMP\"}', at_ms = 1700000000000 WHERE seq = ?1",
    ),
];

/// How each kind is poisoned, the rule, and the cure: no changes are a waiver.
const POISON: [(Topic, &str, &str, &str); 13] = [
    (
        Topic::Activation,
        "UPDATE activation SET at_ms = 0 WHERE seq = ?1",
        "time_impossible",
        "{}",
    ),
    (
        Topic::LedgerEntry,
        "UPDATE ledger_entry SET amount_minor = -10000000000001 WHERE seq = ?1",
        "value_out_of_range",
        r#"{"amount_minor": "500"}"#,
    ),
    (
        Topic::AdvanceOrder,
        "UPDATE advance_order SET total_minor = 501 WHERE seq = ?1",
        "total_wrong",
        r#"{"total_minor": "500"}"#,
    ),
    (
        Topic::AdvanceOrder,
        "UPDATE advance_order SET lines = '[{' WHERE seq = ?1",
        "value_damaged",
        r#"{"lines": "[{\"amount_minor\": 500}]"}"#,
    ),
    (
        Topic::CashSession,
        "UPDATE cash_session SET event = 'counted twice' WHERE seq = ?1",
        "value_unknown",
        "{}",
    ),
    (
        Topic::Expense,
        "UPDATE expense SET amount_minor = 0 WHERE seq = ?1",
        "value_out_of_range",
        r#"{"amount_minor": "500"}"#,
    ),
    (
        Topic::StockMovement,
        "DELETE FROM stock_movement WHERE seq = ?1",
        "record_missing",
        r#"{"sku": "TEA", "quantity_milli": "500", "reason": "found", "at_ms": "1700000000000"}"#,
    ),
    (
        Topic::StockCount,
        "UPDATE stock_count SET quantity_milli = -1 WHERE seq = ?1",
        "value_out_of_range",
        r#"{"quantity_milli": "500"}"#,
    ),
    (
        Topic::EmployeeEvent,
        "UPDATE employee_event SET at_ms = 0 WHERE seq = ?1",
        "time_impossible",
        r#"{"at_ms": "1700000000000"}"#,
    ),
    (
        Topic::ParkedSale,
        "UPDATE journal SET at_ms = 0 WHERE seq = ?1",
        "time_impossible",
        r#"{"at_ms": "1700000000000"}"#,
    ),
    (
        Topic::ParkedSale,
        "UPDATE journal SET payload = NULL WHERE seq = ?1",
        "record_missing",
        r#"{"payload": "{}"}"#,
    ),
    (
        Topic::ParkedDiscard,
        "UPDATE journal SET payload = '{' WHERE seq = ?1",
        "value_damaged",
        r#"{"payload": "{}"}"#,
    ),
    (
        Topic::Escrow,
        "UPDATE journal SET payload = NULL WHERE seq = ?1",
        "record_missing",
        r#"{"payload": "{}"}"#,
    ),
];

/// Records a sound entry of a kind; its place.
pub(crate) fn record(till: &mut Till, topic: Topic) -> i64 {
    till.move_stock(500);
    let (seq, code) = (till.seq, topic.code());
    let change = |sql: &str| till.book.execute(sql, params![seq]).unwrap();
    change("DELETE FROM stock_movement WHERE seq = ?1");
    let (_, sql) = SOUND.iter().find(|(sound, _)| *sound == topic).unwrap();
    change(sql);
    change(&format!("UPDATE journal SET topic = {code} WHERE seq = ?1"));
    seq
}

pub(crate) async fn send(client: &Client, till: &Till, seq: i64, changes: &Value) -> HttpResponse {
    let what = if changes == &json!({}) {
        "waive"
    } else {
        "fix"
    };
    let path = format!("/v1/admin/quarantine/{}/{seq}/{what}", till.id);
    let body = json!({"who": "Ann", "why": "seen", "changes": changes});
    client.post(&path, Some(&client.admin), &body).await
}

pub(crate) async fn open(client: &Client) -> Vec<(i64, String)> {
    let rows: Vec<QuarantineRow> = client.admin_get("quarantine?open=true").await;
    rows.into_iter().map(|row| (row.seq, row.code)).collect()
}

#[tokio::test]
async fn records_of_every_kind_step_aside_and_come_back() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let named = json!({"columns": {"name": "Campbell"}});
    client
        .admin_post::<Value>("catalog/customers/C1", &named)
        .await;
    let mut till = Till::of(&client, "Leith", 1).await;
    for (topic, _) in SOUND {
        record(&mut till, topic);
    }
    let mut expected = Vec::new();
    for (topic, sql, code, _) in POISON {
        let seq = record(&mut till, topic);
        till.book.execute(sql, params![seq]).unwrap();
        expected.push((seq, code.to_owned()));
    }
    till.push(&client).await.unwrap();
    assert_eq!(client.settle().await.documents, 11);
    assert_eq!(open(&client).await, expected);
    for ((seq, _), (topic, _, _, changes)) in expected.iter().zip(POISON) {
        let changes: Value = serde_json::from_str(changes).unwrap();
        let answer: QuarantineAnswer = parse(&send(&client, &till, *seq, &changes).await);
        assert_eq!(answer.taken_in, 1, "{topic:?}");
        let path = format!("quarantine/{}/{seq}", till.id);
        let found: QuarantineDetail = client.admin_get(&path).await;
        let held = found.consolidated.unwrap();
        for (field, value) in changes.as_object().unwrap() {
            if field == "payload" {
                // It stands under the name of what it is.
                assert!(
                    ["parked", "discard", "escrow"]
                        .iter()
                        .any(|name| held.contains_key(*name))
                );
                continue;
            }
            let text = match &held[field] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            if field != "lines" {
                assert_eq!(json!(text), *value, "{topic:?} {field}");
            }
        }
    }
    let status = client.settle().await;
    assert_eq!((status.documents, status.quarantined), (24, 0));
}

#[tokio::test]
async fn an_edit_in_quarantine_is_merged_when_it_comes_back() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut owner = Till::of(&client, "A", 1).await;
    let mut other = Till::of(&client, "B", 2).await;
    let text = |text: &str| Scalar::Text(text.to_owned());
    let shops: Vec<ShopRow> = client.admin_get("shops").await;
    let shop = shops.iter().find(|shop| shop.name == "A").unwrap().shop_id;
    let claim = owner.edit_in("prices", "p1", ("shop", text(&shop.to_string())), &[]);
    other.observe(claim.hlc);
    owner.push(&client).await.unwrap();
    client.settle().await;
    other.edit_in("prices", "p1", ("price_mills", Scalar::Integer(900)), &[]);
    other.edit("TEA", ("name", text("Tea")), &[]);
    other.tamper("UPDATE journal SET hlc = 9223372036854775807 WHERE seq = 2");
    other.push(&client).await.unwrap();
    client.settle().await;
    let aside = [(1, "row_of_another_shop"), (2, "edit_time_impossible")];
    assert_eq!(
        open(&client).await,
        aside.map(|(seq, code)| (seq, code.to_owned()))
    );
    let answer: QuarantineAnswer = parse(&send(&client, &other, 1, &json!({})).await);
    assert_eq!(answer.open, 1);
    // It would win every conflict for ever.
    let refused = problem(&send(&client, &other, 2, &json!({})).await);
    assert_eq!(refused.code, Code::Invalid);
    let at = json!({"at_ms": TIME_MS.to_string()});
    let answer: QuarantineAnswer = parse(&send(&client, &other, 2, &at).await);
    assert_eq!(answer.open, 0);
    let catalog = Connection::open_read_only(hub.dir.join("catalog.db")).unwrap();
    let sql = "SELECT (SELECT price_mills FROM prices) || ' ' || (SELECT name FROM products)";
    assert_eq!(catalog.query_value::<String>(sql, ()).unwrap(), "900 Tea");
}

#[tokio::test]
async fn a_refund_that_arrives_with_its_sale_from_another_till_troubles_nobody() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut tills = [
        Till::of(&client, "A", 1).await,
        Till::of(&client, "A", 2).await,
    ];
    // Whichever book is looked at first, one refund is before its sale.
    let sales = tills.each_mut().map(|till| {
        let receipt = till.receipt(2);
        till.record(&Document::Sale(receipt)).1
    });
    tills[0].take_back(Some(sales[1]));
    tills[1].take_back(Some(sales[0]));
    for till in &tills {
        till.push(&client).await.unwrap();
    }
    let status = client.settle().await;
    assert_eq!((status.receipts, status.quarantined), (4, 0));
}

#[tokio::test]
async fn lines_and_payments_are_taken_out_and_put_in() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "A", 1).await;
    till.sell(2);
    till.tamper("UPDATE journal SET total_minor = 503");
    till.push(&client).await.unwrap();
    client.settle().await;
    let changes = json!({
        "total_minor": "250", "line.2": null,
        "payment.1.amount_minor": "200", "payment.2.tender": "card", "payment.2.amount_minor": "50",
    });
    parse::<QuarantineAnswer>(&send(&client, &till, 1, &changes).await);
    let found: QuarantineDetail = client.admin_get(&format!("quarantine/{}/1", till.id)).await;
    let [book, held] = [found.record, found.consolidated].map(Option::unwrap);
    let count = |record: &serde_json::Map<String, Value>, items: &str| {
        record[items].as_array().unwrap().len()
    };
    assert_eq!((count(&book, "lines"), count(&book, "payments")), (2, 1));
    assert_eq!((count(&held, "lines"), count(&held, "payments")), (1, 2));
    assert_eq!(
        held["payments"][1],
        json!({"payment": 2, "tender": "card", "amount_minor": 50})
    );
}

#[tokio::test]
async fn a_record_whose_copy_is_lost_waits_until_the_till_has_sent_it_again() {
    let mut hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "A", 1).await;
    till.sell(2);
    till.tamper("UPDATE journal SET total_minor = 503 WHERE seq = 1");
    till.push(&client).await.unwrap();
    assert_eq!(client.settle().await.quarantined, 1);
    hub.stop().await;
    std::fs::remove_dir_all(hub.dir.join("books")).unwrap();
    std::fs::create_dir(hub.dir.join("books")).unwrap();
    let hub = hub.restart().await;
    let client = hub.client();
    let found: QuarantineDetail = client.admin_get(&format!("quarantine/{}/1", till.id)).await;
    assert_eq!(found.record, None);
    let refused = problem(&send(&client, &till, 1, &json!({})).await);
    assert_eq!(refused.code, Code::Conflict);
    till.push(&client).await.unwrap();
    let answer: QuarantineAnswer = parse(&send(&client, &till, 1, &json!({})).await);
    assert_eq!((answer.taken_in, client.settle().await.receipts), (1, 1));
}

#[tokio::test]
async fn a_kind_that_the_hub_learns_to_know_is_taken_in_by_itself() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "A", 1).await;
    // To a hub of before, this count was a kind without a name.
    let seq = record(&mut till, Topic::StockCount);
    till.tamper("UPDATE journal SET topic = 77");
    till.push(&client).await.unwrap();
    client.settle().await;
    assert_eq!(open(&client).await, [(seq, "topic_unknown".to_owned())]);
    let refused = problem(&send(&client, &till, seq, &json!({})).await);
    assert!(
        refused.detail.contains("update the hub"),
        "{}",
        refused.detail
    );
    till.tamper("UPDATE journal SET topic = 9");
    till.push(&client).await.unwrap();
    assert_eq!(client.settle().await.quarantined, 1);
    let db = Connection::open_existing(
        hub.dir.join("hub.db"),
        counterfoil_migrate::Durability::Full,
    );
    let learnt = "UPDATE quarantine SET topic = 9";
    db.unwrap().execute(learnt, ()).unwrap();
    let status = client.settle().await;
    assert_eq!((status.documents, status.quarantined), (1, 0));
}
