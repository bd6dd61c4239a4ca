//! Closing a business day.

use crate::{NOW_MS, Till, sale};
use counterfoil_domain::NodeId;
use counterfoil_domain::closure::{Day, DayRule, SealKey};
use counterfoil_domain::document::{Document, Tender};
use counterfoil_migrate::{Connection, Durability};
use counterfoil_protocol::wire::closure::ClosedDay;
use counterfoil_shop_store::record::Entry;
use counterfoil_shop_store::{CloseDay, StoreError};

const DAY_MS: i64 = 86_400_000;

fn order(day: Option<Day>, now_ms: i64) -> CloseDay {
    CloseDay {
        day,
        rule: DayRule::default(),
        key: None,
        now_ms,
    }
}

fn day(number: i64) -> Day {
    DayRule::default().day_of(NOW_MS + number * DAY_MS)
}

fn close(till: &mut Till, number: i64) -> ClosedDay {
    let order = order(Some(day(number)), NOW_MS + number * DAY_MS);
    till.store().close_day(&order).expect("closed")
}

#[test]
fn a_closure_states_what_no_closure_before_it_covers() {
    let mut till = Till::new("closure");
    for _ in 0..3 {
        till.sell(None, NOW_MS);
    }
    let first = close(&mut till, 0);
    let closure = &first.closure;
    assert_eq!((closure.first_seq, closure.last_seq, first.seq), (1, 3, 4));
    assert_eq!(
        (closure.takings.sales, closure.takings.total_minor),
        (3, 3 * 510)
    );
    assert_eq!(closure.takings.tenders, [(Tender::Cash, 3 * 510)].into());
    let numbers = closure.takings.series["T1"];
    assert_eq!((numbers.first, numbers.last, numbers.count), (1, 3, 3));
    assert!(closure.trial && closure.seal.is_none());
    let book =
        Connection::open_existing(till.dir.join("book.db"), Durability::Full).expect("opens");
    let head: Vec<u8> = book
        .query_value("SELECT chain FROM journal WHERE seq = 3", ())
        .expect("a row");
    assert_eq!(closure.head.as_bytes().as_slice(), head);

    // A late sale of the same day, one of the next, and one that is dated a year ahead.
    till.sell(None, NOW_MS + 1);
    till.sell(None, NOW_MS + DAY_MS);
    till.sell(None, NOW_MS + 365 * DAY_MS);
    till.open();
    let second = close(&mut till, 1).closure;
    assert_eq!((second.first_seq, second.last_seq), (4, 7));
    assert_eq!((second.takings.sales, second.late, second.ahead), (2, 1, 1));
    let third = close(&mut till, 365).closure;
    assert_eq!((third.takings.sales, third.late, third.ahead), (1, 0, 0));
}

#[test]
fn a_closed_day_is_answered_with_its_closure_and_never_reopened() {
    let mut till = Till::new("closed-again");
    till.sell(None, NOW_MS);
    let first = close(&mut till, 0);
    till.sell(None, NOW_MS);
    let again = close(&mut till, 0);
    assert_eq!(
        (again.seq, &again.closure, again.repeated),
        (first.seq, &first.closure, true)
    );
    close(&mut till, 2);
    let passed = till
        .store()
        .close_day(&order(Some(day(1)), NOW_MS + 3 * DAY_MS));
    assert!(
        matches!(passed, Err(StoreError::DayPassed { .. })),
        "{passed:?}"
    );
    let ahead = till
        .store()
        .close_day(&order(Some(day(9)), NOW_MS + 3 * DAY_MS));
    assert!(
        matches!(ahead, Err(StoreError::DayAhead { .. })),
        "{ahead:?}"
    );
    assert_eq!(till.store().journal_seq(), 4, "nothing was recorded");
}

#[test]
fn days_that_were_forgotten_are_closed_with_the_next_one() {
    let mut till = Till::new("forgotten");
    for number in [0, 0, 1, 3] {
        till.sell(None, NOW_MS + number * DAY_MS);
    }
    let closed = close(&mut till, 4);
    let days: Vec<_> = closed
        .also_closed
        .iter()
        .map(|it| (it.day, it.takings.sales))
        .collect();
    assert_eq!(days, [(day(0), 2), (day(1), 1), (day(3), 1)]);
    assert_eq!(
        (closed.closure.day, closed.closure.takings.sales),
        (day(4), 0)
    );
    assert_eq!(closed.closure.first_seq, closed.also_closed[2].last_seq + 1);
    let again = close(&mut till, 1);
    assert!(again.repeated);
}

#[test]
fn a_day_closed_by_a_clock_that_was_ahead_keeps_no_other_day_from_being_closed() {
    let mut till = Till::new("clock-ahead");
    till.sell(None, NOW_MS);
    // For a while it says that it is ten days later.
    till.sell(None, NOW_MS + 10 * DAY_MS);
    assert_eq!(close(&mut till, 10).also_closed.len(), 1);
    let mut sales = 2;
    for number in 1..=12 {
        till.sell(None, NOW_MS + number * DAY_MS);
        // One that waits for its own day, so that more than the last closure decides what is covered.
        if number == 3 {
            till.sell(None, NOW_MS + 6 * DAY_MS);
        }
        let closed = close(&mut till, number);
        assert_eq!(closed.repeated, number == 10, "{number}");
        if number != 10 {
            sales += closed.closure.takings.sales;
        }
        assert_eq!(closed.also_closed, [], "{number}");
    }
    assert_eq!(sales, 15, "each sale stands in one closure");
    assert_eq!(till.store().totals().expect("totals").receipts, 15);
}

#[test]
fn a_day_is_sealed_with_the_key_of_the_present_identity_alone() {
    let mut till = Till::new("sealed");
    till.activate(5).expect("activated");
    till.sell(None, NOW_MS);
    let key = SealKey::of_token_hash(&[7; 32]);
    let stranger = NodeId::from_uuid(uuid::Uuid::from_u128(9));
    let mut order = order(Some(day(0)), NOW_MS);
    for wrong in [None, Some((stranger, key))] {
        order.key = wrong;
        let refused = till.store().close_day(&order);
        assert!(
            matches!(refused, Err(StoreError::SealOfAnother)),
            "{refused:?}"
        );
    }
    order.key = Some((till.store().node(), key));
    let closed = till.store().close_day(&order).expect("closed");
    assert!(key.verifies(&closed.closure) && !closed.closure.trial);
}

#[test]
fn a_bars_night_belongs_to_the_day_before() {
    let mut till = Till::new("bar");
    let rule = DayRule {
        utc_offset_minutes: 120,
        cutoff_minutes: 300,
    };
    // NOW_MS is 08:26 UTC; 02:59 UTC is 04:59 on the wall.
    let (evening, night) = (NOW_MS, rule.end_ms(rule.day_of(NOW_MS)) - 60_000);
    for at_ms in [evening, night] {
        let document = sale(till.store(), "1", at_ms);
        let now_ms = at_ms;
        let entry = Entry {
            id: None,
            document,
            now_ms,
        };
        till.store().record(entry).expect("recorded");
    }
    let order = CloseDay {
        rule,
        ..order(None, night)
    };
    let closed = till.store().close_day(&order).expect("closed").closure;
    assert_eq!(
        (closed.day, closed.takings.sales, closed.late),
        (rule.day_of(evening), 2, 0)
    );
    assert_eq!(closed.rule, rule);
}

#[test]
fn payments_by_tender_are_summed_apart() {
    let mut till = Till::new("tenders");
    let Document::Sale(mut receipt) = sale(till.store(), "2", NOW_MS) else {
        unreachable!("a sale")
    };
    let whole = receipt.payments[0].amount_minor;
    receipt.payments[0].amount_minor = 100;
    let mut rest = receipt.payments[0];
    (rest.tender, rest.amount_minor) = (Tender::Voucher, whole - 100);
    receipt.payments.push(rest);
    let entry = Entry {
        id: None,
        document: Document::Sale(receipt),
        now_ms: NOW_MS,
    };
    till.store().record(entry).expect("recorded");
    let takings = close(&mut till, 0).closure.takings;
    let tenders = [(Tender::Cash, 100), (Tender::Voucher, whole - 100)];
    assert_eq!(takings.tenders, tenders.into());
}
