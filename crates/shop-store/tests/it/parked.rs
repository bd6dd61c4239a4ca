//! Parked sales of all lanes: finished or discarded once, and the same list everywhere.

mod damage;

use crate::employees::{session, sign_in};
use crate::stock::{bring, lane};
use crate::{NOW_MS, Till};
use counterfoil_domain::document::Line;
use counterfoil_domain::parked::{Known, STALE_AFTER_MS};
use counterfoil_domain::{Document, DocumentId};
use counterfoil_protocol::wire::clients::Operation;
use counterfoil_protocol::wire::node::{LineRequest, ReceiptRequest, Recorded};
use counterfoil_protocol::wire::parked::{DiscardRequest, ParkRequest, ParkedRow};
use counterfoil_shop_store::operations::Carried;
use counterfoil_shop_store::record::Entry;
use counterfoil_shop_store::{Presented, StoreError};
use counterfoil_testkit::SeededRandom;
use serde_json::{Value, json};
use uuid::Uuid;

fn id(number: u128) -> DocumentId {
    DocumentId::from_uuid(Uuid::from_u128(number))
}

pub(crate) fn lines(of: &[(&str, &str, Option<&str>)]) -> Vec<LineRequest> {
    let line = |(sku, quantity, price): &(&str, &str, Option<&str>)| LineRequest {
        sku: (*sku).to_owned(),
        quantity: (*quantity).to_owned(),
        unit_price: price.map(str::to_owned),
        description: None,
    };
    of.iter().map(line).collect()
}

fn record(till: &mut Till, document: Document, id: Option<DocumentId>) -> Recorded {
    let now_ms = NOW_MS;
    let entry = Entry {
        id,
        document,
        now_ms,
    };
    till.store().record(entry).expect("recorded")
}

/// Two of tea.
fn park(till: &mut Till, number: u128) -> DocumentId {
    let request = ParkRequest {
        id: None,
        lines: lines(&[("tea", "2", Some("2.55"))]),
        customer: None,
        employee: Some("JO".to_owned()),
        note: Some("blue coat".to_owned()),
    };
    let document = till.store().draft_parked(&request, NOW_MS);
    record(till, document.expect("a cart"), Some(id(number))).id
}

pub(crate) fn finishing(parked: DocumentId, lines: Vec<LineRequest>) -> ReceiptRequest {
    ReceiptRequest {
        id: None,
        lines,
        tender: "cash".to_owned(),
        customer: None,
        employee: None,
        refund_of: None,
        parked: Some(parked),
    }
}

fn finish(till: &mut Till, parked: DocumentId) -> Result<Recorded, StoreError> {
    let request = finishing(parked, Vec::new());
    let document = till.store().draft_receipt(&request, false, NOW_MS)?;
    Ok(record(till, document, None))
}

fn discard(till: &mut Till, parked: DocumentId) -> Result<Recorded, StoreError> {
    let request = DiscardRequest {
        id: None,
        parked,
        employee: Some("EVE".to_owned()),
    };
    let document = till.store().draft_discard(&request, NOW_MS)?;
    Ok(record(till, document, None))
}

fn open(till: &mut Till) -> Vec<ParkedRow> {
    let listed = till.store().parked_sales(None, 1_000, NOW_MS);
    listed.expect("read")
}

fn ids(till: &mut Till) -> Vec<DocumentId> {
    open(till).iter().map(|row| row.id).collect()
}

fn set_price(till: &mut Till, sku: &str, price: &str) {
    let columns = [("price".to_owned(), json!(price))].into();
    let set = till.store().catalog_set("products", sku, &columns, NOW_MS);
    set.expect("set");
}

fn operation(number: u128, kind: &str, content: &Value) -> Operation {
    let operation = json!({"id": id(number), "kind": kind, "content": content});
    serde_json::from_value(operation).expect("an operation")
}

fn carry_out(till: &mut Till, operations: &[Operation]) -> Result<Vec<Carried>, StoreError> {
    let nobody = Presented::default();
    till.store().carry_out(operations, nobody, NOW_MS)
}

fn some(recorded: Option<Recorded>) -> Recorded {
    recorded.expect("recorded")
}

fn why(refused: Result<Recorded, StoreError>) -> String {
    let error = refused.expect_err("refused");
    assert!(
        matches!(error, StoreError::ParkedSettled { .. }),
        "{error:?}"
    );
    error.to_string()
}

#[test]
fn a_parked_sale_is_finished_or_discarded_once_by_whichever_lane() {
    let (mut one, mut other) = (lane("parked-one", 1), lane("parked-other", 5));
    for till in [&mut one, &mut other] {
        till.activate(3).expect("activated");
    }
    let (first, second) = (park(&mut one, 1), park(&mut one, 2));
    let unknown = finish(&mut other, first);
    assert!(matches!(unknown, Err(StoreError::UnknownParked(_))));
    bring(&mut one, &mut other);
    assert_eq!(open(&mut other), open(&mut one));
    let row = &open(&mut other)[0];
    assert_eq!((row.id, row.total_minor, row.lane), (first, 510, Some(1)));
    assert_eq!(row.employee.as_deref(), Some("JO"));
    let sold = finish(&mut other, first).expect("it is there");
    assert_eq!((sold.total_minor, sold.number), (Some(510), Some(1)));
    let text = why(finish(&mut other, first));
    assert!(
        text.contains("finished at lane 1 with receipt L1-1"),
        "{text}"
    );
    why(discard(&mut other, first));
    discard(&mut other, second).expect("it is there");
    let text = why(finish(&mut other, second));
    assert!(text.contains("discarded at lane 1"), "{text}");
    assert_eq!(ids(&mut other), []);
    // The lane that parked does not know yet.
    assert_eq!(ids(&mut one), [first, second]);
    bring(&mut other, &mut one);
    assert_eq!(ids(&mut one), []);
    why(finish(&mut one, first));
    why(discard(&mut one, second));
}

#[test]
fn a_parked_product_keeps_its_price_and_what_is_added_has_todays() {
    let mut till = lane("parked-prices", 1);
    set_price(&mut till, "TEA", "2.55");
    set_price(&mut till, "CUP", "1");
    let request = ParkRequest {
        id: None,
        lines: lines(&[("tea", "2", None)]),
        customer: None,
        employee: None,
        note: None,
    };
    let cart = till.store().draft_parked(&request, NOW_MS).expect("a cart");
    let parked = record(&mut till, cart, None).id;
    set_price(&mut till, "TEA", "3");
    set_price(&mut till, "CUP", "1.5");
    let total = |till: &mut Till, of: &[(&str, &str, Option<&str>)]| {
        let request = finishing(parked, lines(of));
        match till.store().draft_receipt(&request, false, NOW_MS) {
            Ok(Document::Sale(receipt)) => receipt.total_minor,
            other => unreachable!("{other:?}"),
        }
    };
    assert_eq!(total(&mut till, &[]), 510);
    assert_eq!(
        total(&mut till, &[("tea", "1", None), ("cup", "1", None)]),
        405
    );
    assert_eq!(total(&mut till, &[("tea", "1", Some("2"))]), 200);
    let stale = till
        .store()
        .parked_sales(None, 10, NOW_MS + STALE_AFTER_MS)
        .expect("read");
    assert!(
        stale[0].stale && !open(&mut till)[0].stale,
        "told, and there"
    );
}

#[test]
fn lanes_that_hear_of_parked_sales_in_any_order_list_the_same() {
    for seed in 0..12_u64 {
        let luck = SeededRandom::new(seed);
        let below = |limit: u64| usize::try_from(luck.below(limit)).expect("small");
        let mut lanes: Vec<Till> = (0..3)
            .map(|number| lane(&format!("parked-any-{seed}-{number}"), 1 + number * 100))
            .collect();
        let mut parked = Vec::new();
        for round in 0..40 {
            let at = below(3);
            match below(5) {
                0 | 1 => parked.push(park(&mut lanes[at], 1_000 + round)),
                2 if !parked.is_empty() => {
                    let which = parked[below(parked.len() as u64)];
                    drop(finish(&mut lanes[at], which));
                }
                3 if !parked.is_empty() => {
                    let which = parked[below(parked.len() as u64)];
                    drop(discard(&mut lanes[at], which));
                }
                _ => meet(&mut lanes, (at, (at + 1 + below(2)) % 3)),
            }
        }
        // One has lost what can be had again.
        lanes[2].store = None;
        for file in ["local.db", "local.db-wal", "local.db-shm"] {
            drop(std::fs::remove_file(lanes[2].dir.join(file)));
        }
        lanes[2].open();
        for pair in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
            meet(&mut lanes, pair);
        }
        let about = |till: &mut Till| -> Vec<Known> {
            let known = |id: &DocumentId| till.store().about_parked(*id).expect("read");
            parked.iter().map(known).collect()
        };
        let (listed, known) = (open(&mut lanes[0]), about(&mut lanes[0]));
        for till in &mut lanes[1..] {
            assert_eq!(open(till), listed, "seed {seed}");
            assert_eq!(about(till), known, "seed {seed}");
        }
        let still: Vec<DocumentId> = parked
            .iter()
            .zip(&known)
            .filter(|(_, known)| known.is_open())
            .map(|(id, _)| *id)
            .collect();
        assert_eq!(ids(&mut lanes[0]), still, "seed {seed}");
    }
}

/// What the one has of its own goes to the other.
fn meet(lanes: &mut [Till], (from, to): (usize, usize)) {
    let (low, high) = (from.min(to), from.max(to));
    let (left, right) = lanes.split_at_mut(high);
    let (low, high) = (&mut left[low], &mut right[0]);
    match from < to {
        true => bring(low, high),
        false => bring(high, low),
    }
}

#[test]
fn a_book_that_was_restored_lists_what_it_holds() {
    let mut till = lane("parked-restored", 1);
    let first = park(&mut till, 1);
    let before = till.copied("parked-before");
    let second = park(&mut till, 2);
    finish(&mut till, first).expect("it is there");
    assert_eq!(ids(&mut till), [second]);
    // The book comes back from a backup, beside what was derived from the other one.
    let backup = before;
    till.store = None;
    let restore = |till: &Till| {
        for file in ["book.db", "book.db-wal", "book.db-shm"] {
            drop(std::fs::remove_file(till.dir.join(file)));
            if backup.dir.join(file).exists() {
                std::fs::copy(backup.dir.join(file), till.dir.join(file)).expect("copied");
            }
        }
    };
    restore(&till);
    till.open();
    assert_eq!(ids(&mut till), [first]);
    // It grows to the same length again, with another history.
    let third = park(&mut till, 3);
    discard(&mut till, third).expect("it is there");
    assert_eq!(ids(&mut till), [first]);
}

#[test]
fn what_ends_a_parked_sale_has_an_id_of_its_own() {
    let (mut one, mut other) = (lane("parked-id", 1), lane("parked-same-id", 5));
    let parked = park(&mut one, 1);
    bring(&mut one, &mut other);
    let contents = [
        ("sale", json!({"tender": "cash", "parked": parked})),
        ("discard", json!({"parked": parked})),
    ];
    let operations = contents.map(|(kind, content)| operation(1, kind, &content));
    for carried in carry_out(&mut other, &operations).expect("refused one by one") {
        assert!(matches!(carried, Err(StoreError::IdTaken { .. })));
    }
    assert_eq!(other.store().journal_seq(), 0);
    assert_eq!(ids(&mut other), [parked]);
    finish(&mut other, parked).expect("under an id of its own");
}

#[test]
fn each_line_of_a_cart_has_its_price_and_no_more_than_its_quantity() {
    let mut till = lane("parked-two-prices", 1);
    set_price(&mut till, "TEA", "3");
    let request = ParkRequest {
        id: None,
        lines: lines(&[("tea", "2", Some("2.55")), ("tea", "1", Some("2"))]),
        customer: None,
        employee: None,
        note: None,
    };
    let cart = till.store().draft_parked(&request, NOW_MS).expect("a cart");
    let parked = record(&mut till, cart, None).id;
    let check = |till: &mut Till, of: &[(&str, &str, Option<&str>)], expected: &[(i64, i64)]| {
        let request = finishing(parked, lines(of));
        let sale = till.store().draft_receipt(&request, false, NOW_MS);
        let Ok(Document::Sale(sale)) = sale else {
            panic!("{sale:?}")
        };
        let line = |line: &Line| (line.quantity.milli, line.unit_price.mills);
        let found: Vec<_> = sale.lines.iter().map(line).collect();
        assert_eq!(found, expected, "{of:?}");
    };
    let cart = [(2_000, 2_550), (1_000, 2_000)];
    check(&mut till, &[], &cart);
    check(&mut till, &[("tea", "3", None)], &cart);
    check(&mut till, &[("tea", "2", None), ("tea", "1", None)], &cart);
    check(&mut till, &[("tea", "1", None)], &[(1_000, 2_550)]);
    let more = [(2_000, 2_550), (1_000, 2_000), (2_000, 3_000)];
    check(&mut till, &[("tea", "5", None)], &more);
    let asked = [(1_000, 2_000), (2_000, 2_550), (1_000, 3_000)];
    check(
        &mut till,
        &[("tea", "1", Some("2")), ("tea", "3", None)],
        &asked,
    );
}

#[test]
fn a_product_and_a_customer_that_were_merged_are_still_those_of_the_cart() {
    let mut till = crate::employees::till("parked-merged");
    sign_in(&mut till, "ANN", 1, NOW_MS);
    set_price(&mut till, "BREW", "3");
    for (customer, name) in [("C1", "Ann"), ("C2", "Anne")] {
        let columns = [("name".to_owned(), json!(name))].into();
        let set = till
            .store()
            .catalog_set("customers", customer, &columns, NOW_MS);
        set.expect("set");
    }
    let request = ParkRequest {
        id: None,
        lines: lines(&[("tea", "2", None)]),
        customer: Some("C1".to_owned()),
        employee: None,
        note: None,
    };
    let cart = till.store().draft_parked(&request, NOW_MS).expect("a cart");
    let parked = record(&mut till, cart, None).id;
    for (table, row, into) in [("products", "TEA", "BREW"), ("customers", "C1", "C2")] {
        let merged = till.store().merge_rows(table, row, into, NOW_MS);
        merged.expect("merged");
    }
    for of in [vec![], vec![("tea", "2", None)], vec![("brew", "2", None)]] {
        let request = finishing(parked, lines(&of));
        let sale = till.store().draft_receipt(&request, false, NOW_MS);
        let Ok(Document::Sale(sale)) = sale else {
            panic!("{sale:?}")
        };
        let line = &sale.lines[0];
        let found = (line.sku.as_str(), sale.total_minor, sale.lines.len());
        assert_eq!(found, ("BREW", 510, 1), "{of:?}");
        assert_eq!(sale.customer.as_deref(), Some("C2"));
        // The price was agreed to when it was parked.
        let (sale, ann) = (Document::Sale(sale), session(1));
        let admitted = till.store().admit_document(ann, sale, NOW_MS);
        assert!(admitted.is_ok(), "{of:?}: {admitted:?}");
    }
}

#[test]
fn lanes_that_finished_the_same_apart_are_found_out_when_they_meet() {
    let (mut one, mut other) = (lane("sold-one", 1), lane("sold-other", 5));
    let parked = park(&mut one, 1);
    bring(&mut one, &mut other);
    let (here, there) = (finish(&mut one, parked), finish(&mut other, parked));
    let mut sales = [here.expect("open").id, there.expect("open here").id];
    sales.sort_unstable();
    let told = |from: &mut Till, to: &mut Till| {
        let origin = from.store().node();
        bring(from, to);
        let all = crate::stock::entries(from, origin, 0);
        let twice = to.store().sold_twice(&all).expect("read");
        let sold = |it: &counterfoil_domain::parked::Sold| it.id;
        twice
            .iter()
            .flat_map(|it| it.sold.iter().map(sold))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&mut one, &mut other), sales);
    assert_eq!(told(&mut other, &mut one), sales);
    assert_eq!((ids(&mut one), ids(&mut other)), (vec![], vec![]));
}

#[test]
fn in_a_batch_a_parked_sale_is_finished_once_and_the_id_again_answers_what_was_recorded() {
    let mut till = lane("parked-batch", 1);
    let line = json!([{"sku": "TEA", "quantity": "2", "unit_price": "2.55"}]);
    let sale = json!({"tender": "cash", "parked": id(1)});
    let operations = [
        (1, "park", json!({"lines": line})),
        (2, "sale", sale.clone()),
        (3, "sale", sale),
        (4, "discard", json!({"parked": id(1)})),
    ]
    .map(|(number, kind, content)| operation(number, kind, &content));
    for repeated in [false, true] {
        let carried = carry_out(&mut till, &operations).expect("carried out");
        let said: Vec<_> = carried
            .iter()
            .map(|it| it.as_ref().ok().and_then(|it| Some(it.as_ref()?.repeated)))
            .collect();
        assert_eq!(said, [Some(repeated), Some(repeated), None, None]);
        assert_eq!(till.store().journal_seq(), 2);
    }
}
