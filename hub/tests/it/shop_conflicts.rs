//! What tills hear of conflicts, and what they decide about them.

use crate::conflicts::two_limits;
use crate::hub::{Client, TestHub, parse, problem};
use crate::till::Till;
use counterfoil_domain::edit::{Chosen, ConflictDecision};
use counterfoil_domain::merge::Stamp;
use counterfoil_domain::{CatalogEdit, Document, Scalar};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::decisions::{
    AuditPage, ConflictChanges, ConflictCursor, ConflictDecided, ConflictPage, ConflictState,
};
use counterfoil_protocol::wire::quarantine::QuarantineRow;
use serde_json::json;

async fn heard(client: &Client, till: &Till, after: ConflictCursor) -> ConflictChanges {
    let path = format!("/v1/conflicts?change={}&id={}", after.change, after.id);
    parse(&client.get(&path, Some(&till.token)).await)
}

/// Records what a person decided at a till: the value becomes current in place of all that was seen.
fn decides(till: &mut Till, value: i64, seen: &[Stamp], loser: Stamp) {
    let column = "credit_limit_minor".to_owned();
    till.record(&Document::CatalogEdit(CatalogEdit {
        table: "customers".to_owned(),
        row: "ANN".to_owned(),
        columns: [(column.clone(), Scalar::Integer(value))].into(),
        base: [(column, seen.to_vec())].into(),
        base_revision: 0,
        decision: Some(ConflictDecision {
            loser,
            put_back: false,
            choice: Chosen::Value,
            by: "Jo".to_owned(),
        }),
        at_ms: None,
    }));
}

#[tokio::test]
async fn a_till_hears_of_the_conflicts_of_its_own_shop_and_of_each_change() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (tills, stamps) = two_limits(&client).await;
    let stranger = Till::of(&client, "C", 3).await;
    let start = ConflictCursor::default();
    let none = heard(&client, &stranger, start).await;
    assert_eq!((none.conflicts.len(), none.more), (0, false));
    assert_eq!(stranger.hello(&client).await.conflicts, Some(0));

    let first = heard(&client, &tills[0], start).await;
    let [row] = first.conflicts.as_slice() else {
        panic!("{first:?}")
    };
    assert_eq!(row.state, ConflictState::Open);
    assert_eq!((row.winner.stamp, row.loser.stamp), (stamps[0], stamps[1]));
    assert_eq!(heard(&client, &tills[1], start).await, first);
    let newest = tills[0].hello(&client).await.conflicts;
    assert_eq!(newest, Some(first.cursor.change));
    let rest = heard(&client, &tills[0], first.cursor).await;
    assert_eq!((rest.conflicts.len(), rest.cursor), (0, first.cursor));

    let path = format!("conflicts/{}/resolve", row.id);
    let _made: ConflictDecided = client.admin_post(&path, &json!({"choice": "loser"})).await;
    let changed = heard(&client, &tills[0], first.cursor).await;
    assert_eq!(changed.conflicts.len(), 1);
    assert_eq!(changed.conflicts[0].state, ConflictState::ByChoice);
    assert_eq!(changed.conflicts[0].current.value, 200);
    assert!(changed.cursor > first.cursor);

    let answer = client.get("/v1/conflicts", None).await;
    assert_eq!(problem(&answer).code, Code::Unauthorized);
    let answer = client
        .get("/v1/conflicts?shop=A", Some(&stranger.token))
        .await;
    assert_eq!(problem(&answer).code, Code::BadRequest);
}

#[tokio::test]
async fn what_a_till_decided_settles_the_conflict_and_the_trail_says_who() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (mut tills, stamps) = two_limits(&client).await;
    decides(&mut tills[1], 175, &stamps, stamps[1]);
    tills[1].push(&client).await.unwrap();
    assert_eq!(client.settle().await.conflicts_open, 0);
    let page: ConflictPage = client.admin_get("conflicts").await;
    assert_eq!(page.conflicts.len(), 1);
    assert_eq!(page.conflicts[0].state, ConflictState::ByChoice);
    assert_eq!(page.conflicts[0].current.value, 175);
    let trail: AuditPage = client.admin_get("audit").await;
    let last = trail.decisions.last().unwrap();
    let said = (
        last.who.as_str(),
        last.action.as_str(),
        last.detail.as_str(),
    );
    assert_eq!(said, ("Jo at B/1", "conflict_resolved", "value"));
    assert_eq!(last.conflict, Some(page.conflicts[0].id));
    assert_eq!(
        (&last.before["value"], &last.after["value"]),
        (&json!(100), &json!(175))
    );
}

#[tokio::test]
async fn a_till_does_not_decide_what_its_shop_has_no_part_in() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (_tills, stamps) = two_limits(&client).await;
    let mut stranger = Till::of(&client, "C", 3).await;
    decides(&mut stranger, 1, &stamps, stamps[1]);
    stranger.push(&client).await.unwrap();
    assert_eq!(client.settle().await.conflicts_open, 1);
    let aside: Vec<QuarantineRow> = client.admin_get("quarantine").await;
    assert_eq!(aside.len(), 1);
    assert_eq!(aside[0].code, "conflict_of_another_shop");
    let page: ConflictPage = client.admin_get("conflicts").await;
    assert_eq!(page.conflicts[0].current.value, 100);
}
