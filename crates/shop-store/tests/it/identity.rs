//! A book that changes its identity keeps its numbers apart and its edits its own.

use crate::{NOW_MS, Till};
use counterfoil_domain::lineage::{Former, Point};
use counterfoil_migrate::{Connection, Durability};
use counterfoil_protocol::wire::lineage::IdentityAnswer;
use counterfoil_shop_store::ShopStore;
use serde_json::json;
use std::collections::BTreeMap;

fn point(store: &ShopStore, seq: i64) -> Point {
    let chain = store.chain_at(seq).expect("read").expect("within");
    Point { seq, chain }
}

fn rename(till: &mut Till, name: &str) {
    let columns = BTreeMap::from([("name".to_owned(), json!(name))]);
    till.store()
        .catalog_set("products", "TEA", &columns, NOW_MS)
        .expect("edited");
}

#[test]
fn a_new_identity_begins_a_series_of_its_own_and_survives_a_restart() {
    let mut till = Till::new("identity");
    till.activate(3).expect("activated");
    till.sell(None, NOW_MS);
    let (old, common) = (till.store().node(), point(till.store(), 1));
    let claim = till
        .store()
        .claim_identity(common, NOW_MS)
        .expect("claimed");
    // The old series goes on elsewhere from the moment that is known.
    let parted = till.sell(None, NOW_MS).series.expect("a series");
    assert!(parted.starts_with("L1."), "{parted}");
    till.open();
    let again = till
        .store()
        .claim_identity(common, NOW_MS + 1)
        .expect("claimed");
    assert_eq!(again, claim, "the same one is asked for again");
    let sold = till.sell(None, NOW_MS);
    assert_eq!(
        (sold.series, sold.number),
        (Some(parted), Some(2)),
        "the series goes on"
    );

    let answer = IdentityAnswer { lane: 4, epoch: 5 };
    till.store().take_identity(&claim, &answer).expect("taken");
    for _ in 0..2 {
        let store = till.store();
        assert_eq!(
            (store.node(), store.identity_claim().expect("read")),
            (claim.node, None)
        );
        assert_eq!(store.binding().map(|binding| binding.lane), Some(4));
        let former = store.formers().first().copied().expect("one");
        assert_eq!((former.node, former.lane, former.until_seq), (old, 1, 4));
        assert_eq!(former.common, common);
        till.open();
    }
    let sold = till.sell(None, NOW_MS);
    let series = sold.series.expect("a series");
    assert!(
        series.starts_with("L5.") && sold.number == Some(1),
        "{series}"
    );
}

#[test]
fn a_claim_that_another_took_is_dropped_and_the_next_one_is_another() {
    let mut till = Till::new("dropped");
    till.activate(3).expect("activated");
    let first = till
        .store()
        .claim_identity(Point::START, NOW_MS)
        .expect("claimed");
    let shared = till.store().series();
    till.store().drop_identity_claim().expect("dropped");
    assert_ne!(
        till.store().series(),
        shared,
        "the copy that took it numbers there"
    );
    let second = till
        .store()
        .claim_identity(Point::START, NOW_MS)
        .expect("claimed");
    assert_ne!(first.node, second.node);
    assert_eq!(till.store().formers(), [], "nothing was taken");
}

#[test]
fn points_of_another_history_are_not_held() {
    let mut till = Till::new("points");
    till.sell(None, NOW_MS);
    till.sell(None, NOW_MS);
    let store = till.store();
    let (first, second) = (point(store, 1), point(store, 2));
    assert!(store.holds(&[Point::START, first, second]).expect("read"));
    let other = Point {
        seq: 1,
        chain: second.chain,
    };
    assert!(
        !store.holds(&[other]).expect("read"),
        "another entry stands there"
    );
    let beyond = Point {
        seq: 3,
        chain: second.chain,
    };
    assert!(
        !store.holds(&[first, beyond]).expect("read"),
        "the journal ends before"
    );
}

#[test]
fn edits_stay_pending_or_merged_and_keep_their_stamps_under_a_new_identity() {
    let mut till = Till::new("edits");
    till.activate(3).expect("activated");
    rename(&mut till, "Tea");
    let merged = till.store().journal_seq();
    rename(&mut till, "Green tea");
    let old = till.store().node();
    // The hub has merged the first; another till of the same name has got further there.
    let sql = format!("INSERT INTO merged_edits (node, seq) VALUES ('{old}', 900)");
    till.elsewhere("catalog.db", &sql);
    let versions = |till: &Till| {
        let path = till.dir.join("local.db");
        let conn = Connection::open_existing(path, Durability::Full).expect("opens");
        let sql = "SELECT versions FROM pending_products WHERE id = 'TEA'";
        let found: Option<String> = conn
            .query_optional(sql, (), |row| row.get(0))
            .expect("read");
        conn.abandon();
        found
    };
    let common = point(till.store(), merged);
    till.store().catalog_changed().expect("replayed");
    assert_eq!(till.store().pending_edits().expect("read"), 0);
    let claim = till
        .store()
        .claim_identity(common, NOW_MS)
        .expect("claimed");
    let answer = IdentityAnswer { lane: 2, epoch: 2 };
    till.store().take_identity(&claim, &answer).expect("taken");
    till.store().catalog_changed().expect("replayed");
    assert_eq!(
        till.store().pending_edits().expect("read"),
        1,
        "not the one in common"
    );
    let replayed = versions(&till);
    till.open();
    assert_eq!(versions(&till), replayed, "nothing else after a restart");
    let stamped = versions(&till).expect("pending");
    let tag = &old.to_string()[28..];
    assert!(stamped.contains(tag), "{stamped} was made by {old}");

    let sql = format!(
        "INSERT INTO merged_edits (node, seq) VALUES ('{}', 900)",
        claim.node
    );
    till.elsewhere("catalog.db", &sql);
    till.store().catalog_changed().expect("replayed");
    assert_eq!(versions(&till), None, "the hub has merged all of it");
}

#[test]
fn a_copied_folder_becomes_another_till_in_trial_and_keeps_what_it_recorded() {
    let mut till = Till::new("trial");
    till.sell(None, NOW_MS);
    rename(&mut till, "Tea");
    let old = till.store().node();
    let new = till.store().rename_in_trial(NOW_MS).expect("renamed");
    assert_ne!(old, new);
    till.open();
    assert_eq!(till.store().node(), new);
    let former = till.store().formers().first().copied().expect("one");
    assert_eq!(
        (former.node, former.lane, former.until_seq),
        (old, Former::NO_LANE, 2)
    );
    let parted = till.sell(None, NOW_MS).series.expect("a series");
    assert!(parted.starts_with("T1."), "{parted}");
    // A hub that says nothing of epochs.
    till.activate(3).expect("activated");
    let sold = till.sell(None, NOW_MS);
    assert_eq!(sold.series, Some(parted.replacen('T', "L", 1)));
    till.activate_in(3, Some(2)).expect("activated");
    let sold = till.sell(None, NOW_MS);
    let series = sold.series.expect("a series");
    assert!(
        series.starts_with("L2.") && sold.number == Some(1),
        "{series}"
    );
}
