//! A node's book over HTTP: whatever happens in between, the hub ends up with the same sales.

use std::{path::PathBuf, sync::atomic::Ordering};

use counterfoil_replica::{
    Copy, CopyKind, Divergence, LocalCheckpoint, OpenGate, PushError, Remote, Retry, Supersede,
    WalLimits, env::Execution,
};

use crate::{
    shop::Shop,
    support::{connect_foreign, env, pragma, sell},
};

#[tokio::test]
async fn the_first_contact_sends_the_whole_book_and_then_frames_follow() {
    for execution in [Execution::Threads, Execution::Inline] {
        let mut shop = Shop::open_with(execution).await;
        shop.sell(20).await;
        let report = shop.push().await;
        assert!(report.difference_pages.is_some());
        shop.sell(20).await;
        let report = shop.push().await;
        assert!(
            report.difference_pages.is_none() && report.frames > 20,
            "{report:?}"
        );
        assert_eq!(shop.push().await.frames, 0);
    }
}

#[tokio::test]
async fn a_backlog_goes_in_batches_and_reports_progress() {
    let mut shop = Shop::open().await;
    shop.push().await;
    shop.sell(1500).await;
    shop.sell_at_once(60_000).await;
    shop.sell(10).await;
    let seen = std::sync::Mutex::new(Vec::new());
    let note = |progress| seen.lock().unwrap().push(progress);
    let report = shop
        .book
        .push(&shop.remote, &OpenGate, &note, Supersede::Allowed)
        .await
        .unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(seen.len() > 2, "{seen:?}");
    assert_eq!(seen.last().unwrap().frames_done, report.frames);
    assert_eq!(seen.last().unwrap().frames_total, report.frames);
    assert!(
        report.bytes_up * 3 < report.frames * 4096 * 2,
        "compressed: {report:?}"
    );
    shop.push().await;
}

#[tokio::test]
async fn a_push_whose_answer_is_lost_goes_on_where_the_hub_is() {
    let mut shop = Shop::open().await;
    // The whole book first, then frames.
    for first_contact in [true, false] {
        shop.sell(10).await;
        shop.hub.answers_to_drop.store(1, Ordering::SeqCst);
        let error = shop.try_push().await.unwrap_err();
        assert_eq!(error.retry(), Retry::Later, "{error:?}");
        let report = shop.push().await;
        assert!(report.difference_pages.is_none(), "the hub has it already");
        let generation = report.generation;
        assert_eq!(generation, 1, "first contact {first_contact}");
    }
}

#[tokio::test]
async fn the_hub_starts_generations_between_and_during_pushes() {
    let mut shop = Shop::open().await;
    shop.push().await;
    for _ in 0..3 {
        shop.sell(15).await;
        shop.push().await;
        shop.hub.on_copy(|copy| copy.checkpoint_if_over(0)).unwrap();
    }
    shop.hub.rotate_every.store(1, Ordering::SeqCst);
    for sales in [3_000, 20, 3_000] {
        shop.sell(sales).await;
        let report = shop.push().await;
        assert!(report.difference_pages.is_none(), "{report:?}");
    }
    assert_eq!(shop.hub.on_copy(Copy::info).unwrap().generation, 7);
    shop.hub.rotate_every.store(0, Ordering::SeqCst);
    shop.sell(1).await;
    assert!(shop.push().await.difference_pages.is_none());
}

#[tokio::test]
async fn a_local_checkpoint_keeps_the_numbers() {
    let mut shop = Shop::open().await;
    shop.push().await;
    for round in 0..4 {
        shop.sell(10).await;
        assert_eq!(shop.checkpoint().await, LocalCheckpoint::Unacknowledged);
        shop.push().await;
        if round == 1 {
            shop.hub.on_copy(|copy| copy.checkpoint_if_over(0)).unwrap();
        }
        assert_eq!(shop.checkpoint().await, LocalCheckpoint::Done);
        assert_eq!(shop.checkpoint().await, LocalCheckpoint::NotNeeded);
        let status = shop.book.status().await.unwrap();
        assert_eq!(status.frames, 1, "the mark");
        shop.sell(10).await;
        shop = shop.restart(async |_| ()).await;
        assert!(
            shop.push().await.difference_pages.is_none(),
            "round {round}"
        );
    }
}

#[tokio::test]
async fn a_checkpoint_in_trial_is_free() {
    let mut shop = Shop::open().await;
    shop.sell(10).await;
    assert_eq!(shop.checkpoint().await, LocalCheckpoint::Done);
    shop.sell(10).await;
    let report = shop.push().await;
    assert!(report.difference_pages.is_some());
    shop.sell(5).await;
    assert!(shop.push().await.difference_pages.is_none());
}

#[tokio::test]
async fn a_foreign_checkpoint_is_healed_by_a_difference() {
    let mut shop = Shop::open().await;
    shop.sell(10).await;
    shop.push().await;
    shop.sell(10).await;
    let other = connect_foreign(&shop.book_path()).await;
    pragma(&other, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    drop(other);
    shop.sell(10).await;
    let refused = shop.push_with(Supersede::Never).await.unwrap_err();
    assert!(
        matches!(
            refused,
            PushError::Diverged {
                divergence: Divergence::ForeignCheckpoint,
                ..
            }
        ),
        "{refused:?}"
    );
    assert!(shop.push().await.difference_pages.is_some());
    shop.sell(1).await;
    assert!(shop.push().await.difference_pages.is_none());
    // The same while the node is off: the last connection to close folds the WAL away.
    shop = shop
        .restart(async |path| drop(connect_foreign(&path).await))
        .await;
    shop.sell(10).await;
    assert!(shop.push().await.difference_pages.is_some());
}

#[tokio::test]
async fn a_foreign_checkpoint_right_after_ours_is_noticed_too() {
    let mut shop = Shop::open().await;
    shop.push().await;
    shop.sell(10).await;
    shop.push().await;
    assert_eq!(shop.checkpoint().await, LocalCheckpoint::Done);
    shop.sell(3).await;
    let other = connect_foreign(&shop.book_path()).await;
    pragma(&other, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    drop(other);
    shop.sell(3).await;
    assert!(shop.push().await.difference_pages.is_some());
}

#[tokio::test]
async fn a_hub_that_lost_its_file_gets_the_book_again() {
    let mut shop = Shop::open().await;
    shop.sell(10).await;
    shop.push().await;
    let copy = shop.copy_path();
    for (count, lost) in [vec!["", "-wal"], vec!["", "-wal", "-sync"], vec!["-wal"]]
        .into_iter()
        .enumerate()
    {
        shop.sell(10).await;
        shop.push().await;
        shop.hub.restart(&copy, CopyKind::Pushed, || {
            for part in lost {
                std::fs::remove_file(shop.folder.path().join(format!("copy.db{part}"))).unwrap();
            }
            std::fs::remove_file(shop.folder.path().join("copy.db-shm")).ok();
        });
        shop.sell(10).await;
        assert!(shop.push().await.difference_pages.is_some(), "case {count}");
    }
}

#[tokio::test]
async fn a_hub_restored_from_a_backup_of_this_generation_gets_the_rest() {
    let mut shop = Shop::open().await;
    shop.sell(10).await;
    shop.push().await;
    shop.sell(10).await;
    shop.push().await;
    let copy = shop.copy_path();
    let parts = ["", "-wal", "-sync"];
    let file = |part: &str| shop.folder.path().join(format!("copy.db{part}"));
    let backup = std::cell::RefCell::new(Vec::new());
    shop.hub.restart(&copy, CopyKind::Pushed, || {
        *backup.borrow_mut() = parts
            .map(|part| std::fs::read(file(part)).unwrap())
            .to_vec();
    });
    sell(&shop.store, 10).await;
    shop.sold += 10;
    shop.push().await;
    shop.hub.restart(&copy, CopyKind::Pushed, || {
        for (part, content) in parts.iter().zip(backup.borrow().iter()) {
            std::fs::write(file(part), content).unwrap();
        }
        std::fs::remove_file(file("-shm")).ok();
    });
    let report = shop.push().await;
    assert!(
        report.difference_pages.is_none() && report.frames > 0,
        "{report:?}"
    );
}

#[tokio::test]
async fn a_hub_with_more_than_the_book_is_not_overwritten() {
    let mut shop = Shop::open().await;
    shop.push().await;
    shop.sell(5).await;
    shop.push().await;
    let parts = ["", "-wal", "-sync"];
    let book = shop.book_path();
    let file = |part: &str| PathBuf::from(format!("{}{part}", book.display()));
    let mut backup = Vec::new();
    shop = shop
        .restart(async |_| {
            backup = parts
                .map(|part| std::fs::read(file(part)).unwrap())
                .to_vec();
        })
        .await;
    shop.sell(5).await;
    shop.push().await;
    shop = shop
        .restart(async |_| {
            for (part, content) in parts.iter().zip(&backup) {
                std::fs::write(file(part), content).unwrap();
            }
            std::fs::remove_file(file("-shm")).ok();
        })
        .await;
    // Twice: what was not asked for is not remembered as asked for.
    for _ in 0..2 {
        let error = shop.push_with(Supersede::Never).await.unwrap_err();
        let ahead = |error: &PushError| {
            matches!(
                error,
                PushError::Diverged {
                    divergence: Divergence::HubAhead,
                    ..
                }
            )
        };
        assert!(ahead(&error), "{error:?}");
        assert_eq!(error.retry(), Retry::Later);
        assert_eq!(crate::support::content(&shop.copy_path()).await.0.len(), 10);
    }
    shop.sold = 5;
    shop.push().await;
    shop.sell(1).await;
    shop.push_with(Supersede::Never).await.unwrap();
}

#[tokio::test]
async fn sales_go_on_while_a_push_runs() {
    let shop = Shop::open().await;
    shop.push().await;
    let store = shop.store.clone();
    let selling = tokio::spawn(async move {
        for _ in 0..300 {
            sell(&store, 1).await;
            tokio::task::yield_now().await;
        }
    });
    while !selling.is_finished() {
        shop.try_push().await.unwrap();
        shop.book
            .checkpoint_if_over(&OpenGate, WalLimits::acknowledged_bytes(200_000))
            .await
            .unwrap();
    }
    selling.await.unwrap();
    let shop = Shop { sold: 300, ..shop };
    assert!(shop.push().await.difference_pages.is_none());
}

#[tokio::test]
async fn no_hub_is_offline_and_not_success() {
    let shop = Shop::open().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let remote = Remote::new(&env().http(), url, None);
    let error = shop
        .book
        .push(&remote, &OpenGate, &|_| {}, Supersede::Allowed)
        .await
        .unwrap_err();
    let offline = |error: &PushError| {
        matches!(
            error,
            PushError::Remote(counterfoil_replica::RemoteError::Offline(_))
        )
    };
    assert!(offline(&error), "{error:?}");
}
