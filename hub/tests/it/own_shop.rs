//! A shop manager decides and sees what is the own shop's, and nothing of another one.

use crate::conflicts::two_limits;
use crate::hub::{Client, TestHub, parse, problem};
use crate::roles::{machine, shop};
use crate::till::Till;
use counterfoil_domain::edit::{Chosen, ConflictDecision};
use counterfoil_domain::{CatalogEdit, Document, Scalar};
use counterfoil_migrate::params;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::access::AccessLogPage;
use counterfoil_protocol::wire::hub::{HubStatus, ShopRow};
use counterfoil_protocol::wire::monitor::AlertRow;
use counterfoil_protocol::wire::quarantine::{QuarantineAnswer, QuarantineDetail, QuarantineRow};
use counterfoil_replica::env::HttpResponse;
use serde_json::{Value, json};

async fn manager(client: &Client, shop: &str) -> String {
    let name = format!("manager-of-{}", shop.to_lowercase());
    machine(client, &name, "shop_manager", Some(shop)).await
}

async fn decide(
    client: &Client,
    token: &str,
    (till, seq): (&Till, i64),
    (what, changes): (&str, Value),
) -> HttpResponse {
    let path = format!("/v1/admin/quarantine/{}/{seq}/{what}", till.id);
    let body = json!({"who": "Ada", "why": "because", "changes": changes});
    client.post(&path, Some(token), &body).await
}

async fn codes(client: &Client) -> Vec<String> {
    let rows: Vec<QuarantineRow> = client.admin_get("quarantine?open=true").await;
    rows.into_iter().map(|row| row.code).collect()
}

/// A price that holds for shop B, which a till of shop A changes.
async fn anothers_price(client: &Client) -> [Till; 2] {
    let mut tills = [
        Till::of(client, "A", 1).await,
        Till::of(client, "B", 2).await,
    ];
    let shops: Vec<ShopRow> = client.admin_get("shops").await;
    let b = shops.iter().find(|shop| shop.name == "B").unwrap().shop_id;
    let owner = Scalar::Text(b.to_string());
    let claim = tills[1].edit_in("prices", "p1", ("shop", owner), &[]);
    tills[0].observe(claim.hlc);
    tills[1].push(client).await.unwrap();
    client.settle().await;
    tills
}

#[tokio::test]
async fn a_manager_waives_nothing_that_is_another_shops() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut tills = anothers_price(&client).await;
    let price = ("price_mills", Scalar::Integer(900));
    tills[0].edit_in("prices", "p1", price, &[]);
    tills[0].push(&client).await.unwrap();
    client.settle().await;
    assert_eq!(codes(&client).await, ["row_of_another_shop"]);
    let token = manager(&client, "A").await;
    for what in ["waive", "waive"] {
        let answer = decide(&client, &token, (&tills[0], 1), (what, json!({}))).await;
        assert_eq!(problem(&answer).code, Code::Forbidden);
    }
    assert_eq!(codes(&client).await, ["row_of_another_shop"]);
    let log: AccessLogPage = client.admin_get("access-log").await;
    let is_it = |what: &str| what.starts_with("waive entry 1 of node");
    assert!(log.rows.iter().any(|row| is_it(&row.what)), "{log:?}");
    // Whoever sees all shops decides.
    let answer = decide(&client, &client.admin, (&tills[0], 1), ("waive", json!({})));
    assert_eq!(parse::<QuarantineAnswer>(&answer.await).taken_in, 1);
}

#[tokio::test]
async fn a_manager_waives_no_decision_about_a_conflict_of_other_shops() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (_tills, stamps) = two_limits(&client).await;
    let mut stranger = Till::of(&client, "C", 3).await;
    let column = "credit_limit_minor".to_owned();
    stranger.record(&Document::CatalogEdit(CatalogEdit {
        table: "customers".to_owned(),
        row: "ANN".to_owned(),
        columns: [(column.clone(), Scalar::Integer(1))].into(),
        base: [(column, stamps.to_vec())].into(),
        base_revision: 0,
        decision: Some(ConflictDecision {
            loser: stamps[1],
            put_back: false,
            choice: Chosen::Value,
            by: "Jo".to_owned(),
        }),
        at_ms: None,
    }));
    stranger.push(&client).await.unwrap();
    client.settle().await;
    assert_eq!(codes(&client).await, ["conflict_of_another_shop"]);
    let token = manager(&client, "C").await;
    let answer = decide(&client, &token, (&stranger, 1), ("waive", json!({}))).await;
    assert_eq!(problem(&answer).code, Code::Forbidden);
    assert_eq!(client.settle().await.conflicts_open, 1);
}

/// What an owner waived is one rule; that the row is another shop's is the next.
#[tokio::test]
async fn a_manager_does_not_fix_behind_an_owners_waiver() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut tills = anothers_price(&client).await;
    let product = |id: &str| Scalar::Text(id.to_owned());
    tills[0].edit("TEA", ("name", product("Tea")), &[]);
    tills[0].edit_in("prices", "p1", ("product", product("GHOST")), &[]);
    tills[0].push(&client).await.unwrap();
    client.settle().await;
    let at = (&tills[0], 2);
    assert_eq!(codes(&client).await, ["product_unknown"]);
    let answer = decide(&client, &client.admin, at, ("waive", json!({}))).await;
    assert_eq!(parse::<QuarantineAnswer>(&answer).taken_in, 0);
    assert_eq!(codes(&client).await, ["row_of_another_shop"]);
    let token = manager(&client, "A").await;
    let changes = json!({"column.product": "TEA", "column.price_mills": "1"});
    for who in [&token, &client.admin] {
        let answer = decide(&client, who, at, ("fix", changes.clone())).await;
        let refused = problem(&answer);
        assert_eq!(refused.code, Code::Invalid);
        assert!(refused.detail.contains("another shop"), "{refused:?}");
    }
    let path = format!("/v1/admin/quarantine/{}/2/waive", tills[0].id);
    let words = json!({"who": "Ada", "why": "B agrees", "changes": {}});
    let answer = client.post(&path, Some(&token), &words).await;
    assert_eq!(problem(&answer).code, Code::Forbidden);
    let answer = client.post(&path, Some(&client.admin), &words).await;
    assert_eq!(parse::<QuarantineAnswer>(&answer).taken_in, 1);
}

#[tokio::test]
async fn what_a_manager_is_told_is_of_the_own_shop() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let own = shop(&client, "A", 1).await;
    let mut foreign = shop(&client, "B", 3).await;
    // B takes back what A sold, and that stands in quarantine.
    let sql = "SELECT id FROM journal WHERE seq = ?1";
    let sale: Vec<u8> = own.tills[0]
        .book
        .query_value(sql, params![own.seq])
        .unwrap();
    let sale = counterfoil_domain::DocumentId::from_slice(&sale).unwrap();
    foreign.tills[0].take_back(Some(sale));
    foreign.tills[1].move_stock(1_000);
    for till in &foreign.tills {
        till.push(&client).await.unwrap();
    }
    let all = client.settle().await;
    assert_eq!((all.shops, all.nodes, all.receipts), (2, 4, 2));
    assert_eq!((all.documents, all.quarantined, all.conflicts), (1, 3, 2));
    let token = manager(&client, "A").await;
    let told: HubStatus = parse(&client.get("/v1/admin/status", Some(&token)).await);
    assert_eq!((told.shops, told.nodes, told.receipts), (1, 2, 1));
    let rest = (told.documents, told.quarantined, told.conflicts);
    assert_eq!(rest, (0, 1, 1));
    assert_eq!(told.catalog_digest, all.catalog_digest);

    let path = format!("quarantine/{}/{}", own.tills[0].id, own.seq);
    let detail: QuarantineDetail = client.admin_get(&path).await;
    assert_eq!(detail.dependants.len(), 1);
    let answer = client.get(&format!("/v1/admin/{path}"), Some(&token)).await;
    let told: QuarantineDetail = parse(&answer);
    assert_eq!(told.dependants, []);

    let at = (&own.tills[0], own.seq);
    let answer = decide(&client, &token, at, ("retry", json!({}))).await;
    let told: QuarantineAnswer = parse(&answer);
    assert_eq!((told.taken_in, told.open), (0, 1));
    // The refund at B follows: that is B's.
    let answer = decide(&client, &token, at, ("waive", json!({}))).await;
    assert_eq!(parse::<QuarantineAnswer>(&answer).open, 0);
}

#[tokio::test]
async fn a_noisy_shop_does_not_hide_a_managers_alerts() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (own, noisy) = (
        Till::of(&client, "A", 1).await,
        Till::of(&client, "B", 2).await,
    );
    let foreign = |till: &Till, seed| {
        let path = format!("/v1/db/book/{}/info", Till::new(seed).id);
        let (client, token) = (client.clone(), till.token.clone());
        async move {
            let answer = client.get(&path, Some(&token)).await;
            assert_eq!(answer.status, 403);
        }
    };
    foreign(&own, 100).await;
    for seed in 101..131 {
        foreign(&noisy, seed).await;
    }
    let newest: HubStatus = client.admin_get("status").await;
    let of = |alerts: &HubStatus, till: &Till| {
        let nodes = alerts.alerts.iter().map(|alert| alert.node_id);
        nodes.filter(|node| *node == Some(till.id)).count()
    };
    assert_eq!((of(&newest, &own), of(&newest, &noisy)), (0, 20));
    let token = manager(&client, "A").await;
    let told: HubStatus = parse(&client.get("/v1/admin/status", Some(&token)).await);
    assert_eq!((of(&told, &own), told.alerts.len()), (1, 1));
    let answer = client.get("/v1/admin/alerts?open=true", Some(&token)).await;
    let told: Vec<AlertRow> = parse(&answer);
    assert_eq!((told.len(), told[0].node_id), (1, Some(own.id)));
}
