//! Two lanes compare their stock, and each counts again what differs.

use crate::stock::{bring, count, counted, lane, record, sold, units};
use crate::{NOW_MS, Till};
use counterfoil_domain::journal::EntryHead;
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::stock::reconcile::{Answer, Comparison, Inventory, Leaf, Range};
use counterfoil_domain::{Chain, DocumentId, Topic};
use counterfoil_migrate::{Connection, Durability};
use counterfoil_testkit::SeededRandom;
use std::collections::{BTreeMap, BTreeSet};

/// A lane that is at fault.
fn spoil(till: &mut Till, sql: &str) {
    let path = till.dir.join("local.db");
    let conn = Connection::open(&path, Durability::Full).expect("open");
    conn.execute("PRAGMA foreign_keys = OFF", ()).expect("set");
    conn.execute(sql, ()).expect("spoiled");
}

fn levels(till: &mut Till) -> Inventory {
    count(till);
    let leaves = till.store().level_leaves(&Range::all(), 10_000);
    leaves.expect("read").into_iter().collect()
}

/// Keys that differ.
fn differing(one: &Inventory, other: &Inventory) -> BTreeSet<String> {
    let mut comparison = Comparison::new(one, [Range::all()]);
    loop {
        let questions = comparison.questions(7);
        if questions.is_empty() {
            return comparison.differing().clone();
        }
        let answers: Vec<Answer> = questions.iter().map(|asked| other.answer(asked)).collect();
        comparison.answered(&answers).expect("they fit");
    }
}

/// `one` counts again what differs from the other; which products changed.
fn reconcile(one: &mut Till, other: &mut Till) -> BTreeMap<String, (i64, i64)> {
    let mut corrected = BTreeMap::new();
    for sku in differing(&levels(one), &levels(other)) {
        let mine = one.store().effect_leaves(&sku).expect("read");
        let theirs = other.store().effect_leaves(&sku).expect("read");
        let keys = differing(&mine, &theirs);
        let documents: BTreeSet<DocumentId> =
            keys.iter().filter_map(|key| Leaf::document(key)).collect();
        let recounted = one.store().recount(&sku, &documents, NOW_MS);
        let recounted = recounted.expect("counted again");
        corrected.extend(recounted.corrected.map(|levels| (sku, levels)));
    }
    corrected
}

fn two_lanes(name: &str) -> (Till, Till) {
    let mut one = lane(&format!("{name}-1"), 1);
    let mut other = lane(&format!("{name}-2"), 2);
    for sku in ["CUP", "POT", "TEA"] {
        record(&mut one, counted(sku, 100), NOW_MS);
        record(&mut one, sold(sku, 3), NOW_MS + 1);
        record(&mut other, sold(sku, 5), NOW_MS + 2);
    }
    bring(&mut one, &mut other);
    bring(&mut other, &mut one);
    assert!(differing(&levels(&mut one), &levels(&mut other)).is_empty());
    (one, other)
}

#[test]
fn a_level_that_was_changed_is_put_right_and_leaves_a_row() {
    let (mut one, mut other) = two_lanes("level");
    spoil(
        &mut one,
        "UPDATE stock_level SET level_milli = 7000 WHERE sku = 'TEA'",
    );
    assert_eq!(units(&mut one, "TEA"), Some(7));
    let corrected = reconcile(&mut one, &mut other);
    assert_eq!(
        corrected,
        BTreeMap::from([("TEA".to_owned(), (7_000, 92_000))])
    );
    assert_eq!(units(&mut one, "TEA"), Some(92));
    let changes = one.store().stock_changes("TEA", None, 1).expect("read");
    let newest = changes.first().expect("a row");
    assert_eq!(
        (newest.topic.as_str(), newest.level_milli),
        ("reconciliation", 92_000)
    );
    assert!(reconcile(&mut one, &mut other).is_empty());
}

#[test]
fn a_movement_that_was_lost_made_up_or_changed_is_counted_again_from_the_journal() {
    for (name, sql) in [
        ("lost", "DELETE FROM inventory_changes WHERE sku = 'TEA' AND quantity_milli = -5000"),
        ("changed", "UPDATE inventory_changes SET quantity_milli = -50000 WHERE sku = 'TEA' AND quantity_milli = -5000"),
        (
            "made-up",
            "INSERT INTO inventory_changes (sku, origin, seq, item, kind, id, hlc, quantity_milli, level_milli, noted_ms)
             SELECT 'TEA', origin, seq, 1, 1, x'00000000000000000000000000000007', hlc, -9000, 0, 0 FROM inventory_changes WHERE sku = 'POT'
             AND quantity_milli = -5000",
        ),
        ("count-lost", "UPDATE stock_level SET count = NULL, level_milli = 0 WHERE sku = 'TEA'"),
        ("count-changed", "UPDATE inventory_changes SET quantity_milli = 1000 WHERE sku = 'TEA' AND quantity_milli = 100000"),
    ] {
        let (mut one, mut other) = two_lanes(name);
        spoil(&mut one, sql);
        spoil(&mut one, "UPDATE stock_level SET level_milli = level_milli + 1000 WHERE sku = 'TEA'");
        let corrected = reconcile(&mut one, &mut other);
        assert_eq!(corrected.keys().collect::<Vec<_>>(), ["TEA"], "{name}");
        assert_eq!(units(&mut one, "TEA"), Some(92), "{name}");
        assert!(differing(&levels(&mut one), &levels(&mut other)).is_empty(), "{name}");
        // It goes on as before.
        record(&mut one, sold("TEA", 2), NOW_MS + 9);
        bring(&mut one, &mut other);
        assert_eq!((units(&mut one, "TEA"), units(&mut other, "TEA")), (Some(90), Some(90)), "{name}");
    }
}

#[test]
fn levels_are_read_page_by_page_and_one_by_one() {
    let (mut one, _other) = two_lanes("pages");
    record(&mut one, counted("TEA\u{1}", 3), NOW_MS + 5);
    record(&mut one, counted("TEA 2", 4), NOW_MS + 6);
    let all: Vec<String> = {
        count(&mut one);
        let leaves = one.store().level_leaves(&Range::all(), 100).expect("read");
        leaves.into_iter().map(|leaf| leaf.key).collect()
    };
    assert_eq!(all, ["CUP", "POT", "TEA", "TEA\u{1}", "TEA 2"]);
    let (mut paged, mut from) = (Vec::new(), String::new());
    loop {
        let range = Range { from, to: None };
        let page = one.store().level_leaves(&range, 1).expect("read");
        let Some(last) = page.last() else { break };
        from = Range::behind(&last.key);
        paged.extend(page.into_iter().map(|leaf| leaf.key));
    }
    assert_eq!(paged, all);
    for key in &all {
        let found = one
            .store()
            .level_leaves(&Range::of(key), 100)
            .expect("read");
        assert_eq!(
            found.iter().map(|leaf| &leaf.key).collect::<Vec<_>>(),
            [key]
        );
    }
}

/// What somebody would slip in: it fits its own chain value, and follows on what is held.
fn forged(entry: &LaneEntry, before: Chain) -> LaneEntry {
    let mut forged = entry.clone();
    forged.before = before;
    forged.document = forged.document.replace("2000", "1000");
    let head = EntryHead {
        seq: forged.seq,
        id: forged.id,
        hlc: forged.hlc,
        topic: Topic::from_code(forged.kind).expect("known"),
    };
    forged.chain = before.next(&head, forged.document.as_bytes());
    assert!(forged.is_whole() && forged.chain != entry.chain);
    forged
}

#[test]
fn nobody_slips_another_entry_into_a_journal_that_is_mended() {
    let (mut one, mut other) = two_lanes("slip");
    for _ in 0..6 {
        record(&mut other, sold("TEA", 1), NOW_MS + 5);
    }
    bring(&mut other, &mut one);
    let origin = other.store().node();
    let begin = other.store().own_holding().begin;
    let entries = crate::stock::entries(&mut other, origin, begin.seq);
    let last = entries.len() - 1;
    let lone = forged(&entries[2], entries[2].before);
    let mut run = vec![lone.clone()];
    for entry in &entries[3..last] {
        let before = run.last().expect("one").chain;
        run.push(forged(entry, before));
    }
    run.push(entries[last].clone());
    let offers = [
        vec![lone.clone(), entries[6].clone()],
        vec![lone, entries[3].clone()],
        vec![forged(&entries[last], entries[last].before)],
        run,
    ];
    for (number, offer) in offers.iter().enumerate() {
        one.store().expect_again(origin);
        // It may be refused as another journal.
        drop(one.store().keep_entries(origin, begin, offer));
        let read = one
            .store()
            .lane_entries(origin, begin.seq, crate::stock::ALL);
        assert_eq!(read.expect("whole"), entries, "offer {number}");
    }
}

#[test]
fn what_was_counted_twice_is_counted_once() {
    let (mut one, mut other) = two_lanes("twice");
    spoil(
        &mut one,
        "INSERT INTO inventory_changes (sku, origin, seq, item, kind, id, hlc, quantity_milli, place, dated_ms, level_milli, noted_ms)
         SELECT sku, origin, seq, item, kind, id, hlc, quantity_milli, place, dated_ms, level_milli, noted_ms
         FROM inventory_changes WHERE sku = 'TEA' AND quantity_milli = -5000",
    );
    spoil(
        &mut one,
        "UPDATE stock_level SET level_milli = level_milli - 5000 WHERE sku = 'TEA'",
    );
    assert_eq!(units(&mut one, "TEA"), Some(87));
    reconcile(&mut one, &mut other);
    assert_eq!(units(&mut one, "TEA"), Some(92));
}

#[test]
fn a_level_that_is_right_stays_whatever_the_other_lane_says() {
    let (mut one, mut other) = two_lanes("right");
    spoil(&mut other, "UPDATE stock_level SET level_milli = 7000");
    spoil(
        &mut other,
        "DELETE FROM inventory_changes WHERE sku = 'POT' AND quantity_milli < 0",
    );
    assert!(reconcile(&mut one, &mut other).is_empty());
    assert_eq!(units(&mut one, "POT"), Some(92));
    // What one lane has and the other has not heard of is no fault of either.
    record(&mut other, sold("CUP", 1), NOW_MS + 9);
    assert!(reconcile(&mut one, &mut other).is_empty());
}

#[test]
fn a_damaged_journal_of_another_lane_is_mended_by_the_same_entries_only() {
    for seed in 0..8 {
        let (mut one, mut other) = two_lanes(&format!("damaged-{seed}"));
        let random = SeededRandom::new(seed);
        for _ in 0..6 {
            record(&mut other, sold("TEA", 1), NOW_MS + 5);
        }
        bring(&mut other, &mut one);
        let origin = other.store().node();
        let begin = other.store().own_holding().begin;
        let entries = crate::stock::entries(&mut other, origin, begin.seq);
        let pick = |most: usize| usize::try_from(random.below(1_000)).expect("small") % most;
        let hurt = pick(entries.len());
        let seq = entries[hurt].seq;
        for sql in [
            format!(
                "UPDATE peer_entry SET document = replace(document, '2000', '3000') WHERE seq = {seq}"
            ),
            format!("UPDATE peer_entry SET chain = zeroblob(32) WHERE seq = {seq}"),
            format!("UPDATE peer_entry SET chain = x'00' WHERE seq = {seq}"),
            format!("UPDATE peer_entry SET id = x'00' WHERE seq = {seq}"),
            format!("UPDATE peer_entry SET hlc = -5 WHERE seq = {seq}"),
            format!("UPDATE peer_entry SET document = CAST(x'ff' AS TEXT) WHERE seq = {seq}"),
            format!("DELETE FROM peer_entry WHERE seq = {seq}"),
            format!("DELETE FROM peer_entry WHERE seq >= {seq} AND seq < {seq} + 2"),
        ] {
            spoil(&mut one, &sql);
            let read = one
                .store()
                .lane_entries(origin, begin.seq, crate::stock::ALL);
            assert_ne!(
                read.ok().map(|read| read.len()),
                Some(entries.len()),
                "{sql}"
            );
            // Nobody said that it is damaged.
            one.store()
                .keep_entries(origin, begin, &entries)
                .expect("known");
            let cut = (hurt.saturating_sub(pick(3)) + 2).min(entries.len());
            // They come in parts; what no part proves is asked for once more.
            for part in [
                &entries[..cut],
                &entries[cut..],
                &entries[..cut],
                &entries[cut..],
            ] {
                one.store().expect_again(origin);
                one.store()
                    .keep_entries(origin, begin, part)
                    .expect("known");
            }
            let read = one
                .store()
                .lane_entries(origin, begin.seq, crate::stock::ALL);
            assert_eq!(
                read.expect("mended"),
                entries,
                "{sql}, of {} cut at {cut}",
                entries.len()
            );
        }
    }
}
