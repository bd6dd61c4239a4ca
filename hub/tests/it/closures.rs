//! Closures whose tills had wrong clocks, other tokens, or no hub yet.

use crate::counter::{Counter, MONDAY, TUESDAY, day};
use crate::hub::{Client, TestHub};
use crate::kinds;
use counterfoil_domain::document::Tender;
use counterfoil_domain::{Document, Topic};
use counterfoil_protocol::wire::closure::{Proof, ProofState};
use counterfoil_protocol::wire::hub::ActivateAnswer;
use serde_json::{Value, json};

/// What the clock of a till said on Monday.
const AHEAD: &str = "2011-03-17";
const THURSDAY: &str = "2011-03-10";

async fn proof(client: &Client, date: &str) -> Proof {
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
