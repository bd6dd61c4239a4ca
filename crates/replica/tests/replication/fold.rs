//! WALs that are folded at a limit: of a till that is offline for weeks, and at the hub.

use std::fs;

use counterfoil_replica::{
    Divergence, LocalCheckpoint, OpenGate, PushError, Supersede, WalLimit, WalLimits,
};

use crate::shop::Shop;

fn limits(now_ms: i64, acknowledged: WalLimit, any: WalLimit) -> WalLimits {
    WalLimits {
        now_ms,
        acknowledged,
        any,
    }
}

fn bytes(bytes: u64) -> WalLimit {
    WalLimit {
        bytes,
        ..WalLimit::NONE
    }
}

fn age(age_ms: i64) -> WalLimit {
    WalLimit {
        age_ms,
        ..WalLimit::NONE
    }
}

async fn fold(shop: &Shop, limits: WalLimits) -> LocalCheckpoint {
    let folded = shop.book.checkpoint_if_over(&OpenGate, limits).await;
    folded.unwrap()
}

#[tokio::test]
async fn a_till_that_is_offline_for_weeks_keeps_its_wal_small_and_sends_the_difference_later() {
    const LIMIT_BYTES: u64 = 300_000;
    let mut shop = Shop::open().await;
    shop.sell(20).await;
    shop.push().await;
    let wal = shop.folder.path().join("book.db-wal");
    let (mut folded, mut written) = (0, 0);
    for round in 0..60 {
        let before = fs::metadata(&wal).unwrap().len();
        shop.sell(10).await;
        let grown = fs::metadata(&wal).unwrap().len();
        written += grown - before;
        assert!(
            grown < LIMIT_BYTES + 10 * 3 * 4120,
            "round {round}: {grown}"
        );
        let limits = limits(0, bytes(LIMIT_BYTES.div_euclid(2)), bytes(LIMIT_BYTES));
        match fold(&shop, limits).await {
            // Once the numbers are gone nothing is lost by folding sooner.
            LocalCheckpoint::DoneEarly | LocalCheckpoint::Done => folded += 1,
            LocalCheckpoint::Unacknowledged | LocalCheckpoint::NotNeeded => {}
            LocalCheckpoint::Busy => panic!("nobody reads"),
        }
        if round % 7 == 0 {
            shop = shop.restart(async |_| ()).await;
        }
    }
    assert!(
        folded > 5 && written > 3 * LIMIT_BYTES,
        "{folded} {written}"
    );
    let refused = shop.push_with(Supersede::Never).await.unwrap_err();
    let PushError::Diverged { divergence, .. } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(divergence, Divergence::FoldedAtLimit);
    let report = shop.push().await;
    assert!(report.difference_pages.is_some());
    assert!(
        report.frames * 4120 < written,
        "pages are sent once, not each time they were written"
    );
    shop.sell(3).await;
    assert_eq!(shop.push().await.difference_pages, None);
}

#[tokio::test]
async fn a_wal_that_is_old_is_folded_with_its_numbers_when_the_hub_has_all_of_it() {
    let mut shop = Shop::open().await;
    shop.sell(3).await;
    shop.push().await;
    let day = |now_ms| limits(now_ms, age(1_000), age(7_000));
    assert_eq!(fold(&shop, day(5)).await, LocalCheckpoint::NotNeeded);
    // The age outlives the process, and a clock that is set back does not make it endless.
    shop = shop.restart(async |_| ()).await;
    shop.push().await;
    assert_eq!(fold(&shop, day(1_004)).await, LocalCheckpoint::NotNeeded);
    assert_eq!(fold(&shop, day(1_005)).await, LocalCheckpoint::Done);
    shop.sell(3).await;
    let report = shop.push_with(Supersede::Never).await.unwrap();
    assert_eq!(report.difference_pages, None);
    assert_eq!(fold(&shop, day(2_000)).await, LocalCheckpoint::NotNeeded);
    assert_eq!(fold(&shop, day(100)).await, LocalCheckpoint::NotNeeded);
    shop.sell(3).await;
    assert_eq!(
        fold(&shop, day(1_200)).await,
        LocalCheckpoint::Unacknowledged
    );
    assert_eq!(
        fold(&shop, day(7_099)).await,
        LocalCheckpoint::Unacknowledged
    );
    assert_eq!(fold(&shop, day(7_100)).await, LocalCheckpoint::DoneEarly);
    assert!(shop.push().await.difference_pages.is_some());
}
