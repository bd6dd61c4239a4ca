//! The catalog over HTTP: written at the hub, pulled by a node.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use counterfoil_replica::{
    CatalogReplica, Copy, CopyInfo, CopyKind, LocalCheckpoint, OpenGate, PullError, PullReport,
    env::Execution,
};
use tempfile::TempDir;

use crate::{
    server::Hub,
    support::{
        assert_same_content, connect, connect_foreign, content, create_sales, files, folder,
        pragma, sell, sell_at_once,
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
        let info = self.info();
        assert_eq!(
            (info.generation, info.max_frame_no),
            (report.generation, report.frame)
        );
        report
    }

    fn rotate(&self) {
        self.hub.on_copy(|copy| copy.checkpoint_if_over(0)).unwrap();
    }

    fn info(&self) -> CopyInfo {
        self.hub.on_copy(Copy::info).unwrap()
    }

    /// Publishes more frames than one pull brings, in two transactions.
    async fn publish_much(&mut self) {
        for _ in 0..2 {
            sell_at_once(&self.publisher, 12_000).await;
            self.rows += 12_000;
        }
    }

    /// Another program folds the node's WAL: the numbers are lost and the file is downloaded anew.
    async fn lose_the_numbers(&mut self) {
        self.publish(1).await;
        assert_eq!(self.pull().await.frames, 1);
        let meddler = connect_foreign(&self.node_path()).await;
        pragma(&meddler, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    }

    /// Pulls on a line that drops after that many answers with frames.
    async fn pull_cut(&self, answers: u32) {
        self.hub.pulls_to_answer.store(answers, Ordering::SeqCst);
        let cut = self.node.pull(&self.hub.remote(), &OpenGate).await;
        assert!(matches!(cut, Err(PullError::Remote(_))), "{cut:?}");
        self.hub.pulls_to_answer.store(u32::MAX, Ordering::SeqCst);
    }

    /// First pages of the parts of files that the hub gave out since it was last asked.
    fn parts_given(&self) -> Vec<u64> {
        std::mem::take(&mut *self.hub.parts.lock().unwrap())
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

#[tokio::test]
async fn a_line_that_drops_in_a_bootstrap_leaves_the_catalog_as_it_was() {
    let mut chain = Chain::open().await;
    chain.publish(5).await;
    chain.pull().await;
    // The base of this generation is an empty database: everything else is in its frames.
    chain.lose_the_numbers().await;
    let reader = connect(&chain.node_path()).await;
    let before = content(&chain.node_path()).await;
    assert_eq!(before.0.len(), 6);
    chain.publish_much().await;
    chain.parts_given();
    for answers in [0, 1, 0, 0] {
        chain.pull_cut(answers).await;
        let now = content(&chain.node_path()).await;
        assert!(now == before, "{} sales, after {answers}", now.0.len());
        pragma(&reader, "SELECT count(*) FROM sale").await;
    }
    drop(reader);
    assert!(chain.pull().await.bootstrapped);
    let parts = chain.parts_given();
    assert_eq!(parts, [1], "what had arrived is not downloaded again");
}

#[tokio::test]
async fn a_node_without_a_catalog_gets_one_only_when_it_is_whole() {
    let mut chain = Chain::open().await;
    chain.publish_much().await;
    chain.rotate();
    chain.publish_much().await;
    chain.pull_cut(1).await;
    // The process ends.
    chain = chain.reopen();
    chain.pull_cut(0).await;
    let empty = connect(&chain.node_path()).await;
    let mut tables = empty
        .query("SELECT * FROM sqlite_schema", ())
        .await
        .unwrap();
    assert!(tables.next().await.unwrap().is_none());
    drop((tables, empty));
    assert!(chain.pull().await.bootstrapped);
}

#[tokio::test]
async fn a_bootstrap_that_was_cut_begins_anew_when_the_hub_has_a_new_generation() {
    let mut chain = Chain::open().await;
    chain.publish_much().await;
    chain.pull_cut(1).await;
    chain.rotate();
    chain.publish(3).await;
    let report = chain.pull().await;
    assert_eq!(
        (report.bootstrapped, report.generation, report.frames),
        (true, 2, chain.info().max_frame_no)
    );
}

#[tokio::test]
async fn the_numbers_after_a_bootstrap_are_the_hubs() {
    let mut chain = Chain::open().await;
    chain.publish_much().await;
    let report = chain.pull().await;
    assert_eq!(report.frames, chain.info().max_frame_no);
    for round in 0..4 {
        assert_eq!(chain.pull().await.frames, 0);
        let before = chain.info().max_frame_no;
        chain.publish(3).await;
        let report = chain.pull().await;
        assert!(!report.bootstrapped);
        assert_eq!(report.frames, chain.info().max_frame_no - before);
        chain = chain.reopen();
        if round == 2 {
            let done = chain.node.checkpoint_if_over(&OpenGate, 0).await.unwrap();
            assert_eq!(done, LocalCheckpoint::Done);
        }
        if round > 0 {
            chain.rotate();
            chain.publish(3).await;
            assert!(!chain.pull().await.bootstrapped);
        }
    }
}

#[tokio::test]
async fn a_generation_right_after_a_bootstrap_needs_no_other() {
    let mut chain = Chain::open().await;
    chain.publish(5).await;
    chain.pull().await;
    chain.rotate();
    chain.publish(5).await;
    let report = chain.pull().await;
    assert_eq!(
        (report.bootstrapped, report.frames),
        (false, chain.info().max_frame_no)
    );
}

#[tokio::test]
async fn a_catalog_with_a_damaged_frame_is_downloaded_again() {
    let mut chain = Chain::open().await;
    chain.publish(20).await;
    chain.pull().await;
    chain.publish(20).await;
    chain.pull().await;
    // Somebody reads it all the while, so that the WAL is not recovered, which would cut it.
    let reader = connect(&chain.node_path()).await;
    let path = chain.node_path();
    let Chain { node, .. } = chain;
    drop(node);
    crate::damage::flip(
        Path::new(&format!("{}-wal", path.display())),
        crate::damage::in_frame(3, 1000),
    );
    chain.node = CatalogReplica::open(&path, files(), Execution::Threads).unwrap();
    drop(reader);
    assert!(chain.pull().await.bootstrapped);
    chain.publish(1).await;
    assert!(!chain.pull().await.bootstrapped);
}

#[tokio::test]
async fn what_changes_in_the_catalog_comes_down_as_delta_frames() {
    let mut chain = Chain::open().await;
    chain.publish(300).await;
    chain.pull().await;
    for _ in 0..3 {
        chain.publish(1).await;
        let report = chain.pull().await;
        assert!(report.frames > 0 && !report.bootstrapped, "{report:?}");
        // A row of 200 hexadecimal digits, of which 100 bytes are random.
        assert!(report.bytes_down < 400, "{report:?}");
        chain.rotate();
    }
    assert_eq!(chain.hub.deltas_pulled.load(Ordering::SeqCst), 3);
    // More frames than travel at once, a transaction among them that comes in several pieces.
    chain.publish_much().await;
    let report = chain.pull().await;
    assert!(!report.bootstrapped, "{report:?}");
}

#[tokio::test]
async fn delta_frames_that_do_not_fit_are_pulled_whole() {
    let mut chain = Chain::open().await;
    chain.publish(300).await;
    chain.pull().await;
    chain.publish(1).await;
    chain.hub.deltas_to_spoil.store(1, Ordering::SeqCst);
    let report = chain.pull().await;
    assert!(report.frames > 0 && !report.bootstrapped, "{report:?}");
    assert_eq!(chain.hub.deltas_pulled.load(Ordering::SeqCst), 1);
    // A hub that does not announce them is not asked for them.
    *chain.hub.announced.lock().unwrap() = Some(vec!["zstd".to_owned()]);
    chain.publish(1).await;
    chain.pull().await;
    assert_eq!(chain.hub.deltas_pulled.load(Ordering::SeqCst), 1);
}
