use super::*;
use proptest::prelude::*;

fn leaf(key: &str, says: i64) -> Leaf {
    Leaf::of_level(key, says, None)
}

/// All keys that differ, with the number of requests of at most so many questions, and the bytes of both directions.
fn compare(one: &Inventory, other: &Inventory, limit: usize) -> (BTreeSet<String>, usize, usize) {
    let mut comparison = Comparison::new(one, [Range::all()]);
    let (mut requests, mut bytes) = (0, 0);
    loop {
        let questions = comparison.questions(limit);
        if questions.is_empty() {
            return (comparison.differing().clone(), requests, bytes);
        }
        let answers: Vec<Answer> = questions.iter().map(|asked| other.answer(asked)).collect();
        let said = |said: Result<String, serde_json::Error>| said.expect("it can be said").len();
        bytes += said(serde_json::to_string(&questions)) + said(serde_json::to_string(&answers));
        requests += 1;
        comparison.answered(&answers).expect("answers fit");
    }
}

proptest! {
    #[test]
    fn exactly_the_keys_that_differ_are_found(
        both in proptest::collection::btree_map("[a-c]{0,4}", 0_i64..3, 0..120),
        one in proptest::collection::btree_map("[a-c]{0,4}", 0_i64..3, 0..20),
        other in proptest::collection::btree_map("[a-c]{0,4}", 0_i64..3, 0..20),
        limit in 1_usize..5,
    ) {
        let whole = |own: BTreeMap<String, i64>| {
            let mut all = both.clone();
            all.extend(own);
            all
        };
        let (one, other) = (whole(one), whole(other));
        let keys = one.keys().chain(other.keys());
        let expected: BTreeSet<String> = keys.filter(|key| one.get(*key) != other.get(*key)).cloned().collect();
        let inventory = |all: &BTreeMap<String, i64>| -> Inventory { all.iter().map(|(key, says)| leaf(key, *says)).collect() };
        let (one, other) = (inventory(&one), inventory(&other));
        prop_assert_eq!(&compare(&one, &other, limit).0, &expected);
        prop_assert_eq!(&compare(&other, &one, limit).0, &expected);
    }

    #[test]
    fn whatever_is_answered_ends_with_keys_or_an_error(
        answers in proptest::collection::vec((any::<bool>(), proptest::collection::vec("[a-c]{0,3}", 0..20)), 0..200),
    ) {
        let own: Inventory = ["a", "b", "c"].map(|key| leaf(key, 1)).into_iter().collect();
        let mut comparison = Comparison::new(&own, [Range::all()]);
        for (pieces, keys) in answers {
            let said = keys.iter().map(|key| leaf(key, 2)).collect();
            let answer = if pieces { Answer::Pieces(said) } else { Answer::Keys(said) };
            if comparison.questions(1).is_empty() || comparison.answered(&[answer]).is_err() {
                return Ok(());
            }
        }
    }
}

#[test]
fn what_is_equal_is_one_question_and_a_few_differences_are_not_the_whole() {
    let products = |wrong: bool| -> Inventory {
        let says = |number: i64| {
            if wrong && number % 671 == 7 {
                -1
            } else {
                number
            }
        };
        (0..65_000)
            .map(|number| leaf(&format!("{number:05}"), says(number)))
            .collect()
    };
    let (whole, wrong) = (products(false), products(true));
    let (found, requests, _) = compare(&whole, &products(false), 256);
    assert_eq!((found.len(), requests), (0, 1));
    let (found, requests, bytes) = compare(&whole, &wrong, 256);
    assert_eq!(found.len(), 97);
    assert!(requests <= 10, "{requests} requests");
    let listed = serde_json::to_string(&whole.leaves).expect("leaves").len();
    assert!(bytes * 10 < listed, "{bytes} bytes of {listed}");
}

#[test]
fn a_peer_that_cuts_for_ever_is_not_followed() {
    let own: Inventory = [leaf("m", 1)].into_iter().collect();
    let mut comparison = Comparison::new(&own, [Range::all()]);
    let mut depth = String::new();
    for round in 0..=ROUNDS_MAX {
        let asked = comparison.questions(1);
        let Some(Question { range, .. }) = asked.first() else {
            panic!("round {round}: the difference was taken for found");
        };
        depth.push('n');
        let pieces = vec![
            leaf(&range.from, 7),
            leaf(&depth, i64::try_from(round).expect("small")),
        ];
        // The first piece is put aside, the second is cut on and on.
        if comparison.answered(&[Answer::Pieces(pieces)]).is_err() {
            return;
        }
        comparison
            .open
            .retain(|(question, _)| question.range.from == depth);
    }
    panic!("it was followed for {ROUNDS_MAX} rounds and more");
}

#[test]
fn a_digest_reads_what_it_writes_and_nothing_else() {
    let digest = leaf("TEA", 3).digest;
    let text = digest.to_string();
    assert_eq!(text.len(), 32);
    assert_eq!(text.parse::<Digest>().ok(), Some(digest));
    for bad in ["", "0", &text[1..], &format!("+{}", &text[1..])] {
        assert!(bad.parse::<Digest>().is_err(), "{bad:?} was read");
    }
}

#[test]
fn what_changes_a_level_changes_its_digest() {
    let id = DocumentId::from_slice(&[7; 16]).expect("an id");
    let all = [
        Leaf::of_level("TEA", 1, None),
        Leaf::of_level("TEB", 1, None),
        Leaf::of_level("TEA", 2, None),
        Leaf::of_level("TEA", 1, Some((id, 0))),
        Leaf::of_level("TEA", 1, Some((id, 1))),
    ];
    let digests: BTreeSet<Digest> = all.iter().map(|leaf| leaf.digest).collect();
    assert_eq!(digests.len(), all.len());
}
