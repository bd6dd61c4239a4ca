//! X8, G4: copies of one book come apart in their numbers without a word between them or from the hub.

use crate::{NOW_MS, Till};
use counterfoil_domain::lineage::Point;
use counterfoil_protocol::wire::lineage::IdentityAnswer;
use std::collections::BTreeSet;

fn printed(till: &mut Till) -> String {
    let sold = till.sell(None, NOW_MS);
    format!(
        "{}-{}",
        sold.series.expect("one"),
        sold.number.expect("one")
    )
}

/// What makes a till leave its series while the hub is away.
type Reason = fn(&mut Till);

fn a_person_says_so(till: &mut Till) {
    till.store()
        .fence("a person says so", NOW_MS)
        .expect("fenced");
}

fn the_hub_has_another(till: &mut Till) {
    till.store()
        .claim_identity(Point::START, NOW_MS)
        .expect("claimed");
}

fn the_book_lost_its_end(till: &mut Till) {
    till.elsewhere(
        "local.db",
        "INSERT OR REPLACE INTO watermark (reader, seq, at_ms) VALUES ('hub_received', 900, 0)",
    );
    till.open();
}

fn it_is_a_copy_in_trial(till: &mut Till) {
    till.store().rename_in_trial(NOW_MS).expect("renamed");
}

#[test]
fn copies_that_leave_their_series_without_the_hub_number_apart() {
    let reasons: [(Reason, bool); 4] = [
        (a_person_says_so, true),
        (the_hub_has_another, true),
        (the_book_lost_its_end, true),
        (it_is_a_copy_in_trial, false),
    ];
    for (index, (reason, is_activated)) in reasons.into_iter().enumerate() {
        let mut till = Till::new("original");
        if is_activated {
            till.activate(3).expect("activated");
        }
        let mut numbers = vec![printed(&mut till), printed(&mut till)];
        let mut copies = [till.copied("first"), till.copied("second"), till];
        for copy in &mut copies {
            reason(copy);
            numbers.extend([printed(copy), printed(copy)]);
            copy.open();
            numbers.push(printed(copy));
        }
        let distinct: BTreeSet<&String> = numbers.iter().collect();
        assert_eq!(distinct.len(), numbers.len(), "{index}: {numbers:?}");
        for series in distinct
            .iter()
            .filter_map(|number| number.split('-').next())
        {
            assert!(series.len() <= 16, "the hub takes it: {series}");
        }
    }
}

#[test]
fn a_fence_says_what_was_left_and_each_epoch_has_a_tag_of_its_own() {
    let mut till = Till::new("told");
    till.activate(3).expect("activated");
    assert_eq!(till.store().fenced().expect("read"), None);
    assert_eq!(printed(&mut till), "L1-1");
    let fenced = till.store().fence("jo says so", NOW_MS).expect("fenced");
    assert_eq!((fenced.left.as_str(), fenced.at_ms), ("L1", NOW_MS));
    assert_eq!(till.store().series(), fenced.series);
    till.open();
    assert_eq!(till.store().fenced().expect("read"), Some(fenced.clone()));
    assert_eq!(printed(&mut till), format!("{}-1", fenced.series));
    let logged = till.store().logs(10).expect("read");
    assert!(logged.iter().any(|row| row.event == "fenced"), "{logged:?}");

    let again = till.store().fence("jo says so", NOW_MS).expect("fenced");
    assert_eq!(again.left, fenced.series);
    assert_ne!(again.series, fenced.series);

    // A hub that was restored from a backup gives an epoch that this book has numbered in already.
    let claim = till
        .store()
        .claim_identity(Point::START, NOW_MS)
        .expect("claimed");
    let old = IdentityAnswer { lane: 2, epoch: 1 };
    till.store().take_identity(&claim, &old).expect("taken");
    let series = till.store().series();
    assert!(
        series.starts_with("L1.") && series != again.series,
        "{series}"
    );
    let answer = IdentityAnswer { lane: 2, epoch: 2 };
    till.store().take_lane(&answer).expect("taken");
    let first = till.store().series();
    assert!(
        first.starts_with("L2.") && !series.ends_with(&first[3..]),
        "{first}"
    );
    assert_eq!(printed(&mut till), format!("{first}-1"));
    till.store().take_lane(&answer).expect("the same again");
    assert_eq!(till.store().series(), first);
    let told = till.store().fenced().expect("read").expect("it is known");
    assert_eq!(told.series, first);
}

#[test]
fn copies_that_are_given_the_same_epoch_number_apart() {
    let mut till = Till::new("twice");
    till.activate(3).expect("activated");
    let claim = till
        .store()
        .claim_identity(Point::START, NOW_MS)
        .expect("claimed");
    // Put back to a moment between claim and answer, the till is answered again; and a hub that was put back gives
    // the epoch once more.
    let answer = IdentityAnswer { lane: 2, epoch: 2 };
    let mut numbers = BTreeSet::new();
    let mut copies = [till.copied("first"), till.copied("second"), till];
    for copy in &mut copies {
        copy.store().take_identity(&claim, &answer).expect("taken");
        let number = printed(copy);
        assert!(numbers.insert(number), "{numbers:?}");
    }
}

#[test]
fn what_others_hold_of_this_book_is_a_reason_once_and_not_more_often_than_once_a_minute() {
    let mut till = Till::new("peers");
    till.activate(3).expect("activated");
    let chain = till.store().end().chain;
    let fences = |till: &mut Till, seq: i64, now_ms: i64| {
        let point = Point { seq, chain };
        till.store()
            .fence_for(point, "a peer", now_ms)
            .expect("judged")
    };
    assert!(fences(&mut till, 10, NOW_MS));
    let series = till.store().series();
    assert!(!fences(&mut till, 10, NOW_MS + 100_000), "the same again");
    // Two peers, of which one is behind, tell of one restore.
    assert!(!fences(&mut till, 11, NOW_MS + 59_999));
    till.open();
    assert!(!fences(&mut till, 11, NOW_MS + 200_000), "it was heard");
    assert_eq!(till.store().series(), series);
    assert!(fences(&mut till, 12, NOW_MS + 60_000));
    assert_ne!(till.store().series(), series);
    // A clock that was put back does not stop it.
    assert!(fences(&mut till, 13, NOW_MS));
}

#[test]
fn a_book_that_is_lost_whole_repeats_no_number_of_a_series_with_a_tag() {
    let mut till = Till::new("whole");
    till.activate(3).expect("activated");
    let fenced = till.store().fence("jo says so", NOW_MS).expect("fenced");
    let mut numbers = BTreeSet::from([printed(&mut till)]);
    till.store = None;
    for file in ["book.db", "book.db-wal", "book.db-shm"] {
        let path = till.dir.join(file);
        if path.exists() {
            std::fs::remove_file(path).expect("removed");
        }
    }
    till.open();
    let told = till.store().fenced().expect("read").expect("it is");
    assert_eq!(told.left, fenced.series);
    assert_eq!(told.series, till.store().series());
    assert!(numbers.insert(printed(&mut till)), "{numbers:?}");
}
