//! When an escrow is over, and what stands in the way of rights no longer than it must.

use super::{
    forget, is_lacking, moves, order, receipt, record, refund, rights, row, sell, shop, tell, why,
};
use crate::parked::lines;
use crate::stock::{bring, lane};
use crate::{NOW_MS, Till};
use counterfoil_domain::ShopId;
use counterfoil_protocol::wire::escrow::{EscrowOrder, EscrowRequest};
use counterfoil_protocol::wire::node::Recorded;
use counterfoil_shop_store::escrow::EscrowFault;
use counterfoil_shop_store::{StoreError, TrialShop};
use serde_json::json;
use uuid::Uuid;

fn product(till: &mut Till, sku: &str) {
    let columns = [("price".to_owned(), json!("9.00"))].into();
    let set = till.store().catalog_set("products", sku, &columns, NOW_MS);
    set.expect("set");
}

fn pair(till: &mut Till, lane: i64) {
    let trial = TrialShop {
        node: till.store().node(),
        shop: ShopId::from_uuid(Uuid::from_u128(9)),
        lane,
        with: None,
        lanes: Vec::new(),
        revocations: 0,
    };
    till.store()
        .keep_trial_shop(&trial, NOW_MS)
        .expect("paired");
}

#[test]
fn an_escrow_of_a_trial_shop_ends_with_the_trial() {
    let (mut one, mut other) = (lane("trial-one", 1), lane("trial-other", 5));
    pair(&mut one, 1);
    pair(&mut other, 2);
    product(&mut one, "LAMP");
    product(&mut other, "LAMP");
    order(&mut one, EscrowOrder::Begin, "2", None).expect("begun");
    let joined = {
        bring(&mut one, &mut other);
        other.store().join_escrows(None, NOW_MS).expect("joined")
    };
    assert_eq!(joined.len(), 1, "in trial too");
    assert!(is_lacking(sell(&mut other, "1")));
    // The other one leaves it without being activated, and this one is activated.
    one.activate(3).expect("activated");
    other.store().leave_trial_shop(NOW_MS).expect("left");
    for till in [&mut one, &mut other] {
        assert_eq!(till.store().escrows().expect("read"), []);
        sell(till, "5").expect("freely");
        till.open();
        sell(till, "5").expect("freely");
    }
    // They meet in the real shop, where it may begin anew.
    other.activate(3).expect("activated");
    tell(&mut one, &mut other);
    tell(&mut other, &mut one);
    for till in [&mut one, &mut other] {
        assert_eq!(till.store().escrows().expect("read"), []);
    }
    order(&mut one, EscrowOrder::Begin, "1", None).expect("begun anew");
    tell(&mut one, &mut other);
    assert_eq!((rights(&mut one), rights(&mut other)), (1000, 0));
}

#[test]
fn rights_that_were_void_do_not_come_back_when_the_others_journals_are_lost() {
    let (mut one, mut other) = (lane("void-one", 1), lane("void-other", 5));
    for till in [&mut one, &mut other] {
        till.activate(3).expect("activated");
        product(till, "LAMP");
        order(till, EscrowOrder::Begin, "1", None).expect("begun");
    }
    tell(&mut one, &mut other);
    tell(&mut other, &mut one);
    for till in [&mut one, &mut other] {
        let before = (row(till).id, rights(till));
        forget(till);
        till.open();
        assert_eq!((row(till).id, rights(till)), before);
    }
}

#[test]
fn a_duplicate_is_sold_by_the_rights_of_the_product_that_stands_for_it() {
    let [mut one, _] = shop("rights-merged");
    product(&mut one, "LIGHT");
    let merged = one.store().merge_rows("products", "LIGHT", "LAMP", NOW_MS);
    merged.expect("merged");
    let light = |till: &mut Till| -> Result<Recorded, StoreError> {
        let mut request = receipt("2");
        request.lines[0].sku = "LIGHT".to_owned();
        let document = till.store().draft_receipt(&request, false, NOW_MS);
        record(till, document)
    };
    // Two codes of one product take from the same rights.
    let mut both = receipt("1");
    both.lines.extend(lines(&[("LIGHT", "2", Some("9.00"))]));
    let document = one.store().draft_receipt(&both, false, NOW_MS);
    assert!(is_lacking(record(&mut one, document)));
    light(&mut one).expect("by right");
    assert!(is_lacking(light(&mut one)));
    // The product that stands for it is gone, and comes again: the duplicate is sold under its own code meanwhile.
    let deleted = [("deleted".to_owned(), json!(true))].into();
    let set = one
        .store()
        .catalog_set("products", "LAMP", &deleted, NOW_MS);
    set.expect("deleted");
    assert!(is_lacking(light(&mut one)));
    assert_eq!(rights(&mut one), 0);
    moves(&mut one, "2").expect("a delivery");
    let document = one.store().draft_receipt(&both, false, NOW_MS);
    assert!(is_lacking(record(&mut one, document)));
}

#[test]
fn two_products_under_escrow_that_are_merged_are_sold_by_the_earlier_escrow() {
    let [mut one, mut other] = shop("rights-two");
    product(&mut other, "LIGHT");
    let request = EscrowRequest {
        id: None,
        sku: "LIGHT".to_owned(),
        what: EscrowOrder::Begin,
        quantity: Some("3".to_owned()),
        lane: None,
        node: None,
        employee: None,
    };
    let document = other.store().draft_escrow(&request, NOW_MS);
    record(&mut other, document).expect("begun");
    tell(&mut other, &mut one);
    let merged = one.store().merge_rows("products", "LIGHT", "LAMP", NOW_MS);
    merged.expect("merged");
    tell(&mut one, &mut other);
    tell(&mut other, &mut one);
    for till in [&mut one, &mut other] {
        assert_eq!(row(till).begun_apart, 1);
    }
    assert_eq!((rights(&mut one), rights(&mut other)), (2000, 0));
}

#[test]
fn a_restored_till_uses_the_rights_of_what_it_began_after_that() {
    let [mut one, _] = shop("rights-fenced");
    one.store()
        .fence("it was restored", NOW_MS)
        .expect("fenced");
    assert!(matches!(why(sell(&mut one, "1")), EscrowFault::Frozen(_)));
    order(&mut one, EscrowOrder::End, "0", None).expect("ended");
    order(&mut one, EscrowOrder::Begin, "1", None).expect("begun anew");
    sell(&mut one, "1").expect("it was counted after the restore");
}

#[test]
fn of_several_lanes_with_a_number_the_order_says_which_one() {
    // Both were given the number 1.
    let [mut one, mut other] = shop("rights-numbers");
    let request = |what, quantity: &str| EscrowRequest {
        id: None,
        sku: "lamp".to_owned(),
        what,
        quantity: Some(quantity.to_owned()),
        lane: Some(1),
        node: None,
        employee: None,
    };
    let give = one
        .store()
        .draft_escrow(&request(EscrowOrder::Give, "1"), NOW_MS);
    let EscrowFault::SeveralLanes { lane: 1, nodes } = why(record(&mut one, give)) else {
        panic!("either may be meant");
    };
    assert_eq!(nodes.len(), 2);
    // The one that has something to take over.
    let take = other
        .store()
        .draft_escrow(&request(EscrowOrder::Take, "1"), NOW_MS);
    record(&mut other, take).expect("taken over");
    refund(&mut other);
    let take = other
        .store()
        .draft_escrow(&request(EscrowOrder::Take, "1"), NOW_MS);
    assert!(matches!(
        why(record(&mut other, take)),
        EscrowFault::SeveralLanes { .. }
    ));
}

#[test]
fn an_entry_that_cannot_be_read_stops_the_product_until_its_escrow_is_ended() {
    let [mut one, mut other] = shop("rights-unread");
    bring(&mut other, &mut one);
    one.elsewhere(
        "book.db",
        "UPDATE journal SET payload = '{\"sku\": \"LAMP\"}' WHERE topic = 14",
    );
    one.open();
    assert!(matches!(why(sell(&mut one, "1")), EscrowFault::Unread(_)));
    // It says nothing of an escrow that it cannot name.
    assert_eq!(one.store().join_escrows(None, NOW_MS).expect("read"), []);
    order(&mut one, EscrowOrder::End, "0", None).expect("ended");
    for _ in 0..2 {
        sell(&mut one, "5").expect("freely");
        one.open();
    }
    order(&mut one, EscrowOrder::Begin, "1", None).expect("begun anew");
    sell(&mut one, "1").expect("by right");
    assert!(is_lacking(sell(&mut one, "1")));
}
