//! A till that was offline sends the newest version of each page, not every version of it.

use std::sync::atomic::Ordering;

use counterfoil_replica::{Copy, LocalCheckpoint, Supersede};

use crate::{
    shop::Shop,
    support::{pragma, sell_at_once},
};

/// More frames than one batch.
const MANY: usize = 1_200;

#[tokio::test]
async fn a_backlog_costs_its_pages_and_not_its_frames() {
    let mut shop = Shop::open().await;
    shop.sell(10).await;
    shop.push().await;
    shop.sell(MANY).await;
    let report = shop.push_with(Supersede::Never).await.unwrap();
    assert!((10..200).contains(&report.frames), "{report:?}");
    assert_eq!((report.difference_pages, report.divergence), (None, None));
    // What follows are frames again, also after a restart of the till and a fold on either side.
    for round in 0..4 {
        shop.sell(3).await;
        let report = shop.push_with(Supersede::Never).await.unwrap();
        assert_eq!((report.difference_pages, report.divergence), (None, None));
        assert_eq!(shop.push().await.frames, 0);
        match round {
            0 => shop = shop.restart(async |_| ()).await,
            1 => assert_eq!(shop.checkpoint().await, LocalCheckpoint::Done),
            _ => drop(shop.hub.on_copy(|copy| copy.checkpoint_if_over(0)).unwrap()),
        }
    }
}

#[tokio::test]
async fn a_backlog_that_was_cut_short_goes_on_where_it_was() {
    let mut shop = Shop::open().await;
    shop.sell(10).await;
    shop.push().await;
    sell_at_once(&shop.store, 60_000).await;
    shop.sold += 60_000;
    shop.hub.pushes_to_take.store(2, Ordering::SeqCst);
    shop.try_push().await.unwrap_err();
    let info = shop.hub.on_copy(Copy::info).unwrap();
    assert_eq!(info.max_frame_no, info.committed_frame_no + 2048);
    // Both sides begin anew, and the till sells meanwhile.
    let (copy, kind) = (shop.copy_path(), counterfoil_replica::CopyKind::Pushed);
    shop.hub.restart(&copy, kind, || ());
    shop = shop.restart(async |_| ()).await;
    shop.sell(5).await;
    shop.hub.pushes_to_take.store(u32::MAX, Ordering::SeqCst);
    let report = shop.push_with(Supersede::Never).await.unwrap();
    let held = shop.hub.on_copy(Copy::info).unwrap().committed_frame_no;
    assert!(report.frames + 2048 <= held, "{report:?} of {held}");
    assert_eq!(shop.push().await.frames, 0);
}

#[tokio::test]
async fn a_backlog_whose_beginning_is_not_wanted_any_more_makes_way() {
    let mut shop = Shop::open().await;
    shop.sell(10).await;
    shop.push().await;
    sell_at_once(&shop.store, 60_000).await;
    shop.sold += 60_000;
    shop.hub.pushes_to_take.store(1, Ordering::SeqCst);
    shop.try_push().await.unwrap_err();
    // The till loses what it remembers of it; the hub still holds the beginning.
    let record = format!("{}-sync", shop.book_path().display());
    shop = shop
        .restart(async |_| {
            let text = std::fs::read_to_string(&record).unwrap();
            let mut content: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(!content["pending"].is_null(), "{text}");
            content["pending"] = serde_json::Value::Null;
            std::fs::write(&record, content.to_string()).unwrap();
        })
        .await;
    let sql = "UPDATE sale SET note = hex(randomblob(100)) WHERE id < 20";
    shop.store.execute(sql, ()).await.unwrap();
    shop.hub.pushes_to_take.store(u32::MAX, Ordering::SeqCst);
    let report = shop.push_with(Supersede::Never).await.unwrap();
    assert_eq!((report.difference_pages, report.divergence), (None, None));
    assert_eq!(shop.push().await.frames, 0);
}

#[tokio::test]
async fn a_backlog_in_which_the_book_shrank_shrinks_the_copy() {
    let mut shop = Shop::open().await;
    shop.sell_at_once(5_000).await;
    shop.push().await;
    shop.sell(MANY).await;
    let sql = "DELETE FROM sale WHERE id > 10";
    shop.store.execute(sql, ()).await.unwrap();
    shop.sold = 10;
    shop.store.execute("VACUUM", ()).await.unwrap();
    let report = shop.push_with(Supersede::Never).await.unwrap();
    assert!(report.frames < 10, "{report:?}");
    shop.hub.on_copy(|copy| copy.checkpoint_if_over(0)).unwrap();
    let size = std::fs::metadata(shop.copy_path()).unwrap().len();
    assert!(size < 40_000, "{size}");
    pragma(&shop.store, "PRAGMA user_version").await;
    shop.sell(5).await;
    shop.push().await;
}
