//! Shops that ask for PINs, and a till at which nobody is signed in: what goes on all the same.

use crate::pins::{SESSION, Shop, ask, session, tea};
use crate::process::{eventually, hub, node, request};
use serde_json::{Value, json};

#[test]
fn a_till_of_a_shop_where_nobody_has_a_pin_sells_and_warns() {
    let (shop, _hub) = Shop::new("pins-missing");
    shop.ask_for_pins();
    let (data, till) = shop.till("till");
    let (status, _) = ask(&till, "/v1/sales", &[], &tea(None));
    assert_eq!(status, 401, "PINs are asked for");
    assert_eq!(till.get("/v1/status")["pins_missing"], false);
    for name in ["ANN", "BOB", "EVE"] {
        hub(
            &shop.hub_data,
            &["catalog", "set", "employees", name, "active=0"],
        )
        .succeeds();
    }
    eventually("nobody has one here either", || {
        till.post("/v1/sync", &Value::Null).expect("an answer");
        till.get("/v1/status")["pins_missing"] == true
    });
    for _ in 0..2 {
        let (status, answer) = ask(&till, "/v1/sales", &[], &tea(None));
        assert_eq!(status, 200, "{answer}");
    }
    let says = node(&data, &["status"]).stdout;
    assert!(says.contains("no active employee has one"), "{says}");
    let pin = json!({"pin": "8642", "by": "somebody"});
    let answer = request(
        &till.url,
        "PUT",
        "/v1/employees/ANN/pin",
        &[],
        pin.to_string().as_bytes(),
    );
    assert_eq!(answer.expect("an answer").0, 403);
    till.post("/v1/sync", &Value::Null).expect("an answer");
    eventually("the hub has it on record, once", || {
        let events = hub(&shop.hub_data, &["employees", "events", "--json"]).stdout;
        events.matches("unguarded").count() == 1
    });
}

#[test]
fn a_repeated_count_is_answered_though_nobody_is_signed_in_any_more() {
    let (shop, _hub) = Shop::new("pins-stock");
    shop.ask_for_pins();
    let (_, till) = shop.till("till");
    let token = session(&till, "ANN", "4711");
    let signed_in = [(SESSION, token.as_str())];
    let id = |last: u8| format!("0198c0de-0000-7000-8000-0000000000{last:02x}");
    let one = json!({"id": id(1), "sku": "TEA", "quantity": "5", "count": true});
    let moved = json!({"id": id(2), "sku": "TEA", "quantity": "-1"});
    let many = json!([moved, {"id": id(3), "sku": "TEA", "quantity": "2"}]);
    let bodies = [one, many];
    let first = bodies
        .each_ref()
        .map(|body| ask(&till, "/v1/stock", &signed_in, body));
    till.post("/v1/sign-out", &Value::Null).expect("an answer");
    let _ended = ask(&till, "/v1/sign-out", &signed_in, &Value::Null);
    for (body, (status, before)) in bodies.iter().zip(&first) {
        assert_eq!(*status, 200, "{before}");
        let (status, again) = ask(&till, "/v1/stock", &signed_in, body);
        assert_eq!(status, 200, "{again}");
        let seq = |it: &Value| it.get(0).unwrap_or(it)["seq"].clone();
        assert_eq!(seq(&again), seq(before));
    }
    let new = json!({"id": id(4), "sku": "TEA", "quantity": "1"});
    assert_eq!(ask(&till, "/v1/stock", &signed_in, &new).0, 401);
    let half = json!([moved, new]);
    assert_eq!(
        ask(&till, "/v1/stock", &signed_in, &half).0,
        401,
        "one is new"
    );
    let counted = json!({"id": id(2), "sku": "TEA", "quantity": "5", "count": true});
    assert_eq!(
        ask(&till, "/v1/stock", &signed_in, &counted).0,
        409,
        "another thing"
    );
}
