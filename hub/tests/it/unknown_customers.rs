//! What is owed by or to a customer whom nobody has entered, and how it comes back.

use crate::hub::{Client, TestHub, problem};
use crate::kinds::{open, send};
use crate::quarantine::decided;
use crate::till::{TIME_MS, Till};
use counterfoil_domain::document::{AdvanceOrder, LedgerEntry};
use counterfoil_domain::{Document, Scalar};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::quarantine::{QuarantineDetail, QuarantineRow};
use serde_json::{Value, json};

/// Credit that a customer was given; its place in the journal.
fn lend(till: &mut Till, customer: &str) -> i64 {
    let entry = LedgerEntry {
        customer: customer.to_owned(),
        amount_minor: 500,
        currency: "GBP".parse().unwrap(),
        note: String::new(),
        at_ms: TIME_MS,
    };
    till.record(&Document::LedgerEntry(entry)).0
}

/// Goods that a customer has ordered; the place in the journal.
fn order(till: &mut Till, customer: &str) -> i64 {
    let receipt = till.receipt(2);
    let order = AdvanceOrder {
        customer: customer.to_owned(),
        due_ms: TIME_MS,
        lines: receipt.lines,
        total_minor: receipt.total_minor,
        deposit_minor: 100,
        currency: receipt.currency,
        at_ms: TIME_MS,
    };
    till.record(&Document::AdvanceOrder(order)).0
}

/// A till enters a customer, or changes one.
fn enter(till: &mut Till, customer: &str, (column, value): (&str, Scalar)) {
    till.edit_in("customers", customer, (column, value), &[]);
}

fn name(name: &str) -> (&'static str, Scalar) {
    ("name", Scalar::Text(name.to_owned()))
}

/// Sends everything; how many documents the hub has then, and how many stand in quarantine.
async fn sent(client: &Client, till: &Till) -> (i64, i64) {
    till.push(client).await.unwrap();
    let status = client.settle().await;
    (status.documents, status.quarantined)
}

fn unknown(seq: i64) -> (i64, String) {
    (seq, "customer_unknown".to_owned())
}

/// Everything that ever stood in quarantine.
async fn ever_aside(client: &Client) -> Vec<QuarantineRow> {
    client.admin_get("quarantine").await
}

#[tokio::test]
async fn what_an_unknown_customer_owes_or_is_owed_waits_for_the_customer_and_no_sale_does() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "A", 1).await;
    till.sell(1);
    till.tamper("UPDATE journal SET customer = 'ANN' WHERE seq = 1");
    // A cashier may type blanks, which no id begins or ends with.
    let aside = [lend(&mut till, "ANN"), order(&mut till, " ANN ")];
    assert_eq!(sent(&client, &till).await, (0, 2));
    assert_eq!(client.settle().await.receipts, 1);
    assert_eq!(open(&client).await, aside.map(unknown));
    let reasons: Vec<_> = ever_aside(&client)
        .await
        .into_iter()
        .map(|row| row.reason)
        .collect();
    assert_eq!(
        reasons,
        [
            "it is on the account of the customer `ANN`, whom nobody has entered so far; when that \
             is done, this follows by itself",
            "it is an order of the customer `ANN`, whom nobody has entered so far; when that is \
             done, this follows by itself",
        ]
    );
    // Not when others are entered.
    let mut other = Till::of(&client, "B", 2).await;
    enter(&mut other, "ANNE", name("Anne"));
    assert_eq!(sent(&client, &other).await, (0, 2));
    enter(&mut other, "ANN", name("Ann"));
    assert_eq!(sent(&client, &other).await, (2, 0));
    let settled = ever_aside(&client)
        .await
        .into_iter()
        .map(|row| row.settled_as);
    let settled: Vec<_> = settled.flatten().collect();
    assert_eq!(settled, ["followed", "followed"]);
    // Once is enough, and whoever comes later is known.
    lend(&mut till, "ANN");
    assert_eq!(sent(&client, &till).await, (3, 0));
    assert_eq!(ever_aside(&client).await.len(), 2);
}

#[tokio::test]
async fn what_arrives_with_its_customer_in_one_book_never_steps_aside() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "A", 1).await;
    // An edit that nobody can read says nothing about anybody.
    till.edit("TEA", name("Tea"), &[]);
    till.tamper("UPDATE journal SET payload = '{' WHERE seq = 1");
    enter(&mut till, "ANN", name("Ann"));
    lend(&mut till, "ANN");
    order(&mut till, "ANN");
    assert_eq!(sent(&client, &till).await, (2, 1));
    let aside = ever_aside(&client).await.into_iter().map(|row| row.code);
    assert_eq!(aside.collect::<Vec<_>>(), ["edit_unreadable"]);
    // A product of that name is no customer, and who is entered later is not known before.
    till.edit("BOB", name("Bob"), &[]);
    let early = lend(&mut till, "BOB");
    assert_eq!(sent(&client, &till).await, (2, 2));
    assert!(open(&client).await.contains(&unknown(early)));
    enter(&mut till, "BOB", name("Bob"));
    assert_eq!(sent(&client, &till).await, (3, 1));
}

#[tokio::test]
async fn a_customer_who_was_deleted_or_merged_is_known() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "A", 1).await;
    enter(&mut till, "ANN", name("Ann"));
    enter(&mut till, "GONE", name("Gone"));
    enter(&mut till, "GONE", ("deleted", Scalar::Integer(1)));
    assert_eq!(sent(&client, &till).await, (0, 0));
    lend(&mut till, "GONE");
    // What somebody typed for Ann, who has another number.
    order(&mut till, "ANNIE");
    assert_eq!(sent(&client, &till).await, (1, 1));
    let into = json!({"into": "ANN"});
    client
        .admin_post::<Value>("catalog/customers/ANNIE/merge", &into)
        .await;
    let status = client.settle().await;
    assert_eq!((status.documents, status.quarantined), (2, 0));
    lend(&mut till, "ANNIE");
    assert_eq!(sent(&client, &till).await, (3, 0));
}

#[tokio::test]
async fn it_is_waived_or_given_to_a_customer_who_is_known() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let set = json!({"columns": {"name": "Ann"}});
    client
        .admin_post::<Value>("catalog/customers/ANN", &set)
        .await;
    let mut till = Till::of(&client, "A", 1).await;
    let [waived, fixed] = [lend(&mut till, "BOB"), order(&mut till, "BOB")];
    assert_eq!(sent(&client, &till).await, (0, 2));
    let refused = problem(&send(&client, &till, fixed, &json!({"customer": "EVE"})).await);
    assert_eq!(refused.code, Code::Invalid);
    assert!(refused.detail.contains("`EVE`"), "{}", refused.detail);
    let why = json!({"who": "Ann", "why": "he comes every day"});
    decided(&client, (&till, waived), "waive", &why).await;
    let changes = json!({"who": "Ann", "why": "it was me", "changes": {"customer": "ANN"}});
    decided(&client, (&till, fixed), "fix", &changes).await;
    let status = client.settle().await;
    assert_eq!((status.documents, status.quarantined), (2, 0));
    for (seq, customer) in [(waived, "BOB"), (fixed, "ANN")] {
        let path = format!("quarantine/{}/{seq}", till.id);
        let found: QuarantineDetail = client.admin_get(&path).await;
        assert_eq!(found.consolidated.unwrap()["customer"], customer);
    }
}

#[tokio::test]
async fn whatever_a_book_holds_for_a_customer_the_quarantine_can_be_read() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "A", 1).await;
    let long = "x".repeat(5_000);
    let names = ["M\u{fc}ller", "\u{8336}", "", &long, "damaged"];
    let aside = names.map(|name| lend(&mut till, name));
    // No UTF-8: a lone byte of Latin-1, and what goes on behind a character that has ended.
    till.tamper("UPDATE ledger_entry SET customer = CAST(x'4DFC41C3A9A9' AS TEXT) WHERE seq = 5");
    assert_eq!(sent(&client, &till).await, (0, 5));
    assert_eq!(open(&client).await, aside.map(unknown));
    let rows = ever_aside(&client).await;
    for (row, name) in rows.iter().zip(&names[..2]) {
        assert!(row.reason.contains(&format!("`{name}`")), "{}", row.reason);
    }
    assert!(rows.iter().all(|row| row.reason.len() < 300), "{rows:?}");
}
