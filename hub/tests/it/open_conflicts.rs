//! Several conflicts of one field: a decision settles the one that it is about.

use crate::conflicts::{conflicts, limit, published, refused, two_limits};
use crate::hub::{Client, TestHub};
use crate::till::Till;
use counterfoil_domain::merge::Stamp;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::decisions::{ConflictDecided, ConflictRow, ConflictState, Undone};
use serde_json::json;

const LIMIT: &str = "SELECT CAST(credit_limit_minor AS TEXT) FROM customers WHERE id = 'ANN'";

/// Two tills said 100 and 200; now a third says 300, and nobody has looked.
async fn third_limit(client: &Client) -> ([Till; 2], [Stamp; 2]) {
    let (tills, stamps) = two_limits(client).await;
    let mut third = Till::of(client, "C", 3).await;
    third.observe(stamps[1].hlc);
    third.edit_in("customers", "ANN", limit(300), &[]);
    third.push(client).await.unwrap();
    assert_eq!(client.settle().await.conflicts_open, 2);
    (tills, stamps)
}

/// The conflict that a value lost.
async fn lost(client: &Client, value: i64) -> ConflictRow {
    let rows = conflicts(client, "").await;
    rows.into_iter()
        .find(|row| row.loser.value == value)
        .unwrap()
}

#[tokio::test]
async fn a_decision_leaves_open_what_its_maker_has_not_seen() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (_, stamps) = third_limit(&client).await;
    let first = lost(&client, 200).await;
    // As they looked before the third value came.
    let choice = json!({"choice": {"value": "175"}, "seen": stamps[0]});
    let path = format!("conflicts/{}/resolve", first.id);
    let made: ConflictDecided = client.admin_post(&path, &choice).await;
    assert_eq!(made.conflict.state, ConflictState::ByChoice);
    assert_eq!(published(&hub, LIMIT), "175");
    let second = lost(&client, 300).await;
    assert_eq!(second.state, ConflictState::Open);
    assert_eq!(second.current.value, 175);
    assert_eq!(client.settle().await.conflicts_open, 1);
    // It is about another value now than when it was found.
    let path = format!("conflicts/{}/resolve", second.id);
    let stale = refused(&client, &path, &json!({"choice": "loser"})).await;
    assert_eq!(stale.code, Code::ChangedMeanwhile);
    let choice = json!({"choice": "loser", "seen": second.current.stamp});
    let made: ConflictDecided = client.admin_post(&path, &choice).await;
    assert_eq!(made.conflict.state, ConflictState::ByChoice);
    assert_eq!(published(&hub, LIMIT), "300");
    assert_eq!(client.settle().await.conflicts_open, 0);
    assert_eq!(lost(&client, 200).await.state, ConflictState::ByChoice);
}

#[tokio::test]
async fn undoing_one_of_three_values_leaves_the_others_in_their_conflict() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (tills, stamps) = third_limit(&client).await;
    let undo = json!({
        "node_id": tills[0].id,
        "from_ms": stamps[0].hlc.millis(),
        "to_ms": stamps[0].hlc.millis() + 1,
    });
    let done: Undone = client.admin_post("undo", &undo).await;
    assert_eq!((done.count, done.kept), (1, 0));
    assert_eq!(published(&hub, LIMIT), "200");
    assert_eq!(lost(&client, 200).await.state, ConflictState::ByAgreement);
    let open = lost(&client, 300).await;
    assert_eq!(open.state, ConflictState::Open);
    assert_eq!(open.current.value, 200);
    assert_eq!(client.settle().await.conflicts_open, 1);
}

#[tokio::test]
async fn a_decision_changes_nothing_about_what_a_policy_settled() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let path = "policies/customers/credit_limit_minor";
    let policy = json!({"policy": "last_writer_wins"});
    client.admin_post::<serde_json::Value>(path, &policy).await;
    let mut tills = Vec::new();
    for (seed, shop) in (1..).zip(["A", "B", "C"]) {
        let mut till = Till::of(&client, shop, seed).await;
        till.at_ms = Some(till.now_ms() + 10_000 + i64::try_from(seed).unwrap());
        till.edit_in(
            "customers",
            "ANN",
            limit(100 * i64::try_from(seed).unwrap()),
            &[],
        );
        till.push(&client).await.unwrap();
        tills.push(till);
    }
    client.settle().await;
    assert_eq!(published(&hub, LIMIT), "300");
    let first = lost(&client, 100).await;
    let path = format!("conflicts/{}/resolve", first.id);
    let choice = json!({"choice": "loser", "seen": first.current.stamp});
    let made: ConflictDecided = client.admin_post(&path, &choice).await;
    assert_eq!(made.conflict.state, ConflictState::ByChoice);
    assert_eq!(published(&hub, LIMIT), "100");
    let other = lost(&client, 200).await;
    assert_eq!(
        (other.state, other.current.value),
        (ConflictState::ByPolicy, json!(100))
    );
}
