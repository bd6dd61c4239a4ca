//! The pages that differ: what is sent, what is not, and what is left when it is cut short.

use std::{path::Path, sync::atomic::Ordering};

use counterfoil_replica::{
    BookReplica, Copy, LocalCheckpoint, OpenGate, PushError, Supersede, env::Execution,
};

use crate::{
    shop::Shop,
    support::{
        assert_same_content, connect, connect_foreign, content, files, pragma, sell, sell_at_once,
    },
};

async fn fold_by_another_program(shop: &Shop) {
    let other = connect_foreign(&shop.book_path()).await;
    pragma(&other, "PRAGMA wal_checkpoint(TRUNCATE)").await;
}

#[tokio::test]
async fn a_foreign_checkpoint_costs_the_pages_that_changed_and_no_more() {
    let mut shop = Shop::open().await;
    shop.sell_at_once(20_000).await;
    let whole = shop.push().await.difference_pages.unwrap();
    assert!(whole > 1000, "{whole}");
    fold_by_another_program(&shop).await;
    let report = shop.push().await;
    assert_eq!(report.difference_pages, Some(1), "the mark, in page 1");
    fold_by_another_program(&shop).await;
    shop.sell(3).await;
    let report = shop.push().await;
    let pages = report.difference_pages.unwrap();
    assert!((2..6).contains(&pages), "{pages}");
    shop.sell(3).await;
    let report = shop.push_with(Supersede::Never).await.unwrap();
    assert_eq!(report.difference_pages, None);
}

#[tokio::test]
async fn a_book_that_shrank_shrinks_the_copy() {
    let mut shop = Shop::open().await;
    shop.sell_at_once(5_000).await;
    shop.push().await;
    let sql = "DELETE FROM sale WHERE id > 10";
    shop.store.execute(sql, ()).await.unwrap();
    shop.sold = 10;
    pragma(&shop.store, "PRAGMA user_version").await;
    shop.store.execute("VACUUM", ()).await.unwrap();
    fold_by_another_program(&shop).await;
    let pages = shop.push().await.difference_pages.unwrap();
    assert!(pages < 10, "{pages}");
    shop.hub.on_copy(|copy| copy.checkpoint_if_over(0)).unwrap();
    let size = std::fs::metadata(shop.copy_path()).unwrap().len();
    assert!(size < 40_000, "{size}");
    shop.sell(5).await;
    shop.push().await;
}

#[tokio::test]
async fn a_difference_that_was_cut_short_goes_on_where_it_was() {
    let mut shop = Shop::open().await;
    shop.sell_at_once(60_000).await;
    shop.hub.pushes_to_take.store(2, Ordering::SeqCst);
    shop.try_push().await.unwrap_err();
    assert_eq!(shop.hub.on_copy(Copy::info).unwrap().committed_frame_no, 0);
    let held = shop.hub.on_copy(Copy::info).unwrap().max_frame_no;
    assert_eq!(held, 2048);
    // Both sides begin anew, and the till sells meanwhile.
    let copy = shop.copy_path();
    let kind = counterfoil_replica::CopyKind::Pushed;
    shop.hub.restart(&copy, kind, || ());
    shop = shop.restart(async |_| ()).await;
    shop.sell(5).await;
    shop.hub.pushes_to_take.store(u32::MAX, Ordering::SeqCst);
    let report = shop.push_with(Supersede::Never).await.unwrap();
    let pages = report.difference_pages.unwrap();
    assert!(report.frames < pages - 2048 + 40, "{report:?}");
    assert_eq!(shop.push().await.frames, 0);
}

#[tokio::test]
async fn a_difference_that_nobody_finishes_makes_way() {
    let mut shop = Shop::open().await;
    shop.sell_at_once(60_000).await;
    shop.push().await;
    fold_by_another_program(&shop).await;
    // Every page changes, and the difference stops half way.
    shop.store
        .execute("UPDATE sale SET note = hex(randomblob(100))", ())
        .await
        .unwrap();
    shop.hub.pushes_to_take.store(1, Ordering::SeqCst);
    shop.try_push().await.unwrap_err();
    let info = shop.hub.on_copy(Copy::info).unwrap();
    assert_eq!(info.max_frame_no, info.committed_frame_no + 1024);
    shop.hub.pushes_to_take.store(u32::MAX, Ordering::SeqCst);
    // Another fold: what is sent now begins with other frames.
    fold_by_another_program(&shop).await;
    shop.store
        .execute("UPDATE sale SET note = hex(randomblob(100))", ())
        .await
        .unwrap();
    assert!(shop.push().await.difference_pages.is_some());
    shop.sell(3).await;
    assert_eq!(shop.push().await.difference_pages, None);
}

/// A shop with ten sales that the hub has, and a clone of its book.
async fn twins() -> (Shop, BookReplica, libsql::Connection) {
    let mut shop = Shop::open().await;
    shop.sell(10).await;
    shop.push().await;
    let twin = shop.folder.path().join("twin.db");
    let path = shop.book_path();
    let shop = shop
        .restart(async |_| {
            for part in ["", "-wal", "-sync"] {
                let file = |path: &Path| format!("{}{part}", path.display());
                std::fs::copy(file(&path), file(&twin)).unwrap();
            }
        })
        .await;
    let replica = BookReplica::open(&twin, files(), Execution::Threads);
    (shop, replica.unwrap(), connect(&twin).await)
}

#[tokio::test]
async fn leave_to_replace_ends_when_somebody_else_has_pushed() {
    let (mut shop, twin, store) = twins().await;
    shop.sell(3).await;
    shop.push().await;
    let seen = twin.seen(&shop.remote).await.unwrap();
    sell(&store, 1).await;
    let remote = shop.remote.clone();
    let push = |supersede| twin.push(&remote, &OpenGate, &|_| {}, supersede);
    // While the twin compares its journal with the hub's the other one goes on.
    shop.sell(2).await;
    shop.push().await;
    let refused = push(Supersede::Only(seen)).await.unwrap_err();
    assert!(matches!(refused, PushError::Diverged { .. }), "{refused:?}");
    assert_same_content(&shop.book_path(), &shop.copy_path(), shop.sold).await;
    // Nobody has pushed since it looked again.
    let seen = twin.seen(&shop.remote).await.unwrap();
    let report = push(Supersede::Only(seen)).await.unwrap();
    assert!(report.difference_pages.is_some());
    assert_eq!(content(&shop.copy_path()).await.0.len(), 11);
}

#[tokio::test]
async fn a_tail_of_somebody_else_does_not_stop_a_book_that_is_continued() {
    // A twin of the book begins a large transaction at the hub and vanishes.
    let (mut shop, twin, store) = twins().await;
    sell_at_once(&store, 60_000).await;
    shop.hub.pushes_to_take.store(1, Ordering::SeqCst);
    let push = twin.push(&shop.remote, &OpenGate, &|_| {}, Supersede::Never);
    push.await.unwrap_err();
    shop.hub.pushes_to_take.store(u32::MAX, Ordering::SeqCst);
    shop.sell(3).await;
    shop.push_with(Supersede::Never).await.unwrap();
    assert_eq!(shop.push().await.frames, 0);
    // And the twin is not let in without leave.
    let push = twin.push(&shop.remote, &OpenGate, &|_| {}, Supersede::Never);
    push.await.unwrap_err();
    assert_eq!(content(&shop.copy_path()).await.0.len(), 13);
}

#[tokio::test]
async fn sales_go_on_while_a_difference_is_sent() {
    let mut shop = Shop::open().await;
    shop.sell_at_once(40_000).await;
    let (store, book, remote) = (shop.store.clone(), shop.book.clone(), shop.remote.clone());
    let pushing = tokio::spawn(async move {
        book.push(&remote, &OpenGate, &|_| {}, Supersede::Allowed)
            .await
    });
    while !pushing.is_finished() {
        sell(&store, 1).await;
        shop.sold += 1;
        tokio::task::yield_now().await;
    }
    assert!(pushing.await.unwrap().unwrap().difference_pages.is_some());
    shop.push_with(Supersede::Never).await.unwrap();
    assert_eq!(shop.push().await.frames, 0);
    assert_eq!(shop.checkpoint().await, LocalCheckpoint::Done);
}
