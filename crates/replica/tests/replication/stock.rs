//! Our client against a server that speaks the stock protocol and nothing else, and begins generations
//! as it likes.

use std::sync::atomic::Ordering;

use counterfoil_replica::{Copy, Divergence, LocalCheckpoint, PushError, Supersede};

use crate::{shop::Shop, support::assert_same_content};

async fn shop() -> Shop {
    let shop = Shop::open().await;
    shop.hub.is_stock.store(true, Ordering::SeqCst);
    shop
}

async fn push(shop: &Shop) -> Option<u64> {
    let report = shop.push_with(Supersede::Never).await.unwrap();
    assert_same_content(&shop.book_path(), &shop.copy_path(), shop.sold).await;
    report.difference_pages
}

#[tokio::test]
async fn generations_that_a_stock_server_begins_are_followed() {
    let mut shop = shop().await;
    shop.sell_at_once(2000).await;
    assert!(
        push(&shop).await.is_some(),
        "the first contact fills an empty database"
    );
    for round in 0..6 {
        shop.sell(5).await;
        assert_eq!(push(&shop).await, None);
        // In step with the server, ahead of it, and two generations behind it.
        if round % 3 != 0 {
            shop.sell(2).await;
        }
        shop.hub.on_copy(Copy::begin_generation).unwrap();
        if round % 2 == 0 {
            assert_eq!(push(&shop).await, None);
            shop.hub.on_copy(Copy::begin_generation).unwrap();
        }
        if round == 3 {
            shop = shop.restart(async |_| ()).await;
        }
        assert_eq!(push(&shop).await, None);
        if round == 4 {
            assert_eq!(shop.checkpoint().await, LocalCheckpoint::Done);
        }
    }
    assert!(shop.hub.on_copy(Copy::info).unwrap().generation > 6);
}

#[tokio::test]
async fn lost_answers_of_a_stock_server_are_found_out_also_over_a_generation() {
    let mut shop = shop().await;
    shop.sell(5).await;
    shop.hub.answers_to_drop.store(1, Ordering::SeqCst);
    shop.push_with(Supersede::Never).await.unwrap_err();
    assert_eq!(push(&shop).await, None, "the first contact went through");
    for restarted in [false, true] {
        shop.sell(5).await;
        shop.hub.answers_to_drop.store(1, Ordering::SeqCst);
        shop.push_with(Supersede::Never).await.unwrap_err();
        shop.hub.on_copy(Copy::begin_generation).unwrap();
        if restarted {
            shop = shop.restart(async |_| ()).await;
        }
        shop.sell(5).await;
        assert_eq!(push(&shop).await, None, "restarted: {restarted}");
    }
}

#[tokio::test]
async fn what_a_stock_server_has_of_somebody_else_is_not_overwritten() {
    let mut shop = shop().await;
    shop.sell(5).await;
    push(&shop).await;
    shop.sell(5).await;
    // The book's own file is gone, and with it the numbers; what is there cannot be compared.
    shop = shop
        .restart(async |path| {
            for part in ["", "-wal", "-shm", "-sync"] {
                std::fs::remove_file(format!("{}{part}", path.display())).ok();
            }
        })
        .await;
    crate::support::create_sales(&shop.store).await;
    let refused = shop.push_with(Supersede::Never).await.unwrap_err();
    assert!(
        matches!(
            refused,
            PushError::Diverged {
                divergence: Divergence::NoNumbers,
                ..
            }
        ),
        "{refused:?}"
    );
    let refused = shop.push_with(Supersede::Allowed).await.unwrap_err();
    assert!(
        matches!(refused, PushError::DifferenceNotTaken),
        "{refused:?}"
    );
}
