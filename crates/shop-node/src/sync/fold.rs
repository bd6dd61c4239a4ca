//! Folds write-ahead logs that have grown: in trial, after each run, and after one that failed, so that a
//! till may be offline for weeks.

use super::SyncError;
use crate::node::{Node, StoreGate};
use counterfoil_protocol::wire::node::LogRow;
use counterfoil_replica::LocalCheckpoint;
use serde_json::json;

/// Folds the WALs that have passed a limit.
pub(super) async fn fold(node: &Node) -> Result<(), SyncError> {
    let gate = StoreGate {
        store: node.inner.store.clone(),
    };
    let (config, now_ms) = (&node.inner.config, node.now_ms());
    let limits = config.wal_limits(now_ms);
    // What fails for one file must not keep the others from their turn.
    let book = node.inner.book.checkpoint_if_over(&gate, limits).await;
    let catalog = &node.inner.catalog;
    let catalog = catalog
        .checkpoint_if_over(&gate, config.wal_limit_bytes())
        .await;
    let tidied = node.store(|store| store.tidy_local()).await;
    let (book, catalog) = (book?, catalog?);
    tracing::debug!(?book, ?catalog, "WAL limits");
    if book == LocalCheckpoint::DoneEarly {
        tracing::warn!("the book's WAL was folded before the hub had all of it");
        node.log(LogRow {
            at_ms: now_ms,
            level: "warn".to_owned(),
            event: "folded_early".to_owned(),
            detail: json!({
                "why": "the book's write-ahead log has passed a limit before the hub had all of it; \
                        the next sync sends the pages that differ",
                "limit_mib": config.wal_offline_limit_mib,
                "limit_hours": config.wal_offline_limit_hours,
            }),
        })
        .await;
    }
    Ok(tidied?)
}
