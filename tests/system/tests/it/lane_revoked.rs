//! Lanes that were revoked, and what a copy of their folder or an old backup of the hub is still good for: nothing.

use crate::lane_tls::{SOON, secured, wss};
use crate::process::{eventually, hub, node};
use crate::shop::{Lane, Shop, another_code, held, own, settings};
use crate::world::{copy, replace};

#[test]
fn the_copy_of_a_revoked_till_stays_out_when_the_till_is_taken_in_again() {
    let mut shop = Shop::new("tls-again");
    let [one, stolen] = shop.lanes("France");
    for data in [&one, &stolen] {
        settings(data, SOON);
    }
    let one = secured(&one, &[]);
    let till = secured(&stolen, &[&wss(&one)]);
    one.is_connected(1);
    let (id, data) = (till.id(), till.data.clone());
    till.daemon.kill();
    let thief = shop.dir.join("thief");
    copy(&data, &thief);
    hub(&shop.hub_data, &["node", "revoke", &id]).succeeds();
    let code = another_code(&shop.hub_data, "France");
    node(&data, &["activate", "--join", &code]).succeeds();
    let till = secured(&data, &[&wss(&one)]);
    till.sell();
    till.is_heard_by(&one);
    let journal = held(&one.data, &id);
    assert_eq!(journal, own(&data), "it takes part again");
    till.daemon.kill();
    one.is_connected(0);
    // Its certificate would hold for months, and nobody asks the hub.
    shop.internet_is_gone();
    let thief = Lane::start_at(&thief, "wss://127.0.0.1:0", &[&wss(&one)]);
    thief.sell();
    let stays_out = |one: &Lane| {
        eventually("it is refused and told so", || {
            one.has_logged("lane_refused", "the hub has revoked")
                && thief.has_logged("lane_refused", "the hub has revoked")
        });
        assert_eq!((one.connections(), thief.connections()), (0, 0));
        assert_eq!(held(&one.data, &id), journal);
    };
    stays_out(&one);
    // A restart forgets nothing.
    let (data, address) = (one.data.clone(), wss(&one));
    one.daemon.kill();
    let one = Lane::start_at(&data, &address, &[]);
    thief.sell();
    stays_out(&one);
}

#[test]
fn a_hub_that_was_restored_from_before_a_revocation_hears_of_it_from_the_lanes() {
    let mut shop = Shop::new("tls-restored");
    let [one, stolen] = shop.lanes("France");
    for data in [&one, &stolen] {
        settings(data, SOON);
    }
    let one = secured(&one, &[]);
    let stolen = secured(&stolen, &[&wss(&one)]);
    one.is_connected(1);
    let id = stolen.id();
    let backup = shop.dir.join("backup");
    shop.internet_is_gone();
    copy(&shop.hub_data, &backup);
    shop.internet_is_back();
    hub(&shop.hub_data, &["node", "revoke", &id]).succeeds();
    one.sell();
    eventually("it is put out", || {
        one.has_logged("lanes_revoked", &id) && one.connections() == 0
    });
    shop.internet_is_gone();
    replace(&shop.hub_data, &backup);
    shop.internet_is_back();
    stolen.sell();
    one.sell();
    eventually("the hub has heard of it", || {
        let rows = hub(&shop.hub_data, &["node", "list", "--json"]).json();
        let rows = rows.as_array().expect("rows").iter();
        let mut states = rows.map(|row| (row["node_id"].as_str(), row["state"].as_str()));
        states.any(|it| it == (Some(&id), Some("revoked")))
    });
    let alerts = hub(&shop.hub_data, &["alerts", "list", "--json"]).stdout;
    assert!(alerts.contains("revocation_forgotten"), "{alerts}");
    assert_eq!((one.connections(), stolen.connections()), (0, 0));
}
