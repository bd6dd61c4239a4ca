//! What is told of PINs, what an approval is worth, and a till on which nobody has one.

use crate::employees::{
    MINUTE_MS, attempt, attempts, hash, sell, session, set, sign_in, till, token, tried,
};
use crate::{NOW_MS, Till, sale};
use counterfoil_domain::Document;
use counterfoil_domain::employee::Permission;
use counterfoil_shop_store::employees::Purpose;
use counterfoil_shop_store::record::Entry;
use counterfoil_shop_store::{EditOf, Presented, StoreError, sets_pin};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Names that nobody has, each tried like a PIN that is guessed at.
#[test]
fn names_that_nobody_has_fill_no_journal_and_the_tries_are_counted() {
    let mut till = till("pin-made-up");
    let before = attempts(&mut till).len();
    let mut tries = 0;
    for name in 0..30 {
        for _ in 0..6 {
            let of = (format!("MALLORY{name}"), Purpose::SignIn);
            attempt(&mut till, (&of.0, of.1), false, (9, NOW_MS)).expect_err("refused");
            tries += 1;
        }
    }
    let told = attempts(&mut till);
    assert!(told.len() - before <= 5, "{} entries", told.len());
    // Whoever is there is tried as before, and who comes later finds what was not told.
    assert_eq!(tried(&mut till, true, NOW_MS), None);
    let later = NOW_MS + 60 * MINUTE_MS;
    let of = ("SOMEBODY", Purpose::SignIn);
    attempt(&mut till, of, false, (9, later)).expect_err("refused");
    let told = attempts(&mut till);
    let of_nobody = told.iter().filter(|(outcome, _)| outcome != "granted");
    let all: i64 = of_nobody.map(|(_, unlooked)| 1 + unlooked).sum();
    assert_eq!(all, tries + 1);
}

#[test]
fn an_answer_does_not_tell_who_is_there_and_who_has_a_pin() {
    let mut till = till("pin-same");
    set(&mut till, "employees", "BOB", &json!({"name": "Bob"}));
    set(&mut till, "employees", "JOE", &json!({"name": "Joe"}));
    let with_pin = till.store().set_pin("JOE", Some(hash("8642")), NOW_MS);
    with_pin.expect("set");
    set(&mut till, "employees", "JOE", &json!({"active": 0}));
    let answers = |till: &mut Till, name: &str| -> Vec<String> {
        let tries = (0..8).map(|number| {
            let of = (name, Purpose::SignIn);
            let refused = attempt(till, of, false, (number, NOW_MS));
            refused.expect_err("refused").to_string()
        });
        tries.collect()
    };
    let wrong = answers(&mut till, "ANN");
    for name in ["MALLORY", "BOB", "JOE"] {
        assert_eq!(answers(&mut till, name), wrong, "{name}");
    }
}

/// What changes, and how.
type Change = (&'static str, fn(&mut Till));

#[test]
fn an_approval_ends_with_what_its_approver_may() {
    let mut till = till("pin-approver");
    sign_in(&mut till, "ANN", 1, NOW_MS);
    let changes: [Change; 3] = [
        ("PIN", |till| {
            let set = till.store().set_pin("EVE", Some(hash("135792")), NOW_MS);
            set.expect("set");
        }),
        ("permissions", |till| {
            set(till, "employees", "EVE", &json!({"permissions": "manage"}));
        }),
        ("active", |till| {
            set(till, "employees", "EVE", &json!({"active": 0}));
        }),
    ];
    for (number, (what, change)) in (10..).zip(changes) {
        let all = json!({"permissions": "manage,refund", "active": 1});
        set(&mut till, "employees", "EVE", &all);
        let of = ("EVE", Purpose::Approve(Permission::Refund));
        attempt(&mut till, of, true, (number, NOW_MS)).expect("approved");
        change(&mut till);
        let Document::Sale(receipt) = sale(till.store(), "1", NOW_MS) else {
            panic!("a sale")
        };
        let presented = Presented {
            approval: Some(token(number)),
            ..session(1)
        };
        let refund = Document::Refund(receipt);
        let late = till.store().admit_document(presented, refund, NOW_MS);
        assert!(matches!(late, Err(StoreError::ApprovalEnded(_))), "{what}");
    }
}

#[test]
fn the_own_pin_is_changed_by_everybody_and_taken_away_by_those_who_manage() {
    let mut till = till("pin-taken-away");
    sign_in(&mut till, "ANN", 1, NOW_MS);
    let changes = [
        (json!({"pin": hash("8642")}), true),
        (json!({"pin": ""}), false),
        (json!({"pin": "8642"}), false),
        (json!({"pin": null}), false),
    ];
    for (columns, expected) in changes {
        let columns: BTreeMap<String, Value> = serde_json::from_value(columns).expect("columns");
        let edit = EditOf {
            table: "employees",
            row: "ANN",
            columns: &["pin"],
            sets_pin: sets_pin(&columns),
        };
        let admitted = till.store().admit_edit(session(1), edit, NOW_MS);
        assert_eq!(admitted.is_ok(), expected, "{columns:?}");
    }
}

#[test]
fn a_till_on_which_nobody_has_a_pin_sells_and_says_so_once() {
    let mut till = till("pin-nobody-has-one");
    let record = |till: &mut Till| {
        let document = sell(till, Presented::default(), NOW_MS)?;
        let entry = Entry {
            id: None,
            document,
            now_ms: NOW_MS,
        };
        till.store().record(entry)
    };
    assert!(record(&mut till).is_err(), "PINs are asked for");
    let edit = EditOf {
        table: "employees",
        row: "ANN",
        columns: &["permissions"],
        sets_pin: false,
    };
    for round in 1..=2 {
        till.store()
            .set_pin("ANN", None, NOW_MS)
            .expect("taken away");
        set(&mut till, "employees", "EVE", &json!({"active": 0}));
        for _ in 0..3 {
            record(&mut till).expect("a shop sells");
        }
        let managed = till.store().admit_edit(Presented::default(), edit, NOW_MS);
        assert!(managed.is_err(), "the hub helps, nobody himself");
        let told = attempts(&mut till);
        assert_eq!(told.len(), 2 * round - 1, "{told:?}");
        set(&mut till, "employees", "EVE", &json!({"active": 1}));
        assert!(record(&mut till).is_err(), "PINs are asked for");
        sign_in(&mut till, "EVE", 1, NOW_MS);
        record_signed_in(&mut till);
        till.store().sign_out(token(1)).expect("signed out");
    }
}

fn record_signed_in(till: &mut Till) -> i64 {
    let document = sell(till, session(1), NOW_MS).expect("signed in");
    let entry = Entry {
        id: None,
        document,
        now_ms: NOW_MS,
    };
    till.store().record(entry).expect("recorded").seq
}
