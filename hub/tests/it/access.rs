use crate::hub::{Ask, TestHub, parse, problem};
use crate::till::Till;
use bytes::Bytes;
use counterfoil_protocol::gate::SCHEMA_HEADER;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::hub::{HubStatus, NodeRow, book_path};
use counterfoil_protocol::wire::replication::Info;
use http::Method;
use serde_json::Value;

#[tokio::test]
async fn a_till_reaches_its_own_book_and_no_other() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (mine, other) = (
        Till::of(&client, "A", 1).await,
        Till::of(&client, "B", 2).await,
    );
    let own: Info = parse(
        &client
            .get(&format!("{}/info", book_path(mine.id)), Some(&mine.token))
            .await,
    );
    assert_eq!((own.current_generation, own.max_frame_no), (1, 0));
    for path in ["info", "export/1", "pages/1/0", "sync/1/1/2"] {
        let path = format!("{}/{path}", book_path(other.id));
        let refused = problem(&client.get(&path, Some(&mine.token)).await);
        assert_eq!(refused.code, Code::Forbidden, "{path}");
    }
    for path in ["sync/1/1/2", "sync/1/1/2/baton"] {
        let path = format!("{}/{path}", book_path(other.id));
        let refused = problem(&client.post(&path, Some(&mine.token), &Value::Null).await);
        assert_eq!(refused.code, Code::Forbidden, "{path}");
    }
    let status: HubStatus = client.admin_get("status").await;
    let alert = status
        .alerts
        .iter()
        .find(|alert| alert.kind == "foreign_book")
        .unwrap();
    assert_eq!(alert.node_id, Some(mine.id));
}

#[tokio::test]
async fn wrong_and_missing_tokens_are_refused_everywhere() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "A", 1).await;
    let book = book_path(till.id);
    let reads = [
        format!("{book}/info"),
        format!("{book}/export/1"),
        format!("{book}/sync/1/1/2"),
        "/v1/db/catalog/info".to_owned(),
        "/v1/db/catalog/export/1".to_owned(),
        "/v1/db/catalog/sync/1/1/2".to_owned(),
        "/v1/events".to_owned(),
        "/v1/admin/status".to_owned(),
        "/v1/admin/shops".to_owned(),
        "/v1/admin/nodes".to_owned(),
        "/v1/admin/conflicts".to_owned(),
        "/v1/admin/conflicts/1".to_owned(),
        "/v1/admin/audit".to_owned(),
        "/v1/admin/policies".to_owned(),
        "/v1/admin/catalog/products".to_owned(),
        "/v1/admin/reports/sales?by=shop".to_owned(),
    ];
    for path in &reads {
        for token in [None, Some("nobody's")] {
            let refused = problem(&client.get(path, token).await);
            assert_eq!(refused.code, Code::Unauthorized, "{path}");
        }
    }
    let admin = problem(&client.get("/v1/admin/status", Some(&till.token)).await);
    assert_eq!(admin.code, Code::Unauthorized);
    let node = problem(
        &client
            .get(&format!("{book}/info"), Some(&client.admin))
            .await,
    );
    assert_eq!(node.code, Code::Unauthorized);
}

#[tokio::test]
async fn a_revoked_till_is_told_so() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "A", 1).await;
    let row: NodeRow = client
        .admin_post(&format!("nodes/{}/revoke", till.id), &Value::Null)
        .await;
    assert_eq!(row.state, "revoked");
    let refused = problem(
        &client
            .post("/v1/hello", Some(&till.token), &Value::Null)
            .await,
    );
    assert_eq!(refused.code, Code::Unauthorized);
    assert!(refused.detail.contains("revoked"), "{}", refused.detail);
    let unknown = uuid::Uuid::from_u128(7);
    let path = format!("/v1/admin/nodes/{unknown}/revoke");
    let missing = client.post(&path, Some(&client.admin), &Value::Null).await;
    assert_eq!(problem(&missing).code, Code::NotFound);
}

#[tokio::test]
async fn an_older_till_gets_no_catalog_but_may_still_push() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "A", 1).await;
    let older = [(SCHEMA_HEADER, "book=1;catalog=0")];
    for path in ["info", "export/1", "sync/1/1/2"] {
        let path = format!("/v1/db/catalog/{path}");
        let (method, token, body) = (Method::GET, Some(till.token.as_str()), Bytes::new());
        let ask = Ask {
            method,
            path: &path,
            token,
            headers: &older,
            body,
        };
        let refused = problem(&client.send(ask).await);
        assert_eq!(refused.code, Code::UpdateRequired, "{path}");
        assert!(
            refused
                .detail
                .starts_with("schema version mismatch, update required")
        );
        assert!(refused.hint.is_some());
    }
    // A stock client states nothing, and is let in.
    let info: Info = parse(&client.get("/v1/db/catalog/info", Some(&till.token)).await);
    assert!(info.current_generation >= 1);
    till.sell(2);
    till.push(&client).await.unwrap();
    assert_eq!(client.settle().await.receipts, 1);
}

#[tokio::test]
async fn nobody_but_the_hub_writes_the_catalog() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "A", 1).await;
    for path in ["sync/1/1/2", "sync/1/1/2/baton"] {
        let path = format!("/v1/db/catalog/{path}");
        let refused = problem(&client.post(&path, Some(&till.token), &Value::Null).await);
        assert_eq!(refused.code, Code::Forbidden);
    }
}
