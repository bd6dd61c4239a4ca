use super::*;
use proptest::prelude::*;

const DAY: i64 = 86_400_000;
const YEARS: i64 = 3_653 * DAY;
/// When the hub is, in November 2026.
const NOW: i64 = 1_795_000_000_000;

fn measured(seq: i64, at_ms: i64, offset_ms: i64) -> Measurement {
    Measurement {
        seq,
        at_ms,
        offset_ms,
        error_ms: 5,
    }
}

fn between(before: Option<Measurement>, after: Option<Measurement>) -> Stretch {
    Stretch {
        before,
        after,
        now_ms: NOW,
    }
}

/// Entries from position 1 on, and what they are corrected to, with the bound of the error.
fn corrected(stretch: &Stretch, times: &[i64]) -> Vec<(i64, Option<i64>)> {
    let entries: Vec<Dated> = (1..)
        .zip(times)
        .map(|(seq, at_ms)| Dated { seq, at_ms: *at_ms })
        .collect();
    let spans = stretch.spans(1, &entries);
    assert_eq!(spans[0].first_seq, 1);
    let of = |entry: &Dated| {
        let span = spans.iter().rev().find(|it| it.first_seq <= entry.seq);
        let span = span.expect("the first begins at 1");
        (span.correct(entry.at_ms), span.error_ms)
    };
    entries.iter().map(of).collect()
}

fn dates(stretch: &Stretch, times: &[i64]) -> Vec<i64> {
    let all = corrected(stretch, times);
    all.into_iter().map(|(at_ms, _)| at_ms).collect()
}

#[test]
fn a_clock_that_is_wrong_at_the_first_contact_was_wrong_before() {
    for offset in [YEARS, -YEARS, -DAY, 5_000] {
        let stretch = between(None, Some(measured(9, NOW, offset)));
        let times = [NOW - 3 * DAY, NOW - DAY, NOW - 1];
        assert_eq!(dates(&stretch, &times.map(|at| at + offset)), times);
    }
}

#[test]
fn a_clock_within_a_second_is_right() {
    let stretch = between(
        Some(measured(0, NOW - DAY, -400)),
        Some(measured(9, NOW, 900)),
    );
    assert_eq!(
        corrected(&stretch, &[NOW - 77]),
        [(NOW - 77, Some(CLOCK_STEP_MS + 5))]
    );
}

#[test]
fn nothing_is_said_of_a_clock_that_nobody_measured() {
    assert_eq!(
        corrected(&between(None, None), &[NOW + YEARS]),
        [(NOW + YEARS, None)]
    );
    assert_eq!(Stretch::all(&[], (0, 5), NOW), [(0, between(None, None))]);
}

#[test]
fn a_clock_that_was_set_meanwhile_is_split_where_the_journal_says_so() {
    let (before, after) = (measured(0, NOW - 2 * DAY, YEARS), measured(9, NOW, 0));
    let stretch = between(Some(before), Some(after));
    let times = [NOW - 40_000_000, NOW - 30_000_000, NOW - 20_000_000];
    let raw = [times[0] + YEARS, times[1] + YEARS, times[2]];
    let found = corrected(&stretch, &raw);
    assert_eq!(
        found.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        times,
        "each by its own offset"
    );
    assert!(found.iter().all(|(_, error)| *error == Some(1_005)));
}

#[test]
fn an_offset_is_found_by_what_the_order_of_the_journal_leaves() {
    // A day back, and both offsets explain every time by itself: only the order tells.
    let (before, after) = (measured(0, NOW - 3 * DAY, 0), measured(9, NOW, -DAY));
    let stretch = between(Some(before), Some(after));
    let times = [NOW - 200_000_000, NOW - 150_000_000, NOW - 149_000_000];
    let raw = [times[0], times[1], times[2] - DAY];
    assert_eq!(dates(&stretch, &raw), times);
}

#[test]
fn where_the_order_leaves_a_choice_the_error_says_so() {
    let (before, after) = (measured(0, NOW - 3 * DAY, 0), measured(9, NOW, 3_600_000));
    let stretch = between(Some(before), Some(after));
    let found = corrected(&stretch, &[NOW - 2 * DAY, NOW - DAY]);
    assert_eq!(found[1], (NOW - DAY, Some(3_600_000 + 1_005)));
}

#[test]
fn times_that_no_offset_explains_are_dated_between_what_is_known() {
    // The battery was empty after a power cut: 1970, until the line came back and with it the time.
    let (before, after) = (measured(0, NOW - DAY, 0), measured(9, NOW, 0));
    let stretch = between(Some(before), Some(after));
    let raw = [NOW - 80_000_000, 60_000, 120_000, NOW - 5_000];
    let found = corrected(&stretch, &raw);
    assert_eq!(found[0].0, raw[0]);
    assert_eq!(found[1].0, NOW - 5_000 - 60_000, "the distance is kept");
    assert_eq!(found[2].0, NOW - 5_000);
    assert_eq!(
        found[2].1,
        Some(80_000_000 - 5_000),
        "and the error is said"
    );
    assert_eq!(found[3].0, raw[3]);
}

#[test]
fn without_a_measurement_before_a_time_that_no_offset_explains_stands() {
    // Put right before the first contact: nobody knows since when it was wrong.
    let stretch = between(None, Some(measured(9, NOW, 0)));
    assert_eq!(
        corrected(&stretch, &[NOW + YEARS, NOW - 7]),
        [(NOW + YEARS, None), (NOW - 7, None)]
    );
}

#[test]
fn before_the_first_contact_nobody_knows_how_far_a_time_is_off() {
    // The battery was empty in trial; the clock was put right before the first contact.
    let right = between(None, Some(measured(9, NOW, 0)));
    let times = [NOW - YEARS, NOW - 7];
    assert_eq!(corrected(&right, &times), times.map(|at| (at, None)));
    // It was right, and set wrong before the first contact.
    let wrong = between(None, Some(measured(9, NOW, -DAY)));
    let found = corrected(&wrong, &[NOW - 2 * DAY]);
    assert_eq!(found, [(NOW - DAY, None)]);
    assert_eq!(wrong.plain(1).error_ms, None);
    // A neighbour whose time nobody knows bounds no other.
    let found = corrected(&right, &[NOW - DAY, NOW + YEARS, NOW - 7]);
    assert_eq!(found[1], (NOW - 7, None));
    assert!(wrong.plain(1).is_measured);
}

#[test]
fn an_entry_lies_between_the_measurements_around_its_position() {
    let [a, b, c] = [
        measured(3, NOW - 30, 0),
        measured(3, NOW - 20, DAY),
        measured(8, NOW - 10, YEARS),
    ];
    let all = [a, b, c];
    assert_eq!(
        Stretch::all(&all, (0, 9), NOW),
        [
            (0, between(None, Some(a))),
            (3, between(Some(b), Some(c))),
            (8, between(Some(c), None))
        ]
    );
    assert_eq!(
        Stretch::all(&all, (4, 6), NOW),
        [(3, between(Some(b), Some(c)))]
    );
}

#[test]
fn logical_time_stands_where_it_is_right_so_that_what_was_seen_stays_before() {
    let seen = Hlc::at_millis(NOW).next();
    // The clock is a little behind what it has seen from the hub.
    assert_eq!(corrected_hlc(seen.next(), NOW - 900), seen.next());
    assert_eq!(corrected_hlc(seen, NOW + 5), Hlc::at_millis(NOW + 5));
    // A clock that was years ahead has driven it.
    let driven = Hlc::at_millis(NOW + YEARS);
    assert_eq!(corrected_hlc(driven, NOW), Hlc::at_millis(NOW));
}

proptest! {
    /// Whatever the clock was set to, once between two contacts: what is said lies between the contacts, is
    /// as far off as it says at most, and goes forward with the journal.
    #[test]
    fn a_correction_is_never_further_off_than_it_says(
        gaps in prop::collection::vec(0..40_000_000_i64, 1..20),
        old in prop::sample::select(&[0, 700, 5_000, -DAY, DAY, YEARS, -YEARS][..]),
        new in prop::sample::select(&[0, -700, -60_000, -DAY, DAY, YEARS, -YEARS][..]),
        set_after in 0..20_usize,
    ) {
        let start = NOW - 1_000_000_000;
        let mut at = start;
        let times: Vec<i64> = gaps.iter().map(|gap| { at += gap; at }).collect();
        let raw: Vec<i64> = times.iter().enumerate()
            .map(|(index, at)| at + if index < set_after { old } else { new })
            .collect();
        let stretch = between(Some(measured(0, start, old)), Some(measured(99, at, new)));
        let found = corrected(&stretch, &raw);
        let mut last = i64::MIN;
        for ((said, error), truth) in found.iter().zip(&times) {
            let error = error.expect("measured on both sides");
            prop_assert!((said - truth).abs() <= error, "{said} {truth} {error}");
            prop_assert!(*said >= start - 1_005 && *said <= at + 1_005);
            prop_assert!(said + CLOCK_STEP_MS >= last);
            last = *said;
        }
    }

    /// The same when the till was not heard of before: it may say that nobody knows.
    #[test]
    fn nothing_wrong_is_said_of_the_time_before_the_first_contact(
        gaps in prop::collection::vec(0..40_000_000_i64, 1..20),
        old in prop::sample::select(&[0, 700, 5_000, -DAY, DAY, YEARS, -YEARS][..]),
        new in prop::sample::select(&[0, -700, -60_000, -DAY, DAY, YEARS, -YEARS][..]),
        set_after in 0..20_usize,
    ) {
        let mut at = NOW - 1_000_000_000;
        let times: Vec<i64> = gaps.iter().map(|gap| { at += gap; at }).collect();
        let raw: Vec<i64> = times.iter().enumerate()
            .map(|(index, at)| at + if index < set_after { old } else { new })
            .collect();
        let found = corrected(&between(None, Some(measured(99, at, new))), &raw);
        for (index, ((said, error), truth)) in found.iter().zip(&times).enumerate() {
            if let Some(error) = error {
                prop_assert!((said - truth).abs() <= *error, "{said} {truth} {error}");
            }
            if index >= set_after {
                prop_assert!((said - truth).abs() <= CLOCK_STEP_MS, "{said} {truth}");
            }
        }
    }

    #[test]
    fn no_time_is_too_large_for_it(
        raw in prop::collection::vec(any::<i64>(), 0..6),
        offsets in (any::<i64>(), any::<i64>()),
        times in (any::<i64>(), any::<i64>()),
    ) {
        let stretch = between(
            Some(measured(0, times.0, offsets.0)),
            Some(measured(9, times.1, offsets.1)),
        );
        corrected(&stretch, &raw);
    }
}
