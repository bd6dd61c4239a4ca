//! Keeps the levels of stock up with what is recorded here and what comes from other lanes.

use crate::limits::{MEND_PAUSE, STOCK_BATCH_ENTRIES, STOCK_PAUSE, STOCK_SETTLE};
use crate::node::Node;
use crate::problem::chain;
use counterfoil_domain::NodeId;
use counterfoil_shop_store::StoreError;
use counterfoil_shop_store::stock::Counted;
use serde_json::json;
use std::collections::BTreeSet;

/// Counts whatever is news. Ends only with the task.
pub(crate) async fn run(node: Node) {
    let mut told = BTreeSet::new();
    loop {
        match node.count_stock().await {
            Ok(counted) => {
                tell_unreadable(&node, &counted, &mut told).await;
                if counted.entries > 0 && counted.behind > 0 {
                    continue;
                }
                let news = node.inner.to_count.notified();
                match counted.unreadable.is_empty() {
                    true => news.await,
                    // Somebody who holds it may be there by then.
                    false => _ = tokio::time::timeout(MEND_PAUSE, news).await,
                }
                // Whoever asks counts for himself: what is recorded one after the other is counted together.
                tokio::time::sleep(STOCK_SETTLE).await;
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "stock cannot be counted; it is tried again");
                tokio::time::sleep(STOCK_PAUSE).await;
            }
        }
    }
}

/// Each journal once for as long as it is so; another lane is asked again and again.
async fn tell_unreadable(node: &Node, counted: &Counted, told: &mut BTreeSet<NodeId>) {
    for (origin, after) in &counted.unreadable {
        node.mend_journal(*origin, *after).await;
        if told.contains(origin) {
            continue;
        }
        tracing::error!(%origin, "stock of a journal cannot be counted any further: what is held of it is damaged");
        node.log_mesh("error", "stock_unreadable", json!({"node": origin}))
            .await;
    }
    *told = counted.unreadable.keys().copied().collect();
}

impl Node {
    /// Counts a batch of what is not counted yet: sales wait for one batch at most.
    pub(crate) async fn count_stock(&self) -> Result<Counted, StoreError> {
        let now_ms = self.now_ms();
        let counted = self
            .store(move |store| store.count_stock(STOCK_BATCH_ENTRIES, now_ms))
            .await?;
        if !counted.oversold.is_empty() {
            tracing::warn!(products = ?counted.oversold, "more was sold than was counted");
            let detail = json!({"products": counted.oversold});
            self.log_mesh("warn", "oversold", detail).await;
        }
        Ok(counted)
    }

    /// Counts all that is there, or as much as there is time for; how many entries are left.
    pub(crate) async fn catch_up_stock(&self) -> Result<i64, StoreError> {
        let until = tokio::time::Instant::now() + STOCK_PAUSE;
        loop {
            let counted = self.count_stock().await?;
            let is_done = counted.behind == 0 || counted.entries == 0;
            if is_done || tokio::time::Instant::now() >= until {
                return Ok(counted.behind);
            }
        }
    }
}
