//! Closures whose tills had wrong clocks, other tokens, or no hub yet.

use crate::counter::{Counter, MONDAY, TUESDAY, day};
use crate::hub::{Client, TestHub};
use crate::kinds;
use crate::till::Till;
use counterfoil_domain::document::Tender;
use counterfoil_domain::lineage::Point;
use counterfoil_domain::{Document, NodeId, Topic};
use counterfoil_migrate::{Connection, Durability, params};
use counterfoil_protocol::wire::closure::{Proof, ProofState};
use counterfoil_protocol::wire::hub::ActivateAnswer;
use serde_json::{Value, json};

/// What the clock of a till said on Monday.
const AHEAD: &str = "2011-03-17";
const THURSDAY: &str = "2011-03-10";

pub(crate) async fn proof(client: &Client, date: &str) -> Proof {
    client.admin_get(&format!("proof?day={date}")).await
}

#[tokio::test]
async fn sales_behind_a_closure_of_a_day_to_come_are_open_until_they_are_closed() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut counter = Counter::of(&client, "Leith", 1).await;
    counter.sell(MONDAY, Tender::Cash);
    counter.close(AHEAD);
    counter.sell(MONDAY, Tender::Card);
    counter.sell(TUESDAY, Tender::Card);
    counter.deliver(&client).await;
    for date in [MONDAY, TUESDAY] {
        let found = proof(&client, date).await;
        let row = &found.rows[0];
        assert_eq!((found.proved, row.state), (false, ProofState::Open));
        let notice = row.notice.as_deref();
        assert_eq!(notice, Some("sales of this day wait for the next closure"));
        assert_eq!((found.receipts, found.total_minor), (1, 502));
    }
    counter.close(TUESDAY);
    counter.deliver(&client).await;
    let found = proof(&client, TUESDAY).await;
    assert!(found.proved, "{found:?}");
    assert_eq!(found.receipts, 2, "Monday's late one among them");
    let found = proof(&client, MONDAY).await;
    assert!(found.proved, "{found:?}");
    let with: Vec<_> = found.rows[0].late.iter().map(|it| it.closed_with).collect();
    assert_eq!(with, [Some(day(AHEAD)), Some(day(TUESDAY))]);
}

#[tokio::test]
async fn a_sale_that_any_earlier_closure_covers_is_counted_once() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut counter = Counter::of(&client, "Leith", 1).await;
    counter.sell(THURSDAY, Tender::Cash);
    counter.close(AHEAD);
    counter.sell(TUESDAY, Tender::Cash);
    counter.sell(THURSDAY, Tender::Card);
    for date in [MONDAY, TUESDAY, THURSDAY] {
        counter.close(date);
    }
    counter.deliver(&client).await;
    for (date, receipts) in [(MONDAY, 0), (TUESDAY, 1), (THURSDAY, 1), (AHEAD, 1)] {
        let found = proof(&client, date).await;
        assert!(found.proved, "{date}: {found:?}");
        assert_eq!(found.receipts, receipts, "{date}");
    }
}

#[tokio::test]
async fn a_day_sealed_with_a_former_token_is_proved() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut counter = Counter::of(&client, "Leith", 1).await;
    counter.sell(MONDAY, Tender::Cash);
    counter.close(MONDAY);
    // Offline meanwhile: revoked, and activated again before its book goes up.
    let path = format!("nodes/{}/revoke", counter.till.id);
    client.admin_post::<Value>(&path, &json!(null)).await;
    "another token".clone_into(&mut counter.till.token);
    let code = client.code("Leith").await.join_code;
    let answer = counter.till.activate(&client, &code).await;
    crate::hub::parse::<ActivateAnswer>(&answer);
    counter.sell(TUESDAY, Tender::Cash);
    counter.close(TUESDAY);
    counter.deliver(&client).await;
    for date in [MONDAY, TUESDAY] {
        let found = proof(&client, date).await;
        assert!(found.proved, "{date}: {found:?}");
    }
}

#[tokio::test]
async fn a_day_without_a_seal_is_believed_in_trial_alone() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut counter = Counter::of(&client, "Leith", 1).await;
    for (date, proved) in [(MONDAY, true), (TUESDAY, false)] {
        counter.sell(date, Tender::Cash);
        let mut closure = counter.closure(date);
        (closure.trial, closure.seal) = (true, None);
        counter.till.record(&Document::Closure(closure));
        counter.deliver(&client).await;
        assert_eq!(proof(&client, date).await.proved, proved, "{date}");
        kinds::record(&mut counter.till, Topic::Activation);
    }
}

#[tokio::test]
async fn a_record_in_quarantine_is_a_matter_of_its_own_day() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut counter = Counter::of(&client, "Leith", 1).await;
    counter.sell(MONDAY, Tender::Cash);
    // Soon after midnight, before Monday was closed.
    counter.sell(TUESDAY, Tender::Cash);
    counter.sell(MONDAY, Tender::Cash);
    counter.close(MONDAY);
    counter.sell(TUESDAY, Tender::Cash);
    counter.close(TUESDAY);
    counter
        .till
        .tamper("DELETE FROM receipt_item WHERE key >> 16 = 2");
    counter.deliver(&client).await;
    let found = proof(&client, MONDAY).await;
    assert!(found.proved, "{found:?}");
    let found = proof(&client, TUESDAY).await;
    let findings = &found.rows[0].findings;
    let named = findings.iter().find(|it| it.kind == "quarantined").unwrap();
    assert_eq!(
        (named.seq, named.receipt.as_deref()),
        (Some(2), Some("L1-2"))
    );
    assert!(
        findings.iter().all(|it| it.kind != "missing"),
        "{findings:?}"
    );
}

#[tokio::test]
async fn a_till_whose_new_name_was_answered_late_is_waited_for_once() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let former = Counter::of(&client, "Leith", 1).await;
    former.till.hello(&client).await;
    let mut heir = Till::new(1);
    heir.id = NodeId::from_uuid(uuid::Uuid::from_u128(7));
    "token 7".clone_into(&mut heir.token);
    let claim = json!({
        "node": heir.id,
        "token_hash": heir.token_hash(),
        "common": Point::START,
        "schemas": { "book": 1, "catalog": 1 },
    });
    let claimed = || client.post("/v1/identity", Some(&former.till.token), &claim);
    assert!(claimed().await.status.is_success());
    // Nobody heard that: the till goes on under its old name for a while.
    let db = Connection::open_existing(hub.dir.join("hub.db"), Durability::Full).unwrap();
    let earlier = "UPDATE node SET created_ms = created_ms - 20000, seen_ms = seen_ms - 10000";
    db.execute(earlier, ()).unwrap();
    former.till.hello(&client).await;
    let far = "2999-01-01";
    let waiting = proof(&client, far).await.rows;
    assert_eq!(
        waiting.len(),
        2,
        "two tills that trade, for all the hub knows"
    );
    assert!(claimed().await.status.is_success());
    heir.hello(&client).await;
    let waiting = proof(&client, far).await.rows;
    let nodes: Vec<_> = waiting.iter().map(|row| row.node_id).collect();
    assert_eq!(nodes, [heir.id]);
}

#[tokio::test]
async fn a_closure_that_a_newer_hub_can_read_is_listed_when_it_starts() {
    let mut hub = TestHub::start().await;
    let client = hub.client();
    let mut counter = Counter::of(&client, "Leith", 1).await;
    counter.sell(MONDAY, Tender::Cash);
    counter.close(MONDAY);
    let content: String = counter
        .till
        .book
        .query_value("SELECT content FROM closure", ())
        .unwrap();
    counter
        .till
        .tamper("UPDATE closure SET content = '{\"of\":\"a newer till\"}'");
    counter.deliver(&client).await;
    let status = client.settle().await;
    let told = |kind: &str| status.alerts.iter().any(|alert| alert.kind == kind);
    assert!(told("closure_unreadable"), "{:?}", status.alerts);
    assert!(!proof(&client, MONDAY).await.proved);
    hub.stop().await;
    // What the newer hub makes of it.
    let db = Connection::open_existing(hub.dir.join("hub.db"), Durability::Full).unwrap();
    let learnt =
        "UPDATE document SET content = json_set(content, '$.closure', json(?1)) WHERE topic = 10";
    db.execute(learnt, params![content]).unwrap();
    db.close();
    let hub = hub.restart().await;
    let found = proof(&hub.client(), MONDAY).await;
    assert!(found.proved, "{found:?}");
}

/// A hub that was restored from a backup knows no token that a till got since. What was sealed with one may be
/// consolidated before the till has told it again.
#[tokio::test]
async fn a_day_whose_seal_is_of_a_token_that_the_hub_learns_later_is_proved_then() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut counter = Counter::of(&client, "Leith", 1).await;
    let known = std::mem::replace(&mut counter.till.token, "the next token".to_owned());
    let body = json!({ "token_hash": counter.till.token_hash() });
    counter.sell(MONDAY, Tender::Cash);
    counter.close(MONDAY);
    counter.till.token.clone_from(&known);
    counter.deliver(&client).await;
    let found = proof(&client, MONDAY).await;
    let findings = found.rows[0].findings.iter().map(|it| it.kind.as_str());
    assert_eq!(findings.collect::<Vec<_>>(), ["seal"]);
    let named = client.post("/v1/token", Some(&known), &body).await;
    assert!(named.status.is_success());
    let found = proof(&client, MONDAY).await;
    assert!(found.proved, "{found:?}");
}
