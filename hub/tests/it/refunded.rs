//! More of a sale is taken back than it had: every refund counts, and a person is told.

use crate::counter::Counter;
use crate::hub::{Client, TestHub};
use counterfoil_domain::Document;
use counterfoil_protocol::wire::monitor::AlertRow;

async fn told(client: &Client) -> Vec<String> {
    let rows: Vec<AlertRow> = client.admin_get("alerts").await;
    let twice = rows.into_iter().filter(|row| row.kind == "refunded_twice");
    twice.map(|row| row.detail).collect()
}

#[tokio::test]
async fn a_sale_that_two_lanes_took_back_apart_is_told_whichever_comes_first() {
    for sale_comes_first in [true, false] {
        let hub = TestHub::start().await;
        let client = hub.client();
        let mut one = Counter::of(&client, "Leith", 1).await;
        let mut other = Counter::of(&client, "Leith", 2).await;
        let receipt = one.till.receipt(2);
        let (_, sale, _) = one.till.record(&Document::Sale(receipt));
        one.till.take_back(Some(sale));
        other.till.take_back(Some(sale));
        // What names no sale, and a sale that nobody takes back, are no reason.
        other.till.take_back(None);
        other.till.sell(1);
        let mut both = [one, other];
        if !sale_comes_first {
            both.reverse();
        }
        let [first, second] = &mut both;
        first.deliver(&client).await;
        client.settle().await;
        assert_eq!(told(&client).await, Vec::<String>::new(), "once");
        second.deliver(&client).await;
        let status = client.settle().await;
        assert_eq!(status.quarantined, 0);
        let found = told(&client).await;
        assert_eq!(found.len(), 1, "{found:?}");
        let says = "of Leith/1 2 more of SKU0 was taken back";
        assert!(found[0].contains(says), "{found:?}");
    }
}
