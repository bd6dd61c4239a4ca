//! The clocks of tills (X1).

use crate::hub::{Client, TestHub};
use crate::till::Till;
use counterfoil_protocol::wire::hub::NodeRow;

const YEARS_MS: i64 = 10 * 365 * 86_400_000;

async fn kinds(client: &Client) -> Vec<String> {
    let alerts = client.settle().await.alerts.into_iter();
    alerts.map(|alert| alert.kind).collect()
}

#[tokio::test]
async fn a_wrong_clock_is_told_once_and_told_again_when_it_is_right() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "Leith", 1).await;
    till.hello(&client).await;
    assert_eq!(kinds(&client).await, [] as [&str; 0]);
    for behind in [0, 2_000, 4_000] {
        till.hello_at(&client, till.now_ms() - YEARS_MS - behind)
            .await;
        assert_eq!(kinds(&client).await, ["clock_wrong"], "told once");
    }
    let nodes: Vec<NodeRow> = client.admin_get("nodes").await;
    let offset = nodes[0].clock_offset_ms.unwrap();
    assert!(offset < 60_000 - YEARS_MS, "{offset}");
    till.hello(&client).await;
    assert_eq!(kinds(&client).await, ["clock_right", "clock_wrong"]);
    till.hello_at(&client, till.now_ms() + 86_400_000).await;
    assert_eq!(
        kinds(&client).await,
        ["clock_wrong", "clock_right", "clock_wrong"]
    );
}
