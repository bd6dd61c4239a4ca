//! Choices between prices that are made at a till, and what becomes of them when they are taken back.

use super::{COLUMNS, conflicts, number, published, told, two_shops};
use crate::hub::TestHub;
use crate::till::Till;
use counterfoil_domain::edit::{Chosen, ConflictDecision};
use counterfoil_domain::merge::Stamp;
use counterfoil_domain::{CatalogEdit, Document, Hlc};
use counterfoil_protocol::wire::decisions::ConflictState;
use serde_json::{Value, json};

/// Somebody at a till chooses a version that lost, over what is seen there.
fn choose(till: &mut Till, (loser, price): (Stamp, i64), seen: Vec<Stamp>) -> Hlc {
    let column = "price_mills".to_owned();
    let (_, _, chosen) = till.record(&Document::CatalogEdit(CatalogEdit {
        table: "products".to_owned(),
        row: "TEA".to_owned(),
        columns: [(column.clone(), number(price))].into(),
        base: [(column, seen)].into(),
        base_revision: 0,
        decision: Some(ConflictDecision {
            loser,
            put_back: false,
            choice: Chosen::Loser,
            by: "Jo".to_owned(),
        }),
        at_ms: None,
    }));
    chosen
}

#[tokio::test]
async fn a_choice_about_a_price_that_is_taken_back_is_for_a_person_again() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (mut tills, seen) = two_shops(&client, COLUMNS[0]).await;
    let first = tills[0].edit("TEA", ("price_mills", number(1_100)), &[seen]);
    tills[1].observe(first.hlc);
    let second = tills[1].edit("TEA", ("price_mills", number(1_200)), &[seen]);
    for till in &tills {
        till.push(&client).await.unwrap();
    }
    assert_eq!(told(&client).await, ["A", "B"]);
    // At a till somebody chooses the other one.
    tills[0].observe(second.hlc);
    let chosen = choose(&mut tills[0], (second, 1_200), vec![first, second]);
    tills[0].push(&client).await.unwrap();
    assert_eq!(told(&client).await, [""; 0]);
    assert_eq!(published(&hub, COLUMNS[0]), Some(1_200));
    let undo = json!({"node_id": tills[0].id, "from_ms": chosen.millis(), "to_ms": chosen.millis() + 1, "by": "Jo"});
    client.admin_post::<Value>("undo", &undo).await;
    assert_eq!(published(&hub, COLUMNS[0]), Some(1_100));
    assert_eq!(told(&client).await, ["A", "B"]);
    let open = conflicts(&client).await;
    let states: Vec<_> = open
        .iter()
        .map(|row| (row.state, &row.loser.value))
        .collect();
    assert_eq!(states, [(ConflictState::Open, &json!(1_200))]);
    let path = format!("conflicts/{}/resolve", open[0].id);
    let seen = open[0].current.stamp;
    let loser = json!({"choice": "loser", "by": "Jo", "seen": seen});
    client.admin_post::<Value>(&path, &loser).await;
    assert_eq!(published(&hub, COLUMNS[0]), Some(1_200));
    assert_eq!(client.settle().await.conflicts_open, 0);
}

#[tokio::test]
async fn a_choice_that_settled_two_conflicts_opens_both_when_it_is_taken_back() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (tills, seen) = two_shops(&client, COLUMNS[0]).await;
    let mut tills = Vec::from(tills);
    tills.push(Till::of(&client, "C", 3).await);
    tills[2].observe(seen.hlc);
    let mut prices = Vec::new();
    for (till, price) in tills.iter_mut().zip([1_100, 1_200, 1_300]) {
        if let Some(Stamp { hlc, .. }) = prices.last() {
            till.observe(*hlc);
        }
        prices.push(till.edit("TEA", ("price_mills", number(price)), &[seen]));
        till.push(&client).await.unwrap();
    }
    assert_eq!(told(&client).await, ["A", "B", "C"]);
    assert_eq!(client.settle().await.conflicts_open, 2);
    tills[0].observe(prices[2].hlc);
    let chosen = choose(&mut tills[0], (prices[1], 1_200), prices);
    tills[0].push(&client).await.unwrap();
    assert_eq!(client.settle().await.conflicts_open, 0);
    assert_eq!(published(&hub, COLUMNS[0]), Some(1_200));
    let undo = json!({"node_id": tills[0].id, "from_ms": chosen.millis(), "to_ms": chosen.millis() + 1, "by": "Jo"});
    client.admin_post::<Value>("undo", &undo).await;
    assert_eq!(published(&hub, COLUMNS[0]), Some(1_100));
    assert_eq!(told(&client).await, ["A", "B", "C"]);
    let open = conflicts(&client).await;
    let mut lost: Vec<_> = open
        .iter()
        .map(|row| (row.state, row.loser.value.as_i64()))
        .collect();
    lost.sort_by_key(|(_, value)| *value);
    let open = |value| (ConflictState::Open, Some(value));
    assert_eq!(lost, [open(1_200), open(1_300)]);
}
