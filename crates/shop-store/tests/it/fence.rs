//! X8, G4: copies of one book come apart in their numbers without a word between them or from the hub.

use crate::{NOW_MS, Till};
use counterfoil_domain::lineage::Point;
use counterfoil_domain::{Chain, NodeId};
use counterfoil_protocol::wire::lineage::IdentityAnswer;
use serde_json::Value;
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

fn peer(number: u128) -> NodeId {
    NodeId::from_uuid(uuid::Uuid::from_u128(number))
}

/// An end that is in no journal of these tests.
fn branch(seq: i64) -> Point {
    let chain = Chain::from_slice(&[7; 32]).expect("a chain value");
    Point { seq, chain }
}

fn fences(till: &mut Till, number: u128, seq: i64, now_ms: i64) -> bool {
    let evidence = (peer(number), branch(seq));
    till.store()
        .fence_for(evidence, "a peer", now_ms)
        .expect("judged")
}

#[test]
fn what_others_hold_of_this_book_is_a_reason_once_and_not_more_often_than_once_a_minute() {
    let mut till = Till::new("peers");
    till.activate(3).expect("activated");
    assert!(fences(&mut till, 1, 10, NOW_MS));
    let series = till.store().series();
    assert!(
        !fences(&mut till, 1, 10, NOW_MS + 100_000),
        "the same again"
    );
    // Two peers, of which one is behind, tell of one restore.
    assert!(!fences(&mut till, 2, 11, NOW_MS + 59_999));
    till.open();
    assert!(!fences(&mut till, 2, 11, NOW_MS + 200_000), "it was heard");
    assert_eq!(till.store().series(), series);
    assert!(fences(&mut till, 3, 12, NOW_MS + 60_000));
    assert_ne!(till.store().series(), series);
    // A clock that was put back does not stop it.
    assert!(fences(&mut till, 4, 13, NOW_MS));
}

#[test]
fn a_branch_that_goes_on_growing_is_a_reason_once() {
    let mut till = Till::new("grows");
    till.activate(3).expect("activated");
    printed(&mut till);
    assert!(fences(&mut till, 1, 10, NOW_MS));
    let series = till.store().series();
    for minute in 1..=10 {
        printed(&mut till);
        if minute == 5 {
            till.open();
        }
        assert!(
            !fences(&mut till, 1, 10 + 7 * minute, NOW_MS + minute * 60_000),
            "minute {minute}"
        );
    }
    assert_eq!(till.store().series(), series);
    // Nor behind another reason to leave a series.
    till.store().fence("jo says so", NOW_MS).expect("fenced");
    assert!(!fences(&mut till, 1, 900, NOW_MS + 3_600_000));
}

#[test]
fn only_what_may_have_receipts_of_the_present_series_is_a_reason() {
    let mut till = Till::new("present");
    till.activate(3).expect("activated");
    printed(&mut till);
    printed(&mut till);
    let begun = till.store().end().seq;
    till.store().fence("jo says so", NOW_MS).expect("fenced");
    printed(&mut till);
    let later_ms = NOW_MS + 60_000;
    assert!(
        !fences(&mut till, 1, begun, later_ms),
        "it parts before the series"
    );
    assert!(
        !fences(&mut till, 1, begun + 9, later_ms),
        "and goes on from there"
    );
    assert!(fences(&mut till, 2, begun + 1, later_ms), "a copy of now");
    // It has lost its branch, and got this journal: what it holds beyond it is of now.
    till.store().forget_branch(peer(2)).expect("forgotten");
    assert!(fences(&mut till, 2, begun + 9, later_ms + 60_000));
    // It holds less than it did: that is not what it held.
    assert!(fences(&mut till, 1, begun + 8, later_ms + 120_000));
}

#[test]
fn a_book_that_is_put_back_alone_takes_no_branch_for_explained() {
    let mut till = Till::new("alone");
    till.activate(3).expect("activated");
    printed(&mut till);
    // The book alone goes back; what is beside it knows better.
    let kept = till.copied("kept");
    assert!(fences(&mut till, 1, 10, NOW_MS));
    till.store = None;
    for file in ["book.db", "book.db-wal", "book.db-shm"] {
        let (kept, path) = (kept.dir.join(file), till.dir.join(file));
        if path.exists() {
            std::fs::remove_file(&path).expect("removed");
        }
        if kept.exists() {
            std::fs::copy(&kept, &path).expect("put back");
        }
    }
    till.open();
    assert_eq!(till.store().series(), "L1");
    assert!(fences(&mut till, 1, 10, NOW_MS + 60_000));
}

#[test]
fn a_note_that_cannot_be_read_counts_as_none() {
    let mut till = Till::new("damaged");
    till.activate(3).expect("activated");
    assert!(fences(&mut till, 1, 10, NOW_MS));
    till.store().keep_marked("{}").expect("kept");
    let read: Option<Value> = till.store().marked().expect("read");
    assert!(read.is_some());
    till.elsewhere("local.db", "UPDATE state SET value = '{' || value");
    assert_eq!(till.store().fenced().expect("read"), None);
    let read: Option<Value> = till.store().marked().expect("read");
    assert_eq!(read, None);
    assert!(fences(&mut till, 1, 11, NOW_MS), "a series more");
    assert!(till.store().fenced().expect("read").is_some());
    assert!(!fences(&mut till, 1, 12, NOW_MS + 60_000));
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
