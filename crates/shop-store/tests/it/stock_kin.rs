//! Levels of stock where journals are not what they were: restored, cloned, under another name, made up.

use crate::stock::{bring, count, counted, entries, lane, record, sold, units};
use crate::{NOW_MS, Till};
use counterfoil_domain::journal::EntryHead;
use counterfoil_domain::lineage::Point;
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::{Document, Topic};
use counterfoil_protocol::wire::lineage::IdentityAnswer;
use counterfoil_shop_store::record::Entry;

#[test]
fn a_book_that_was_restored_is_counted_anew() {
    let mut till = lane("stock-restored", 61);
    record(&mut till, counted("TEA", 9), NOW_MS);
    let mut backup = till.copied("stock-backup");
    record(&mut till, sold("TEA", 4), NOW_MS + 1);
    assert_eq!(units(&mut till, "TEA"), Some(5));
    backup.store = None;
    till.store = None;
    for file in ["book.db", "book.db-wal", "book.db-shm"] {
        let (from, to) = (backup.dir.join(file), till.dir.join(file));
        if from.exists() {
            std::fs::copy(from, to).expect("copied");
        } else if to.exists() {
            std::fs::remove_file(to).expect("removed");
        }
    }
    till.open();
    assert_eq!(units(&mut till, "TEA"), Some(9));
    record(&mut till, sold("TEA", 1), NOW_MS + 2);
    assert_eq!(units(&mut till, "TEA"), Some(8));
}

#[test]
fn what_a_till_recorded_under_a_former_name_is_counted_once_by_all() {
    let (mut till, mut peer) = (lane("stock-former", 71), lane("stock-peer", 75));
    till.activate(3).expect("activated");
    record(&mut till, counted("TEA", 20), NOW_MS);
    record(&mut till, sold("TEA", 1), NOW_MS + 1);
    let end = till.store().end();
    record(&mut till, sold("TEA", 2), NOW_MS + 2);
    // Under its former name the peer has what will belong to the new one.
    bring(&mut till, &mut peer);
    assert_eq!(
        (units(&mut till, "TEA"), units(&mut peer, "TEA")),
        (Some(17), Some(17))
    );
    let claim = till.store().claim_identity(end, NOW_MS).expect("claimed");
    let answer = IdentityAnswer { lane: 4, epoch: 2 };
    till.store().take_identity(&claim, &answer).expect("taken");
    record(&mut till, sold("TEA", 4), NOW_MS + 3);
    bring(&mut till, &mut peer);
    assert_eq!(
        (units(&mut till, "TEA"), units(&mut peer, "TEA")),
        (Some(13), Some(13))
    );
    // And back: the till hears of its former journal from the peer.
    let former = till.store().formers()[0].node;
    let held = entries(&mut peer, former, 0);
    let kept = till.store().keep_entries(former, Point::START, &held);
    kept.expect("kept");
    assert_eq!(units(&mut till, "TEA"), Some(13));
}

#[test]
fn clones_of_a_folder_in_trial_have_one_stock_between_them() {
    let mut first = lane("stock-trial", 95);
    record(&mut first, counted("TEA", 20), NOW_MS);
    record(&mut first, sold("TEA", 1), NOW_MS + 1);
    let mut second = first.copied("stock-trial-copy");
    second.store().rename_in_trial(NOW_MS).expect("renamed");
    record(&mut first, sold("TEA", 2), NOW_MS + 2);
    record(&mut second, sold("TEA", 4), NOW_MS + 3);
    let mut peer = lane("stock-trial-peer", 99);
    bring(&mut second, &mut peer);
    count(&mut peer);
    bring(&mut first, &mut peer);
    bring(&mut first, &mut second);
    bring(&mut second, &mut first);
    for till in [&mut peer, &mut first, &mut second] {
        assert_eq!(units(till, "TEA"), Some(13), "20 less 1, 2 and 4");
    }
}

#[test]
fn a_long_former_part_is_counted_before_what_follows_it() {
    let mut till = lane("stock-long", 101);
    till.activate(3).expect("activated");
    record(&mut till, counted("TEA", 500), NOW_MS);
    for round in 1..=120 {
        let Document::Sale(mut receipt) = sold("TEA", 1) else {
            unreachable!("a sale");
        };
        // More than one batch has room for.
        "a long name "
            .repeat(400)
            .clone_into(&mut receipt.lines[0].description);
        record(&mut till, Document::Sale(receipt), NOW_MS + round);
    }
    let common = till.store().end();
    let former = till.store().node();
    let mut twin = till.copied("stock-long-twin");
    let claim = till
        .store()
        .claim_identity(common, NOW_MS)
        .expect("claimed");
    let answer = IdentityAnswer { lane: 4, epoch: 2 };
    till.store().take_identity(&claim, &answer).expect("taken");
    // The former one went on elsewhere, and what it did there comes back.
    record(&mut twin, sold("TEA", 7), NOW_MS + 500);
    let held = entries(&mut twin, former, 0);
    till.store()
        .keep_entries(former, Point::START, &held)
        .expect("kept");
    loop {
        let counted = till.store().count_stock(100_000, NOW_MS).expect("counted");
        if counted.behind == 0 {
            break;
        }
        assert!(counted.entries > 0, "it goes on");
    }
    assert_eq!(units(&mut till, "TEA"), Some(373));
}

#[test]
fn what_somebody_made_up_stops_nobody_from_counting() {
    let (mut liar, mut till) = (lane("stock-liar", 105), lane("stock-honest", 109));
    let origin = liar.store().node();
    record(&mut liar, sold("TEA", 1), NOW_MS);
    let mut made_up = entries(&mut liar, origin, 0);
    let last = made_up[0].clone();
    for (index, sku) in ["A\\u0000", "JAM"].into_iter().enumerate() {
        let before = made_up.last().expect("one").chain;
        let document = last.document.replace("TEA", sku);
        let seq = 2 + i64::try_from(index).expect("small");
        let head = EntryHead {
            seq,
            id: last.id,
            hlc: last.hlc,
            topic: Topic::Sale,
        };
        let chain = before.next(&head, document.as_bytes());
        made_up.push(LaneEntry {
            seq,
            before,
            chain,
            document,
            ..last.clone()
        });
    }
    till.store()
        .keep_entries(origin, Point::START, &made_up)
        .expect("kept");
    assert_eq!(
        (units(&mut till, "TEA"), units(&mut till, "JAM")),
        (Some(-1), Some(-1))
    );
    let barcode = record_of(&mut till, counted("TEA", 5_000_112_637_922));
    assert!(barcode.is_err(), "nobody counts a barcode");
}

fn record_of(
    till: &mut Till,
    document: Document,
) -> Result<(), counterfoil_shop_store::StoreError> {
    let entry = Entry {
        id: None,
        document,
        now_ms: NOW_MS,
    };
    till.store().record(entry).map(drop)
}
