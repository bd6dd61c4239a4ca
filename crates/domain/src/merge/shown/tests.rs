use super::super::tests::{field, stamp, version};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const COLUMN: &str = "name";

/// One more edit: who makes it (0 is the hub), and which earlier versions it replaces.
type Step = (u8, Vec<prop::sample::Index>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        1..4_u8,
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    );
    prop::collection::vec(step, 1..8)
}

/// The versions that came about, oldest first, with the shop's clocks right: the first is the hub's.
fn written(steps: &[Step]) -> Vec<(Stamp, Version)> {
    let mut versions = vec![(stamp(1_000, 0), version("v0", 0, &[]))];
    for (index, (writer, bases)) in steps.iter().enumerate() {
        let bases: Vec<Stamp> = bases
            .iter()
            .map(|base| versions[base.index(versions.len())].0)
            .collect();
        let at = 2_000 + i64::try_from(index).expect("few") * 1_000;
        let mut next = version(&format!("v{}", index + 1), *writer, &bases);
        next.origin.shop = Some(ShopId::from_uuid(Uuid::from_u128(1)));
        versions.push((stamp(at, *writer), next));
    }
    versions
}

fn edit_of((stamp, version): &(Stamp, Version), is_merged: bool) -> LaneEdit {
    let named = |value| BTreeMap::from([(COLUMN.to_owned(), value)]);
    LaneEdit {
        stamp: *stamp,
        origin: Origin {
            edit: DocumentId::from_uuid(Uuid::from_u128(stamp.hlc.millis().unsigned_abs().into())),
            ..version.origin
        },
        edit: CatalogEdit {
            table: "products".to_owned(),
            row: "TEA".to_owned(),
            columns: named(version.value.clone()),
            base: BTreeMap::from([(COLUMN.to_owned(), version.base.iter().copied().collect())]),
            base_revision: 1,
            decision: None,
            at_ms: Some(stamp.hlc.millis()),
        },
        is_merged,
    }
}

/// What the hub publishes that has these versions.
fn published(versions: &[(Stamp, Version)], policy: Policy) -> Published {
    let field = field(versions);
    let decision = field.decide(&policy.into(), None).expect("versions");
    let value = field
        .version(&decision.current)
        .expect("there")
        .value
        .clone();
    Published {
        columns: BTreeMap::from([(COLUMN.to_owned(), (decision.current, value))]),
        revision: 1,
        modified: decision.place.time,
        creator: None,
    }
}

fn seen(published: Option<&Published>, edits: &[LaneEdit], policy: Policy) -> String {
    let settling = Settling {
        policy: &|_| policy,
        writer: &|writer| {
            (*writer != stamp(1_000, 0)).then(|| ShopId::from_uuid(Uuid::from_u128(1)))
        },
        owner: None,
    };
    shown(published, edits, &settling)[COLUMN].value.to_string()
}

proptest! {
    #[test]
    fn lanes_show_what_the_hub_will_publish_under_every_policy(steps in steps()) {
        let versions = written(&steps);
        for policy in Policy::ALL {
            let before = published(&versions[..1], policy);
            let edits: Vec<_> = versions[1..].iter().map(|it| edit_of(it, false)).collect();
            let (_, after) = published(&versions, policy).columns[COLUMN].clone();
            prop_assert_eq!(seen(Some(&before), &edits, policy), after.to_string());
            let turned: Vec<_> = edits.iter().rev().cloned().collect();
            prop_assert_eq!(seen(Some(&before), &turned, policy), after.to_string());
        }
    }

    #[test]
    fn whatever_the_hub_has_merged_of_them_the_latest_is_shown_that_it_will_publish(
        steps in steps(),
        merged in prop::collection::vec(any::<bool>(), 8),
    ) {
        let versions = written(&steps);
        let is_merged = |index: usize| index == 0 || merged[index];
        let taken = versions.iter().enumerate().filter(|(index, _)| is_merged(*index));
        let taken: Vec<_> = taken.map(|(_, it)| it.clone()).collect();
        let policy = Policy::LastWriterWins;
        let edits = versions.iter().enumerate().skip(1);
        let edits: Vec<_> = edits.map(|(index, it)| edit_of(it, is_merged(index))).collect();
        let (_, after) = published(&versions, policy).columns[COLUMN].clone();
        prop_assert_eq!(seen(Some(&published(&taken, policy)), &edits, policy), after.to_string());
    }
}

#[test]
fn what_the_hub_has_decided_about_does_not_come_back() {
    let base = (stamp(1_000, 0), version("tea", 0, &[]));
    let edit = (stamp(2_000, 1), version("chai", 1, &[base.0]));
    for policy in Policy::ALL {
        // It was put aside, taken back or lost: the catalog has what it had.
        let held = published(std::slice::from_ref(&base), policy);
        assert_eq!(seen(Some(&held), &[edit_of(&edit, true)], policy), "tea");
        assert_eq!(seen(Some(&held), &[edit_of(&edit, false)], policy), "chai");
    }
}

#[test]
fn an_edit_that_led_to_what_is_current_in_one_column_comes_back_in_no_other() {
    let base = (stamp(1_000, 0), version("100", 0, &[]));
    let first = (stamp(2_000, 1), version("200", 1, &[base.0]));
    let mut merged = edit_of(&first, true);
    merged
        .edit
        .columns
        .insert("other".to_owned(), Scalar::Text("old".to_owned()));
    let mut held = published(&[base, first], Policy::Manual);
    // The hub has changed the other column since.
    let other = (stamp(5_000, 0), Scalar::Text("new".to_owned()));
    held.columns.insert("other".to_owned(), other);
    held.modified = stamp(5_000, 0).hlc;
    let next = (stamp(6_000, 2), version("210", 2, &[stamp(2_000, 1)]));
    let settling = Settling {
        policy: &|_| Policy::Manual,
        writer: &|_| None,
        owner: None,
    };
    let shown = shown(Some(&held), &[merged, edit_of(&next, false)], &settling);
    assert_eq!(shown[COLUMN].value.to_string(), "210");
    assert_eq!(shown["other"].value.to_string(), "new");
}

#[test]
fn an_edit_that_the_hub_got_before_the_one_it_replaces_goes_on_replacing_it() {
    let base = (stamp(1_000, 0), version("100", 0, &[]));
    let first = (stamp(2_000, 1), version("200", 1, &[base.0]));
    let second = (stamp(3_000, 2), version("210", 2, &[first.0]));
    // Without the first it does not know what the second replaces.
    let held = published(&[base, second.clone()], Policy::Manual);
    assert_eq!(held.columns[COLUMN].1, Scalar::Text("100".to_owned()));
    let edits = [edit_of(&first, false), edit_of(&second, true)];
    assert_eq!(seen(Some(&held), &edits, Policy::Manual), "210");
}

#[test]
fn an_edit_over_a_newer_catalog_than_this_lane_has_replaces_what_is_here() {
    let old = (stamp(1_000, 0), version("100", 0, &[]));
    let held = published(&[old], Policy::Manual);
    let mut edit = edit_of(
        &(stamp(4_000, 1), version("300", 1, &[stamp(3_000, 7)])),
        false,
    );
    assert_eq!(
        seen(Some(&held), std::slice::from_ref(&edit), Policy::Manual),
        "100",
        "it may be an older one"
    );
    edit.edit.base_revision = 2;
    assert_eq!(seen(Some(&held), &[edit], Policy::Manual), "300");
}

#[test]
fn a_price_of_two_lanes_is_the_earlier_one_with_what_it_became() {
    let base = (stamp(1_000, 0), version("100", 0, &[]));
    let early = (stamp(2_000, 1), version("110", 1, &[base.0]));
    let late = (stamp(3_000, 2), version("120", 2, &[base.0]));
    let next = (stamp(4_000, 2), version("130", 2, &[early.0]));
    let held = published(&[base], Policy::Manual);
    let edits = [&late, &early, &next].map(|it| edit_of(it, false));
    assert_eq!(seen(Some(&held), &edits[..1], Policy::Manual), "120");
    assert_eq!(seen(Some(&held), &edits[..2], Policy::Manual), "110");
    assert_eq!(seen(Some(&held), &edits, Policy::Manual), "130");
}

#[test]
fn an_entry_under_two_names_counts_once_and_is_merged_with_either() {
    let base = (stamp(1_000, 0), version("tea", 0, &[]));
    let one = edit_of(&(stamp(2_000, 1), version("chai", 1, &[base.0])), false);
    let other = LaneEdit {
        stamp: stamp(2_000, 2),
        is_merged: true,
        ..one.clone()
    };
    let held = published(&[base], Policy::LastWriterWins);
    assert_eq!(
        seen(Some(&held), &[one, other], Policy::LastWriterWins),
        "tea"
    );
}

#[test]
fn an_edit_of_a_row_that_holds_for_another_shop_is_not_shown() {
    let shop = |number| ShopId::from_uuid(Uuid::from_u128(number));
    let (claim, made) = (stamp(1_000, 7), stamp(1_500, 7));
    for (owner, expected) in [(2, "theirs"), (1, "ours")] {
        let text = |text: String| Scalar::Text(text);
        let held = Published {
            columns: BTreeMap::from([
                ("shop".to_owned(), (claim, text(shop(owner).to_string()))),
                (COLUMN.to_owned(), (made, text("theirs".to_owned()))),
            ]),
            revision: 1,
            modified: made.hlc,
            creator: Some(shop(owner)),
        };
        let mut ours = version("ours", 1, &[made]);
        ours.origin.shop = Some(shop(1));
        let edit = edit_of(&(stamp(2_000, 1), ours), false);
        for policy in Policy::ALL {
            let settling = Settling {
                policy: &|_| policy,
                writer: &|_| Some(shop(owner)),
                owner: Some("shop"),
            };
            let shown = shown(Some(&held), std::slice::from_ref(&edit), &settling);
            assert_eq!(shown[COLUMN].value.to_string(), expected, "{policy:?}");
        }
    }
}
