//! How one token of a till follows another, over real sockets.

use crate::closures::proof;
use crate::counter::{Counter, MONDAY, TUESDAY};
use crate::hub::{Client, TestHub, parse, problem};
use crate::till::{Till, schemas};
use counterfoil_domain::document::Tender;
use counterfoil_domain::env::Clock as _;
use counterfoil_domain::hex::to_hex;
use counterfoil_domain::lineage::Point;
use counterfoil_protocol::join::JoinCode;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::hub::{ActivateAnswer, HelloAnswer, HubStatus, NodeRow, ShopAdded};
use counterfoil_protocol::wire::token::{TokenAnswer, TokenStanding};
use counterfoil_replica::env::HttpResponse;
use counterfoil_testkit::ManualClock;
use serde_json::{Value, json};
use std::sync::Arc;

const NOW_MS: i64 = 1_700_000_000_000;
const DAY_MS: i64 = 86_400_000;

fn hash_of(token: &str) -> String {
    use sha2::Digest as _;
    let bytes = sha2::Sha256::digest(token.as_bytes());
    to_hex(&bytes)
}

/// Names `next` with the token that the till has.
async fn name(client: &Client, till: &Till, next: &str) -> HttpResponse {
    let body = json!({ "token_hash": hash_of(next) });
    client.post("/v1/token", Some(&till.token), &body).await
}

async fn hello(client: &Client, token: &str) -> HttpResponse {
    let body = json!({"schemas": schemas(), "catalog_revision": 0, "now_ms": NOW_MS});
    client.post("/v1/hello", Some(token), &body).await
}

async fn standing(client: &Client, token: &str) -> TokenStanding {
    parse::<HelloAnswer>(&hello(client, token).await)
        .token
        .unwrap()
}

async fn row(client: &Client, till: &Till) -> NodeRow {
    let rows: Vec<NodeRow> = client.admin_get("nodes").await;
    rows.into_iter().find(|row| row.node_id == till.id).unwrap()
}

async fn alerted(client: &Client, kind: &str) -> bool {
    let status: HubStatus = client.admin_get("status").await;
    status.alerts.iter().any(|alert| alert.kind == kind)
}

#[tokio::test]
async fn both_tokens_are_good_until_the_next_one_is_used_and_then_the_one_before_has_ended() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "Leith", 1).await;
    // An answer that is lost is asked for again, and another one may be named instead.
    parse::<TokenAnswer>(&name(&client, &till, "forgotten").await);
    for _ in 0..2 {
        parse::<TokenAnswer>(&name(&client, &till, "next").await);
        assert!(
            standing(&client, &till.token).await.rotate,
            "it is not used yet"
        );
    }
    assert!(row(&client, &till).await.token_rotates);
    assert!(!standing(&client, "next").await.rotate);
    assert!(!row(&client, &till).await.token_rotates);
    let refused = hello(&client, &till.token).await;
    assert_eq!(refused.status, 401);
    assert!(problem(&refused).hint.unwrap().contains("join code"));
    assert!(alerted(&client, "ended_token").await);
    assert_eq!(hello(&client, "forgotten").await.status, 401);
    assert_eq!(hello(&client, "next").await.status, 200);
}

#[tokio::test]
async fn a_token_that_was_used_never_comes_back_and_nobody_takes_anothers() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    let other = Till::of(&client, "Leith", 2).await;
    let first = till.token.clone();
    for taken in [&first, &other.token] {
        let refused = name(&client, &till, taken).await;
        assert_eq!(problem(&refused).code, Code::Conflict);
    }
    parse::<TokenAnswer>(&name(&client, &other, "others next").await);
    let refused = name(&client, &till, "others next").await;
    assert_eq!(problem(&refused).code, Code::Conflict);
    parse::<TokenAnswer>(&name(&client, &till, "second").await);
    assert_eq!(hello(&client, "second").await.status, 200);
    "second".clone_into(&mut till.token);
    let refused = name(&client, &till, &first).await;
    assert_eq!(problem(&refused).code, Code::Conflict);
    // A backup of the till asks with it, and a good join code.
    first.clone_into(&mut till.token);
    let code = client.code("Leith").await.join_code;
    let refused = till.activate(&client, &code).await;
    assert_eq!(problem(&refused).code, Code::Unauthorized);
    // The code is good for a new one, which ends the second.
    "third".clone_into(&mut till.token);
    parse::<ActivateAnswer>(&till.activate(&client, &code).await);
    assert_eq!(hello(&client, "second").await.status, 401);
    assert_eq!(hello(&client, "third").await.status, 200);
}

/// Whoever has the old backup of one till, and with it a token that has ended, must not be another one with it.
#[tokio::test]
async fn nobody_takes_a_token_that_was_anothers_before() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "Leith", 1).await;
    let other = Till::of(&client, "Leith", 2).await;
    parse::<TokenAnswer>(&name(&client, &till, "second").await);
    assert_eq!(hello(&client, "second").await.status, 200);
    let refused = name(&client, &other, &till.token).await;
    assert_eq!(problem(&refused).code, Code::Conflict);

    let mut stranger = Till::new(3);
    stranger.token.clone_from(&till.token);
    let code = client.code("Leith").await.join_code;
    let refused = stranger.activate(&client, &code).await;
    assert_eq!(problem(&refused).code, Code::Unauthorized);
    let body = json!({
        "node": stranger.id, "token_hash": stranger.token_hash(), "schemas": schemas(),
        "admission": {"registration": {"name": "Crail", "phone": "1", "email": null}},
    });
    let refused = client.post("/v1/activate", None, &body).await;
    assert_eq!(problem(&refused).code, Code::Unauthorized, "{refused:?}");
    let claim = json!({
        "node": stranger.id, "token_hash": stranger.token_hash(), "schemas": schemas(),
        "common": Point::START,
    });
    let refused = client
        .post("/v1/identity", Some(&other.token), &claim)
        .await;
    assert_eq!(problem(&refused).code, Code::Conflict, "{refused:?}");

    // The code is good for a token of its own.
    "own".clone_into(&mut stranger.token);
    parse::<ActivateAnswer>(&stranger.activate(&client, &code).await);
}

#[tokio::test]
async fn a_till_that_syncs_is_asked_in_time_and_an_expired_token_ends_until_there_is_a_new_one() {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let hub = TestHub::start_at(Arc::clone(&clock)).await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    let code = client.code("Leith").await.join_code;
    let begun = standing(&client, &till.token).await;
    let life_ms = begun.expires_ms.unwrap() - NOW_MS;
    assert!(life_ms > 30 * DAY_MS && !begun.rotate, "{begun:?}");
    clock.advance((life_ms >> 1) + 1);
    assert!(standing(&client, &till.token).await.rotate);
    // Named, and never used: it holds no longer than it would have if it were.
    parse::<TokenAnswer>(&name(&client, &till, "unused").await);
    clock.advance(life_ms >> 1);
    let refused = hello(&client, &till.token).await;
    assert_eq!(refused.status, 401);
    let told = problem(&refused);
    assert!(told.detail.contains("expired on 20"), "{told:?}");
    assert!(told.hint.unwrap().contains("join code"));
    assert_eq!(row(&client, &till).await.state, "token_expired");
    assert!(alerted(&client, "token_expired").await);
    let refused = name(&client, &till, "too late").await;
    assert_eq!(refused.status, 401);
    clock.advance(life_ms);
    assert_eq!(hello(&client, "unused").await.status, 401);
    // Neither a repetition nor another code makes the old token good again.
    let fresh = client.code("Leith").await.join_code;
    for code in [&code, &fresh] {
        let refused = till.activate(&client, code).await;
        assert!(!refused.status.is_success(), "{}", refused.status);
    }
    "new".clone_into(&mut till.token);
    parse::<ActivateAnswer>(&till.activate(&client, &fresh).await);
    let begun = standing(&client, "new").await;
    let status: HubStatus = client.admin_get("status").await;
    let mut about = status.alerts.iter();
    let about = about.find(|alert| alert.kind == "token_expired");
    assert!(
        about.is_none_or(|alert| alert.cleared_ms.is_some()),
        "{about:?}"
    );
    assert_eq!(begun.expires_ms, Some(clock.now_ms() + life_ms));
    // Nor does a repetition make it last longer.
    clock.advance(DAY_MS);
    parse::<ActivateAnswer>(&till.activate(&client, &fresh).await);
    assert_eq!(standing(&client, "new").await, begun);
}

#[tokio::test]
async fn another_life_of_tokens_is_told_at_the_next_contact() {
    let mut hub = TestHub::start_with(|config| config.token_life = None).await;
    let client = hub.client();
    let till = Till::of(&client, "Leith", 1).await;
    assert_eq!(
        standing(&client, &till.token).await,
        TokenStanding::default()
    );
    hub.stop().await;
    let hub = hub.restart().await;
    let client = hub.client();
    assert!(standing(&client, &till.token).await.rotate);
    let named: TokenAnswer = parse(&name(&client, &till, "next").await);
    let now = standing(&client, "next").await;
    assert_eq!((now.expires_ms, now.rotate), (named.expires_ms, false));
    assert!(now.expires_ms.is_some());
}

#[tokio::test]
async fn an_operator_asks_for_another_token_and_it_stands_on_record() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "Leith", 1).await;
    assert!(!standing(&client, &till.token).await.rotate);
    let path = format!("nodes/{}/rotate-token", till.id);
    let asked: NodeRow = client.admin_post(&path, &json!(null)).await;
    assert!(asked.token_rotates);
    assert!(standing(&client, &till.token).await.rotate);
    parse::<TokenAnswer>(&name(&client, &till, "next").await);
    // Asked once more meanwhile: the one that was named may be known already.
    client.admin_post::<Value>(&path, &json!(null)).await;
    assert!(standing(&client, "next").await.rotate);
    let decisions = client.decisions().await;
    let actions = decisions.iter().map(|it| it.action.as_str());
    assert_eq!(
        actions.collect::<Vec<_>>(),
        ["token_rotation_asked", "token_rotation_asked"]
    );
    let missing = "/v1/admin/nodes/00000000-0000-7000-8000-000000000000/rotate-token";
    let answer = client
        .post(missing, Some(&client.admin), &json!(null))
        .await;
    assert_eq!(problem(&answer).code, Code::NotFound);
}

#[tokio::test]
async fn days_sealed_with_any_token_of_a_till_are_proved() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut counter = Counter::of(&client, "Leith", 1).await;
    counter.sell(MONDAY, Tender::Cash);
    counter.close(MONDAY);
    parse::<TokenAnswer>(&name(&client, &counter.till, "next").await);
    // It has the answer, and closes the next day before it syncs again.
    "next".clone_into(&mut counter.till.token);
    counter.sell(TUESDAY, Tender::Card);
    counter.close(TUESDAY);
    counter.deliver(&client).await;
    for date in [MONDAY, TUESDAY] {
        let found = proof(&client, date).await;
        assert!(found.proved, "{date}: {found:?}");
    }
}

/// A machine without a battery has another year until it has asked for the time.
#[tokio::test]
async fn a_hub_whose_clock_is_behind_asks_for_no_token_and_gives_none_that_has_ended_when_it_is_right()
 {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let hub = TestHub::start_at(Arc::clone(&clock)).await;
    let client = hub.client();
    let till = Till::of(&client, "Leith", 1).await;
    let before = standing(&client, &till.token).await;
    clock.set(NOW_MS - 4_000 * DAY_MS);
    let behind = standing(&client, &till.token).await;
    assert_eq!(behind, before, "nothing is due");
    let other = Till::of(&client, "Leith", 2).await;
    parse::<TokenAnswer>(&name(&client, &till, "named meanwhile").await);
    clock.set(NOW_MS + DAY_MS);
    assert_eq!(hello(&client, &other.token).await.status, 200);
    assert!(!standing(&client, "named meanwhile").await.rotate);
}

#[tokio::test]
async fn a_token_that_was_named_and_not_used_ends_with_the_access_of_its_till() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "Leith", 1).await;
    parse::<TokenAnswer>(&name(&client, &till, "unused").await);
    let path = format!("nodes/{}/revoke", till.id);
    client.admin_post::<Value>(&path, &json!({})).await;
    assert_eq!(hello(&client, "unused").await.status, 401);
    let body = json!({"name": "Leith", "existing": true});
    let added: ShopAdded = client.admin_post("shops", &body).await;
    let secret = added.join_code.parse::<JoinCode>().unwrap().secret;
    let body = json!({"node": till.id, "token_hash": hash_of("unused"),
        "admission": {"join_secret": secret}, "schemas": schemas()});
    let answer = client.post("/v1/activate", None, &body).await;
    assert!(!answer.status.is_success(), "{}", answer.status);
    assert_eq!(hello(&client, "unused").await.status, 401);
}
