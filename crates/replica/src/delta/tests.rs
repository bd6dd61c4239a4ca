use proptest::prelude::*;
use std::collections::BTreeMap;

use super::*;
use crate::frame::Chain;

/// A database as a test knows it: what each page holds now.
type Pages = BTreeMap<u32, Vec<u8>>;

fn frame(page: u32, commit_pages: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; FRAME_BYTES];
    bytes[..4].copy_from_slice(&page.to_be_bytes());
    bytes[4..8].copy_from_slice(&commit_pages.to_be_bytes());
    bytes[FRAME_HEADER_BYTES..].copy_from_slice(content);
    bytes
}

fn known_pages(pages: &Pages, wanted: &[u32]) -> KnownPages {
    let mut known = KnownPages::default();
    for page in wanted {
        if let Some(content) = pages.get(page) {
            known.push(*page, content);
        }
    }
    known
}

fn pages_before(pages: &Pages) -> u32 {
    pages.keys().next_back().copied().unwrap_or(0)
}

fn encode_from(pages: &Pages, body: &[u8]) -> Vec<u8> {
    let wanted = pages_wanted(body, pages_before(pages));
    encode(body, &known_pages(pages, &wanted)).unwrap()
}

fn decode_at(pages: &Pages, bytes: &[u8], frames: usize) -> Result<Vec<u8>, DeltaError> {
    let delta = Delta::parse(bytes, frames)?;
    delta.decode(&known_pages(pages, delta.pages()))
}

/// A leaf of a table with rows of these sizes, appended in order.
fn leaf(header: usize, rows: &[usize]) -> Vec<u8> {
    let mut page = vec![0; PAGE_BYTES];
    page[header] = 13;
    page[header + 5..header + 7].copy_from_slice(&[0x10, 0]);
    for (index, bytes) in rows.iter().enumerate() {
        let number = if header == 0 { 2 } else { 1 };
        let cell = row(*bytes, u8::try_from(index % 100).unwrap());
        if page::insert(number, &mut page, index, &cell).is_none() {
            break;
        }
    }
    page
}

fn row(bytes: usize, value: u8) -> Vec<u8> {
    let bytes = bytes % 120;
    let mut cell = vec![u8::try_from(bytes).unwrap(), value];
    cell.extend((0..bytes).map(|at| {
        value
            .wrapping_mul(31)
            .wrapping_add(u8::try_from(at).unwrap())
    }));
    if cell.len() < 4 {
        cell.resize(4, 0);
    }
    cell
}

#[derive(Clone, Debug)]
enum Change {
    Insert { at: usize, bytes: usize, value: u8 },
    Overwrite { at: usize, bytes: Vec<u8> },
    Fill(u8),
    Leaf(Vec<usize>),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<usize>(), any::<usize>(), any::<u8>())
            .prop_map(|(at, bytes, value)| Change::Insert { at, bytes, value }),
        4 => (0..PAGE_BYTES, proptest::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, bytes)| Change::Overwrite { at, bytes }),
        1 => any::<u8>().prop_map(Change::Fill),
        1 => proptest::collection::vec(any::<usize>(), 0..30).prop_map(Change::Leaf),
    ]
}

fn changed(number: u32, old: Option<&Vec<u8>>, change: &Change) -> Vec<u8> {
    let header = if number == 1 { 100 } else { 0 };
    let mut page = old.cloned().unwrap_or_else(|| leaf(header, &[10, 20]));
    match change {
        Change::Insert { at, bytes, value } => {
            let cells = page::cells(number, &page).unwrap_or(0);
            let cell = row(*bytes, *value);
            // A full page stays as it is.
            page::insert(number, &mut page, at % (cells + 1), &cell);
        }
        Change::Overwrite { at, bytes } => {
            for (old, new) in page[*at..].iter_mut().zip(bytes) {
                *old = *new;
            }
        }
        Change::Fill(byte) => page.fill(*byte),
        Change::Leaf(rows) => page = leaf(header, rows),
    }
    page
}

/// Frames of a history: page, whether a transaction ends, what changed.
fn history() -> impl Strategy<Value = Vec<(u32, bool, Change)>> {
    proptest::collection::vec((1_u32..70, any::<bool>(), change()), 1..40)
}

fn play(pages: &Pages, history: &[(u32, bool, Change)]) -> (Vec<u8>, Pages) {
    let mut after = pages.clone();
    let mut body = Vec::new();
    for (page, ends, change) in history {
        let content = changed(*page, after.get(page), change);
        after.insert(*page, content.clone());
        let size = if *ends { pages_before(&after) } else { 0 };
        body.extend_from_slice(&frame(*page, size, &content));
    }
    (body, after)
}

proptest! {
    #[test]
    fn any_history_survives_the_way(first in history(), second in history()) {
        let (_, pages) = play(&Pages::new(), &first);
        let (body, _) = play(&pages, &second);
        let bytes = encode_from(&pages, &body);
        prop_assert_eq!(decode_at(&pages, &bytes, second.len()), Ok(body));
    }

    #[test]
    fn changed_bytes_give_an_error_or_another_checksum(
        first in history(),
        second in history(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let (_, pages) = play(&Pages::new(), &first);
        let (body, _) = play(&pages, &second);
        let mut bytes = encode_from(&pages, &body);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(decoded) = decode_at(&pages, &bytes, second.len()) {
            prop_assert_eq!(decoded.len(), body.len());
            let chain = Chain([3; 32]);
            prop_assert_eq!(chain.after_all(&decoded) == chain.after_all(&body), decoded == body);
        }
    }

    #[test]
    fn arbitrary_control_and_literals_never_panic(
        first in history(),
        control in proptest::collection::vec(any::<u8>(), 0..200),
        literals in proptest::collection::vec(any::<u8>(), 0..400),
        frames in 0_usize..20,
    ) {
        let (_, pages) = play(&Pages::new(), &first);
        let numbers: Vec<u32> = pages.keys().copied().collect();
        let known = known_pages(&pages, &numbers);
        let mut bytes = vec![FORMAT];
        put_number(&mut bytes, count_of(control.len()));
        put_number(&mut bytes, count_of(literals.len()));
        put_pages(&mut bytes, &numbers);
        let plain = [control, literals].concat();
        bytes.extend(compress(&plain, &known.content).unwrap());
        if let Ok(decoded) = decode_at(&pages, &bytes, frames) {
            prop_assert_eq!(decoded.len(), frames * FRAME_BYTES);
        }
    }
}

#[test]
fn a_page_that_differs_where_nothing_changed_gives_other_frames() {
    let old = leaf(0, &[30; 20]);
    let pages = Pages::from([(2, old.clone())]);
    let insert = Change::Insert {
        at: 20,
        bytes: 30,
        value: 9,
    };
    let (body, after) = play(&pages, &[(2, true, insert)]);
    let bytes = encode_from(&pages, &body);
    let kept: Vec<usize> = (0..PAGE_BYTES)
        .filter(|at| old[*at] == after[&2][*at])
        .collect();
    assert!(kept.len() > PAGE_BYTES - 50);
    for at in kept {
        let mut other = old.clone();
        other[at] ^= 0x10;
        let decoded = decode_at(&Pages::from([(2, other)]), &bytes, 1);
        assert_ne!(decoded.as_ref(), Ok(&body), "byte {at} differs");
    }
}

#[test]
fn a_row_costs_little_more_than_its_bytes() {
    let pages = Pages::from([(2, leaf(0, &[30; 20]))]);
    let change = Change::Insert {
        at: 20,
        bytes: 100,
        value: 201,
    };
    let (body, _) = play(&pages, &[(2, true, change)]);
    let bytes = encode_from(&pages, &body);
    assert!(bytes.len() < 130, "{} bytes", bytes.len());
}

#[test]
fn a_bomb_costs_no_more_memory_than_the_frames_it_claims() {
    let plain = vec![0; 64 * 1024 * 1024];
    let mut bytes = vec![FORMAT];
    put_number(&mut bytes, 100);
    put_number(&mut bytes, 1000);
    put_pages(&mut bytes, &[]);
    bytes.extend(compress(&plain, &[]).unwrap());
    assert_eq!(
        decode_at(&Pages::new(), &bytes, 1),
        Err(DeltaError::Mismatch)
    );
}

#[test]
fn absurd_headers_are_refused() {
    let header = |control: u64, literals: u64, rest: &[u64]| {
        let mut bytes = vec![FORMAT];
        put_number(&mut bytes, control);
        put_number(&mut bytes, literals);
        for number in rest {
            put_number(&mut bytes, *number);
        }
        bytes
    };
    let check = |bytes: &[u8], frames: usize, error: DeltaError| {
        assert_eq!(
            Delta::parse(bytes, frames).map(|_| ()),
            Err(error),
            "{bytes:?}"
        );
    };
    check(&[], 1, DeltaError::Format);
    check(&[2, 0, 0, 0], 1, DeltaError::Format);
    check(
        &header(0, 0, &[0]),
        DELTA_FRAMES_MAX + 1,
        DeltaError::TooLarge,
    );
    check(&header(u64::MAX, u64::MAX, &[0]), 1, DeltaError::TooLarge);
    check(&header(1, 1_000_000, &[0]), 1, DeltaError::TooLarge);
    check(&header(1, 1, &[u64::MAX]), 1, DeltaError::Format);
    check(&header(1, 1, &[1, 0, u64::MAX]), 1, DeltaError::TooLarge);
    check(&header(1, 1, &[1, u64::MAX, 1]), 1, DeltaError::Format);
    check(
        &header(1, 1, &[1, u64::from(u32::MAX), 5]),
        1,
        DeltaError::Format,
    );
    check(&header(1, 1, &[1, 0, 0]), 1, DeltaError::Format);
    let eleven = [
        FORMAT, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
    ];
    check(&eleven, 1, DeltaError::Format);
}

#[test]
fn a_page_that_does_not_exist_is_named() {
    let pages = Pages::from([(7, leaf(0, &[30; 20]))]);
    let (body, _) = play(&pages, &[(7, true, Change::Fill(1))]);
    let bytes = encode_from(&pages, &body);
    assert_eq!(
        decode_at(&Pages::new(), &bytes, 1),
        Err(DeltaError::Missing { page: 7 })
    );
}
