//! The stock Rust client, offline writes: against `replica::Copy` behind a minimal server, where
//! generations can be forced, and against the hub itself.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests stop at the first surprise"
)]

mod databases;
mod documents;
mod folding;
mod real_hub;
#[path = "../../../../crates/replica/tests/replication/server.rs"]
#[expect(dead_code, reason = "shared with crates/replica, which uses all of it")]
mod server;
#[path = "../../../../crates/replica/tests/replication/support.rs"]
mod support;

use std::{path::Path, sync::Arc};

use counterfoil_replica::{Copy, CopyKind};
use hyper_014::client::HttpConnector;
use libsql::{Builder, Connection, Database};
use tempfile::TempDir;

use crate::{
    server::Hub,
    support::{assert_same_content, create_sales, folder, sell, sell_at_once},
};

async fn stock(path: &Path, hub: &Hub) -> (Database, Connection) {
    stock_at(path, hub.url(), "token").await
}

async fn stock_at(path: &Path, url: &str, token: &str) -> (Database, Connection) {
    let database = Builder::new_synced_database(path, url.to_owned(), token.to_owned())
        .connector(HttpConnector::new())
        .build()
        .await
        .unwrap();
    let connection = database.connect().unwrap();
    (database, connection)
}

struct Scene {
    folder: TempDir,
    hub: Arc<Hub>,
    database: Database,
    connection: Connection,
}

impl Scene {
    async fn new() -> Self {
        let folder = folder();
        let hub = Hub::start(&folder.path().join("copy.db"), CopyKind::Pushed).await;
        let (database, connection) = stock(&folder.path().join("one.db"), &hub).await;
        create_sales(&connection).await;
        Self {
            folder,
            hub,
            database,
            connection,
        }
    }

    async fn sync(&self) {
        self.database.sync().await.unwrap();
    }

    /// The hub and a replica that begins now hold what the first client holds.
    async fn check(&self, sales: usize) {
        let (one, copy) = (
            self.folder.path().join("one.db"),
            self.folder.path().join("copy.db"),
        );
        assert_same_content(&one, &copy, sales).await;
        let other = folder();
        let path = other.path().join("other.db");
        let (database, connection) = stock(&path, &self.hub).await;
        database.sync().await.unwrap();
        assert_same_content(&one, &path, sales).await;
        drop(connection);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_pushes_and_a_second_one_bootstraps() {
    let scene = Scene::new().await;
    sell(&scene.connection, 20).await;
    scene.sync().await;
    scene.check(20).await;
    sell(&scene.connection, 20).await;
    scene.sync().await;
    scene.sync().await;
    scene.check(40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_can_be_synced() {
    let folder = folder();
    let hub = Hub::start(&folder.path().join("copy.db"), CopyKind::Pushed).await;
    for name in ["one.db", "two.db"] {
        let (database, _connection) = stock(&folder.path().join(name), &hub).await;
        database.sync().await.unwrap();
        database.sync().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_end_inside_a_transaction_add_up() {
    let scene = Scene::new().await;
    // Several hundred frames in one transaction: the client sends 128 at a time.
    sell_at_once(&scene.connection, 8000).await;
    scene.sync().await;
    scene.check(8000).await;
    sell(&scene.connection, 3).await;
    sell_at_once(&scene.connection, 8000).await;
    scene.sync().await;
    scene.check(16_003).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_thousand_transactions_go_in_one_sync() {
    let scene = Scene::new().await;
    sell(&scene.connection, 3000).await;
    scene.sync().await;
    scene.check(3000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_replica_follows_into_the_next_generation() {
    let scene = Scene::new().await;
    sell(&scene.connection, 20).await;
    scene.sync().await;
    let path = scene.folder.path().join("two.db");
    let (two, connection) = stock(&path, &scene.hub).await;
    two.sync().await.unwrap();
    // Both are in sync: the pull path leads them over.
    scene.hub.on_copy(Copy::begin_generation).unwrap();
    scene.sync().await;
    two.sync().await.unwrap();
    sell(&scene.connection, 20).await;
    scene.sync().await;
    two.sync().await.unwrap();
    assert_eq!(scene.hub.on_copy(Copy::info).unwrap().generation, 2);
    assert_same_content(&scene.folder.path().join("one.db"), &path, 40).await;
    drop(connection);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_writer_is_not_left_behind_by_a_generation_that_the_hub_begins_by_itself() {
    let scene = Scene::new().await;
    for round in 1..=5 {
        // Written before the hub looks at the size, so they are not in sync then.
        sell(&scene.connection, 10).await;
        let limit = 0;
        scene
            .hub
            .on_copy(|copy| copy.checkpoint_if_over(limit))
            .unwrap();
        scene.sync().await;
        scene.check(round * 10).await;
    }
    assert_eq!(scene.hub.on_copy(Copy::info).unwrap().generation, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_missed_a_generation_fails_and_keeps_no_hole() {
    let scene = Scene::new().await;
    sell(&scene.connection, 20).await;
    scene.sync().await;
    let path = scene.folder.path().join("two.db");
    let (two, connection) = stock(&path, &scene.hub).await;
    two.sync().await.unwrap();
    sell(&scene.connection, 20).await;
    scene.sync().await;
    scene.hub.on_copy(Copy::begin_generation).unwrap();
    // The frames it lacks are not to be had any more: an error, not a database with a hole.
    two.sync().await.unwrap_err();
    let (sales, sound) = support::content(&path).await;
    assert_eq!((sales.len(), sound.as_str()), (20, "ok"));
    drop(connection);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_resumes_after_a_restart() {
    let folder = folder();
    let hub = Hub::start(&folder.path().join("copy.db"), CopyKind::Pushed).await;
    let path = folder.path().join("one.db");
    for round in 1..=3 {
        let (database, connection) = stock(&path, &hub).await;
        create_sales(&connection).await;
        sell(&connection, 10).await;
        database.sync().await.unwrap();
        drop(connection);
        drop(database);
        let kind = CopyKind::Pushed;
        hub.restart(&folder.path().join("copy.db"), kind, || ());
        assert_eq!(
            support::content(&folder.path().join("copy.db"))
                .await
                .0
                .len(),
            round * 10
        );
    }
}
