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

/// The same with the keyring alone.
fn keyring_alone(both: &Credentials) -> Credentials {
    let mut alone = both.clone();
    alone.stores.truncate(1);
    alone
}

#[test]
fn a_token_in_a_file_stays_in_files_when_it_changes_under_a_keyring() {
    let dir = TempDir::new("stays");
    let (files, keyring) = both(&dir);
    let random = SeededRandom::new(1);
    let first = files.token_or_mint(&random).expect("kept in a file");
    assert_eq!(held(&keyring).as_deref(), Some(first.as_str()));
    let next = keyring.next().token_or_mint(&random).expect("kept");
    assert_eq!(held(&files.next()).as_ref(), Some(&next));
    keyring.advance(&next).expect("changed");
    // What a service sees that has no keyring.
    assert_eq!(held(&files), Some(next));
    assert_eq!(held(&files.previous()), Some(first));
    assert_eq!(held(&files.next()), None);
    let alone = keyring_alone(&keyring);
    for place in [&alone, &alone.next(), &alone.previous()] {
        assert_eq!(held(place), None, "the file has it");
    }
    // Nor does the token of another identity of the till go where the service cannot see it.
    let heir: NodeId = "0198c0de-0000-7000-8000-000000000008"
        .parse()
        .expect("an id");
    let token = keyring.of(heir).token_or_mint(&random).expect("kept");
    assert_eq!(held(&files.of(heir)), Some(token));
}

#[test]
fn a_token_in_the_keyring_stays_there_when_it_changes() {
    let dir = TempDir::new("keyring");
    let (files, keyring) = both(&dir);
    let random = SeededRandom::new(2);
    let first = keyring.token_or_mint(&random).expect("kept");
    let next = keyring.next().token_or_mint(&random).expect("kept");
    keyring.advance(&next).expect("changed");
    assert_eq!(held(&keyring), Some(next));
    assert_eq!(held(&keyring.previous()), Some(first));
    for place in [&files, &files.next(), &files.previous()] {
        assert_eq!(held(place), None, "the keyring has it");
    }
}

#[test]
fn what_each_store_holds_is_known_until_one_token_is_found_good_and_stays_where_it_is() {
    let dir = TempDir::new("stores");
    let (files, keyring) = both(&dir);
    let alone = keyring_alone(&keyring);
    alone.replace("cf_old").expect("kept");
    files.replace("cf_good").expect("kept");
    assert_eq!(keyring.tokens().expect("read"), ["cf_old", "cf_good"]);
    keyring.settle("cf_good").expect("settled");
    assert_eq!(keyring.tokens().expect("read"), ["cf_good"]);
    assert_eq!(
        (held(&alone), held(&files).as_deref()),
        (None, Some("cf_good"))
    );
}

#[test]
fn a_change_that_was_cut_off_anywhere_comes_to_the_same_end_when_it_is_made_again() {
    for (cut, in_file) in [0, 1, 2].map(|cut| [(cut, false), (cut, true)]).concat() {
        let dir = TempDir::new("cut");
        let (files, credentials) = both(&dir);
        let home = if in_file {
            files
        } else {
            keyring_alone(&credentials)
        };
        let random = SeededRandom::new(cut);
        let first = home.token_or_mint(&random).expect("kept");
        let next = credentials.next().token_or_mint(&random).expect("kept");
        if cut > 0 {
            credentials.previous().replace(&first).expect("kept");
        }
        if cut > 1 {
            credentials.replace(&next).expect("kept");
        }
        // Whoever sees no more than the store in which it began has one of the two.
        let seen = held(&home).expect("a token is there");
        assert!(seen == first || seen == next, "cut {cut}, {in_file}");
        for _ in 0..2 {
            credentials.advance(&next).expect("changed");
            assert_eq!(held(&home).as_ref(), Some(&next), "cut {cut}");
            assert_eq!(held(&credentials).as_ref(), Some(&next), "cut {cut}");
            assert_eq!(held(&credentials.previous()).as_ref(), Some(&first));
            assert_eq!(held(&credentials.next()), None);
        }
    }
}
