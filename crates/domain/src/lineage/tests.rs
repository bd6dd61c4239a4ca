use super::*;
use proptest::prelude::*;
use uuid::Uuid;

/// A journal of `common` entries that all share and `own` entries of its own; `name` tells journals
/// apart.
fn journal(common: i64, own: i64, name: u8) -> Vec<Chain> {
    let mut chain = Chain::START;
    let next = |chain: &Chain, seq: i64, writer: u8| {
        let id = Uuid::from_u128(u128::from(writer) << 64 | u128::from(seq.unsigned_abs()));
        let head = crate::journal::EntryHead {
            seq,
            id: crate::ids::DocumentId::from_uuid(id),
            hlc: crate::hlc::Hlc::at_millis(seq),
            topic: crate::document::Topic::Sale,
        };
        chain.next(&head, b"")
    };
    (1..=common + own)
        .map(|seq| {
            chain = next(&chain, seq, if seq <= common { 0 } else { name });
            chain
        })
        .collect()
}

fn at(journal: &[Chain], seq: i64) -> Option<Chain> {
    let index = usize::try_from(seq).ok()?.checked_sub(1)?;
    journal.get(index).copied()
}

fn newest(journal: &[Chain]) -> i64 {
    i64::try_from(journal.len()).expect("a short journal")
}

/// The search as a till carries it out, with `count` points a question; also the number of questions.
fn search(own: &[Chain], theirs: &[Chain], count: i64) -> (Comparison, u32) {
    let mut comparison = Comparison::default();
    let (mut after, mut until) = (0, newest(theirs));
    for questions in 1.. {
        for seq in spaced(after, until, count) {
            let chain = at(theirs, seq).expect("within the journal");
            comparison.add(Point { seq, chain }, at(own, seq));
        }
        if comparison.is_exact() {
            return (comparison, questions);
        }
        after = comparison.common().seq;
        until = comparison.parted().expect("not exact") - 1;
    }
    unreachable!("the search ends");
}

proptest! {
    #[test]
    fn the_search_finds_the_last_common_entry(
        common in 0_i64..300,
        own in 0_i64..40,
        theirs in 0_i64..40,
        count in 1_i64..9,
    ) {
        let (mine, hubs) = (journal(common, own, 1), journal(common, theirs, 2));
        let (found, _) = search(&mine, &hubs, count);
        prop_assert_eq!(found.common().seq, common);
        prop_assert_eq!(found.parted(), (theirs > 0).then_some(common + 1));
    }

    #[test]
    fn the_order_of_points_does_not_matter(
        common in 0_i64..20,
        theirs in 0_i64..20,
        seqs in proptest::collection::vec(1_i64..40, 0..20),
    ) {
        let (mine, hubs) = (journal(common, 5, 1), journal(common, theirs, 2));
        let points: Vec<Point> = seqs
            .iter()
            .filter_map(|seq| Some(Point { seq: *seq, chain: at(&hubs, *seq)? }))
            .collect();
        let compare = |points: &mut dyn Iterator<Item = &Point>| {
            let mut comparison = Comparison::default();
            for point in points {
                comparison.add(*point, at(&mine, point.seq));
            }
            comparison
        };
        let forth = compare(&mut points.iter());
        prop_assert_eq!(&forth, &compare(&mut points.iter().rev()));
        prop_assert!(forth.common().seq <= common);
        prop_assert!(forth.parted().is_none_or(|parted| parted > common));
    }

    #[test]
    fn spaced_positions_rise_within_their_bounds_and_reach_the_end(
        after in 0_i64..1_000,
        span in 0_i64..1_000,
        count in 1_i64..70,
    ) {
        let found = spaced(after, after + span, count);
        prop_assert!(found.is_sorted_by(|left, right| left < right));
        prop_assert!(found.iter().all(|seq| *seq > after));
        prop_assert_eq!(found.last().copied(), (span > 0).then_some(after + span));
        prop_assert!(newest_count(&found) <= count);
    }
}

fn newest_count(found: &[i64]) -> i64 {
    i64::try_from(found.len()).expect("a short list")
}

#[test]
fn a_quarter_of_a_million_entries_take_three_questions() {
    // Positions alone: entry 12,345 is the last common one of 262,144.
    let (mut after, mut until, mut questions) = (0, 262_144, 0);
    while after + 1 < until {
        questions += 1;
        let points = spaced(after, until - i64::from(questions > 1), 64);
        after = points
            .iter()
            .copied()
            .filter(|seq| *seq <= 12_345)
            .max()
            .unwrap_or(after);
        until = points
            .iter()
            .copied()
            .filter(|seq| *seq > 12_345)
            .min()
            .unwrap_or(until);
    }
    assert_eq!((after, questions), (12_345, 3));
}

#[test]
fn a_hub_that_contradicts_itself_agrees_only_before_its_first_other_point() {
    let (mine, other) = (journal(9, 0, 1), journal(0, 9, 2));
    let mut comparison = Comparison::default();
    for (journal, seq) in [(&mine, 2), (&other, 5), (&mine, 8)] {
        let chain = at(journal, seq).expect("within");
        comparison.add(Point { seq, chain }, at(&mine, seq));
    }
    assert_eq!((comparison.common().seq, comparison.parted()), (2, Some(5)));
}

#[test]
fn an_entry_belongs_to_the_identity_it_was_written_under() {
    let node = |number| NodeId::from_uuid(Uuid::from_u128(number));
    let former = |number, until_seq| Former {
        node: node(number),
        lane: 1,
        until_seq,
        common: Point::START,
    };
    let formers = [former(1, 10), former(2, 10), former(3, 12)];
    for (seq, writer) in [(1, 1), (10, 1), (11, 3), (12, 3), (13, 4)] {
        assert_eq!(
            writer_of(&formers, node(4), seq),
            node(writer),
            "entry {seq}"
        );
    }
}
