//! What asks for a person: raised once, cleared once, seen by somebody.

use crate::counter::{Counter, MONDAY};
use crate::hub::{Client, TestHub, command, command_json, problem};
use crate::till::Till;
use counterfoil_domain::document::Tender;
use counterfoil_migrate::{Connection, Durability};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::closure::{Proof, ProofState};
use counterfoil_protocol::wire::monitor::{Acknowledged, AlertRow};
use counterfoil_protocol::wire::quarantine::QuarantineAnswer;
use counterfoil_testkit::ManualClock;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const NOW_MS: i64 = 1_780_000_000_000;
const HOUR_MS: i64 = 3_600_000;

/// Alerts of a kind after a look, the oldest first.
async fn alerts(client: &Client, kind: &str) -> Vec<AlertRow> {
    client.settle().await;
    let mut rows: Vec<AlertRow> = client.admin_get("alerts").await;
    rows.retain(|row| row.kind == kind);
    rows.reverse();
    rows
}

/// When each alert of a kind was raised and cleared.
async fn times(client: &Client, kind: &str) -> Vec<(i64, Option<i64>)> {
    let rows = alerts(client, kind).await.into_iter();
    rows.map(|row| (row.at_ms, row.cleared_ms)).collect()
}

#[tokio::test]
async fn a_till_that_keeps_silent_is_told_once_and_again_when_it_is_heard() {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let hub = TestHub::start_at_with(Arc::clone(&clock), |config| {
        config.silent = Duration::from_secs(1_800);
    })
    .await;
    let client = hub.client();
    let till = Till::of(&client, "Leith", 1).await;
    till.hello_at(&client, NOW_MS).await;
    clock.advance(1_799_000);
    assert_eq!(times(&client, "silent").await, []);
    let told = NOW_MS + HOUR_MS;
    for later in [0, 60_000, HOUR_MS] {
        clock.set(told + later);
        assert_eq!(times(&client, "silent").await, [(told, None)]);
    }
    let named = alerts(&client, "silent").await;
    assert_eq!(named[0].node_id, Some(till.id));
    assert!(
        named[0].detail.contains("60 minutes"),
        "{}",
        named[0].detail
    );
    let heard = told + 2 * HOUR_MS;
    clock.set(heard);
    till.hello_at(&client, heard).await;
    assert_eq!(times(&client, "silent").await, [(told, Some(heard))]);
    clock.advance(HOUR_MS);
    let again = (heard + HOUR_MS, None);
    assert_eq!(times(&client, "silent").await, [(told, Some(heard)), again]);
    // Nobody waits for a till whose access was taken back.
    let path = format!("nodes/{}/revoke", till.id);
    client
        .admin_post::<serde_json::Value>(&path, &json!(null))
        .await;
    let ended = times(&client, "silent").await;
    assert!(
        ended.iter().all(|(_, cleared)| cleared.is_some()),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_till_that_has_given_up_sending_is_told_until_it_has_sent() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "Leith", 1).await;
    for (failed, expected) in [
        (0, vec![]),
        (7, vec![false]),
        (9, vec![false]),
        (0, vec![true]),
    ] {
        let body = json!({
            "schemas": { "book": 1, "catalog": 1 }, "catalog_revision": 0, "now_ms": till.now_ms(),
            "waiting": failed, "failed": failed,
        });
        let answer = client.post("/v1/hello", Some(&till.token), &body).await;
        assert!(answer.status.is_success());
        let rows = alerts(&client, "failed_items").await;
        let over: Vec<_> = rows.iter().map(|row| row.cleared_ms.is_some()).collect();
        assert_eq!(over, expected, "{failed}");
    }
}

#[tokio::test]
async fn a_disk_without_room_is_told_until_there_is_some() {
    let full = TestHub::start_with(|config| config.disk_bytes_min = u64::MAX).await;
    let client = full.client();
    for _ in 0..2 {
        let told = alerts(&client, "disk_low").await;
        assert_eq!((told.len(), told[0].is_open()), (1, true));
    }
    let mut full = full;
    full.stop().await;
    let roomy = full.restart().await;
    let told = alerts(&roomy.client(), "disk_low").await;
    assert_eq!((told.len(), told[0].is_open()), (1, false));
}

#[tokio::test]
async fn a_book_that_fits_again_is_no_alert_any_more() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    till.sell(1);
    till.push(&client).await.unwrap();
    client.settle().await;
    let chain = "SELECT hex(chain) FROM journal WHERE seq = 1";
    let chain: String = till.book.query_value(chain, ()).unwrap();
    till.tamper("UPDATE journal SET chain = randomblob(32) WHERE seq = 1");
    till.push(&client).await.unwrap();
    let told = alerts(&client, "diverged").await;
    assert_eq!((told.len(), told[0].is_open()), (1, true));
    till.tamper(&format!(
        "UPDATE journal SET chain = x'{chain}' WHERE seq = 1"
    ));
    till.push(&client).await.unwrap();
    let told = alerts(&client, "diverged").await;
    assert_eq!((told.len(), told[0].is_open()), (1, false));
}

async fn proof(client: &Client) -> ProofState {
    let proof: Proof = client.admin_get(&format!("proof?day={MONDAY}")).await;
    proof.rows[0].state
}

/// Whether each alert about the day's proof, and about quarantine, is over.
async fn about_the_day(client: &Client) -> (Vec<bool>, Vec<bool>) {
    let over = |rows: Vec<AlertRow>| rows.iter().map(|row| !row.is_open()).collect();
    let proofs = alerts(client, "proof_failed").await;
    assert!(proofs.iter().all(|row| row.subject == MONDAY), "{proofs:?}");
    let aside = alerts(client, "quarantine_not_empty").await;
    (over(proofs), over(aside))
}

/// A Monday with three sales, of which the second steps aside when it arrives.
async fn monday(client: &Client, wrong: Wrong) -> Counter {
    let mut counter = Counter::of(client, "Leith", 1).await;
    counter.sell(MONDAY, Tender::Cash);
    counter.sell_as(MONDAY, Tender::Cash, |receipt| {
        if wrong == Wrong::AtTheTill {
            // The sum is right, the lines are not.
            receipt.lines[0].amount_minor += 1;
            receipt.lines[1].amount_minor -= 1;
        }
    });
    counter.sell(MONDAY, Tender::Card);
    counter.close(MONDAY);
    if wrong == Wrong::OnItsDisk {
        let line = "DELETE FROM receipt_item WHERE key >> 16 = 2 AND sku IS NOT NULL";
        counter.till.tamper(line);
    }
    counter.deliver(client).await;
    counter
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// The till recorded it so.
    AtTheTill,
    /// It is not what the till recorded any more.
    OnItsDisk,
}

#[tokio::test]
async fn a_day_with_a_sale_in_quarantine_is_proved_when_the_sale_is_taken_in_as_it_was_recorded() {
    let waive = json!({"who": "ada", "why": "a discount by hand"});
    let restore = json!({"who": "ada", "why": "the paper says so", "changes": {
        "line.1.sku": "SKU0", "line.1.description": "tea, loose", "line.1.quantity_milli": "2000",
        "line.1.unit_price_mills": "1250", "line.1.amount_minor": "250",
        "line.2.sku": "SKU1", "line.2.description": "tea, loose", "line.2.quantity_milli": "2000",
        "line.2.unit_price_mills": "1260", "line.2.amount_minor": "252",
    }});
    let invent = json!({"who": "ada", "why": "a guess", "changes": {
        "line.1.sku": "TEA", "line.1.description": "tea", "line.1.quantity_milli": "2000",
        "line.1.unit_price_mills": "2510", "line.1.amount_minor": "502",
    }});
    for (wrong, decision, body, proved) in [
        (Wrong::AtTheTill, "waive", waive, true),
        (Wrong::OnItsDisk, "fix", restore, true),
        (Wrong::OnItsDisk, "fix", invent, false),
    ] {
        let hub = TestHub::start().await;
        let client = hub.client();
        let counter = monday(&client, wrong).await;
        assert_eq!(proof(&client).await, ProofState::Failed, "{decision}");
        for _ in 0..2 {
            let told = about_the_day(&client).await;
            assert_eq!(told, (vec![false], vec![false]), "{decision}");
        }
        let path = format!("quarantine/{}/2/{decision}", counter.till.id);
        let answer: QuarantineAnswer = client.admin_post(&path, &body).await;
        assert_eq!(answer.taken_in, 1, "{decision}");
        let found: Proof = client.admin_get(&format!("proof?day={MONDAY}")).await;
        let told = about_the_day(&client).await;
        assert_eq!(found.proved, proved, "{decision}: {found:?}");
        assert_eq!(told, (vec![proved], vec![true]), "{decision} {body}");
    }
}

#[tokio::test]
async fn a_row_that_somebody_altered_is_told_as_a_proof_that_failed() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut counter = Counter::of(&client, "Leith", 1).await;
    counter.sell(MONDAY, Tender::Cash);
    counter.close(MONDAY);
    counter.deliver(&client).await;
    assert_eq!(about_the_day(&client).await.0, [] as [bool; 0]);
    let mut hub = hub;
    let alter = |hub: &TestHub, sql: &str| {
        let db = Connection::open_existing(hub.dir.join("hub.db"), Durability::Full).unwrap();
        db.execute_batch(sql).unwrap();
        db.close();
    };
    hub.stop().await;
    alter(&hub, "UPDATE payment SET amount_minor = amount_minor - 1");
    let mut hub = hub.restart().await;
    let told = alerts(&hub.client(), "proof_failed").await;
    assert_eq!((told.len(), told[0].is_open()), (1, true));
    assert!(told[0].detail.contains("Leith/1"), "{}", told[0].detail);
    hub.stop().await;
    alter(&hub, "UPDATE payment SET amount_minor = amount_minor + 1");
    let hub = hub.restart().await;
    let told = alerts(&hub.client(), "proof_failed").await;
    assert_eq!((told.len(), told[0].is_open()), (1, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_listed_and_acknowledged_by_api_and_command() {
    let mut hub = TestHub::start_with(|config| config.disk_bytes_min = u64::MAX).await;
    let client = hub.client();
    for _ in 0..2 {
        client.get("/v1/admin/status", None).await;
    }
    client.settle().await;
    let open: Vec<AlertRow> = client.admin_get("alerts?open=true").await;
    let kinds: Vec<_> = open.iter().map(|row| row.kind.as_str()).collect();
    assert_eq!(kinds, ["disk_low", "unauthorized"]);
    let event = open[1].id;
    let path = format!("alerts/{event}/acknowledge");
    for expected in [1, 0] {
        let made: Acknowledged = client.admin_post(&path, &json!({"by": "ada"})).await;
        assert_eq!(made.acknowledged, expected);
    }
    let path = "/v1/admin/alerts/99/acknowledge";
    let missing = client.post(path, Some(&client.admin), &json!({})).await;
    assert_eq!(problem(&missing).code, Code::NotFound);
    // A state lasts, whoever has seen it.
    let open: Vec<AlertRow> = client.admin_get("alerts?open=true").await;
    assert_eq!(open.len(), 1);
    hub.stop().await;
    let data = hub.dir.path();
    let made: Acknowledged = command_json(data, &["alerts", "acknowledge", "--all", "--by", "bob"]);
    assert_eq!(made.acknowledged, 1);
    let rows: Vec<AlertRow> = command_json(data, &["alerts", "list"]);
    let seen: Vec<_> = rows
        .iter()
        .map(|row| row.acknowledged_by.as_deref())
        .collect();
    assert_eq!(seen, [Some("bob"), Some("ada")]);
    let text = command(data, &["alerts", "list", "--open"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("disk_low") && text.contains("lasts"),
        "{text}"
    );
    assert!(!text.contains("unauthorized"), "{text}");
    let audit = String::from_utf8(command(data, &["audit"]).stdout).unwrap();
    assert!(audit.contains("acknowledge"), "{audit}");
}
