//! What lanes of one shop share of the catalog: edits of the others show as soon as they are held, as the hub's merge decides.

mod interleavings;
mod judge;
mod left;
mod losses;

use crate::catalog::columns;
use crate::stock::entries;
use crate::{NOW_MS, Till};
use counterfoil_domain::journal::EntryHead;
use counterfoil_domain::merge::Stamp;
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::{Document, DocumentId, Scalar, Topic, UnitPrice, password};
use counterfoil_protocol::wire::lineage::IdentityAnswer;
use counterfoil_shop_store::employees::{PinHash, Purpose};
use counterfoil_shop_store::{Presented, StoreError};
use counterfoil_testkit::SeededRandom;
use judge::{Client, Hub, ROWS, SHOP, all_rows, all_shown, exchange, set, shop, shown};
use serde_json::json;
use std::collections::BTreeMap;

#[test]
fn a_product_and_a_customer_of_another_lane_can_be_sold_to_and_looked_up_at_once() {
    let mut lanes = shop("peers-at-once", 2);
    let tea = columns(&[
        ("name", json!("Tea")),
        ("price_mills", json!(2550)),
        ("barcode", json!("500")),
    ]);
    lanes[0]
        .store()
        .catalog_set("products", "TEA", &tea, NOW_MS)
        .expect("set");
    let dated = columns(&[
        ("product", json!("TEA")),
        ("price_mills", json!(1990)),
        ("valid_from_ms", json!(NOW_MS + 9)),
    ]);
    lanes[0]
        .store()
        .catalog_set("prices", "P1", &dated, NOW_MS)
        .expect("set");
    set(
        &mut lanes[0],
        ("products", "TEE"),
        "name",
        json!("Tee"),
        NOW_MS,
    );
    lanes[0]
        .store()
        .merge_rows("products", "TEE", "TEA", NOW_MS)
        .expect("merged");
    assert!(lanes[1].store().product("TEA", NOW_MS).is_err());
    exchange(&mut lanes);
    for again in [false, true] {
        let store = lanes[1].store();
        let product = store.product("500", NOW_MS).expect("known by its barcode");
        assert_eq!(
            (product.sku.as_str(), product.name.as_str()),
            ("TEA", "Tea")
        );
        assert_eq!(product.price, Some(UnitPrice::from_mills(2550)));
        let later = store
            .product("tee", NOW_MS + 9)
            .expect("the one it was merged into");
        assert_eq!(
            (later.sku.as_str(), later.price),
            ("TEA", Some(UnitPrice::from_mills(1990)))
        );
        let row = store.catalog_get("products", "TEA").expect("there");
        assert!(row.pending);
        assert_eq!(
            row.origin_shop_id,
            Some(uuid::Uuid::from_u128(SHOP).to_string())
        );
        assert_eq!(store.pending_edits().expect("read"), 0, "none of its own");
        if !again {
            lanes[1].open();
        }
    }
}

#[test]
fn a_pin_and_who_is_shut_out_hold_at_the_other_lanes_at_once() {
    let mut lanes = shop("peers-staff", 2);
    let (ann, bob) = (("employees", "ANN"), ("employees", "BOB"));
    for employee in [ann, bob] {
        set(&mut lanes[0], employee, "name", json!("Somebody"), NOW_MS);
    }
    let pin = password::hash("4711", &SeededRandom::new(4)).expect("hashed");
    for employee in ["ANN", "BOB"] {
        let given = lanes[0]
            .store()
            .set_pin(employee, Some(pin.clone()), NOW_MS);
        given.expect("set");
    }
    exchange(&mut lanes);
    let opens = |till: &mut Till, employee: &str, by: u8| {
        let check = till.store().look_for_pin(employee, Purpose::SignIn, NOW_MS);
        let check = check.expect("to check");
        assert_eq!(check.hash.as_ref().map(PinHash::as_str), Some(pin.as_str()));
        let token = [by; 32];
        let opened = till.store().pin_checked(&check, true, token, NOW_MS);
        opened.expect("signed in");
        token
    };
    let tokens = [
        opens(&mut lanes[1], "ANN", 1),
        opens(&mut lanes[1], "BOB", 2),
    ];
    // One is shut out at the other lane, one gets another PIN there.
    set(&mut lanes[0], ann, "active", json!(0), NOW_MS + 1);
    let other = password::hash("0815", &SeededRandom::new(5)).expect("hashed");
    let given = lanes[0].store().set_pin("BOB", Some(other), NOW_MS + 1);
    given.expect("set");
    let works = |lanes: &mut [Till]| {
        tokens.map(|token| {
            let presented = Presented {
                session: Some(token),
                approval: None,
            };
            lanes[1].store().no_sale(presented, None, NOW_MS + 2).err()
        })
    };
    let before = works(&mut lanes);
    assert!(before.iter().all(Option::is_none), "{before:?}");
    exchange(&mut lanes);
    let after = works(&mut lanes);
    assert!(
        after
            .iter()
            .all(|refused| matches!(refused, Some(StoreError::SignInRequired))),
        "{after:?}"
    );
}

#[test]
fn whoever_goes_on_from_another_lanes_edit_replaces_it() {
    let mut lanes = shop("peers-replaced", 2);
    set(&mut lanes[0], ROWS[0], "name", json!("Tea"), NOW_MS);
    exchange(&mut lanes);
    let node = lanes[0].store().node();
    let given = entries(&mut lanes[0], node, 0);
    set(&mut lanes[1], ROWS[0], "name", json!("Chai"), NOW_MS + 10);
    let own = lanes[1].store().node();
    let last = entries(&mut lanes[1], own, 0).pop().expect("an entry");
    let edit = serde_json::from_str(&last.document).ok();
    let base = edit.map(|document| match document {
        Document::CatalogEdit(mut edit) => edit.base.remove("name"),
        _ => None,
    });
    let first = given.last().expect("an edit");
    assert_eq!(
        base.flatten(),
        Some(vec![Stamp::new(first.hlc, first.origin)])
    );
}

#[test]
fn a_price_that_two_lanes_change_at_once_is_the_earlier_one_everywhere_and_at_the_hub() {
    let mut lanes = shop("peers-prices", 2);
    let mut hub = Hub::new();
    hub.edit(ROWS[0], ("price_mills", Scalar::Integer(100)), NOW_MS);
    let sql = hub.publish();
    for lane in &mut lanes {
        lane.elsewhere("catalog.db", &sql);
        assert!(lane.store().catch_up().expect("caught up"));
    }
    set(
        &mut lanes[1],
        ROWS[0],
        "price_mills",
        json!(220),
        NOW_MS + 20_000,
    );
    set(
        &mut lanes[0],
        ROWS[0],
        "price_mills",
        json!(210),
        NOW_MS + 10_000,
    );
    exchange(&mut lanes);
    hub.hear_all(&mut lanes);
    for lane in &mut lanes {
        assert_eq!(
            shown(lane, &all_rows()[0]).expect("there")["price_mills"],
            json!(210)
        );
        hub.agrees_with(lane, "together");
    }
    // A person decides at one of them, over what both show.
    set(
        &mut lanes[1],
        ROWS[0],
        "price_mills",
        json!(230),
        NOW_MS + 30_000,
    );
    exchange(&mut lanes);
    assert_eq!(
        shown(&mut lanes[0], &all_rows()[0]).expect("there")["price_mills"],
        json!(230)
    );
}

#[test]
fn what_the_hub_refused_or_took_back_comes_back_at_no_lane() {
    let mut lanes = shop("peers-refused", 2);
    let mut hub = Hub::new();
    hub.edit(ROWS[0], ("name", Scalar::Text("Tea".to_owned())), NOW_MS);
    let sql = hub.publish();
    let mut clients = [Client::default(), Client::default()];
    for lane in &mut lanes {
        lane.elsewhere("catalog.db", &sql);
    }
    set(
        &mut lanes[0],
        ROWS[2],
        "name",
        json!("Anna"),
        NOW_MS + 1_000,
    );
    set(
        &mut lanes[0],
        ROWS[0],
        "name",
        json!("Typo"),
        NOW_MS + 2_000,
    );
    exchange(&mut lanes);
    for (lane, client) in lanes.iter_mut().zip(&mut clients) {
        client.follow(lane, 2);
        client.agrees_with(lane, "before");
        assert_eq!(
            shown(lane, &all_rows()[0]).expect("there")["name"],
            json!("Typo")
        );
    }
    let node = lanes[0].store().node();
    let given = entries(&mut lanes[0], node, 0);
    hub.refused = given.iter().map(|entry| entry.id).collect();
    hub.take(&given);
    let sql = hub.publish();
    for (lane, client) in lanes.iter_mut().zip(&mut clients) {
        lane.elsewhere("catalog.db", &sql);
        assert!(lane.store().catch_up().expect("caught up"));
        assert_eq!(shown(lane, &all_rows()[2]), None);
        client.follow(lane, 2);
        client.agrees_with(lane, "after");
        lane.open();
        assert_eq!(
            shown(lane, &all_rows()[0]).expect("there")["name"],
            json!("Tea")
        );
        assert_eq!(shown(lane, &all_rows()[2]), None);
    }
}

#[test]
fn a_lane_whose_local_file_was_restored_or_lost_shows_the_same_when_it_holds_the_same() {
    let mut lanes = shop("peers-restored", 2);
    set(&mut lanes[0], ROWS[0], "name", json!("Tea"), NOW_MS);
    exchange(&mut lanes);
    lanes[1].store = None;
    let local = lanes[1].dir.join("local.db");
    let backup = std::fs::read(&local).expect("a file");
    lanes[1].open();
    set(
        &mut lanes[0],
        ROWS[0],
        "name",
        json!("Chai"),
        NOW_MS + 10_000,
    );
    set(
        &mut lanes[1],
        ROWS[0],
        "price_mills",
        json!(5),
        NOW_MS + 20_000,
    );
    exchange(&mut lanes);
    let expected = all_shown(&mut lanes[1]);
    for restored in [Some(&backup), None] {
        lanes[1].store = None;
        match restored {
            Some(bytes) => std::fs::write(&local, bytes).expect("restored"),
            None => std::fs::remove_file(&local).expect("lost"),
        }
        lanes[1].open();
        let own = shown(&mut lanes[1], &all_rows()[0]).expect("there");
        assert_eq!(
            own["price_mills"],
            json!(5),
            "what it wrote itself is in its book"
        );
        exchange(&mut lanes);
        assert_eq!(all_shown(&mut lanes[1]), expected);
        assert_eq!(all_shown(&mut lanes[0]), expected);
    }
}

#[test]
fn an_edit_that_no_row_takes_is_kept_and_shown_nowhere() {
    let mut lanes = shop("peers-garbage", 2);
    set(&mut lanes[0], ROWS[0], "name", json!("Tea"), NOW_MS);
    let node = lanes[0].store().node();
    let mut given = entries(&mut lanes[0], node, 0);
    for (table, column, value) in [
        ("products", "name", "7"),
        ("products", "price_mills", "\"seven\""),
        ("products", "revision", "7"),
        ("products", "deleted", "2"),
        ("products", "nothing", "7"),
        ("nothing", "name", "\"x\""),
        ("employees", "pin", "\"1234\""),
        ("products", "price_mills", "-1"),
        ("prices", "shop", "\"00000000-0000-0000-0000-000000000007\""),
    ] {
        let last = given.last().expect("one").clone();
        let (seq, hlc) = (last.seq + 1, last.hlc.next());
        let id = DocumentId::from_uuid(uuid::Uuid::from_u128(seq.unsigned_abs().into()));
        let document = format!(
            "{{\"topic\":\"catalog_edit\",\"content\":{{\"table\":\"{table}\",\"row\":\"TEA\",\
             \"columns\":{{\"{column}\":{value}}},\"base\":{{}},\"base_revision\":0}}}}"
        );
        let head = EntryHead {
            seq,
            id,
            hlc,
            topic: Topic::CatalogEdit,
        };
        let chain = last.chain.next(&head, document.as_bytes());
        given.push(LaneEntry {
            seq,
            id,
            hlc,
            before: last.chain,
            chain,
            document,
            ..last
        });
    }
    let begin = counterfoil_domain::lineage::Point::START;
    let kept = lanes[1]
        .store()
        .keep_entries(node, begin, &given)
        .expect("kept");
    assert_eq!(kept.end.seq, given.last().expect("one").seq);
    assert_eq!(
        shown(&mut lanes[1], &all_rows()[0]),
        Some(BTreeMap::from([("name".to_owned(), json!("Tea"))]))
    );
    for table in ["employees", "prices"] {
        assert!(lanes[1].store().catalog_row(table, "TEA").is_err());
    }
    lanes[1].open();
    assert!(lanes[1].store().catalog_row("products", "TEA").is_ok());
}

#[test]
fn what_a_lane_edited_under_a_former_name_is_merged_with_either() {
    let mut lanes = shop("peers-former", 2);
    set(&mut lanes[0], ROWS[0], "name", json!("Tea"), NOW_MS);
    let common = lanes[0].store().end();
    set(
        &mut lanes[0],
        ROWS[0],
        "name",
        json!("Chai"),
        NOW_MS + 10_000,
    );
    exchange(&mut lanes);
    let former = lanes[0].store().node();
    let claim = lanes[0]
        .store()
        .claim_identity(common, NOW_MS)
        .expect("claimed");
    let answer = IdentityAnswer { lane: 4, epoch: 2 };
    lanes[0]
        .store()
        .take_identity(&claim, &answer)
        .expect("taken");
    set(
        &mut lanes[0],
        ROWS[0],
        "name",
        json!("Masala"),
        NOW_MS + 20_000,
    );
    set(
        &mut lanes[0],
        ROWS[1],
        "name",
        json!("Jam"),
        NOW_MS + 30_000,
    );
    exchange(&mut lanes);
    // It hears of its former journal from the other.
    let held = entries(&mut lanes[1], former, 0);
    let begin = counterfoil_domain::lineage::Point::START;
    lanes[0]
        .store()
        .keep_entries(former, begin, &held)
        .expect("kept");
    let (end, node) = (lanes[0].store().end().seq, lanes[0].store().node());
    for lane in &mut lanes {
        assert_eq!(
            shown(lane, &all_rows()[0]).expect("there")["name"],
            json!("Masala")
        );
        // The hub has the whole book under the new name.
        let published = "INSERT INTO products (id, name, last_modified_at, revision, versions)
                 VALUES ('TEA', 'Hub', 9, 1, '{\"name\":\"9.00000001\"}');
             UPDATE catalog_state SET revision = 1, hlc = 9;";
        let merged = format!("INSERT INTO merged_edits VALUES ('{node}', {end});");
        lane.elsewhere("catalog.db", &format!("{published}{merged}"));
        for again in [false, true] {
            lane.store().catch_up().expect("caught up");
            let row = lane.store().catalog_row("products", "TEA").expect("there");
            assert_eq!(
                (&row.columns["name"], row.pending),
                (&json!("Hub"), false),
                "{again}"
            );
            assert_eq!(shown(lane, &all_rows()[1]), None, "it was put aside");
            lane.open();
        }
    }
}
