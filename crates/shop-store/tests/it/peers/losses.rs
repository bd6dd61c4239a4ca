//! Edits of lanes whose journals were continued, damaged or cut.

use super::judge::{ROWS, all_rows, exchange, set, shop, shown};
use crate::NOW_MS;
use crate::stock::entries;
use counterfoil_domain::lineage::Point;
use counterfoil_protocol::wire::lineage::IdentityAnswer;
use serde_json::{Value, json};

#[test]
fn what_two_names_of_a_lane_have_in_common_is_shown_until_the_hub_has_merged_it() {
    let mut lanes = shop("peers-common", 3);
    set(&mut lanes[0], ROWS[0], "name", json!("Tea"), NOW_MS);
    let common = lanes[0].store().end();
    set(&mut lanes[0], ROWS[1], "name", json!("Jam"), NOW_MS + 1_000);
    exchange(&mut lanes);
    let former = lanes[0].store().node();
    let claim = lanes[0].store().claim_identity(common, NOW_MS);
    let answer = IdentityAnswer { lane: 4, epoch: 2 };
    let taken = lanes[0]
        .store()
        .take_identity(&claim.expect("claimed"), &answer);
    taken.expect("taken");
    set(
        &mut lanes[0],
        ROWS[2],
        "name",
        json!("Anna"),
        NOW_MS + 2_000,
    );
    exchange(&mut lanes);
    let held = entries(&mut lanes[1], former, 0);
    let begin = Point::START;
    let heard = lanes[0].store().keep_entries(former, begin, &held);
    heard.expect("kept");
    for (number, lane) in lanes.iter_mut().enumerate() {
        for again in [false, true] {
            lane.store().catch_up().expect("caught up");
            let names = all_rows().into_iter().map(|row| {
                let shown = shown(lane, &row).expect("there");
                shown["name"].clone()
            });
            let names: Vec<_> = names.collect();
            assert_eq!(names, ["Tea", "Jam", "Anna"], "lane {number}, {again}");
            lane.open();
        }
    }
}

#[test]
fn damage_to_an_edit_that_waits_keeps_no_till_from_opening() {
    for damage in [
        "document = CAST(x'ff' AS TEXT)",
        "document = replace(document, 'Tea', 'Toe')",
        "id = x'00'",
        "hlc = -5",
    ] {
        let mut lanes = shop("peers-damaged", 2);
        set(&mut lanes[0], ROWS[0], "name", json!("Tea"), NOW_MS);
        set(&mut lanes[0], ROWS[1], "name", json!("Jam"), NOW_MS);
        exchange(&mut lanes);
        let first = "SELECT min(seq) FROM peer_entry WHERE kind = 7";
        let sql = format!("UPDATE peer_entry SET {damage} WHERE seq = ({first});");
        lanes[1].elsewhere("local.db", &sql);
        lanes[1].open();
        lanes[1].store().catch_up().expect("caught up");
        let names = |lanes: &mut Vec<_>, when: &str, expected: [Option<&str>; 2]| {
            for (row, expected) in all_rows().iter().zip(expected) {
                let shown = shown(&mut lanes[1], row);
                let name = shown.map(|shown| shown["name"].clone());
                assert_eq!(name, expected.map(Value::from), "{damage}, {when}");
            }
        };
        names(&mut lanes, "damaged", [None, Some("Jam")]);
        // It comes once more.
        let origin = lanes[0].store().node();
        lanes[1].store().expect_again(origin);
        let whole = entries(&mut lanes[0], origin, 0);
        let kept = lanes[1].store().keep_entries(origin, Point::START, &whole);
        kept.expect("kept");
        names(&mut lanes, "mended", [Some("Tea"), Some("Jam")]);
    }
}

#[test]
fn what_is_set_after_a_book_lost_its_end_holds_at_once() {
    let mut lanes = shop("peers-lost-end", 1);
    let till = &mut lanes[0];
    set(till, ROWS[0], "name", json!("Tea"), NOW_MS);
    let node = till.store().node();
    // The hub has more of the book than there is, and has merged it.
    till.elsewhere(
        "local.db",
        "INSERT OR REPLACE INTO watermark (reader, seq, at_ms) VALUES ('hub_received', 90, 0);",
    );
    let merged = format!("INSERT INTO merged_edits VALUES ('{node}', 90);");
    till.elsewhere("catalog.db", &merged);
    till.open();
    set(till, ROWS[1], "name", json!("Jam"), NOW_MS + 1);
    for again in [false, true] {
        let jam = shown(till, &all_rows()[1]).expect("there");
        assert_eq!(jam["name"], json!("Jam"), "{again}");
        till.open();
    }
}
