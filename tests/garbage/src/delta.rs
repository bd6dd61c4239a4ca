//! Delta frames: bytes that somebody made up, and pages that nobody expects.

use counterfoil_replica::Chain;
use counterfoil_replica::delta::{self, Delta, KnownPages};
use counterfoil_replica::frame::frames;
use counterfoil_replica::limits::{FRAME_BYTES, FRAME_HEADER_BYTES, PAGE_BYTES};
use std::collections::BTreeMap;

use crate::script::Script;

/// Pages that both sides hold.
const PAGES: u32 = 6;

type Pages = BTreeMap<u32, Vec<u8>>;

/// Bytes as they come, and what lies inside the compression, which nobody would hit by chance.
pub(crate) fn decode(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let count = usize::from(script.byte());
    let pages = pages();
    apply(script.rest(), count, &pages);
    let control = usize::from(script.word());
    let plain = script.rest();
    if let Some(literals) = plain.len().checked_sub(control) {
        apply(&wrap(plain, control, literals, &pages), count, &pages);
    }
}

fn apply(bytes: &[u8], count: usize, pages: &Pages) {
    let Ok(delta) = Delta::parse(bytes, count) else {
        return;
    };
    let Ok(body) = delta.decode(&known(pages, delta.pages())) else {
        return;
    };
    assert_eq!(body.len(), count * FRAME_BYTES);
    assert!(frames(&body).all(|frame| frame.page_number() != 0));
    survives(&body, pages);
}

/// Frames with changes that the bytes choose: what is encoded is decoded.
pub(crate) fn round_trip(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let mut pages = pages();
    for page in pages.values_mut() {
        change(page, &mut script);
    }
    let mut newest = pages.clone();
    let mut body = Vec::new();
    while !script.is_empty() && body.len() < 40 * FRAME_BYTES {
        let number = 1 + u32::from(script.byte() % 12);
        let page = newest.entry(number).or_insert_with(|| vec![0; PAGE_BYTES]);
        change(page, &mut script);
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        frame[..4].copy_from_slice(&number.to_be_bytes());
        frame[7] = script.byte();
        body.append(&mut frame);
        body.extend_from_slice(page);
    }
    survives(&body, &pages);
}

/// Writes over a few stretches of a page.
fn change(page: &mut [u8], script: &mut Script<'_>) {
    for _ in 0..script.byte() % 8 {
        let at = usize::from(script.word()) % PAGE_BYTES;
        let length = usize::from(script.byte());
        let new = script.take(length);
        let end = PAGE_BYTES.min(at + new.len());
        page[at..end].copy_from_slice(&new[..end - at]);
    }
}

fn survives(body: &[u8], pages: &Pages) {
    let size = pages.keys().next_back().copied().unwrap_or(0);
    let bytes = delta::encode(body, &known(pages, &delta::pages_wanted(body, size)));
    let bytes = bytes.expect("so few frames can be encoded");
    let delta = Delta::parse(&bytes, frames(body).len()).expect("it was just encoded");
    let decoded = delta.decode(&known(pages, delta.pages()));
    let decoded = decoded.expect("it was just encoded");
    let chain = Chain([0; 32]);
    assert_eq!(chain.after_all(&decoded), chain.after_all(body));
}

fn known(pages: &Pages, wanted: &[u32]) -> KnownPages {
    let mut known = KnownPages::default();
    for page in wanted {
        if let Some(content) = pages.get(page) {
            known.push(*page, content);
        }
    }
    known
}

/// Leaves of tables and indices, interior pages and one that is no page of a tree.
fn pages() -> Pages {
    const KINDS: [u8; 6] = [13, 13, 10, 5, 2, 0];
    (1..=PAGES)
        .zip(KINDS)
        .map(|(number, kind)| (number, leaf(number, kind)))
        .collect()
}

fn leaf(number: u32, kind: u8) -> Vec<u8> {
    let header = if number == 1 { 100 } else { 0 };
    let mut page = vec![0; PAGE_BYTES];
    page[header] = kind;
    let cells: u8 = 20;
    let mut content = PAGE_BYTES;
    page[header + 4] = cells;
    for index in 0..cells {
        let cell = cell(kind, index);
        content -= cell.len();
        page[content..content + cell.len()].copy_from_slice(&cell);
        let pointer = header + pointers_at(kind) + 2 * usize::from(index);
        let start = u16::try_from(content).expect("inside a page");
        page[pointer..pointer + 2].copy_from_slice(&start.to_be_bytes());
    }
    let start = u16::try_from(content).expect("inside a page");
    page[header + 5..header + 7].copy_from_slice(&start.to_be_bytes());
    page
}

fn pointers_at(kind: u8) -> usize {
    if matches!(kind, 2 | 5) { 12 } else { 8 }
}

fn cell(kind: u8, index: u8) -> Vec<u8> {
    let payload = [index; 30];
    match kind {
        5 => vec![0, 0, 0, index, index],
        2 => [&[0, 0, 0, index, 30][..], &payload].concat(),
        10 => [&[30][..], &payload].concat(),
        _ => [&[30, index][..], &payload].concat(),
    }
}

/// A body of delta frames around what lies inside.
fn wrap(plain: &[u8], control: usize, literals: usize, pages: &Pages) -> Vec<u8> {
    const MAGIC_BYTES: usize = 4;
    let mut bytes = vec![1];
    put_number(&mut bytes, control);
    put_number(&mut bytes, literals);
    // One run, which begins with the first page.
    put_number(&mut bytes, 1);
    put_number(&mut bytes, 0);
    put_number(&mut bytes, pages.len());
    let content: Vec<u8> = pages.values().flatten().copied().collect();
    let mut packed = Vec::with_capacity(zstd::zstd_safe::compress_bound(plain.len()));
    let mut context = zstd::zstd_safe::CCtx::create();
    let done = context
        .ref_prefix(&content)
        .and_then(|_| context.compress2(&mut packed, plain));
    done.expect("memory");
    bytes.extend_from_slice(&packed[MAGIC_BYTES..]);
    bytes
}

fn put_number(bytes: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        let [low, ..] = number.to_le_bytes();
        bytes.push(low | 0x80);
        number >>= 7;
    }
    let [low, ..] = number.to_le_bytes();
    bytes.push(low);
}
