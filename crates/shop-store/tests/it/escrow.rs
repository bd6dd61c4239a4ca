//! Rights to sell a scarce product: no lane sells what it has no right to, and no right is there twice.

mod ends;

use crate::parked::lines;
use crate::stock::{bring, lane};
use crate::{NOW_MS, Till};
use counterfoil_domain::lineage::Point;
use counterfoil_domain::{DocumentId, NodeId};
use counterfoil_protocol::wire::clients::Operation;
use counterfoil_protocol::wire::escrow::{EscrowOrder, EscrowRequest, EscrowRow, RightsRequest};
use counterfoil_protocol::wire::lineage::IdentityAnswer;
use counterfoil_protocol::wire::node::{ReceiptRequest, Recorded, StockRequest};
use counterfoil_shop_store::escrow::EscrowFault;
use counterfoil_shop_store::record::Entry;
use counterfoil_shop_store::{Presented, StoreError};
use serde_json::json;
use uuid::Uuid;

fn id(number: u128) -> DocumentId {
    DocumentId::from_uuid(Uuid::from_u128(number))
}

fn record(
    till: &mut Till,
    document: Result<counterfoil_domain::Document, StoreError>,
) -> Result<Recorded, StoreError> {
    let entry = Entry {
        id: None,
        document: document?,
        now_ms: NOW_MS,
    };
    till.store().record(entry)
}

fn receipt(quantity: &str) -> ReceiptRequest {
    ReceiptRequest {
        id: None,
        lines: lines(&[("lamp", quantity, Some("9.00"))]),
        tender: "cash".to_owned(),
        customer: None,
        employee: None,
        refund_of: None,
        parked: None,
    }
}

fn sell(till: &mut Till, quantity: &str) -> Result<Recorded, StoreError> {
    let document = till
        .store()
        .draft_receipt(&receipt(quantity), false, NOW_MS);
    record(till, document)
}

fn refund(till: &mut Till) {
    let document = till.store().draft_receipt(&receipt("1"), true, NOW_MS);
    record(till, document).expect("taken back");
}

fn moves(till: &mut Till, quantity: &str) -> Result<Recorded, StoreError> {
    let request = StockRequest {
        id: None,
        sku: "lamp".to_owned(),
        quantity: quantity.to_owned(),
        count: false,
        reason: None,
    };
    let document = till.store().draft_stock(&request, NOW_MS);
    record(till, document)
}

fn order(
    till: &mut Till,
    what: EscrowOrder,
    quantity: &str,
    node: Option<NodeId>,
) -> Result<Recorded, StoreError> {
    let request = EscrowRequest {
        id: None,
        sku: "lamp".to_owned(),
        what,
        quantity: Some(quantity.to_owned()),
        lane: None,
        node,
        employee: None,
    };
    let document = till.store().draft_escrow(&request, NOW_MS);
    record(till, document)
}

fn why(refused: Result<Recorded, StoreError>) -> EscrowFault {
    match refused.expect_err("refused") {
        StoreError::Escrow(fault) => *fault,
        other => unreachable!("{other:?}"),
    }
}

fn is_lacking(refused: Result<Recorded, StoreError>) -> bool {
    matches!(why(refused), EscrowFault::NoRights(_))
}

fn row(till: &mut Till) -> EscrowRow {
    let rows = till.store().escrows().expect("read");
    let [row] = rows.try_into().expect("one product");
    row
}

fn rights(till: &mut Till) -> i64 {
    row(till).rights_milli
}

/// Brings all that one lane wrote, and lets the other say that it has heard.
fn tell(from: &mut Till, to: &mut Till) {
    bring(from, to);
    to.store().join_escrows(None, NOW_MS).expect("joined");
}

/// Two lanes of which the first has the right to sell two lamps.
fn shop(name: &str) -> [Till; 2] {
    let mut lanes = [
        lane(&format!("{name}-one"), 1),
        lane(&format!("{name}-other"), 5),
    ];
    for till in &mut lanes {
        till.activate(3).expect("activated");
        let columns = [("price".to_owned(), json!("9.00"))].into();
        let set = till
            .store()
            .catalog_set("products", "LAMP", &columns, NOW_MS);
        set.expect("set");
    }
    let [mut one, mut other] = lanes;
    order(&mut one, EscrowOrder::Begin, "2", None).expect("begun");
    tell(&mut one, &mut other);
    tell(&mut other, &mut one);
    [one, other]
}

/// As the daemons do it.
fn ask(asker: &mut Till, giver: &mut Till, need: u128) -> Option<Recorded> {
    let lacking = asker
        .store()
        .rights_lacking(&receipt("1"), NOW_MS)
        .expect("read");
    let asked = RightsRequest {
        need: id(need),
        escrow: lacking
            .first()
            .map_or_else(|| row(asker).id, |lack| lack.escrow),
        sku: "LAMP".to_owned(),
        quantity_milli: 1000,
    };
    let (to, store) = (asker.store().node(), giver.store());
    store.give_rights(to, &asked, NOW_MS).expect("read")
}

#[test]
fn a_lane_sells_a_scarce_product_by_its_own_rights_alone() {
    let [mut one, mut other] = shop("rights");
    assert_eq!((rights(&mut one), rights(&mut other)), (2000, 0));
    let EscrowFault::NoRights(lack) = why(sell(&mut other, "1")) else {
        panic!("it has none");
    };
    assert!(lack.to_string().ends_with("; lane 1 has 2"), "{lack}");
    assert!(ask(&mut other, &mut one, 7).is_some());
    // The answer was lost, or the request came twice.
    assert!(ask(&mut other, &mut one, 7).is_none());
    one.open();
    assert!(
        ask(&mut other, &mut one, 7).is_none(),
        "after a restart too"
    );
    assert!(is_lacking(sell(&mut other, "1")), "it has not come");
    assert!(is_lacking(sell(&mut one, "2")), "it is given away");
    tell(&mut one, &mut other);
    sell(&mut other, "1").expect("by right");
    assert!(is_lacking(sell(&mut other, "1")));
    sell(&mut one, "1").expect("by right");
    assert!(is_lacking(sell(&mut one, "0.001")));
    assert!(
        ask(&mut other, &mut one, 8).is_none(),
        "there is nothing to give"
    );
    // What comes back, or in, may be sold where it came.
    refund(&mut other);
    moves(&mut one, "3").expect("a delivery");
    assert_eq!((rights(&mut one), rights(&mut other)), (3000, 1000));
    assert!(
        is_lacking(moves(&mut one, "-4")),
        "nor is more thrown away than that"
    );
    for till in [&mut one, &mut other] {
        let before = row(till);
        till.open();
        assert_eq!(row(till), before, "after a restart");
    }
    tell(&mut other, &mut one);
    let of = |row: &EscrowRow| row.lanes.iter().map(|it| it.rights_milli).sum::<i64>();
    assert_eq!(of(&row(&mut one)), 4000);
}

#[test]
fn a_batch_is_refused_what_has_no_right_and_nothing_else() {
    let [mut one, _] = shop("rights-batch");
    let sale = |number: u128, sku: &str| -> Operation {
        let line = json!({"sku": sku, "quantity": "1", "unit_price": "9.00"});
        let content = json!({"lines": [line], "tender": "cash"});
        serde_json::from_value(json!({"id": id(number), "kind": "sale", "content": content}))
            .expect("an operation")
    };
    let batch = [
        sale(1, "LAMP"),
        sale(2, "LAMP"),
        sale(3, "LAMP"),
        sale(4, "TEA"),
    ];
    let carried = one.store().carry_out(&batch, Presented::default(), NOW_MS);
    let carried = carried.expect("carried out");
    let done: Vec<bool> = carried.iter().map(Result::is_ok).collect();
    assert_eq!(done, [true, true, false, true]);
    let again = one
        .store()
        .carry_out(&batch[..1], Presented::default(), NOW_MS);
    assert!(matches!(&again.expect("carried out")[0], Ok(Some(known)) if known.repeated));
}

#[test]
fn a_till_that_was_restored_uses_no_rights_until_a_person_frees_them() {
    let [mut one, _] = shop("rights-restored");
    // The backup; what the till sells after it is lost with it.
    let mut restored = one.copied("rights-backup");
    one.open();
    sell(&mut one, "2").expect("the last ones");
    restored
        .store()
        .fence("it was restored", NOW_MS)
        .expect("fenced");
    restored.open();
    assert!(matches!(
        why(sell(&mut restored, "1")),
        EscrowFault::Frozen(_)
    ));
    assert!(row(&mut restored).frozen);
    order(&mut restored, EscrowOrder::Release, "0", None).expect("released");
    sell(&mut restored, "1").expect("a person said so");
    restored
        .store()
        .fence("once more", NOW_MS + 100_000)
        .expect("fenced");
    assert!(matches!(
        why(sell(&mut restored, "1")),
        EscrowFault::Frozen(_)
    ));
}

#[test]
fn under_its_new_name_a_till_has_no_rights_of_the_former_one_and_others_take_them_over() {
    let [mut one, mut other] = shop("rights-renamed");
    let former = one.store().node();
    let common = one.store().end();
    let mut restored = one.copied("rights-renamed-backup");
    one.open();
    sell(&mut one, "1").expect("after the backup");
    tell(&mut one, &mut other);
    let Point { seq, .. } = common;
    assert!(seq > 0);
    let claim = restored
        .store()
        .claim_identity(common, NOW_MS)
        .expect("claimed");
    let answer = IdentityAnswer { lane: 3, epoch: 2 };
    restored
        .store()
        .take_identity(&claim, &answer)
        .expect("taken");
    for _ in 0..2 {
        assert!(is_lacking(sell(&mut restored, "1")), "one of both is sold");
        restored.open();
    }
    tell(&mut restored, &mut other);
    // What is left of the former one's: one, as its journal says that came here.
    let all = order(&mut other, EscrowOrder::Take, "2", Some(former));
    assert!(matches!(why(all), EscrowFault::TooMany { .. }));
    order(&mut other, EscrowOrder::Take, "1", Some(former)).expect("taken over");
    sell(&mut other, "1").expect("the last one");
    assert!(is_lacking(sell(&mut other, "1")));
    // The former one, if it was only away, has one less than it thought as soon as it hears of that.
    tell(&mut other, &mut one);
    assert!(is_lacking(sell(&mut one, "1")));
    // Rights that others give come to the new name.
    refund(&mut other);
    assert!(ask(&mut restored, &mut other, 9).is_some());
    tell(&mut other, &mut restored);
    sell(&mut restored, "1").expect("by right");
}

/// It loses what is made anew.
fn forget(till: &mut Till) {
    till.store = None;
    for file in ["local.db", "local.db-wal", "local.db-shm"] {
        if let Err(error) = std::fs::remove_file(till.dir.join(file)) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
}

#[test]
fn a_lane_that_lost_what_it_held_of_the_others_sells_no_scarce_product_freely() {
    let [mut one, mut other] = shop("rights-lost");
    for till in [&mut one, &mut other] {
        let before = rights(till);
        forget(till);
        till.open();
        assert_eq!(rights(till), before);
    }
    assert!(is_lacking(sell(&mut other, "1")));
    sell(&mut one, "2").expect("its own book knows");
    assert!(is_lacking(sell(&mut one, "1")));
}

#[test]
fn two_that_began_apart_keep_one_of_both_and_an_end_lets_it_be_sold_freely_again() {
    let (mut one, mut other) = (lane("apart-one", 1), lane("apart-other", 5));
    for till in [&mut one, &mut other] {
        let trial = order(till, EscrowOrder::Begin, "1", None);
        assert_eq!(why(trial), EscrowFault::Trial);
        till.activate(3).expect("activated");
        assert!(matches!(
            order(till, EscrowOrder::Begin, "1", None),
            Err(StoreError::UnknownProduct(_))
        ));
        let columns = [("price".to_owned(), json!("9.00"))].into();
        let set = till
            .store()
            .catalog_set("products", "LAMP", &columns, NOW_MS);
        set.expect("set");
        order(till, EscrowOrder::Begin, "1", None).expect("begun");
    }
    tell(&mut one, &mut other);
    tell(&mut other, &mut one);
    let (first, second) = (row(&mut one), row(&mut other));
    assert_eq!((first.id, first.begun_apart), (second.id, 1));
    assert_eq!(rights(&mut one) + rights(&mut other), 1000, "not both");
    let begun = order(&mut one, EscrowOrder::Begin, "1", None);
    assert!(matches!(why(begun), EscrowFault::Begun(_)));
    order(&mut other, EscrowOrder::End, "0", None).expect("ended");
    sell(&mut other, "5").expect("freely");
    assert!(is_lacking(sell(&mut one, "2")), "it has not heard of that");
    tell(&mut other, &mut one);
    sell(&mut one, "5").expect("freely");
    order(&mut one, EscrowOrder::Begin, "4", None).expect("begun anew");
    tell(&mut one, &mut other);
    assert_eq!((rights(&mut one), rights(&mut other)), (4000, 0));
    assert_eq!(row(&mut other).begun_apart, 0);
}
