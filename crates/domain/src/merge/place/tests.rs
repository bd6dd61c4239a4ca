use super::super::{Origin, Policy, Timeline};
use super::*;
use crate::edit::Scalar;
use crate::hlc::HlcClock;
use crate::ids::{DocumentId, NodeId, ShopId};
use proptest::prelude::*;
use uuid::Uuid;

const DAY: i64 = 86_400_000;
const YEARS: i64 = 3_653 * DAY;
const START: i64 = 20 * YEARS;
/// How far a correction may be off, as measured at the contact.
const ERROR: i64 = 500;

/// Who edits when, by what clock, and over which earlier edits.
#[derive(Clone, Debug)]
struct Act {
    writer: usize,
    pause_ms: i64,
    error_ms: i64,
    base: Option<prop::sample::Index>,
}

/// An edit with the moment at which it truly was made.
#[derive(Clone, Debug)]
struct Made {
    at_ms: i64,
    stamp: Stamp,
    version: Version,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = (
        0..4_usize,
        0..3_000_i64,
        -ERROR..=ERROR,
        prop::option::of(any::<prop::sample::Index>()),
    );
    let act = act.prop_map(|(writer, pause_ms, error_ms, base)| Act {
        writer,
        pause_ms,
        error_ms,
        base,
    });
    prop::collection::vec(act, 1..14)
}

fn offsets() -> impl Strategy<Value = [i64; 4]> {
    let offset = prop::sample::select(&[0, 0, 9, -DAY, DAY, YEARS, -YEARS][..]);
    [offset.clone(), offset.clone(), offset.clone(), offset]
}

/// What nodes with these clocks write. Who replaces something has seen its published time.
fn made(acts: &[Act], offsets: [i64; 4]) -> Vec<Made> {
    let mut clocks: [HlcClock; 4] = Default::default();
    let mut made: Vec<Made> = Vec::new();
    let mut at_ms = START;
    for act in acts {
        at_ms += act.pause_ms;
        let base = act.base.filter(|_| !made.is_empty());
        let base = base.map(|index| made[index.index(made.len())].clone());
        if let Some(base) = &base {
            clocks[act.writer].observe(base.version.corrected);
        }
        let hlc = clocks[act.writer].tick(at_ms + offsets[act.writer]);
        let id = Uuid::from_u128(u128::try_from(act.writer).expect("small") + 1);
        let version = Version {
            value: Scalar::Integer(i64::try_from(made.len()).expect("small")),
            base: base.iter().map(|base| base.stamp).collect(),
            corrected: Hlc::at_millis(at_ms + act.error_ms),
            origin: Origin {
                edit: DocumentId::from_uuid(id),
                node: NodeId::from_uuid(id),
                shop: Some(ShopId::from_uuid(id)),
                imported: false,
            },
        };
        let stamp = Stamp::new(hlc, NodeId::from_uuid(id));
        made.push(Made {
            at_ms,
            stamp,
            version,
        });
    }
    made
}

fn field<'m>(made: impl IntoIterator<Item = &'m Made>) -> Field {
    let mut field = Field::default();
    for it in made {
        field.insert(it.stamp, it.version.clone());
    }
    field
}

#[test]
fn a_clock_ten_years_ahead_does_not_win_and_one_a_day_behind_does_not_lose() {
    let act = |writer| Act {
        writer,
        pause_ms: 60_000,
        error_ms: 0,
        base: None,
    };
    for (order, winner) in [([0, 1], 1), ([1, 0], 0)] {
        let made = made(&order.map(act), [YEARS, -DAY, 0, 0]);
        let field = field(&made);
        let decision = field
            .decide(&Policy::LastWriterWins.into(), None)
            .expect("decided");
        assert_eq!(decision.current, made[1].stamp, "{winner} was truly later");
        assert_eq!(decision.losers, [made[0].stamp]);
    }
}

#[test]
fn what_replaces_a_version_stands_behind_it_whatever_the_clocks_said() {
    let (first, second) = (
        Stamp::new(Hlc::at_millis(YEARS), NodeId::from_uuid(Uuid::from_u128(1))),
        Stamp::new(Hlc::at_millis(5), NodeId::from_uuid(Uuid::from_u128(2))),
    );
    let template = &made(
        &[Act {
            writer: 0,
            pause_ms: 0,
            error_ms: 0,
            base: None,
        }],
        [0; 4],
    )[0];
    let version = |at_ms, base: &[Stamp]| Version {
        corrected: Hlc::at_millis(at_ms),
        base: base.iter().copied().collect(),
        ..template.version.clone()
    };
    let mut field = Field::default();
    field.insert(second, version(3, &[first]));
    assert_eq!(field.places()[&second].time, Hlc::at_millis(3));
    // Also when it arrives later than what replaces it.
    field.insert(first, version(9, &[]));
    assert_eq!(field.places()[&second].time, Hlc::at_millis(9).next());
    // A ring has an end.
    field.insert(
        Stamp::new(Hlc::at_millis(1), NodeId::from_uuid(Uuid::from_u128(3))),
        version(4, &[second]),
    );
    field.insert(first, version(9, &[first, second]));
    assert_eq!(field.places().len(), 3);
}

proptest! {
    /// Any clocks, any interleaving: of two concurrent edits the one that was truly later, by more than the
    /// corrections may be off, is not beaten by the other.
    #[test]
    fn no_clock_beats_an_edit_that_was_truly_later(acts in acts(), offsets in offsets()) {
        let made = made(&acts, offsets);
        let field = field(&made);
        let decision = field.decide(&Policy::LastWriterWins.into(), None).expect("decided");
        let winner = made.iter().find(|it| it.stamp == decision.current).expect("made");
        for loser in &decision.losers {
            let loser = made.iter().find(|it| it.stamp == *loser).expect("made");
            prop_assert!(loser.at_ms <= winner.at_ms + 2 * ERROR + 1, "{loser:?} {winner:?}");
        }
    }

    /// Whatever the clocks and the policies: what a version replaced is neither current beside it nor a loser.
    #[test]
    fn an_edit_never_loses_to_what_it_replaced(
        acts in acts(),
        offsets in offsets(),
        policy in prop::sample::select(&Policy::ALL[..]),
    ) {
        let made = made(&acts, offsets);
        let field = field(&made);
        let decision = field.decide(&policy.into(), None).expect("decided");
        let places = field.places();
        for it in &made {
            for base in &it.version.base {
                prop_assert!(places[base] < places[&it.stamp]);
                prop_assert!(decision.current != *base);
                prop_assert!(!decision.losers.contains(base));
            }
        }
    }

    /// Hubs that are fed the same edits with their corrections agree, in whatever order and however often.
    #[test]
    fn hubs_with_tills_of_any_clock_agree(
        acts in acts(),
        offsets in offsets(),
        order in any::<prop::sample::Index>(),
        change in prop::option::of((0..30_000_i64, prop::sample::select(&Policy::ALL[..]))),
        policy in prop::sample::select(&Policy::ALL[..]),
    ) {
        let made = made(&acts, offsets);
        let mut policies = Timeline::always(policy);
        if let Some((at_ms, next)) = change {
            let hub = NodeId::from_uuid(Uuid::from_u128(99));
            policies.change(Stamp::new(Hlc::at_millis(START + at_ms), hub), next);
        }
        let expected = field(&made).decide(&policies, None);
        let start = order.index(made.len());
        let turned = made.iter().skip(start).chain(made.iter().take(start));
        prop_assert_eq!(&field(turned).decide(&policies, None), &expected);
        let (left, right): (Vec<_>, Vec<_>) = made.iter().partition(|it| it.at_ms % 2 == 0);
        let joined = field(right.into_iter()).join(field(left.into_iter())).join(field(&made));
        prop_assert_eq!(&joined.decide(&policies, None), &expected);
    }
}
