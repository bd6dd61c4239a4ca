use super::*;
use proptest::prelude::*;
use uuid::Uuid;

const POLICIES: [Policy; 4] = Policy::ALL;

fn node(number: u8) -> NodeId {
    NodeId::from_uuid(Uuid::from_u128(u128::from(number)))
}

pub(super) fn stamp(ms: i64, writer: u8) -> Stamp {
    Stamp::new(Hlc::at_millis(ms), node(writer))
}

/// A version written by node `writer` (0 is the hub) that replaces `base`.
pub(super) fn version(value: &str, writer: u8, base: &[Stamp]) -> Version {
    Version {
        value: Scalar::Text(value.to_owned()),
        base: base.iter().copied().collect(),
        corrected: Hlc::ZERO,
        origin: Origin {
            edit: DocumentId::from_uuid(Uuid::from_u128(u128::from(writer))),
            node: node(writer),
            shop: (writer != 0).then(|| ShopId::from_uuid(Uuid::from_u128(u128::from(writer)))),
            imported: false,
        },
    }
}

pub(super) fn field(versions: &[(Stamp, Version)]) -> Field {
    let mut field = Field::default();
    for (stamp, version) in versions {
        insert(&mut field, *stamp, version.clone());
    }
    field
}

/// Unless a test says when a version was written, the clock of its writer is right.
fn insert(field: &mut Field, stamp: Stamp, version: Version) {
    let corrected = match version.corrected {
        Hlc::ZERO => stamp.hlc,
        said => said,
    };
    let version = Version {
        corrected,
        ..version
    };
    field.insert(stamp, version);
}

pub(super) fn current(field: &Field, policy: Policy) -> String {
    let decision = field
        .decide(&policy.into(), None)
        .expect("a field with versions");
    field
        .version(&decision.current)
        .expect("the current version")
        .value
        .to_string()
}

#[test]
fn an_edit_that_saw_the_value_replaces_it_under_every_policy() {
    let (first, second) = (stamp(10, 1), stamp(20, 2));
    let field = field(&[
        (first, version("tea", 1, &[])),
        (second, version("chai", 2, &[first])),
    ]);
    for policy in POLICIES {
        assert_eq!(current(&field, policy), "chai");
        assert_eq!(
            field.decide(&policy.into(), None).expect("decided").losers,
            []
        );
    }
}

#[test]
fn concurrent_edits_are_settled_by_the_policy_and_the_loser_is_kept() {
    let (base, early, late) = (stamp(1, 3), stamp(10, 0), stamp(20, 2));
    let field = field(&[
        (base, version("tea", 3, &[])),
        (early, version("hub tea", 0, &[base])),
        (late, version("shop tea", 2, &[base])),
    ]);
    let check = |policy, winner: &str, loser: Stamp| {
        assert_eq!(current(&field, policy), winner);
        assert_eq!(
            field.decide(&policy.into(), None).expect("decided").losers,
            [loser]
        );
    };
    check(Policy::LastWriterWins, "shop tea", early);
    check(Policy::HubWins, "hub tea", late);
    check(Policy::Manual, "hub tea", late);
}

#[test]
fn choosing_one_side_settles_a_manual_conflict() {
    let (left, right, choice) = (stamp(10, 1), stamp(20, 2), stamp(30, 0));
    let field = field(&[
        (left, version("a", 1, &[])),
        (right, version("b", 2, &[])),
        (choice, version("b", 0, &[left, right])),
    ]);
    let decision = field.decide(&Policy::Manual.into(), None).expect("decided");
    assert_eq!((decision.current, decision.losers), (choice, Vec::new()));
}

#[test]
fn an_edit_of_the_visible_value_stays_visible_until_a_person_chooses() {
    let (left, right, next) = (stamp(10, 1), stamp(20, 2), stamp(30, 3));
    let mut field = field(&[
        (left, version("100", 1, &[])),
        (right, version("200", 2, &[])),
        (next, version("150", 3, &[left])),
    ]);
    assert_eq!(current(&field, Policy::Manual), "150");
    assert_eq!(
        field
            .decide(&Policy::Manual.into(), None)
            .expect("decided")
            .losers,
        [right]
    );
    // One more edit of the same value from the same screen, and a successor of the first.
    insert(&mut field, stamp(40, 2), version("175", 2, &[left]));
    insert(&mut field, stamp(50, 1), version("160", 1, &[next]));
    assert_eq!(current(&field, Policy::Manual), "160");
}

#[test]
fn what_a_person_chose_stays_when_an_older_edit_arrives_late() {
    let (left, right, choice) = (stamp(10, 1), stamp(20, 2), stamp(30, 0));
    let chosen = [
        (left, version("a", 1, &[])),
        (right, version("b", 2, &[])),
        (choice, version("c", 0, &[left, right])),
    ];
    for late in [
        (stamp(5, 3), version("older", 3, &[])),
        (stamp(15, 3), version("beside", 3, &[left])),
    ] {
        let mut field = field(&chosen);
        insert(&mut field, late.0, late.1);
        let decision = field.decide(&Policy::Manual.into(), None).expect("decided");
        assert_eq!((decision.current, decision.losers), (choice, vec![late.0]));
    }
}

#[test]
fn a_choice_of_a_value_from_under_another_policy_stays_when_an_older_edit_arrives_late() {
    let (lost, won, choice) = (stamp(10, 1), stamp(20, 2), stamp(60, 0));
    let mut field = field(&[
        (lost, version("a", 1, &[])),
        (won, version("b", 2, &[])),
        (choice, version("a", 0, &[lost, won])),
    ]);
    let mut policies = Timeline::always(Policy::LastWriterWins);
    policies.change(stamp(50, 0), Policy::Manual);
    insert(&mut field, stamp(55, 3), version("late", 3, &[won]));
    let decision = field.decide(&policies, None).expect("decided");
    assert_eq!(
        (decision.current, decision.losers),
        (choice, vec![stamp(55, 3)])
    );
}

#[test]
fn two_tills_that_typed_the_same_agree() {
    let (left, right, next) = (stamp(10, 1), stamp(20, 2), stamp(30, 3));
    let mut field = field(&[
        (left, version("tea", 1, &[])),
        (right, version("tea", 2, &[])),
    ]);
    assert_eq!(
        field
            .decide(&Policy::Manual.into(), None)
            .expect("decided")
            .losers,
        []
    );
    insert(&mut field, next, version("chai", 3, &[right]));
    let decision = field.decide(&Policy::Manual.into(), None).expect("decided");
    assert_eq!((decision.current, decision.losers), (next, Vec::new()));
}

#[test]
fn the_shop_whose_own_row_it_is_wins_over_other_shops_and_the_hub() {
    let (own, other, hub) = (stamp(10, 1), stamp(20, 2), stamp(30, 0));
    let field = field(&[
        (own, version("ours", 1, &[])),
        (other, version("theirs", 2, &[])),
        (hub, version("head office's", 0, &[])),
    ]);
    let owner = ShopId::from_uuid(Uuid::from_u128(1));
    let decide = |owner| {
        field
            .decide(&Policy::ShopWins.into(), owner)
            .expect("decided")
    };
    assert_eq!(decide(Some(owner)).current, own);
    assert_eq!(decide(Some(owner)).losers, [other, hub]);
    // Nobody's own row: the latest.
    assert_eq!(decide(None).current, hub);
    assert_eq!(creator([&field]), Some(owner));
}

#[test]
fn a_change_of_policy_brings_back_nothing_that_had_lost() {
    let (early, late, next) = (stamp(10, 1), stamp(20, 2), stamp(60, 2));
    let mut field = field(&[
        (early, version("tea", 1, &[])),
        (late, version("chai", 2, &[])),
    ]);
    let mut policies = Timeline::always(Policy::LastWriterWins);
    policies.change(stamp(50, 0), Policy::Manual);
    let decide = |field: &Field| field.decide(&policies, None).expect("decided");
    assert_eq!(decide(&field).current, late);
    // Whoever edits what is visible sees that edit, under the new policy as well.
    insert(&mut field, next, version("chai, loose", 2, &[late]));
    let decision = decide(&field);
    assert_eq!((decision.current, &decision.losers), (next, &vec![early]));
    assert_eq!(decision.lost_by(&early), Some(Policy::LastWriterWins));
    // What nobody could know of is a question now.
    insert(&mut field, stamp(70, 3), version("leaves", 3, &[]));
    let decision = decide(&field);
    assert_eq!(decision.current, next);
    assert_eq!(decision.lost_by(&stamp(70, 3)), Some(Policy::Manual));
}

#[test]
fn a_rehearsal_decides_as_if_the_policy_had_held() {
    let (early, late) = (stamp(10, 0), stamp(20, 2));
    let field = field(&[
        (early, version("hub", 0, &[])),
        (late, version("shop", 2, &[])),
    ]);
    let mut policies = Timeline::always(Policy::LastWriterWins);
    policies.change(stamp(50, 0), Policy::Manual);
    let rehearsed = policies.as_if(stamp(5, 0), Policy::HubWins);
    assert_eq!(rehearsed.now(), Policy::HubWins);
    assert_eq!(
        field.decide(&rehearsed, None).expect("decided").current,
        early
    );
    let later = policies.as_if(stamp(30, 0), Policy::HubWins);
    assert_eq!(field.decide(&later, None).expect("decided").current, late);
}

#[test]
fn a_stamp_has_no_sign() {
    for text in ["-a.00000008", "+a.00000008", "a.+0000008", "a.-0000008"] {
        assert!(text.parse::<Stamp>().is_err(), "{text}");
    }
}

#[test]
fn a_stamp_round_trips_as_text() {
    let stamp = stamp(1_291_192_000_000, 200);
    assert_eq!(stamp.to_string().parse::<Stamp>().expect("a stamp"), stamp);
    assert!("12".parse::<Stamp>().is_err());
}

/// Histories as they can happen: each edit replaces some of the versions made before it.
fn histories() -> impl Strategy<Value = Vec<(Stamp, Version)>> {
    let edit = (
        0..4_u8,
        0..5_u8,
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    );
    prop::collection::vec(edit, 1..12).prop_map(|edits| {
        let mut made: Vec<(Stamp, Version)> = Vec::new();
        for (position, (writer, value, bases)) in edits.into_iter().enumerate() {
            let at = stamp(i64::try_from(position).expect("small"), writer);
            let bases: Vec<Stamp> = match made.len() {
                0 => Vec::new(),
                len => bases.iter().map(|index| made[index.index(len)].0).collect(),
            };
            made.push((at, version(&format!("value {value}"), writer, &bases)));
        }
        made
    })
}

/// Changes of policy between and beside the edits of a history.
fn changes() -> impl Strategy<Value = Vec<(Stamp, Policy)>> {
    let change = (
        0..13_i64,
        200..202_u8,
        prop::sample::select(&Policy::ALL[..]),
    );
    let change = change.prop_map(|(ms, writer, policy)| (stamp(ms, writer), policy));
    prop::collection::vec(change, 0..4)
}

fn timeline(first: Policy, changes: &[(Stamp, Policy)]) -> Timeline {
    let mut policies = Timeline::always(first);
    for (at, policy) in changes {
        policies.change(*at, *policy);
    }
    policies
}

/// A small repeatable shuffle.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for index in (1..items.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        items.swap(
            index,
            usize::try_from(state >> 33).expect("31 bits") % (index + 1),
        );
    }
}

/// What a hub learns, in the order in which it learns it.
#[derive(Clone, Debug)]
enum Event {
    Edit(Stamp, Version),
    Change(Stamp, Policy),
}

proptest! {
    #[test]
    fn hubs_that_learn_edits_and_changes_of_policy_in_any_order_decide_alike(
        history in histories(),
        changes in changes(),
        first in prop::sample::select(&Policy::ALL[..]),
        owner in 0..4_u8,
        seed in any::<u64>(),
    ) {
        // One change a stamp: a hub gives none out twice.
        let changes: BTreeMap<Stamp, Policy> = changes.into_iter().collect();
        let edits = history.iter().map(|(at, edit)| Event::Edit(*at, edit.clone()));
        let mut events: Vec<Event> = edits
            .chain(changes.iter().map(|(at, policy)| Event::Change(*at, *policy)))
            .collect();
        let hub = |events: &[Event]| {
            let (mut field, mut policies) = (Field::default(), Timeline::always(first));
            for event in events {
                match event.clone() {
                    Event::Edit(at, edit) => insert(&mut field, at, edit),
                    Event::Change(at, policy) => policies.change(at, policy),
                }
                // Deciding in between leaves no trace.
                field.decide(&policies, None);
            }
            let owner = (owner != 0).then(|| ShopId::from_uuid(Uuid::from_u128(u128::from(owner))));
            field.decide(&policies, owner)
        };
        let expected = hub(&events);
        shuffle(&mut events, seed);
        events.push(events[0].clone());
        prop_assert_eq!(hub(&events), expected);
    }

    #[test]
    fn a_change_of_policy_decides_nothing_that_was_written_before(
        history in histories(),
        changes in changes(),
        first in prop::sample::select(&Policy::ALL[..]),
        next in prop::sample::select(&Policy::ALL[..]),
    ) {
        let field = field(&history);
        let mut policies = timeline(first, &changes);
        let before = field.decide(&policies, None);
        policies.change(stamp(1_000, 0), next);
        prop_assert_eq!(field.decide(&policies, None), before);
    }

    #[test]
    fn join_is_commutative_associative_and_idempotent(
        history in histories(),
        split in prop::collection::vec(0..3_u8, 12),
    ) {
        let part = |wanted: u8| {
            let chosen = history.iter().zip(&split).filter(|(_, part)| **part == wanted);
            field(&chosen.map(|(edit, _)| edit.clone()).collect::<Vec<_>>())
        };
        let (a, b, c) = (part(0), part(1), part(2));
        prop_assert_eq!(a.clone().join(b.clone()), b.clone().join(a.clone()));
        let left = a.clone().join(b.clone()).join(c.clone());
        let right = a.clone().join(b.join(c));
        prop_assert_eq!(&left, &right);
        prop_assert_eq!(&left.clone().join(a), &left);
    }

    #[test]
    fn any_order_of_arrival_decides_alike(
        history in histories(),
        seed in any::<u64>(),
    ) {
        let mut other = history.clone();
        // Duplicates stand for redelivery.
        shuffle(&mut other, seed);
        other.push(other[0].clone());
        for policy in POLICIES {
            prop_assert_eq!(field(&history).decide(&policy.into(), None), field(&other).decide(&policy.into(), None));
        }
    }

    #[test]
    fn no_value_disappears(history in histories(), changes in changes()) {
        let field = field(&history);
        for policy in POLICIES {
            let policies = timeline(policy, &changes);
            let decision = field.decide(&policies, None).expect("at least one version");
            let value = field.version(&decision.current).expect("kept").value.clone();
            for (stamp, version) in &history {
                let replaced = history.iter().any(|(_, other)| {
                    other.base.iter().any(|base| {
                        base == stamp || field.version(base).is_some_and(|seen| seen.value == version.value)
                    })
                });
                let kept = *stamp == decision.current
                    || version.value == value
                    || decision.losers.contains(stamp)
                    || replaced;
                prop_assert!(kept, "{stamp} is neither current, nor a loser, nor replaced");
            }
        }
    }

    #[test]
    fn under_manual_only_an_edit_of_what_is_visible_or_a_choice_changes_it(
        edits in prop::collection::vec((1..4_u8, 0..5_u8, 0..4_u8, any::<prop::sample::Index>()), 1..12),
    ) {
        let mut field = Field::default();
        let mut made = Vec::new();
        for (position, (writer, value, kind, any)) in edits.into_iter().enumerate() {
            let before = field.decide(&Policy::Manual.into(), None).map(|decision| decision.current);
            let base = match kind {
                0 => Vec::new(),
                1 => before.into_iter().collect(),
                // A person who sees everything.
                2 => field.heads(),
                _ if made.is_empty() => Vec::new(),
                _ => vec![made[any.index(made.len())]],
            };
            let at = stamp(i64::try_from(position).expect("small"), writer);
            // No two hold the same value, so nobody agrees by accident.
            insert(&mut field, at, version(&format!("{position} {value}"), writer, &base));
            made.push(at);
            let after = field.decide(&Policy::Manual.into(), None).expect("decided").current;
            let replaces = before.is_none_or(|before| base.contains(&before));
            prop_assert_eq!(after, if replaces { at } else { before.expect("one") });
            if kind == 2 {
                prop_assert_eq!(field.decide(&Policy::Manual.into(), None).expect("decided").losers, []);
            }
        }
    }
}
