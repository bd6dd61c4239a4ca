//! The hub's copy by itself: overlaps, tails, crashes, generations.

use std::path::Path;

use counterfoil_replica::{
    Chain, Copy, CopyKind, Durability, ExportOutcome, PullOutcome, Push, PushOutcome, Rotation,
    Wal, limits::FRAME_BYTES,
};
use tempfile::TempDir;

use crate::support::{
    assert_same_content, connect, content, create_sales, files, folder, sell, sell_at_once,
};

/// A source database with frames, and an empty copy.
struct Pair {
    folder: TempDir,
    body: Vec<u8>,
}

impl Pair {
    /// A table, `sales` transactions, and one large transaction.
    async fn new(sales: usize, large: usize) -> Self {
        let folder = folder();
        let path = folder.path().join("source.db");
        let mut wal = Wal::open(&path, Durability::Full).unwrap();
        let connection = connect(&path).await;
        create_sales(&connection).await;
        sell(&connection, sales).await;
        sell_at_once(&connection, large).await;
        let last = wal.position().unwrap().frames;
        let mut body = Vec::new();
        wal.read(|reading| reading.frames_into(1, last, &mut body))
            .unwrap();
        Self { folder, body }
    }

    fn frames(&self) -> u64 {
        u64::try_from(self.body.chunks(FRAME_BYTES).len()).unwrap()
    }

    fn source(&self) -> std::path::PathBuf {
        self.folder.path().join("source.db")
    }

    fn target(&self) -> std::path::PathBuf {
        self.folder.path().join("target.db")
    }

    fn copy(&self) -> Copy {
        open(&self.target())
    }

    fn part(&self, generation: u64, start: u64, end: u64) -> Push<'_> {
        let at = |frame: u64| usize::try_from(frame - 1).unwrap() * FRAME_BYTES;
        Push {
            generation,
            start,
            end,
            body: &self.body[at(start)..at(end)],
            chain: None,
            before: None,
        }
    }
}

fn open(path: &Path) -> Copy {
    Copy::open(path, CopyKind::Pushed, files()).unwrap()
}

fn accepted(generation: u64, max_frame_no: u64) -> PushOutcome {
    PushOutcome::Accepted {
        generation,
        max_frame_no,
    }
}

#[tokio::test]
async fn batches_of_any_size_add_up_even_when_the_hub_restarts_after_each() {
    for size in [1, 7, 128] {
        let pair = Pair::new(30, 2000).await;
        let end = pair.frames() + 1;
        let mut start = 1;
        while start < end {
            let next = (start + size).min(end);
            let mut copy = pair.copy();
            assert_eq!(copy.info().unwrap().max_frame_no, start - 1);
            assert_eq!(
                copy.push(&pair.part(1, start, next)).unwrap(),
                accepted(1, next - 1)
            );
            start = next;
        }
        let info = pair.copy().info().unwrap();
        assert_eq!(
            (info.committed_frame_no, info.max_frame_no),
            (end - 1, end - 1)
        );
        assert_same_content(&pair.source(), &pair.target(), 2030).await;
    }
}

#[tokio::test]
async fn an_uncommitted_tail_is_counted_and_not_seen() {
    let pair = Pair::new(5, 2000).await;
    let middle = pair.frames() - 10;
    let mut copy = pair.copy();
    assert_eq!(
        copy.push(&pair.part(1, 1, middle)).unwrap(),
        accepted(1, middle - 1)
    );
    let info = copy.info().unwrap();
    assert_eq!(info.max_frame_no, middle - 1);
    assert!(info.committed_frame_no < middle - 1);
    assert_eq!(content(&pair.target()).await.0.len(), 5);
    assert_eq!(copy.begin_generation().unwrap(), Rotation::NotNeeded);
    let chain_before = copy.info().unwrap().chain;
    drop(copy);
    let mut copy = pair.copy();
    assert_eq!(copy.info().unwrap().chain, chain_before);
    let end = pair.frames() + 1;
    assert_eq!(
        copy.push(&pair.part(1, middle - 3, end)).unwrap(),
        accepted(1, end - 1)
    );
    assert_same_content(&pair.source(), &pair.target(), 2005).await;
    assert!(!pair.folder.path().join("target.db-tail").exists());
}

#[tokio::test]
async fn frames_that_are_known_change_nothing_and_other_frames_conflict() {
    let pair = Pair::new(10, 1).await;
    let end = pair.frames() + 1;
    let mut copy = pair.copy();
    copy.push(&pair.part(1, 1, end)).unwrap();
    let before = copy.info().unwrap();
    assert_eq!(
        copy.push(&pair.part(1, 1, end)).unwrap(),
        accepted(1, end - 1)
    );
    // A stock client takes a higher number than it sent for an error.
    assert_eq!(copy.push(&pair.part(1, 2, 5)).unwrap(), accepted(1, 4));
    let mut other = pair.body.clone();
    other[FRAME_BYTES * 3 + 100] ^= 1;
    let push = Push {
        body: &other,
        ..pair.part(1, 1, end)
    };
    let conflict = PushOutcome::Conflict {
        generation: 1,
        max_frame_no: end - 1,
    };
    assert_eq!(copy.push(&push).unwrap(), conflict);
    assert_eq!(copy.info().unwrap(), before);
}

#[tokio::test]
async fn a_gap_is_answered_with_what_the_copy_has() {
    let pair = Pair::new(10, 1).await;
    let mut copy = pair.copy();
    assert_eq!(copy.push(&pair.part(1, 5, 8)).unwrap(), accepted(1, 0));
    copy.push(&pair.part(1, 1, 3)).unwrap();
    assert_eq!(copy.push(&pair.part(1, 5, 8)).unwrap(), accepted(1, 2));
}

#[tokio::test]
async fn a_wrong_checksum_is_found_before_anything_is_taken() {
    let pair = Pair::new(3, 1).await;
    let end = pair.frames() + 1;
    let mut copy = pair.copy();
    let start = copy.info().unwrap().chain_start;
    let wrong = Push {
        chain: Some(Chain([9; 32])),
        ..pair.part(1, 1, end)
    };
    let conflict = PushOutcome::Conflict {
        generation: 1,
        max_frame_no: 0,
    };
    assert_eq!(copy.push(&wrong).unwrap(), conflict);
    let right = start.after_all(&pair.body);
    let push = Push {
        chain: Some(right),
        ..pair.part(1, 1, end)
    };
    assert_eq!(copy.push(&push).unwrap(), accepted(1, end - 1));
    assert_eq!(copy.info().unwrap().chain, right);
}

#[tokio::test]
async fn a_closed_generation_says_where_it_ended() {
    let pair = Pair::new(10, 1).await;
    let end = pair.frames() + 1;
    let mut copy = pair.copy();
    let middle = 6;
    copy.push(&pair.part(1, 1, middle)).unwrap();
    let chain = copy.info().unwrap().chain;
    let rotation = copy.begin_generation().unwrap();
    assert!(
        matches!(rotation, Rotation::Rotated { generation: 2, .. }),
        "{rotation:?}"
    );
    let closed = PushOutcome::Closed {
        generation: 2,
        ended: Some(middle - 1),
    };
    assert_eq!(copy.push(&pair.part(1, middle, end)).unwrap(), closed);
    drop(copy);
    let mut copy = pair.copy();
    assert_eq!(copy.info().unwrap().chain_start, chain);
    assert_eq!(
        copy.pull(1, middle, end).unwrap(),
        PullOutcome::Ended { generation: 2 }
    );
    assert_eq!(
        copy.pull(1, middle - 1, end).unwrap(),
        PullOutcome::Gone { generation: 2 }
    );
    assert_eq!(
        copy.pull(2, 1, 9).unwrap(),
        PullOutcome::Ended { generation: 2 }
    );
    let rest = Push {
        start: 1,
        end: end - middle + 1,
        ..pair.part(1, middle, end)
    };
    let rest = Push {
        generation: 2,
        ..rest
    };
    assert_eq!(copy.push(&rest).unwrap(), accepted(2, end - middle));
    assert_same_content(&pair.source(), &pair.target(), 11).await;
}

#[tokio::test]
async fn a_pull_gives_back_the_frames_that_were_pushed() {
    let pair = Pair::new(10, 1).await;
    let end = pair.frames() + 1;
    let mut copy = pair.copy();
    copy.push(&pair.part(1, 1, end)).unwrap();
    let PullOutcome::Frames(body) = copy.pull(1, 1, end + 100).unwrap() else {
        panic!("frames")
    };
    let start = Chain([0; 32]);
    assert_eq!(start.after_all(&body), start.after_all(&pair.body));
    assert_eq!(
        copy.pull(1, end, end + 1).unwrap(),
        PullOutcome::Ended { generation: 1 }
    );
    assert_eq!(
        copy.pull(1, end + 1, end + 2).unwrap(),
        PullOutcome::Gone { generation: 1 }
    );
    assert_eq!(copy.pull(1, 0, 2).unwrap(), PullOutcome::BadRequest);
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_rotation_leaves_a_true_record() {
    for truncated in [false, true] {
        let pair = Pair::new(10, 1).await;
        let end = pair.frames() + 1;
        let record = pair.folder.path().join("target.db-sync");
        let mut copy = pair.copy();
        copy.push(&pair.part(1, 1, end)).unwrap();
        let before = std::fs::read(&record).unwrap();
        copy.begin_generation().unwrap();
        let after = copy.info().unwrap();
        drop(copy);
        // The intent is what a crash between its write and the end of the checkpoint leaves.
        let mut intent: serde_json::Value = serde_json::from_slice(&before).unwrap();
        intent["next"] = serde_json::json!({
            "mapping": {"generation": 2, "shift": 0, "chain": after.chain_start.to_string()},
            "closes": {"generation": 1, "end_frame": end - 1},
        });
        if truncated {
            std::fs::write(&record, intent.to_string()).unwrap();
            assert_eq!(pair.copy().info().unwrap(), after);
        } else {
            let pair = Pair::new(10, 1).await;
            let end = pair.frames() + 1;
            let mut copy = pair.copy();
            copy.push(&pair.part(1, 1, end)).unwrap();
            let expected = copy.info().unwrap();
            drop(copy);
            let record = pair.folder.path().join("target.db-sync");
            let mut now: serde_json::Value =
                serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
            now["next"] = intent["next"].clone();
            std::fs::write(&record, now.to_string()).unwrap();
            assert_eq!(pair.copy().info().unwrap(), expected);
        }
    }
}

#[tokio::test]
async fn a_fresh_copy_can_be_exported() {
    let folder = folder();
    let mut copy = open(&folder.path().join("fresh.db"));
    let info = copy.info().unwrap();
    assert_eq!((info.generation, info.max_frame_no), (1, 0));
    let ExportOutcome::Part { bytes, .. } = copy.export(1, 1, 2).unwrap() else {
        panic!("a file")
    };
    assert_eq!(bytes.len(), 4096);
}

#[tokio::test]
async fn the_parts_of_an_export_are_the_file() {
    let pair = Pair::new(3_000, 1).await;
    let mut copy = pair.copy();
    copy.push(&pair.part(1, 1, pair.frames() + 1)).unwrap();
    copy.begin_generation().unwrap();
    let wal = Wal::open(&pair.target(), Durability::Full).unwrap();
    let (size, digest) = wal.main_digest().unwrap();
    for pages in [1, 7, 256] {
        let (mut joined, mut start) = (Vec::new(), 1);
        while u64::try_from(joined.len()).unwrap() < size {
            let ExportOutcome::Part {
                bytes,
                file_bytes,
                file_digest,
            } = copy.export(2, start, start + pages).unwrap()
            else {
                panic!("a part from {start}")
            };
            assert_eq!((file_bytes, file_digest), (size, digest));
            joined.extend_from_slice(&bytes);
            start += pages;
        }
        assert_eq!(Chain::of_base(&joined), digest, "in parts of {pages}");
    }
    let pages = size.div_euclid(4096);
    for (start, end) in [(0, 1), (2, 2), (1, 258), (pages + 1, pages + 2)] {
        let refused = copy.export(2, start, end).unwrap();
        assert_eq!(refused, ExportOutcome::BadRequest, "{start}..{end}");
    }
}

#[tokio::test]
async fn frames_that_no_database_has_are_refused_and_change_nothing() {
    let pair = Pair::new(3, 0).await;
    let mut copy = pair.copy();
    let first = pair.part(1, 1, 2);
    assert_eq!(first.body[..4], [0, 0, 0, 1], "the first page comes first");
    let changes: [(&str, usize, &[u8]); 8] = [
        ("no page number", 0, &[0; 4]),
        ("a page without end", 0, &[0xff; 4]),
        ("a size without end", 4, &[0xff; 4]),
        ("the smallest size that is too large", 4, &[0, 0x40, 0, 1]),
        ("no magic", 24, b"sqLite"),
        ("another page size", 24 + 16, &[0x20, 0]),
        ("no WAL", 24 + 18, &[1, 1]),
        ("a fraction", 24 + 21, &[65]),
    ];
    for (what, at, bytes) in changes {
        let mut body = first.body.to_vec();
        body[at..at + bytes.len()].copy_from_slice(bytes);
        let push = Push {
            body: &body,
            chain: None,
            before: None,
            ..first
        };
        let outcome = copy.push(&push).unwrap();
        assert!(
            matches!(outcome, PushOutcome::BadRequest(_)),
            "{what}: {outcome:?}"
        );
        assert_eq!(copy.info().unwrap().max_frame_no, 0, "{what}");
    }
    let all = pair.part(1, 1, pair.frames() + 1);
    let outcome = copy.push(&all).unwrap();
    assert!(
        matches!(outcome, PushOutcome::Accepted { .. }),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_transaction_that_writes_a_page_twice_is_refused() {
    let pair = Pair::new(3, 0).await;
    let first = pair.part(1, 1, 2);
    let sized = |pages: u8| {
        let mut frame = first.body.to_vec();
        frame[4..8].copy_from_slice(&[0, 0, 0, pages]);
        frame
    };
    let (held, commit) = (sized(0), sized(1));
    let at_once = [&held[..], &held, &commit].concat();
    // In one push, and with frames that are held back already.
    for parts in [vec![&at_once[..]], vec![&held[..], &held, &commit]] {
        let folder = folder();
        let mut copy = open(&folder.path().join("target.db"));
        let mut start = 1;
        let mut refused = false;
        for body in parts {
            let end = start + u64::try_from(body.len().div_euclid(FRAME_BYTES)).unwrap();
            let push = Push {
                start,
                end,
                body,
                chain: None,
                before: None,
                ..first
            };
            let outcome = copy.push(&push).unwrap();
            refused = matches!(outcome, PushOutcome::BadRequest(_));
            assert!(refused || body == held, "{outcome:?}");
            start = end;
        }
        assert!(refused);
        assert_eq!(copy.info().unwrap().committed_frame_no, 0);
    }
}
