use crate::merge::tests::{current, field, stamp, version};
use crate::merge::{Field, Origin, Policy, Stamp, Version};

/// What stands under `manual` and what lost to it, whatever arrived first.
fn stands(versions: &[(Stamp, Version)]) -> (String, Vec<Stamp>) {
    let decided = |field: &Field| field.decide(&Policy::Manual.into(), None).expect("decided");
    let there = field(versions);
    let decision = decided(&there);
    let mut other_way: Vec<_> = versions.to_vec();
    other_way.reverse();
    assert_eq!(decided(&field(&other_way)), decision);
    (current(&there, Policy::Manual), decision.losers)
}

fn imported(version: Version) -> Version {
    let origin = Origin {
        imported: true,
        ..version.origin
    };
    Version { origin, ..version }
}

#[test]
fn an_import_of_old_data_takes_the_place_of_nothing_that_somebody_typed() {
    let (old, older, typed) = (stamp(10, 1), stamp(5, 4), stamp(70, 2));
    let mut all = vec![
        (older, imported(version("8.50", 4, &[]))),
        (old, imported(version("9.00", 1, &[]))),
        (typed, version("12.00", 2, &[])),
    ];
    assert_eq!(stands(&all), ("12.00".to_owned(), vec![older, old]));
    // Who goes on from a file's value has typed too, and earlier.
    let edit = stamp(60, 3);
    all.push((edit, version("9.90", 3, &[older])));
    assert_eq!(stands(&all), ("9.90".to_owned(), vec![old, typed]));
    let files = &all[..2];
    assert_eq!(stands(files), ("8.50".to_owned(), vec![old]));
}

#[test]
fn an_edit_of_what_a_file_brought_stays_visible_when_a_later_edit_of_before_arrives() {
    let (typed, file, edit, away) = (stamp(1, 1), stamp(10, 2), stamp(20, 3), stamp(30, 4));
    let all = [
        (typed, version("tea", 1, &[])),
        (file, imported(version("TEA", 2, &[typed]))),
        (edit, version("Tea", 3, &[file])),
        (away, version("teas", 4, &[typed])),
    ];
    assert_eq!(stands(&all), ("Tea".to_owned(), vec![away]));
}

#[test]
fn what_the_hub_set_stands_when_an_older_edit_of_a_shop_arrives_late() {
    let (seen, away, hub, next) = (stamp(1, 1), stamp(10, 2), stamp(20, 0), stamp(30, 3));
    let all = [
        (seen, version("10.00", 1, &[])),
        (away, version("11.00", 2, &[seen])),
        (hub, version("12.00", 0, &[seen])),
        (next, version("12.50", 3, &[hub])),
    ];
    assert_eq!(stands(&all[..3]), ("12.00".to_owned(), vec![away]));
    assert_eq!(stands(&all), ("12.50".to_owned(), vec![away]));
}

#[test]
fn a_clock_that_lost_its_time_makes_no_edit_the_first() {
    let hour = 1_700_000_000_000;
    let (lost, right) = (stamp(1_000, 1), stamp(hour, 2));
    let all = [
        (lost, version("1.00", 1, &[])),
        (right, version("12.00", 2, &[])),
    ];
    assert_eq!(stands(&all), ("12.00".to_owned(), vec![lost]));
}
