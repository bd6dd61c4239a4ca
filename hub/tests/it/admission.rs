use crate::hub::{Ask, TestHub, parse, problem};
use crate::till::Till;
use counterfoil_hub::Registration;
use counterfoil_protocol::join::JoinCode;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::hub::{ActivateAnswer, HubStatus, NodeRow, ShopAdded};
use http::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn activation_may_be_repeated_and_gives_the_same_answer() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (till, other) = (Till::new(1), Till::new(2));
    let added = client.code("Leith").await;
    let first: ActivateAnswer = parse(&till.activate(&client, &added.join_code).await);
    let second: ActivateAnswer = parse(&till.activate(&client, &added.join_code).await);
    assert_eq!(first, second);
    assert_eq!((first.shop, first.lane), (added.shop_id, 1));
    let more = client.code("Leith").await.join_code;
    let lane: ActivateAnswer = parse(&other.activate(&client, &more).await);
    assert_eq!((lane.shop, lane.lane), (added.shop_id, 2));
}

#[tokio::test]
async fn a_join_code_that_is_wrong_used_or_expired_says_which() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (till, other) = (Till::new(1), Till::new(2));
    let code = client.code("Leith").await.join_code;
    parse::<ActivateAnswer>(&till.activate(&client, &code).await);

    let used = problem(&other.activate(&client, &code).await);
    assert_eq!(used.code, Code::JoinCodeRefused);
    assert!(
        used.detail.contains("already used by another till"),
        "{}",
        used.detail
    );

    let mut wrong: JoinCode = code.parse().unwrap();
    wrong.secret = "00".repeat(32);
    let wrong = problem(&other.activate(&client, &wrong.to_string()).await);
    assert_eq!(wrong.code, Code::JoinCodeRefused);
    assert!(wrong.detail.contains("does not know"), "{}", wrong.detail);

    let brief = json!({"name": "Leith", "existing": true, "valid_minutes": 0});
    let expired: ShopAdded = client.admin_post("shops", &brief).await;
    let expired = problem(&other.activate(&client, &expired.join_code).await);
    assert_eq!(expired.code, Code::JoinCodeRefused);
    assert!(expired.detail.contains("expired"), "{}", expired.detail);

    let alerts = client.admin_get::<HubStatus>("status").await.alerts;
    let kinds: Vec<_> = alerts
        .iter()
        .rev()
        .map(|alert| alert.kind.as_str())
        .collect();
    assert_eq!(
        kinds,
        ["join_code_reused", "join_code_unknown", "join_code_expired"]
    );
}

#[tokio::test]
async fn a_till_that_lost_its_token_is_let_in_again_by_a_fresh_code_of_its_shop() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    let old = till.token.clone();
    till.token = "another token".to_owned();
    let fresh = client.code("Leith").await.join_code;
    let again: ActivateAnswer = parse(&till.activate(&client, &fresh).await);
    assert_eq!(again.lane, 1);
    till.hello(&client).await;
    let refused = client.post("/v1/hello", Some(&old), &Value::Null).await;
    assert_eq!(problem(&refused).code, Code::Unauthorized);

    let foreign = client.code("Portobello").await.join_code;
    let refused = problem(&till.activate(&client, &foreign).await);
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.detail.contains("Leith"), "{}", refused.detail);
}

#[tokio::test]
async fn a_shop_registers_itself_once() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (till, other) = (Till::new(1), Till::new(2));
    let request = |till: &Till| {
        json!({
            "node": till.id,
            "token_hash": till.token_hash(),
            "admission": {"registration": {"name": "Crail", "phone": "1", "email": null}},
            "schemas": crate::till::schemas(),
        })
    };
    let first: ActivateAnswer = parse(&client.post("/v1/activate", None, &request(&till)).await);
    let again: ActivateAnswer = parse(&client.post("/v1/activate", None, &request(&till)).await);
    assert_eq!(first, again);
    let refused = problem(&client.post("/v1/activate", None, &request(&other)).await);
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.hint.unwrap().contains("join code"));
}

#[tokio::test]
async fn who_comes_through_a_proxy_does_not_come_from_here() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::new(1);
    let request = json!({
        "node": till.id,
        "token_hash": till.token_hash(),
        "admission": {"registration": {"name": "Crail", "phone": "1", "email": null}},
        "schemas": crate::till::schemas(),
    });
    let ask = Ask {
        method: Method::POST,
        path: "/v1/activate",
        token: None,
        headers: &[
            ("content-type", "application/json"),
            ("x-forwarded-for", "203.0.113.9"),
        ],
        body: request.to_string().into(),
    };
    assert_eq!(
        problem(&client.send(ask).await).code,
        Code::RegistrationClosed
    );
}

#[tokio::test]
async fn a_revoked_token_does_not_come_back_with_a_new_code() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    let path = format!("nodes/{}/revoke", till.id);
    client.admin_post::<NodeRow>(&path, &json!({})).await;
    let code = client.code("Leith").await;
    let refused = problem(&till.activate(&client, &code.join_code).await);
    assert_eq!(refused.code, Code::Unauthorized);
    // The code was not used up: it works with a new token.
    till.token.push('x');
    assert!(
        till.activate(&client, &code.join_code)
            .await
            .status
            .is_success()
    );
}

#[tokio::test]
async fn a_closed_hub_takes_no_registration() {
    let hub = TestHub::start_with(|config| config.registration = Registration::Closed).await;
    let client = hub.client();
    let till = Till::new(1);
    let request = json!({
        "node": till.id,
        "token_hash": till.token_hash(),
        "admission": {"registration": {"name": "Crail", "phone": "1", "email": null}},
        "schemas": crate::till::schemas(),
    });
    let refused = problem(&client.post("/v1/activate", None, &request).await);
    assert_eq!(refused.code, Code::RegistrationClosed);
    assert_eq!(client.admin_get::<Vec<NodeRow>>("nodes").await, []);
}

#[tokio::test]
async fn a_shop_is_made_once_unless_told_otherwise() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let first = client.code("Leith").await;
    let twice = client
        .post(
            "/v1/admin/shops",
            Some(&client.admin),
            &json!({"name": "Leith"}),
        )
        .await;
    let twice = problem(&twice);
    assert_eq!(twice.code, Code::Conflict);
    assert!(twice.hint.unwrap().contains("shop join"));
    let join: ShopAdded = client
        .admin_post("join-codes", &json!({"name": "Leith"}))
        .await;
    assert_eq!(join.shop_id, first.shop_id);
    let nowhere = json!({"name": "Nowhere"});
    let nowhere = client
        .post("/v1/admin/join-codes", Some(&client.admin), &nowhere)
        .await;
    assert_eq!(problem(&nowhere).code, Code::NotFound);
}
