//! States that ask for a person: what holds is neither cleared nor raised again, what does not hold any more ends.

use crate::counter::{Counter, MONDAY};
use crate::hub::{Client, TestHub, parse};
use crate::till::{Till, schemas};
use counterfoil_domain::document::Tender;
use counterfoil_domain::env::Clock as _;
use counterfoil_domain::lineage::Point;
use counterfoil_domain::{NodeId, Scalar};
use counterfoil_hub::HubConfig;
use counterfoil_migrate::{Connection, Durability, params};
use counterfoil_protocol::wire::monitor::AlertRow;
use counterfoil_protocol::wire::quarantine::QuarantineAnswer;
use counterfoil_protocol::wire::token::TokenAnswer;
use counterfoil_testkit::ManualClock;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const NOW_MS: i64 = 1_780_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn half_an_hour(config: &mut HubConfig) {
    config.silent = Duration::from_secs(1_800);
}

/// When each alert of a kind was raised and cleared, after a look.
async fn times(client: &Client, kind: &str) -> Vec<(i64, Option<i64>)> {
    // What fails in the consolidation is told in the alerts.
    client
        .post("/v1/admin/consolidate", Some(&client.admin), &Value::Null)
        .await;
    let mut rows: Vec<AlertRow> = client.admin_get("alerts").await;
    rows.retain(|row| row.kind == kind);
    rows.reverse();
    rows.iter().map(|row| (row.at_ms, row.cleared_ms)).collect()
}

/// Whether each alert of a kind is over.
async fn over(client: &Client, kind: &str) -> Vec<bool> {
    let times = times(client, kind).await;
    times.iter().map(|(_, ended)| ended.is_some()).collect()
}

fn alter(hub: &TestHub, sql: &str) {
    let db = Connection::open_existing(hub.dir.join("hub.db"), Durability::Full).unwrap();
    db.execute_batch(sql).unwrap();
    db.close();
}

#[tokio::test]
async fn a_silence_goes_on_over_a_restart_of_the_hub() {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let mut hub = TestHub::start_at_with(Arc::clone(&clock), half_an_hour).await;
    let till = Till::of(&hub.client(), "Leith", 1).await;
    till.hello_at(&hub.client(), NOW_MS).await;
    clock.advance(HOUR_MS);
    let told = (NOW_MS + HOUR_MS, None);
    assert_eq!(times(&hub.client(), "silent").await, [told]);
    hub.stop().await;
    let hub = hub.restart_at(Arc::clone(&clock), half_an_hour).await;
    for _ in 0..3 {
        assert_eq!(times(&hub.client(), "silent").await, [told]);
        clock.advance(HOUR_MS);
    }
    let heard = clock.now_ms();
    till.hello_at(&hub.client(), heard).await;
    let ended = [(told.0, Some(heard))];
    assert_eq!(times(&hub.client(), "silent").await, ended);
}

#[tokio::test]
async fn what_waits_to_be_consolidated_is_told_over_a_restart_until_it_is() {
    let mut hub = TestHub::start().await;
    let mut till = Till::of(&hub.client(), "Leith", 1).await;
    till.sell(1);
    till.push(&hub.client()).await.unwrap();
    assert!(over(&hub.client(), "not_consolidated").await.is_empty());
    hub.stop().await;
    // Nobody can open the book now.
    let wal = hub.dir.join("books").join(format!("{}.db-wal", till.id));
    drop(std::fs::remove_file(&wal));
    std::fs::create_dir_all(wal.join("in the way")).unwrap();
    for stuck in [Duration::ZERO, Duration::from_secs(3_600)] {
        let mut again = hub.restart_with(|config| config.stuck = stuck).await;
        for _ in 0..2 {
            assert_eq!(over(&again.client(), "not_consolidated").await, [false]);
        }
        again.stop().await;
        hub = again;
    }
    let hub = hub.restart().await;
    std::fs::remove_dir_all(&wal).unwrap();
    assert_eq!(over(&hub.client(), "not_consolidated").await, [true]);
}

#[tokio::test]
async fn what_stands_in_quarantine_is_told_again_when_its_alert_got_lost() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    till.edit_in("nonsense", "TEA", ("name", Scalar::Null), &[]);
    till.push(&client).await.unwrap();
    assert_eq!(over(&client, "quarantine_not_empty").await, [false]);
    // As if a record had stepped aside while the end of the one before it was written down.
    alter(
        &hub,
        "UPDATE alert SET cleared_ms = 1 WHERE kind = 'quarantine_not_empty'",
    );
    for _ in 0..2 {
        assert_eq!(over(&client, "quarantine_not_empty").await, [true, false]);
    }
}

async fn revoke(client: &Client, till: &Till) {
    let path = format!("nodes/{}/revoke", till.id);
    client.admin_post::<Value>(&path, &json!(null)).await;
}

#[tokio::test]
async fn states_of_a_till_that_does_not_trade_any_more_end() {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let hub = TestHub::start_at(Arc::clone(&clock)).await;
    let client = hub.client();
    let till = Till::of(&client, "Leith", 1).await;
    till.hello_at(&client, NOW_MS + HOUR_MS).await;
    assert_eq!(over(&client, "clock_wrong").await, [false]);
    revoke(&client, &till).await;
    for _ in 0..2 {
        assert_eq!(over(&client, "clock_wrong").await, [true]);
    }
    // A till that was restored goes on as another one; nobody hears of the former again.
    let former = Till::of(&client, "Leith", 2).await;
    former.hello_at(&client, NOW_MS + HOUR_MS).await;
    assert_eq!(over(&client, "clock_wrong").await, [true, false]);
    clock.advance(1_000);
    let mut heir = Till::new(3);
    heir.id = NodeId::from_uuid(uuid::Uuid::from_u128(7));
    "token 7".clone_into(&mut heir.token);
    let claim = json!({
        "node": heir.id, "token_hash": heir.token_hash(), "common": Point::START, "schemas": schemas(),
    });
    let claimed = client.post("/v1/identity", Some(&former.token), &claim);
    assert!(claimed.await.status.is_success());
    assert_eq!(over(&client, "clock_wrong").await, [true, true]);
}

#[tokio::test]
async fn an_expired_token_is_over_with_the_next_one() {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let day = Duration::from_secs(24 * 3_600);
    let hub = TestHub::start_at_with(Arc::clone(&clock), |config| {
        config.token_life = Some(day);
    })
    .await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    till.hello_at(&client, NOW_MS).await;
    clock.advance(12 * HOUR_MS);
    let old = std::mem::replace(&mut till.token, "the next one".to_owned());
    let body = json!({ "token_hash": till.token_hash() });
    parse::<TokenAnswer>(&client.post("/v1/token", Some(&old), &body).await);
    clock.advance(13 * HOUR_MS);
    // The answer was lost, so the till asks with the one before.
    let hello = json!({"schemas": schemas(), "catalog_revision": 0, "now_ms": clock.now_ms()});
    let refused = client.post("/v1/hello", Some(&old), &hello).await;
    assert_eq!(refused.status, 401);
    assert_eq!(over(&client, "token_expired").await, [false]);
    till.hello_at(&client, clock.now_ms()).await;
    assert_eq!(over(&client, "token_expired").await, [true]);
}

#[tokio::test]
async fn a_proof_that_failed_is_watched_until_it_is_good_however_old_the_day_is() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut counter = Counter::of(&client, "Leith", 1).await;
    counter.sell_as(MONDAY, Tender::Cash, |receipt| {
        receipt.lines[0].amount_minor += 1;
        receipt.lines[1].amount_minor -= 1;
    });
    counter.close(MONDAY);
    counter.deliver(&client).await;
    assert_eq!(over(&client, "proof_failed").await, [false]);
    for day in 8..=31 {
        counter.close(&format!("2011-03-{day:02}"));
    }
    for day in 1..=10 {
        counter.close(&format!("2011-04-{day:02}"));
    }
    counter.deliver(&client).await;
    for _ in 0..10 {
        assert_eq!(over(&client, "proof_failed").await, [false]);
    }
    let path = format!("quarantine/{}/1/waive", counter.till.id);
    let waive = json!({"who": "ada", "why": "a discount by hand"});
    let answer: QuarantineAnswer = client.admin_post(&path, &waive).await;
    assert_eq!(answer.taken_in, 1);
    // Some days a look.
    for _ in 0..10 {
        client.settle().await;
    }
    assert_eq!(over(&client, "proof_failed").await, [true]);
}

#[tokio::test]
async fn a_look_that_fails_holds_up_no_other_and_is_told() {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let hub = TestHub::start_at_with(Arc::clone(&clock), half_an_hour).await;
    let client = hub.client();
    let mut counter = Counter::of(&client, "Leith", 1).await;
    counter.sell(MONDAY, Tender::Cash);
    counter.close(MONDAY);
    counter.deliver(&client).await;
    alter(&hub, "UPDATE closure SET day = 'no day'");
    clock.set(counter.till.now_ms().max(NOW_MS) + HOUR_MS);
    assert_eq!(over(&client, "silent").await, [false]);
    assert_eq!(over(&client, "look_failed").await, [false]);
    let rows: Vec<AlertRow> = client.admin_get("alerts?open=true").await;
    let failed = rows.iter().find(|row| row.kind == "look_failed").unwrap();
    assert_eq!(failed.subject, "proofs");
    let db = Connection::open_existing(hub.dir.join("hub.db"), Durability::Full).unwrap();
    db.execute("UPDATE closure SET day = ?1", params![MONDAY])
        .unwrap();
    db.close();
    assert_eq!(over(&client, "look_failed").await, [true]);
}
