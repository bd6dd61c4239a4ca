//! The catalog over HTTP: written at the hub, pulled by a node.

use std::{path::PathBuf, sync::Arc};

use counterfoil_replica::{
    CatalogReplica, Copy, CopyKind, LocalCheckpoint, OpenGate, PullReport, env::Execution,
};
use tempfile::TempDir;

use crate::{
    server::Hub,
    support::{
        assert_same_content, connect, connect_foreign, create_sales, files, folder, pragma, sell,
        sell_at_once,
    },
};

struct Chain {
    folder: TempDir,
    hub: Arc<Hub>,
    publisher: libsql::Connection,
    node: CatalogReplica,
    rows: usize,
}

impl Chain {
    async fn open() -> Self {
        let folder = folder();
        let path = folder.path().join("catalog.db");
        let hub = Hub::start(&path, CopyKind::Written).await;
        let publisher = connect(&path).await;
        create_sales(&publisher).await;
        let node =
            CatalogReplica::open(&folder.path().join("node.db"), files(), Execution::Threads);
        Self {
            folder,
            hub,
            publisher,
            node: node.unwrap(),
            rows: 0,
        }
    }

    fn hub_path(&self) -> PathBuf {
        self.folder.path().join("catalog.db")
    }

    fn node_path(&self) -> PathBuf {
        self.folder.path().join("node.db")
    }

    async fn publish(&mut self, rows: usize) {
        sell(&self.publisher, rows).await;
        self.rows += rows;
    }

    async fn pull(&self) -> PullReport {
        let report = self.node.pull(&self.hub.remote(), &OpenGate).await.unwrap();
        assert_same_content(&self.hub_path(), &self.node_path(), self.rows).await;
        let info = self.hub.on_copy(Copy::info).unwrap();
        assert_eq!(
            (info.generation, info.max_frame_no),
            (report.generation, report.frame)
        );
        report
    }

    fn rotate(&self) {
        self.hub.on_copy(|copy| copy.checkpoint_if_over(0)).unwrap();
    }

    fn reopen(self) -> Self {
        let Self {
            folder,
            hub,
            publisher,
            node,
            rows,
        } = self;
        drop(node);
        let path = folder.path().join("node.db");
        let node = CatalogReplica::open(&path, files(), Execution::Threads).unwrap();
        Self {
            folder,
            hub,
            publisher,
            node,
            rows,
        }
    }
}

#[tokio::test]
async fn a_node_bootstraps_once_and_then_follows() {
    let mut chain = Chain::open().await;
    chain.publish(20).await;
    assert!(chain.pull().await.bootstrapped);
    for _ in 0..3 {
        chain.publish(20).await;
        sell_at_once(&chain.publisher, 6000).await;
        chain.rows += 6000;
        let report = chain.pull().await;
        assert!(!report.bootstrapped && report.frames > 100, "{report:?}");
        chain = chain.reopen();
        assert_eq!(chain.pull().await.frames, 0);
    }
}

#[tokio::test]
async fn a_node_that_has_everything_crosses_into_the_next_generation() {
    let mut chain = Chain::open().await;
    chain.pull().await;
    for _ in 0..3 {
        chain.publish(5).await;
        chain.pull().await;
        chain.rotate();
        chain.publish(5).await;
        assert!(!chain.pull().await.bootstrapped);
    }
}

#[tokio::test]
async fn a_node_that_missed_a_generation_downloads_the_next() {
    let mut chain = Chain::open().await;
    chain.pull().await;
    chain.publish(5).await;
    chain.rotate();
    chain.publish(5).await;
    assert!(chain.pull().await.bootstrapped);
    chain.publish(5).await;
    assert!(!chain.pull().await.bootstrapped);
}

#[tokio::test]
async fn a_local_checkpoint_keeps_the_numbers_of_the_catalog() {
    let mut chain = Chain::open().await;
    chain.pull().await;
    for round in 0..3 {
        chain.publish(5).await;
        chain.pull().await;
        let done = chain.node.checkpoint_if_over(&OpenGate, 0).await.unwrap();
        assert_eq!(done, LocalCheckpoint::Done);
        if round == 1 {
            chain.rotate();
        }
        chain = chain.reopen();
        chain.publish(5).await;
        assert!(!chain.pull().await.bootstrapped);
    }
}

#[tokio::test]
async fn a_catalog_that_somebody_else_changed_is_downloaded_again() {
    let mut chain = Chain::open().await;
    chain.publish(5).await;
    chain.pull().await;
    let meddler = connect(&chain.node_path()).await;
    sell(&meddler, 1).await;
    drop(meddler);
    assert!(chain.pull().await.bootstrapped);
    let meddler = connect_foreign(&chain.node_path()).await;
    pragma(&meddler, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    drop(meddler);
    chain.publish(5).await;
    chain.pull().await;
    let meddler = connect(&chain.node_path()).await;
    sell(&meddler, 1).await;
    drop(meddler);
    chain.publish(50).await;
    assert!(chain.pull().await.bootstrapped);
}

#[tokio::test]
async fn a_foreign_checkpoint_at_the_hub_starts_a_generation() {
    let mut chain = Chain::open().await;
    chain.publish(5).await;
    chain.pull().await;
    let meddler = connect_foreign(&chain.hub_path()).await;
    pragma(&meddler, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    drop(meddler);
    chain.publish(5).await;
    let report = chain.pull().await;
    assert!(report.bootstrapped && report.generation == 2, "{report:?}");
}
