use super::*;
use counterfoil_testkit::{SeededRandom, TempDir};
use keyring_core::mock;

fn node() -> NodeId {
    "0198c0de-0000-7000-8000-000000000007"
        .parse()
        .expect("an id")
}

/// Credentials whose keyring is away, and the same with the keyring in front.
fn both(dir: &TempDir) -> (Credentials, Credentials) {
    let files = Credentials::in_files(dir.path(), node());
    let mut with_keyring = files.clone();
    with_keyring
        .stores
        .insert(0, mock::Store::new().expect("a keyring in memory"));
    (files, with_keyring)
}

fn held(place: &Credentials) -> Option<String> {
    place.token().expect("it can be read")
}

#[test]
fn a_token_moves_into_the_keyring_with_its_next_change_and_leaves_no_copy_in_a_file() {
    let dir = TempDir::new("keyring");
    let (files, keyring) = both(&dir);
    let random = SeededRandom::new(1);
    let first = files.token_or_mint(&random).expect("kept in a file");
    assert_eq!(held(&keyring).as_deref(), Some(first.as_str()));
    let next = keyring.next().token_or_mint(&random).expect("kept");
    keyring.advance(&next).expect("changed");
    assert_eq!(held(&keyring), Some(next));
    assert_eq!(held(&keyring.previous()), Some(first));
    assert_eq!(held(&keyring.next()), None);
    for place in [&files, &files.next(), &files.previous()] {
        assert_eq!(held(place), None, "the keyring has it");
    }
}

#[test]
fn a_change_that_was_cut_off_anywhere_comes_to_the_same_end_when_it_is_made_again() {
    for cut in 0..3 {
        let dir = TempDir::new("cut");
        let (_, credentials) = both(&dir);
        let random = SeededRandom::new(cut);
        let first = credentials.token_or_mint(&random).expect("kept");
        let next = credentials.next().token_or_mint(&random).expect("kept");
        if cut > 0 {
            credentials.previous().replace(&first).expect("kept");
        }
        if cut > 1 {
            credentials.replace(&next).expect("kept");
        }
        for _ in 0..2 {
            credentials.advance(&next).expect("changed");
            assert_eq!(held(&credentials).as_ref(), Some(&next), "cut {cut}");
            assert_eq!(held(&credentials.previous()).as_ref(), Some(&first));
            assert_eq!(held(&credentials.next()), None);
        }
    }
}
