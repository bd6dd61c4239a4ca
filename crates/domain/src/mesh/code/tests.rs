use super::*;
use crate::ids::NodeId;

/// Counts up from where it begins.
struct Counting(u8);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for (byte, value) in bytes.iter_mut().zip(self.0..) {
            *byte = value.wrapping_mul(7);
        }
    }
}

fn code(seed: u8) -> PairingCode {
    PairingCode::draw(&Counting(seed))
}

fn party(node: u8, nonce: u8) -> Party {
    let node = NodeId::from_slice(&[node; 16]).expect("an id");
    let nonce = [nonce; 32];
    Party { node, nonce }
}

fn parties() -> Parties {
    Parties {
        asks: party(2, 22),
        gives: party(1, 11),
    }
}

const REQUEST: &str = r#"{"public_key":"aa"}"#;
const NOW_MS: i64 = 1_795_000_000_000;

#[test]
fn a_code_is_read_as_it_is_shown_and_no_single_wrong_letter_is_taken() {
    for seed in 0..40 {
        let code = code(seed);
        let shown = code.to_string();
        assert_eq!(shown.len(), 24, "{shown}");
        assert_eq!(shown.parse(), Ok(code.clone()));
        let typed = shown.to_lowercase().replace('-', " ");
        assert_eq!(typed.parse(), Ok(code));
        for place in 0..shown.len() {
            for letter in LETTERS {
                let mut wrong = shown.clone().into_bytes();
                if wrong[place] == b'-' || wrong[place] == *letter {
                    continue;
                }
                wrong[place] = *letter;
                let wrong = String::from_utf8(wrong).expect("letters");
                assert_eq!(wrong.parse::<PairingCode>(), Err(ParseCodeError), "{wrong}");
            }
        }
    }
    for text in ["", "2222", "0000-0000-0000-0000-0000", &"2".repeat(21)] {
        assert_eq!(text.parse::<PairingCode>(), Err(ParseCodeError), "{text}");
    }
}

#[test]
fn the_code_lets_in_whoever_proves_it_and_nobody_after_that() {
    let code = code(1);
    let mut shown = Shown::default();
    shown.show(&code, NOW_MS);
    let proof = code.key().proof(Role::Asks, &parties(), REQUEST);
    let said = (proof.as_str(), REQUEST);
    assert!(shown.take(NOW_MS + 1, said, &parties()).is_ok());
    let again = shown.take(NOW_MS + 1, said, &parties());
    assert_eq!(again.err(), Some(CodeRefused::None));
}

#[test]
fn a_code_ends_after_ten_minutes_or_when_the_clock_goes_back_or_another_one_is_shown() {
    let (first, second) = (code(1), code(2));
    let proof = first.key().proof(Role::Asks, &parties(), REQUEST);
    let said = (proof.as_str(), REQUEST);
    for (at_ms, good) in [(CODE_GOOD_MS - 1, true), (CODE_GOOD_MS, false), (-1, false)] {
        let mut shown = Shown::default();
        shown.show(&first, NOW_MS);
        assert_eq!(shown.good_until_ms(NOW_MS + at_ms).is_some(), good);
        let taken = shown.take(NOW_MS + at_ms, said, &parties());
        assert_eq!(taken.err(), (!good).then_some(CodeRefused::Ended));
    }
    let mut shown = Shown::default();
    shown.show(&first, NOW_MS);
    shown.show(&second, NOW_MS);
    let taken = shown.take(NOW_MS, said, &parties());
    assert_eq!(taken.err(), Some(CodeRefused::Wrong { left: 4 }));
}

#[test]
fn the_fifth_wrong_code_ends_the_right_one() {
    let right = code(1);
    let mut shown = Shown::default();
    shown.show(&right, NOW_MS);
    for left in [4, 3, 2, 1, 0] {
        let proof = code(9).key().proof(Role::Asks, &parties(), REQUEST);
        let refused = shown.take(NOW_MS, (&proof, REQUEST), &parties()).err();
        let expected = match left {
            0 => CodeRefused::Gone,
            left => CodeRefused::Wrong { left },
        };
        assert_eq!(refused, Some(expected));
    }
    let proof = right.key().proof(Role::Asks, &parties(), REQUEST);
    let refused = shown.take(NOW_MS, (&proof, REQUEST), &parties());
    assert_eq!(refused.err(), Some(CodeRefused::None));
}

/// Whoever sits between the two hears all and says what he likes; he has not seen the code.
#[test]
fn what_a_man_in_the_middle_changes_repeats_or_sends_back_is_not_believed() {
    let key = code(1).key();
    let (asked, there) = (parties(), REQUEST);
    let proof = key.proof(Role::Asks, &asked, there);
    assert!(key.verifies(&proof, Role::Asks, &asked, there));
    let other = |asks: Party, gives: Party| Parties { asks, gives };
    let of_another_attempt = other(asked.asks, party(1, 12));
    let of_another_asker = other(party(3, 22), asked.gives);
    let turned = other(asked.gives, asked.asks);
    for (what, role, parties, said) in [
        (
            "his own key in it",
            Role::Asks,
            asked,
            r#"{"public_key":"bb"}"#,
        ),
        ("sent back to who asked", Role::Gives, asked, there),
        ("said again later", Role::Asks, of_another_attempt, there),
        ("for another lane", Role::Asks, of_another_asker, there),
        ("the other way round", Role::Asks, turned, there),
    ] {
        assert!(!key.verifies(&proof, role, &parties, said), "{what}");
    }
    // What he proves with a code that he made up.
    let own = code(2).key().proof(Role::Gives, &asked, "{}");
    assert!(!key.verifies(&own, Role::Gives, &asked, "{}"));
    for damaged in ["", "00", &proof[..63], &"g".repeat(64)] {
        assert!(!key.verifies(damaged, Role::Asks, &asked, there));
    }
}
