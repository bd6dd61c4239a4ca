//! Parked sales of which something is damaged here.

use super::{carry_out, discard, finish, ids, operation, park, some, why};
use crate::stock::{bring, lane};
use serde_json::json;

#[test]
fn a_parked_sale_that_is_damaged_holds_up_no_other() {
    let mut till = lane("parked-damaged", 1);
    let (first, second) = (park(&mut till, 1), park(&mut till, 2));
    assert_eq!(ids(&mut till), [first, second]);
    till.elsewhere("book.db", "UPDATE journal SET payload = '{' WHERE seq = 1");
    assert_eq!(ids(&mut till), [second]);
    let operations = [(3, first), (4, second)].map(|(number, parked)| {
        operation(number, "sale", &json!({"tender": "cash", "parked": parked}))
    });
    let carried = carry_out(&mut till, &operations).expect("no reason to fail");
    let text = why(carried.into_iter().next().expect("the first").map(some));
    assert!(text.contains("damaged"), "{text}");
    assert_eq!(ids(&mut till), []);
    why(finish(&mut till, second));
    why(discard(&mut till, first));
}

#[test]
fn a_damaged_id_hides_no_other_parked_sale() {
    let mut till = lane("parked-damaged-id", 1);
    let (_, second) = (park(&mut till, 1), park(&mut till, 2));
    till.elsewhere("book.db", "UPDATE journal SET id = x'01' WHERE seq = 1");
    assert_eq!(ids(&mut till), [second]);
    finish(&mut till, second).expect("sound");
}

#[test]
fn what_no_reader_understands_hides_no_other_parked_sale() {
    let damages = ["id = x'00'", "CAST(x'ff' AS TEXT)"];
    for (number, damage) in damages.into_iter().enumerate() {
        let (mut one, mut other) = (lane("parked-broken", 1), lane("parked-broken-too", 5));
        let (first, second) = (park(&mut one, 1), park(&mut one, 2));
        bring(&mut one, &mut other);
        let (own, theirs) = match number {
            0 => (damage.to_owned(), damage.to_owned()),
            _ => (
                format!("payload = {damage}"),
                format!("document = {damage}"),
            ),
        };
        one.elsewhere(
            "book.db",
            &format!("UPDATE journal SET {own} WHERE seq = 1"),
        );
        let sql = format!("UPDATE peer_entry SET {theirs} WHERE seq = 1");
        other.elsewhere("local.db", &sql);
        for till in [&mut one, &mut other] {
            assert_eq!(ids(till), [second], "{damage}");
            assert!(finish(till, first).is_err(), "{damage}");
        }
        finish(&mut one, second).expect("sound");
    }
}

#[test]
fn what_ended_a_parked_sale_ends_it_also_where_it_cannot_be_read() {
    let (mut one, mut other) = (lane("parked-unread", 1), lane("parked-reads-not", 5));
    let (first, second) = (park(&mut one, 1), park(&mut one, 2));
    finish(&mut one, first).expect("open");
    discard(&mut one, second).expect("open");
    bring(&mut one, &mut other);
    assert_eq!((ids(&mut one), ids(&mut other)), (vec![], vec![]));
    // A newer lane wrote what this one does not know.
    let sql =
        "UPDATE peer_entry SET document = replace(replace(document, '\"cash\"', '\"shells\"'),
                   '\"lane\":', '\"lane\":\"b\",\"was\":') WHERE kind IN (1, 13)";
    other.elsewhere("local.db", sql);
    one.elsewhere("book.db", "UPDATE journal SET payload = '{' WHERE seq > 2");
    for till in [&mut one, &mut other] {
        assert_eq!(ids(till), []);
        for parked in [first, second] {
            let text = why(finish(till, parked));
            assert!(text.contains("newer program"), "{text}");
            why(discard(till, parked));
        }
    }
}
