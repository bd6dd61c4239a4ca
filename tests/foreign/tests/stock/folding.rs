//! The copy of a stock writer stays small, whatever that writer does, and shuts nobody out.

use std::{fs, sync::atomic::Ordering};

use counterfoil_replica::Copy;

use crate::{
    Scene, stock,
    support::{assert_same_content, sell},
};

const LIMIT_BYTES: u32 = 200_000;

impl Scene {
    fn generation(&self) -> u64 {
        self.hub.on_copy(Copy::info).unwrap().generation
    }

    fn wal_bytes(&self) -> u64 {
        let wal = self.folder.path().join("copy.db-wal");
        fs::metadata(wal).unwrap().len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_of_a_stock_writer_that_always_has_something_to_send_stays_small() {
    let scene = Scene::new().await;
    scene.hub.stock_limit.store(LIMIT_BYTES, Ordering::SeqCst);
    for round in 1..=30 {
        sell(&scene.connection, 20).await;
        // Never in sync when the client looks, so it never pulls.
        scene.sync().await;
        assert!(scene.wal_bytes() < u64::from(LIMIT_BYTES) + 60 * 4120);
        if round % 10 == 0 {
            scene.check(round * 20).await;
        }
    }
    assert!(scene.generation() > 3, "{}", scene.generation());
    // Then it is in sync, and both pulls and writes go on.
    scene.sync().await;
    sell(&scene.connection, 20).await;
    scene.sync().await;
    scene.check(620).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_clients_in_sync_are_led_into_generations_that_the_hub_begins_by_itself() {
    let scene = Scene::new().await;
    scene.hub.stock_limit.store(LIMIT_BYTES, Ordering::SeqCst);
    sell(&scene.connection, 1).await;
    scene.sync().await;
    let path = scene.folder.path().join("two.db");
    let (two, connection) = stock(&path, &scene.hub).await;
    for round in 1..=30 {
        sell(&scene.connection, 20).await;
        scene.sync().await;
        two.sync().await.unwrap();
        scene.sync().await;
        two.sync().await.unwrap();
        assert_same_content(&scene.folder.path().join("one.db"), &path, round * 20 + 1).await;
        assert!(scene.wal_bytes() < u64::from(LIMIT_BYTES) + 60 * 4120);
    }
    assert!(scene.generation() > 3, "{}", scene.generation());
    let own = fs::metadata(scene.folder.path().join("one.db-wal")).unwrap();
    assert!(
        own.len() < 2 * u64::from(LIMIT_BYTES),
        "its own WAL is folded too: {}",
        own.len()
    );
    drop(connection);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_writer_that_lost_the_answer_goes_on_over_a_generation() {
    let scene = Scene::new().await;
    sell(&scene.connection, 60).await;
    scene.sync().await;
    let before = scene.generation();
    scene.hub.stock_limit.store(1, Ordering::SeqCst);
    sell(&scene.connection, 5).await;
    // The generation begins, the frames are taken, and the client does not hear of it.
    scene.hub.answers_to_drop.store(1, Ordering::SeqCst);
    let synced = scene.database.sync().await.unwrap();
    assert_eq!(synced.frames_synced(), 0, "it calls that a success");
    assert!(scene.generation() > before);
    scene.hub.stock_limit.store(u32::MAX, Ordering::SeqCst);
    scene.sync().await;
    sell(&scene.connection, 5).await;
    scene.sync().await;
    scene.sync().await;
    scene.check(70).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_another_client_wrote_first_are_still_a_conflict() {
    let scene = Scene::new().await;
    sell(&scene.connection, 60).await;
    scene.sync().await;
    let path = scene.folder.path().join("two.db");
    let (two, connection) = stock(&path, &scene.hub).await;
    two.sync().await.unwrap();
    scene.hub.stock_limit.store(1, Ordering::SeqCst);
    sell(&connection, 5).await;
    two.sync().await.unwrap();
    let generation = scene.generation();
    assert!(generation > 1);
    scene.hub.stock_limit.store(u32::MAX, Ordering::SeqCst);
    // The first client counts on from the end of the old generation, where the second one was first.
    sell(&scene.connection, 5).await;
    scene.database.sync().await.unwrap_err();
    let copy = scene.folder.path().join("copy.db");
    assert_same_content(&path, &copy, 65).await;
    drop(connection);
}
