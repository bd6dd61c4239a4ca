//! Parked sales at the hub: what finishes them counts, and twice is told.

use crate::counter::{Counter, MONDAY, day};
use crate::hub::{Client, TestHub};
use crate::relayed::{bring, entries, number};
use counterfoil_domain::closure::DayRule;
use counterfoil_domain::document::{Receipt, Tender};
use counterfoil_domain::parked::{Finishes, ParkedDiscard, ParkedSale};
use counterfoil_domain::{Document, DocumentId};
use counterfoil_protocol::wire::closure::Proof;
use counterfoil_protocol::wire::monitor::AlertRow;

fn park(counter: &mut Counter) -> DocumentId {
    let receipt = counter.till.receipt(2);
    let cart = ParkedSale {
        lane: Some(1),
        at_ms: DayRule::default().start_ms(day(MONDAY)),
        currency: receipt.currency,
        total_minor: receipt.total_minor,
        customer: None,
        employee: Some("JO".to_owned()),
        note: Some("blue coat".to_owned()),
        lines: receipt.lines,
    };
    counter.till.record(&Document::ParkedSale(cart)).1
}

fn finish(counter: &mut Counter, parked: DocumentId, lane: i64) {
    let finishes = |receipt: &mut Receipt| {
        receipt.parked = Some(Finishes {
            id: parked,
            lane: Some(lane),
        });
    };
    counter.sell_as(MONDAY, Tender::Cash, finishes);
}

async fn told(client: &Client) -> Vec<String> {
    let rows: Vec<AlertRow> = client.admin_get("alerts").await;
    let twice = rows
        .into_iter()
        .filter(|row| row.kind == "parked_sold_twice");
    twice.map(|row| row.detail).collect()
}

#[tokio::test]
async fn a_parked_sale_that_two_lanes_finished_is_told_and_both_sales_count_once_each() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut one = Counter::of(&client, "Leith", 1).await;
    let mut other = Counter::of(&client, "Leith", 2).await;
    let (parked, left) = (park(&mut one), park(&mut one));
    finish(&mut one, parked, 1);
    finish(&mut other, parked, 2);
    let discard = ParkedDiscard {
        parked: left,
        lane: Some(2),
        at_ms: DayRule::default().start_ms(day(MONDAY)),
        employee: Some("EVE".to_owned()),
    };
    other.till.record(&Document::ParkedDiscard(discard));
    for counter in [&mut one, &mut other] {
        counter.close(MONDAY);
    }
    one.deliver(&client).await;
    assert_eq!(told(&client).await, Vec::<String>::new());
    // The other lane does not come; what the one holds of it does.
    let held = entries(&other.till, 0, other.till.seq);
    let answer = bring(&client, &one.till, &held).await;
    assert_eq!(answer.status, 200);
    client.settle().await;
    let found = told(&client).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("with receipt L1-1"), "{found:?}");
    // Then it comes itself, and nothing is counted again.
    other.deliver(&client).await;
    let status = client.settle().await;
    assert_eq!((status.receipts, status.quarantined), (2, 0));
    assert_eq!(told(&client).await.len(), 1);
    let parked = "SELECT count(*) FROM document WHERE topic IN (12, 13)";
    assert_eq!(number(&hub, parked), 3);
    let found: Proof = client.admin_get(&format!("proof?day={MONDAY}")).await;
    assert!(found.proved && found.receipts == 2, "{found:?}");
}

#[tokio::test]
async fn a_sale_counts_also_when_what_it_says_of_a_parked_sale_is_damaged() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut one = Counter::of(&client, "Leith", 1).await;
    let parked = park(&mut one);
    finish(&mut one, parked, 1);
    one.till
        .tamper("UPDATE journal SET payload = '{' WHERE topic = 1");
    one.deliver(&client).await;
    let status = client.settle().await;
    assert_eq!((status.receipts, status.quarantined), (1, 0));
}
