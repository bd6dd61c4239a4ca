use super::*;
use crate::document::{InvalidDocument, Payment, Receipt, Tender};
use crate::ids::NodeId;
use crate::journal::Chain;
use crate::{Quantity, UnitPrice};
use proptest::prelude::*;
use uuid::Uuid;

fn id(number: u128) -> DocumentId {
    DocumentId::from_uuid(Uuid::from_u128(number))
}

fn line(sku: &str, quantity: &str, price: &str) -> Line {
    let quantity = Quantity::parse(quantity).expect("a quantity");
    let price = UnitPrice::parse(price).expect("a price");
    Line::new(sku, "", quantity, price).expect("small")
}

fn cart(lines: Vec<Line>) -> ParkedSale {
    ParkedSale {
        lane: Some(1),
        at_ms: 5,
        currency: Currency::GBP,
        total_minor: lines.iter().map(|line| line.amount_minor).sum(),
        customer: None,
        employee: Some("JO".to_owned()),
        note: None,
        lines,
    }
}

fn finished(lane: i64, number: i64) -> Receipt {
    let lines = vec![line("tea", "2", "2.55")];
    Receipt {
        trial: false,
        series: format!("L{lane}"),
        number,
        at_ms: 9,
        currency: Currency::GBP,
        total_minor: 510,
        customer: None,
        employee: None,
        refund_of: None,
        external_ref: None,
        parked: Some(Finishes {
            id: id(1),
            lane: Some(lane),
        }),
        lines,
        payments: vec![Payment {
            tender: Tender::Cash,
            amount_minor: 510,
        }],
    }
}

fn discard() -> Document {
    Document::ParkedDiscard(ParkedDiscard {
        parked: id(1),
        lane: Some(3),
        at_ms: 7,
        employee: None,
    })
}

fn deeds() -> Vec<Deed> {
    let parked = Document::ParkedSale(cart(vec![line("tea", "2", "2.55")]));
    let other = Document::ParkedSale(cart(vec![line("cup", "1", "1")]));
    let documents = [
        (1, parked),
        // Another till that was given the same id.
        (1, other),
        (2, Document::Sale(finished(1, 8))),
        (3, Document::Sale(finished(2, 4))),
        (4, discard()),
        // Under the id of what it finishes.
        (1, Document::Sale(finished(3, 6))),
    ];
    let deed = |(number, (of, document))| Deed {
        id: id(of),
        hlc: Hlc::at_millis(number),
        document,
    };
    (1..).zip(documents).map(deed).collect()
}

proptest! {
    #[test]
    fn what_became_of_a_parked_sale_follows_from_the_set_in_any_order(
        order in Just((0..6).chain(0..6).collect::<Vec<usize>>()).prop_shuffle(),
        until in 0_usize..12,
    ) {
        let all = deeds();
        let came: Vec<usize> = order.into_iter().take(until).collect();
        let mut once = came.clone();
        once.sort_unstable();
        once.dedup();
        let of = |which: &[usize]| Known::of(which.iter().map(|index| all[*index].clone()));
        prop_assert_eq!(of(&came), of(&once));
    }
}

#[test]
fn a_parked_sale_is_open_until_a_sale_or_a_discard_is_known() {
    let all = deeds();
    let of = |which: &[usize]| Known::of(which.iter().map(|index| all[*index].clone()));
    assert!(of(&[0]).is_open());
    assert_eq!(of(&[1, 0]).cart, of(&[0]).cart, "the earlier one holds");
    assert!(!of(&[2]).is_open(), "nobody knows what was in it");
    assert!(!of(&[0, 2]).is_open() && !of(&[0, 4]).is_open());
    for own_id in [of(&[0, 5]), of(&[5, 0])] {
        assert!(!own_id.is_open(), "{own_id:?}");
        assert_eq!((own_id.sold.len(), own_id.cart), (1, of(&[0]).cart));
    }
    let mut unread = of(&[0]);
    unread.unread = true;
    assert!(!unread.is_open(), "what ended it cannot be read");
    let sold = of(&[0, 3, 2, 4]).sold;
    let receipts: Vec<_> = sold.iter().map(|it| (it.lane, it.number)).collect();
    assert_eq!(receipts, [(Some(1), 8), (Some(2), 4)]);
}

#[test]
fn an_entry_says_which_parked_sale_it_is_about() {
    let entry = |document: &Document| LaneEntry {
        origin: NodeId::from_uuid(Uuid::from_u128(5)),
        seq: 1,
        id: id(77),
        hlc: Hlc::at_millis(1),
        kind: document.topic().code(),
        before: Chain::START,
        chain: Chain::START,
        document: String::from_utf8(document.canonical()).expect("JSON"),
    };
    let parked = Document::ParkedSale(cart(vec![line("tea", "2", "2.55")]));
    let mut plain = finished(1, 1);
    plain.parked = None;
    let cases = [
        (&parked, Some(id(77))),
        (&discard(), Some(id(1))),
        (&Document::Sale(finished(1, 1)), Some(id(1))),
        (&Document::Sale(plain), None),
    ];
    for (document, about) in cases {
        assert_eq!(parked_of(&entry(document)), about, "{document:?}");
    }
    let newer = |document: &Document, from: &str, to: &str| {
        let mut newer = entry(document);
        newer.document = newer.document.replace(from, to);
        assert!(serde_json::from_str::<Document>(&newer.document).is_err());
        newer
    };
    let tender = newer(&Document::Sale(finished(1, 1)), r#""cash""#, r#""shells""#);
    let clock = newer(&discard(), r#""at_ms":7"#, r#""at_ms":"noon""#);
    assert_eq!(parked_of(&tender), Some(id(1)));
    assert_eq!(parked_of(&clock), Some(id(1)));
}

#[test]
fn what_is_no_cart_and_a_refund_of_a_parked_sale_are_refused() {
    let parked = |lines| Document::ParkedSale(cart(lines)).check();
    assert_eq!(parked(vec![line("tea", "2", "2.55")]), Ok(()));
    let none = InvalidDocument::LineCount { found: 0 };
    assert_eq!(parked(Vec::new()), Err(none));
    let back = parked(vec![line("tea", "-2", "2.55")]);
    assert!(matches!(back, Err(InvalidDocument::QuantitySign { .. })));
    let mut refund = finished(1, 1);
    refund.total_minor = -510;
    refund.lines = vec![line("tea", "-2", "2.55")];
    refund.payments[0].amount_minor = -510;
    let refused = Document::Refund(refund).check();
    assert_eq!(refused, Err(InvalidDocument::RefundOfParked));
}

#[test]
fn the_canonical_forms_are_pinned() {
    let text = |document: &Document| String::from_utf8(document.canonical()).expect("JSON");
    let parked = Document::ParkedSale(cart(vec![line("tea", "2", "2.55")]));
    assert_eq!(
        text(&parked),
        r#"{"topic":"parked_sale","content":{"lane":1,"at_ms":5,"currency":"GBP","total_minor":510,"customer":null,"employee":"JO","note":null,"lines":[{"sku":"TEA","description":"","quantity":2000,"unit_price":2550,"amount_minor":510}]}}"#
    );
    assert_eq!(
        text(&discard()),
        r#"{"topic":"parked_discard","content":{"parked":"00000000-0000-0000-0000-000000000001","lane":3,"at_ms":7,"employee":null}}"#
    );
    let sale = text(&Document::Sale(finished(2, 4)));
    let finishes = r#""external_ref":null,"parked":{"id":"00000000-0000-0000-0000-000000000001","lane":2},"lines":"#;
    assert!(sale.contains(finishes), "{sale}");
}

#[test]
fn only_as_much_as_was_parked_at_a_price_has_that_price_without_being_asked() {
    let cart = [line("tea", "2", "2.55"), line("tea", "1", "2")];
    let check = |lines: &[Line], beyond_lines: usize| {
        assert_eq!(beyond(lines, &cart).len(), beyond_lines, "{lines:?}");
    };
    check(&cart, 0);
    check(&[line("tea", "1", "2.55"), line("tea", "1", "2.55")], 0);
    check(&[line("tea", "2", "2")], 1);
    check(&[line("tea", "1", "2"), line("tea", "1", "2")], 1);
    check(&[line("cup", "1", "2.55")], 1);
}

#[test]
fn a_parked_sale_is_stale_after_half_a_day_whichever_clock_is_ahead() {
    assert!(!is_stale(0, STALE_AFTER_MS - 1));
    assert!(is_stale(0, STALE_AFTER_MS));
    assert!(!is_stale(i64::MAX, i64::MIN) && is_stale(i64::MIN, i64::MAX));
}
