//! Employees and PINs between lanes, without the hub.

use crate::pins::{sign_in, typed};
use crate::process::{HUB, NODE, eventually, hub, node};
use crate::shop::{Lane, Shop, held, own};
use crate::world::settle;

#[test]
fn without_the_hub_a_pin_that_is_changed_at_one_lane_opens_the_other_and_who_is_shut_out_there_is_out_here()
 {
    let mut shop = Shop::new("pins-lanes");
    let set = |row: [&str; 2], columns: &[&str]| {
        let arguments = [&["catalog", "set"][..], &row, columns].concat();
        hub(&shop.hub_data, &arguments).succeeds();
    };
    set(["employees", "BOB"], &["name=Bob"]);
    set(["employees", "EVE"], &["name=Eve", "permissions=manage"]);
    for (employee, pin) in [("BOB", "0815"), ("EVE", "900913")] {
        typed(HUB, &shop.hub_data, &["employees", "pin", employee], pin).succeeds();
    }
    set(["shop_settings", "pin_required"], &["value=true"]);
    let [one, other] = shop.lanes("France");
    settle(&one);
    settle(&other);
    shop.internet_is_gone();
    let other = Lane::start(&other, &[]);
    let one = Lane::start(&one, &[&other.url]);
    one.is_connected(1);
    let heard = || held(&other.data, &one.id()) == own(&one.data);
    let opens = |pin: &str| sign_in(&other.daemon, "BOB", pin).0 == 200;
    assert!(opens("0815"));
    typed(NODE, &one.data, &["sign-in", "BOB"], "0815").succeeds();
    typed(NODE, &one.data, &["employee", "pin", "BOB"], "2580").succeeds();
    eventually("the other lane has the PIN", heard);
    assert!(opens("2580") && !opens("0815"));
    typed(NODE, &one.data, &["sign-in", "EVE"], "900913").succeeds();
    node(
        &one.data,
        &["catalog", "set", "employees", "BOB", "active=0"],
    )
    .succeeds();
    eventually("the other lane has heard that he is out", heard);
    assert!(!opens("2580"));
    // The hub, which comes back, says nothing else.
    shop.internet_is_back();
    for lane in [&one, &other] {
        settle(&lane.data);
    }
    settle(&other.data);
    assert!(!opens("2580"));
    typed(NODE, &one.data, &["sign-in", "EVE"], "900913").succeeds();
    node(
        &one.data,
        &["catalog", "set", "employees", "BOB", "active=1"],
    )
    .succeeds();
    eventually("he is in again", || heard() && opens("2580"));
}
