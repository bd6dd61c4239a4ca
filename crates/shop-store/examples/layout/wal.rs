//! What a layout costs: frames in the WAL, and the bytes of a sale on the line.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const PAGE: usize = 4_096;
/// zstd's default.
const LEVEL: i32 = 3;
/// A window of 16 MB, for a backlog.
const WINDOW_LOG: u32 = 24;
/// Commits that a push of a backlog compresses together.
const BATCH: usize = 500;

/// One commit: page numbers with their content after it.
pub(crate) type Commit = Vec<(u32, Vec<u8>)>;

/// Bytes of one sale, its frames compressed in some way.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    /// Frames of a sale, over all of them.
    pub(crate) frames: f64,
    /// A sale alone, whole pages: median.
    pub(crate) whole: usize,
    /// A sale alone, pages as differences from their last version: median.
    pub(crate) delta: usize,
    /// In a backlog, whole pages.
    pub(crate) backlog_whole: f64,
    /// In a backlog, as differences.
    pub(crate) backlog_delta: f64,
}

/// The commits in a database's WAL. Another process copies the file: closing any descriptor of an open
/// database here would drop SQLite's locks.
pub(crate) fn commits(database: &Path) -> Vec<Commit> {
    let name = |end: &str| format!("{}{end}", database.display());
    let copied = Command::new("cp")
        .args([name("-wal"), name("-copy")])
        .status();
    assert!(copied.expect("cp runs").success(), "cp");
    let bytes = std::fs::read(name("-copy")).expect("the copy is there");
    let mut commits = vec![Commit::new()];
    for frame in bytes[WAL_HEADER..].chunks_exact(FRAME_HEADER + PAGE) {
        let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().expect("four"));
        let page = frame[FRAME_HEADER..].to_vec();
        commits.last_mut().expect("one").push((word(0), page));
        if word(4) > 0 {
            commits.push(Commit::new());
        }
    }
    commits.pop();
    commits
}

/// Measures the commits after the first `skip`, which bring the pages there.
pub(crate) fn sizes(commits: &[Commit], skip: usize) -> Sizes {
    let mut versions: HashMap<u32, Vec<u8>> = HashMap::new();
    let (mut whole, mut delta) = (Vec::new(), Vec::new());
    let (mut raw_batch, mut xor_batch) = (backlog(), backlog());
    let (mut frames, mut raw_backlog, mut xor_backlog) = (0, 0, 0);
    for (number, commit) in commits.iter().enumerate() {
        let (mut raw, mut xor) = (Vec::new(), Vec::new());
        for (page, content) in commit {
            raw.extend(page.to_be_bytes());
            raw.extend(content);
            xor.extend(page.to_be_bytes());
            match versions.get(page) {
                Some(last) => xor.extend(content.iter().zip(last).map(|(new, old)| new ^ old)),
                None => xor.extend(content),
            }
            versions.insert(*page, content.clone());
        }
        if number < skip {
            continue;
        }
        frames += commit.len();
        whole.push(alone(&raw));
        delta.push(alone(&xor));
        raw_batch.write_all(&raw).expect("compressed");
        xor_batch.write_all(&xor).expect("compressed");
        if (number + 1 - skip).is_multiple_of(BATCH) || number + 1 == commits.len() {
            raw_backlog += std::mem::replace(&mut raw_batch, backlog())
                .finish()
                .expect("ends")
                .len();
            xor_backlog += std::mem::replace(&mut xor_batch, backlog())
                .finish()
                .expect("ends")
                .len();
        }
    }
    let per_sale = |sum: usize| mean(sum, commits.len() - skip);
    Sizes {
        frames: per_sale(frames),
        whole: median(&mut whole),
        delta: median(&mut delta),
        backlog_whole: per_sale(raw_backlog),
        backlog_delta: per_sale(xor_backlog),
    }
}

fn alone(bytes: &[u8]) -> usize {
    zstd::bulk::compress(bytes, LEVEL)
        .expect("compressed")
        .len()
}

fn backlog() -> zstd::Encoder<'static, Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL).expect("an encoder");
    encoder.window_log(WINDOW_LOG).expect("a window");
    encoder
}

/// Sum by count.
pub(crate) fn mean(sum: usize, count: usize) -> f64 {
    let exact = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    exact(sum) / exact(count)
}

/// The middle one.
pub(crate) fn median<T: Ord + Copy>(values: &mut [T]) -> T {
    values.sort_unstable();
    values[values.len() >> 1]
}
