//! Keeps the levels of stock up with what is recorded here and what comes from other lanes.

use crate::limits::{MEND_PAUSE, MEND_PAUSE_MAX, STOCK_BATCH_ENTRIES, STOCK_PAUSE, STOCK_SETTLE};
use crate::node::Node;
use crate::problem::chain;
use counterfoil_domain::NodeId;
use counterfoil_shop_store::StoreError;
use counterfoil_shop_store::stock::Counted;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Counts whatever is news. Ends only with the task.
pub(crate) async fn run(node: Node) {
    let mut told = BTreeMap::new();
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

/// When a damaged journal was asked for, and how long the next time waits.
struct Asked {
    after: i64,
    at: Instant,
    pause: Duration,
}

/// Tells of each journal once for as long as it is so, and has it sent again, less and less often: all that follows comes each time.
async fn tell_unreadable(node: &Node, counted: &Counted, told: &mut BTreeMap<NodeId, Asked>) {
    told.retain(|origin, _| counted.unreadable.contains_key(origin));
    for (&origin, &after) in &counted.unreadable {
        let pause = match told.get(&origin) {
            Some(asked) if asked.after == after && asked.at.elapsed() < asked.pause => continue,
            Some(asked) if asked.after == after => (asked.pause * 2).min(MEND_PAUSE_MAX),
            Some(_) => MEND_PAUSE,
            None => {
                tracing::error!(%origin, "stock of a journal cannot be counted any further: what is held of it is damaged");
                node.log_mesh("error", "stock_unreadable", json!({"node": origin}))
                    .await;
                MEND_PAUSE
            }
        };
        // When nobody who holds it is there, the next try comes soon.
        let pause = match node.mend_journal(origin, after).await {
            true => pause,
            false => MEND_PAUSE,
        };
        let at = Instant::now();
        told.insert(origin, Asked { after, at, pause });
    }
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
        let until = Instant::now() + STOCK_PAUSE;
        loop {
            let counted = self.count_stock().await?;
            let is_done = counted.behind == 0 || counted.entries == 0;
            if is_done || Instant::now() >= until {
                return Ok(counted.behind);
            }
        }
    }
}
