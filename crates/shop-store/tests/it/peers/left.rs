//! Edits of lanes that were met in trial, and left with it.

use super::judge::{set, shown};
use crate::stock::entries;
use crate::{NOW_MS, Till};
use counterfoil_domain::ShopId;
use counterfoil_domain::lineage::Point;
use counterfoil_shop_store::TrialShop;
use counterfoil_testkit::TempDir;
use serde_json::{Value, json};
use uuid::Uuid;

fn name(till: &mut Till) -> Option<Value> {
    let shown = shown(till, &("employees".to_owned(), "EVE".to_owned()));
    shown.and_then(|columns| columns.get("name").cloned())
}

#[test]
fn what_a_neighbour_in_trial_has_entered_holds_until_this_lane_is_activated_and_when_they_meet_again()
 {
    let mut till = Till::new("left-till");
    let mut neighbour = Till {
        dir: TempDir::new("left-neighbour"),
        store: None,
        seed: 70,
    };
    neighbour.open();
    set(
        &mut neighbour,
        ("employees", "EVE"),
        "name",
        json!("Eve"),
        NOW_MS,
    );
    let origin = neighbour.store().node();
    let node = till.store().node();
    assert_ne!(origin, node);
    let trial = TrialShop {
        node,
        shop: ShopId::from_uuid(Uuid::from_u128(9)),
        lane: 1,
        with: None,
        lanes: Vec::new(),
        revocations: 0,
    };
    till.store()
        .keep_trial_shop(&trial, NOW_MS)
        .expect("paired");
    let held = entries(&mut neighbour, origin, 0);
    let kept = till.store().keep_entries(origin, Point::START, &held);
    kept.expect("kept");
    assert_eq!(name(&mut till), Some(json!("Eve")));
    till.activate(7).expect("activated");
    for again in [false, true] {
        assert_eq!(name(&mut till), None, "opened again: {again}");
        till.open();
    }
    // Somebody of the shop brings it.
    let kept = till.store().keep_entries(origin, Point::START, &held);
    kept.expect("kept");
    assert_eq!(name(&mut till), Some(json!("Eve")));
}
