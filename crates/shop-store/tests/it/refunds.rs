//! A sale is taken back once, by whichever lane.

use crate::stock::{bring, entries, lane, units};
use crate::{NOW_MS, Till};
use counterfoil_domain::DocumentId;
use counterfoil_protocol::wire::node::{LineRequest, ReceiptRequest};
use counterfoil_shop_store::StoreError;
use counterfoil_shop_store::record::Entry;

fn request(quantity: &str, refund_of: Option<DocumentId>) -> ReceiptRequest {
    ReceiptRequest {
        id: None,
        lines: vec![LineRequest {
            sku: "tea".to_owned(),
            quantity: quantity.to_owned(),
            unit_price: Some("2.55".to_owned()),
            description: None,
        }],
        tender: "cash".to_owned(),
        customer: None,
        employee: None,
        refund_of,
        parked: None,
    }
}

fn refund(till: &mut Till, quantity: &str, of: DocumentId) -> Result<(), StoreError> {
    let store = till.store();
    let document = store.draft_receipt(&request(quantity, Some(of)), true, NOW_MS)?;
    let entry = Entry {
        id: None,
        document,
        now_ms: NOW_MS,
    };
    store.record(entry).map(drop)
}

fn is_refused(done: &Result<(), StoreError>) -> bool {
    matches!(done, Err(StoreError::RefundedAlready(_)))
}

#[test]
fn no_more_is_taken_back_than_was_sold_whichever_lane_sold_it() {
    let (mut one, mut other) = (lane("refund-one", 1), lane("refund-other", 5));
    let sold = one.sell(None, NOW_MS).id;
    bring(&mut one, &mut other);
    refund(&mut other, "1.5", sold).expect("there are two");
    assert!(is_refused(&refund(&mut other, "0.501", sold)));
    // The lane that sold does not know yet; when it does, half of one is left.
    bring(&mut other, &mut one);
    let refused = refund(&mut one, "1", sold);
    let text = refused.as_ref().expect_err("too much").to_string();
    assert!(
        text.contains("2 of TEA sold, 2.500 would be taken back"),
        "{text}"
    );
    refund(&mut one, "0.5", sold).expect("what is left");
    assert!(is_refused(&refund(&mut one, "0.001", sold)));
    bring(&mut one, &mut other);
    assert!(is_refused(&refund(&mut other, "0.001", sold)));
    assert_eq!(
        (units(&mut one, "TEA"), units(&mut other, "TEA")),
        (Some(0), Some(0))
    );
}

#[test]
fn lanes_that_took_back_the_same_apart_are_found_out_when_they_meet() {
    let (mut one, mut other) = (lane("twice-one", 1), lane("twice-other", 5));
    let sold = one.sell(None, NOW_MS).id;
    bring(&mut one, &mut other);
    refund(&mut one, "2", sold).expect("it is there");
    refund(&mut other, "2", sold).expect("nobody has said anything");
    assert_eq!(other.store().over_refund(sold, None).expect("read"), None);
    bring(&mut one, &mut other);
    let over = other.store().over_refund(sold, None).expect("read");
    let over = over.expect("twice");
    assert_eq!(
        (over.sku.as_str(), over.sold.milli, over.refunded.milli),
        ("TEA", 2000, 4000)
    );
}

#[test]
fn a_lane_that_hears_of_a_sale_after_its_refunds_finds_out_too() {
    let [mut one, mut two, mut three, mut last] =
        [1, 20, 40, 60].map(|seed| lane(&format!("late-{seed}"), seed));
    let sold = one.sell(None, NOW_MS).id;
    let unsold = one.sell(None, NOW_MS).id;
    for till in [&mut two, &mut three] {
        bring(&mut one, till);
        refund(till, "2", sold).expect("nobody has said anything");
        let node = till.store().node();
        let refunds = entries(till, node, 0);
        bring(till, &mut last);
        let over = last.store().over_refunds(&refunds).expect("read");
        assert_eq!(over, [], "of what is not here");
    }
    let node = one.store().node();
    let sales = entries(&mut one, node, 0);
    bring(&mut one, &mut last);
    let over = last.store().over_refunds(&sales).expect("read");
    let [over] = over.try_into().expect("one sale");
    assert_eq!((over.sale, over.refunded.milli), (sold, 4000));
    assert_ne!(over.sale, unsold);
}

#[test]
fn a_sale_that_is_not_here_is_not_judged() {
    let mut till = lane("refund-unknown", 1);
    let elsewhere = DocumentId::from_uuid(uuid::Uuid::from_u128(7));
    refund(&mut till, "3", elsewhere).expect("the hub looks at that");
}

#[test]
fn whoever_cannot_read_all_of_a_sale_and_its_refunds_pays_nothing_out() {
    for kind in [1, 2] {
        let (mut one, mut other) = (lane("unread-one", 1), lane("unread-other", 5));
        let sold = one.sell(None, NOW_MS).id;
        refund(&mut one, "2", sold).expect("it is there");
        bring(&mut one, &mut other);
        assert!(is_refused(&refund(&mut other, "1", sold)));
        let sql =
            format!("UPDATE peer_entry SET document = CAST(x'ff' AS TEXT) WHERE kind = {kind}");
        other.elsewhere("local.db", &sql);
        let refused = refund(&mut other, "1", sold);
        assert!(
            matches!(refused, Err(StoreError::Corrupt { .. })),
            "{kind}: {refused:?}"
        );
    }
}
