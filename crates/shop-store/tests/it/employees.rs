//! PINs, sessions and approvals at one till. The hash itself is checked elsewhere: here somebody says whether it fitted.

use crate::parked::{finishing, lines};
use crate::{NOW_MS, Till, sale};
use counterfoil_domain::employee::Permission;
use counterfoil_domain::parked::STALE_AFTER_MS;
use counterfoil_domain::{Document, DocumentId, password};
use counterfoil_migrate::{Connection, Durability};
use counterfoil_protocol::wire::parked::{DiscardRequest, ParkRequest};
use counterfoil_shop_store::employees::{
    APPROVAL_MS, Opened, PinFault, Purpose, SESSION_IDLE_MS, SESSION_MS,
};
use counterfoil_shop_store::record::Entry;
use counterfoil_shop_store::{EditOf, Presented, StoreError};
use counterfoil_testkit::SeededRandom;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) const MINUTE_MS: i64 = 60_000;

pub(crate) fn set(till: &mut Till, table: &str, row: &str, columns: &Value) {
    let columns = columns.as_object().expect("columns").clone();
    let columns: BTreeMap<String, Value> = columns.into_iter().collect();
    let set = till.store().catalog_set(table, row, &columns, NOW_MS);
    set.expect("set");
}

pub(crate) fn hash(pin: &str) -> String {
    password::hash(pin, &SeededRandom::new(pin.len() as u64)).expect("hashed")
}

/// A till of a shop that asks for PINs: Ann sells, Eve manages.
pub(crate) fn till(name: &str) -> Till {
    let mut till = Till::new(name);
    till.activate(5).expect("activated");
    set(&mut till, "products", "TEA", &json!({"price": "2.55"}));
    set(&mut till, "employees", "ANN", &json!({"name": "Ann"}));
    let all = json!({"name": "Eve", "permissions": "manage,refund,price_override"});
    set(&mut till, "employees", "EVE", &all);
    for (employee, pin) in [("ANN", "4711"), ("EVE", "900913")] {
        let set = till.store().set_pin(employee, Some(hash(pin)), NOW_MS);
        set.expect("set");
    }
    set(
        &mut till,
        "shop_settings",
        "pin_required",
        &json!({"value": "true"}),
    );
    till
}

/// A token by its digest.
pub(crate) fn token(number: u8) -> [u8; 32] {
    [number; 32]
}

pub(crate) fn session(number: u8) -> Presented {
    Presented {
        session: Some(token(number)),
        approval: None,
    }
}

pub(crate) fn attempt(
    till: &mut Till,
    (employee, purpose): (&str, Purpose),
    is_right: bool,
    (number, now_ms): (u8, i64),
) -> Result<Opened, StoreError> {
    let check = till.store().look_for_pin(employee, purpose, now_ms)?;
    till.store()
        .pin_checked(&check, is_right, token(number), now_ms)
}

pub(crate) fn sign_in(till: &mut Till, employee: &str, number: u8, now_ms: i64) {
    let opened = attempt(till, (employee, Purpose::SignIn), true, (number, now_ms));
    assert_eq!(opened.expect("signed in").employee.id, employee);
}

/// What became of a wrong or right PIN of Ann's.
pub(crate) fn tried(till: &mut Till, is_right: bool, now_ms: i64) -> Option<PinFault> {
    let number = u8::try_from(now_ms.rem_euclid(251)).expect("small");
    let opened = attempt(till, ("ANN", Purpose::SignIn), is_right, (number, now_ms));
    let refused = opened.err()?;
    let StoreError::Pin { fault, .. } = refused else {
        unreachable!("{refused}")
    };
    Some(fault)
}

pub(crate) fn sell(
    till: &mut Till,
    presented: Presented,
    now_ms: i64,
) -> Result<Document, StoreError> {
    let document = sale(till.store(), "1", now_ms);
    till.store().admit_document(presented, document, now_ms)
}

/// Outcome and number of tries that were not looked at, of each attempt in the book.
pub(crate) fn attempts(till: &mut Till) -> Vec<(String, i64)> {
    till.store = None;
    let conn =
        Connection::open_existing(till.dir.join("book.db"), Durability::Full).expect("opens");
    let sql = "SELECT outcome, unlooked FROM employee_event ORDER BY seq";
    let rows = conn.query_map(sql, (), |row| Ok((row.get(0)?, row.get(1)?)));
    let rows = rows.expect("rows");
    conn.close();
    till.open();
    rows
}

#[test]
fn however_a_name_is_written_it_is_the_same_employee_who_is_locked() {
    let mut till = till("pin-names");
    let mut number = 0;
    let mut try_as = |till: &mut Till, name: &str, is_right: bool| {
        number += 1;
        let opened = attempt(till, (name, Purpose::SignIn), is_right, (number, NOW_MS));
        opened.err()
    };
    for _ in 0..5 {
        assert!(try_as(&mut till, "ANN", false).is_some());
    }
    for name in [
        "ANN",
        " ANN ",
        &format!("ANN{}x", " ".repeat(300)),
        &format!("ANN{}x", "\t".repeat(300)),
    ] {
        let refused = try_as(&mut till, name, true);
        let is_locked = matches!(
            refused,
            Some(StoreError::Pin {
                fault: PinFault::Locked { .. },
                ..
            })
        );
        assert!(is_locked, "{name:?}: {refused:?}");
    }
}

#[test]
fn a_till_waits_longer_after_each_wrong_pin_over_restarts_and_a_clock_that_is_turned_back() {
    let mut till = till("pin-waits");
    for _ in 0..4 {
        let wrong = PinFault::Wrong { wait_ms: 0 };
        assert_eq!(tried(&mut till, false, NOW_MS), Some(wrong));
    }
    let fifth = PinFault::Wrong { wait_ms: 30_000 };
    assert_eq!(tried(&mut till, false, NOW_MS), Some(fifth));
    let locked = |wait_ms| Some(PinFault::Locked { wait_ms });
    // The right one is not looked at either; nobody gains by a restart, or by yesterday.
    assert_eq!(tried(&mut till, true, NOW_MS + 10_000), locked(20_000));
    till.open();
    let yesterday = NOW_MS - 24 * 60 * MINUTE_MS;
    assert_eq!(tried(&mut till, true, yesterday), locked(20_000));
    assert_eq!(tried(&mut till, true, yesterday + 19_999), locked(1));
    let sixth = PinFault::Wrong { wait_ms: 60_000 };
    assert_eq!(tried(&mut till, false, yesterday + 20_000), Some(sixth));
    assert_eq!(tried(&mut till, true, yesterday + 80_000), None);
    // The right one begins anew.
    let again = PinFault::Wrong { wait_ms: 0 };
    assert_eq!(tried(&mut till, false, yesterday + 80_000), Some(again));
    // Another PIN has not been guessed at.
    for _ in 0..4 {
        tried(&mut till, false, yesterday + 80_000);
    }
    assert_eq!(tried(&mut till, true, yesterday + 80_000), locked(30_000));
    let set = till.store().set_pin("ANN", Some(hash("08154")), yesterday);
    set.expect("set");
    assert_eq!(tried(&mut till, true, yesterday + 80_001), None);
    let outcomes = attempts(&mut till);
    let outcomes: Vec<_> = outcomes
        .iter()
        .map(|(outcome, unlooked)| (outcome.as_str(), *unlooked))
        .collect();
    let wrong = ("wrong_pin", 0);
    let expected = [
        wrong,
        wrong,
        wrong,
        wrong,
        wrong,
        ("locked", 0),
        // Three came too early, of which one has an entry.
        ("wrong_pin", 2),
        ("granted", 0),
        wrong,
        wrong,
        wrong,
        wrong,
        wrong,
        ("locked", 0),
        ("granted", 0),
    ];
    assert_eq!(outcomes, expected);
}

#[test]
fn nobody_and_who_has_no_pin_or_is_not_active_opens_nothing() {
    let mut till = till("pin-nobody");
    set(&mut till, "employees", "BOB", &json!({"name": "Bob"}));
    let with = |till: &mut Till, employee: &str, is_right: bool| {
        let of = (employee, Purpose::SignIn);
        attempt(till, of, is_right, (1, NOW_MS)).expect_err("refused")
    };
    // Whatever somebody claims to have found out: there is nothing to fit.
    let refused = with(&mut till, "MALLORY", true);
    assert!(matches!(
        refused,
        StoreError::Pin {
            fault: PinFault::Wrong { .. },
            ..
        }
    ));
    assert!(with(&mut till, "BOB", true).is_refusal());
    set(&mut till, "employees", "ANN", &json!({"active": 0}));
    assert!(with(&mut till, "ANN", true).is_refusal());
    let told: Vec<_> = attempts(&mut till).into_iter().map(|(it, _)| it).collect();
    assert_eq!(told, ["wrong_pin", "no_pin", "not_active"]);
}

#[test]
fn a_session_ends_idle_after_a_shift_with_its_pin_and_with_a_clock_far_back() {
    let mut till = till("pin-session");
    let refused = |till: &mut Till, number, now_ms| {
        let sold = sell(till, session(number), now_ms);
        assert!(matches!(sold, Err(StoreError::SignInRequired)), "{sold:?}");
    };
    refused(&mut till, 1, NOW_MS);
    sign_in(&mut till, "ANN", 1, NOW_MS);
    let sold = sell(&mut till, session(1), NOW_MS).expect("sold");
    assert!(matches!(sold, Document::Sale(receipt) if receipt.employee.as_deref() == Some("ANN")));
    // Each sale keeps it open, over a restart too, until the shift is over.
    let mut now_ms = NOW_MS;
    while now_ms + SESSION_IDLE_MS - 1 < NOW_MS + SESSION_MS {
        now_ms += SESSION_IDLE_MS - 1;
        sell(&mut till, session(1), now_ms).expect("sold");
        till.open();
    }
    refused(&mut till, 1, NOW_MS + SESSION_MS);
    sign_in(&mut till, "ANN", 2, now_ms);
    refused(&mut till, 2, now_ms + SESSION_IDLE_MS);
    sell(&mut till, session(2), now_ms - MINUTE_MS).expect("a time server corrected the clock");
    refused(&mut till, 2, now_ms - 3 * MINUTE_MS);
    sign_in(&mut till, "ANN", 3, now_ms);
    let other = till.store().set_pin("ANN", Some(hash("08154")), now_ms);
    other.expect("set");
    refused(&mut till, 3, now_ms);
    sign_in(&mut till, "ANN", 4, now_ms);
    assert!(till.store().sign_out(token(4)).expect("signed out"));
    refused(&mut till, 4, now_ms);
}

#[test]
fn an_approval_is_for_one_thing_once_and_soon() {
    let mut till = till("pin-approval");
    sign_in(&mut till, "ANN", 1, NOW_MS);
    let refund = |till: &mut Till, approval: Option<u8>, now_ms| {
        let Document::Sale(receipt) = sale(till.store(), "1", now_ms) else {
            panic!("a sale")
        };
        let presented = Presented {
            approval: approval.map(token),
            ..session(1)
        };
        let refund = Document::Refund(receipt);
        till.store().admit_document(presented, refund, now_ms)
    };
    let needed = refund(&mut till, None, NOW_MS).expect_err("refused");
    assert!(matches!(
        needed,
        StoreError::NotPermitted {
            permission: Permission::Refund,
            ..
        }
    ));
    let approve = |till: &mut Till, employee: &str, number| {
        let of = (employee, Purpose::Approve(Permission::Refund));
        attempt(till, of, true, (number, NOW_MS))
    };
    assert!(approve(&mut till, "ANN", 2).is_err(), "she may not herself");
    approve(&mut till, "EVE", 3).expect("approved");
    // It is no session, and too late it is nothing.
    assert!(sell(&mut till, session(3), NOW_MS).is_err());
    assert!(refund(&mut till, Some(3), NOW_MS + APPROVAL_MS).is_err());
    refund(&mut till, Some(3), NOW_MS + APPROVAL_MS - 1).expect("once");
    let again = refund(&mut till, Some(3), NOW_MS + APPROVAL_MS - 1);
    assert!(matches!(again, Err(StoreError::ApprovalEnded(_))));
}

/// Two of tea at a price, for whoever has the session.
fn park(till: &mut Till, price: &str, number: u8) -> Result<Document, StoreError> {
    let request = ParkRequest {
        id: None,
        lines: lines(&[("TEA", "2", Some(price))]),
        customer: None,
        employee: None,
        note: None,
    };
    let cart = till.store().draft_parked(&request, NOW_MS)?;
    till.store().admit_document(session(number), cart, NOW_MS)
}

fn record(till: &mut Till, document: Document) -> DocumentId {
    let entry = Entry {
        id: None,
        document,
        now_ms: NOW_MS,
    };
    till.store().record(entry).expect("recorded").id
}

#[test]
fn a_price_is_agreed_to_when_it_is_parked_and_again_when_that_is_long_ago_or_more_is_bought() {
    let mut till = till("pin-parked");
    sign_in(&mut till, "ANN", 1, NOW_MS);
    sign_in(&mut till, "EVE", 2, NOW_MS);
    let nobody = park(&mut till, "2.55", 9);
    assert!(matches!(nobody, Err(StoreError::SignInRequired)));
    assert!(park(&mut till, "2.55", 1).is_ok());
    let lower = park(&mut till, "2", 1);
    assert!(matches!(lower, Err(StoreError::NotPermitted { .. })));
    let document = park(&mut till, "2", 2).expect("Eve may");
    let Document::ParkedSale(cart) = &document else {
        panic!("a cart")
    };
    assert_eq!(cart.employee.as_deref(), Some("EVE"));
    let parked = record(&mut till, document);
    let finish = |till: &mut Till, of: &[(&str, &str, Option<&str>)], now_ms| {
        let request = finishing(parked, lines(of));
        let sale = till.store().draft_receipt(&request, false, now_ms)?;
        till.store().admit_document(session(1), sale, now_ms)
    };
    let stale_ms = NOW_MS + STALE_AFTER_MS;
    let Document::Sale(sale) = finish(&mut till, &[], NOW_MS).expect("Ann finishes it") else {
        panic!("a sale")
    };
    assert_eq!(sale.employee.as_deref(), Some("ANN"));
    for refused in [
        finish(&mut till, &[("TEA", "3", Some("2"))], NOW_MS),
        finish(&mut till, &[("TEA", "1", Some("1.99"))], NOW_MS),
    ] {
        assert!(
            matches!(refused, Err(StoreError::NotPermitted { .. })),
            "{refused:?}"
        );
    }
    // What is bought besides has the price of today.
    let more = finish(&mut till, &[("TEA", "3", None)], NOW_MS);
    assert!(more.is_ok(), "{more:?}");
    sign_in(&mut till, "ANN", 1, stale_ms);
    let late = finish(&mut till, &[], stale_ms);
    assert!(matches!(late, Err(StoreError::NotPermitted { .. })));
}

#[test]
fn a_parked_sale_is_discarded_under_the_name_of_who_signed_in() {
    let mut till = till("pin-discard");
    sign_in(&mut till, "ANN", 1, NOW_MS);
    let document = park(&mut till, "2.55", 1).expect("Ann may");
    let parked = record(&mut till, document);
    let employee = None;
    let discard = DiscardRequest {
        id: None,
        parked,
        employee,
    };
    let discard = till.store().draft_discard(&discard, NOW_MS);
    let discard = discard.expect("open");
    let nobody = till
        .store()
        .admit_document(session(9), discard.clone(), NOW_MS);
    assert!(matches!(nobody, Err(StoreError::SignInRequired)));
    let signed = till.store().admit_document(session(1), discard, NOW_MS);
    match signed {
        Ok(Document::ParkedDiscard(discard)) => {
            assert_eq!(discard.employee.as_deref(), Some("ANN"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_may_do_what_is_changed_by_those_who_manage_and_the_own_pin_by_everybody() {
    let mut till = till("pin-manage");
    sign_in(&mut till, "ANN", 1, NOW_MS);
    sign_in(&mut till, "EVE", 2, NOW_MS);
    let may = |till: &mut Till, number, table: &str, row: &str, columns: &[&str]| {
        let of = EditOf {
            table,
            row,
            columns,
            sets_pin: true,
        };
        till.store().admit_edit(session(number), of, NOW_MS).is_ok()
    };
    let cases: [(&str, &str, &[&str], bool); 8] = [
        ("employees", "ANN", &["pin"], true),
        ("employees", "EVE", &["pin"], false),
        ("employees", "ANN", &["permissions", "pin"], false),
        ("employees", "ANN", &["name"], false),
        ("shop_settings", "pin_required", &["value"], false),
        ("products", "TEA", &["price"], false),
        ("prices", "P1", &["product"], false),
        ("products", "TEA", &["name"], true),
    ];
    for (table, row, columns, expected) in cases {
        let found = may(&mut till, 1, table, row, columns);
        assert_eq!(found, expected, "{table} {row} {columns:?}");
        assert!(may(&mut till, 2, table, row, columns), "{table} {row}");
    }
}

#[test]
fn a_till_in_trial_asks_for_pins_only_when_somebody_can_switch_that_off() {
    let mut till = Till::new("pin-trial");
    let ask = BTreeMap::from([("value".to_owned(), json!("true"))]);
    let asked = |till: &mut Till| {
        let store = till.store();
        store.catalog_set("shop_settings", "pin_required", &ask, NOW_MS)
    };
    assert!(matches!(asked(&mut till), Err(StoreError::NobodyManages)));
    set(
        &mut till,
        "employees",
        "EVE",
        &json!({"permissions": "refund,manage"}),
    );
    assert!(matches!(asked(&mut till), Err(StoreError::NobodyManages)));
    let set = till.store().set_pin("EVE", Some(hash("900913")), NOW_MS);
    set.expect("set");
    asked(&mut till).expect("asked for");
    assert!(till.store().pins_required().expect("known"));
}

#[test]
fn the_drawer_is_opened_without_a_sale_by_name_and_once_under_one_id() {
    let mut till = till("pin-no-sale");
    set(
        &mut till,
        "employees",
        "ANN",
        &json!({"permissions": "no_sale"}),
    );
    sign_in(&mut till, "ANN", 1, NOW_MS);
    sign_in(&mut till, "EVE", 2, NOW_MS);
    let id = Some(DocumentId::from_uuid(uuid::Uuid::from_u128(
        0x0198_c0de << 96 | 7,
    )));
    let first = till
        .store()
        .no_sale(session(1), id, NOW_MS)
        .expect("opened");
    let again = till.store().no_sale(session(1), id, NOW_MS).expect("known");
    assert_eq!((first.seq, first.repeated), (again.seq, !again.repeated));
    let refused = till.store().no_sale(session(2), None, NOW_MS);
    assert!(matches!(refused, Err(StoreError::NotPermitted { .. })));
    assert_eq!(attempts(&mut till).len(), 3);
}

/// A shop that has another one's row, or none.
#[test]
fn a_shop_asks_for_pins_by_its_own_row_before_that_of_all() {
    let mut till = till("pin-own-row");
    let shop = uuid::Uuid::from_u128(5).to_string();
    let row = format!("pin_required/{shop}");
    set(
        &mut till,
        "shop_settings",
        &row,
        &json!({"value": "false", "shop": shop}),
    );
    assert!(!till.store().pins_required().expect("known"));
    let document = sale(till.store(), "1", NOW_MS);
    let entry = Entry {
        id: None,
        document: till
            .store()
            .admit_document(Presented::default(), document, NOW_MS)
            .expect("nobody is asked"),
        now_ms: NOW_MS,
    };
    till.store().record(entry).expect("recorded");
    set(&mut till, "shop_settings", &row, &json!({"deleted": 1}));
    assert!(till.store().pins_required().expect("known"));
}
