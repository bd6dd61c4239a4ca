//! Every commit that is kept can be restored, whatever happened since.

use std::path::{Path, PathBuf};

use counterfoil_replica::{
    Copy, CopyKind, RestoreError, Rotation,
    history::{Commit, History, HistoryError, Moment},
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::{connect, content, create_sales, files, folder, sell, sell_at_once};

/// A database that the hub writes, its copy, and what it held at each commit.
struct Scene {
    folder: TempDir,
    writer: libsql::Connection,
    copy: Copy,
    now_ms: i64,
    commits: Vec<(Commit, i64, Vec<String>)>,
}

impl Scene {
    async fn new() -> Self {
        let folder = folder();
        let copy = open(folder.path());
        let writer = connect(&folder.path().join("source.db")).await;
        create_sales(&writer).await;
        let mut scene = Self {
            folder,
            writer,
            copy,
            now_ms: 1_000_000,
            commits: Vec::new(),
        };
        scene.note().await;
        scene
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source.db")
    }

    /// The writer has committed: the hub notes the time, and we what it wrote.
    async fn note(&mut self) {
        self.now_ms += 1_000;
        self.copy.note_time(self.now_ms).unwrap();
        let info = self.copy.info().unwrap();
        let commit = Commit {
            generation: info.generation,
            frame: info.committed_frame_no,
        };
        let held = content(&self.source()).await.0;
        self.commits.push((commit, self.now_ms, held));
    }

    fn begin_generation(&mut self) {
        let rotation = self.copy.begin_generation().unwrap();
        let is_kept = |rotation| match rotation {
            Rotation::Rotated { history_kept, .. } => history_kept,
            Rotation::NotNeeded => true,
            Rotation::Busy => false,
        };
        assert!(is_kept(rotation), "{rotation:?}");
    }

    async fn restored(&mut self, moment: Moment) -> (Commit, Vec<String>) {
        let into = self.folder.path().join("restored.db");
        let (commit, _) = self.copy.restore(moment, &into).unwrap();
        let (held, check) = content(&into).await;
        assert_eq!(check, "ok");
        for suffix in ["", "-wal", "-shm"] {
            let path = PathBuf::from(format!("{}{suffix}", into.display()));
            if path.exists() {
                std::fs::remove_file(path).unwrap();
            }
        }
        (commit, held)
    }

    /// Every commit of a generation that is listed comes back by number and by time.
    async fn check(&mut self) -> usize {
        let kept: Vec<u64> = self
            .copy
            .history()
            .unwrap()
            .iter()
            .map(|row| row.generation)
            .collect();
        let commits = self.commits.clone();
        let mut checked = 0;
        for (commit, at_ms, held) in commits {
            let Commit { generation, frame } = commit;
            let moment = Moment::Frame { generation, frame };
            if !kept.contains(&generation) {
                let into = self.folder.path().join("nothing.db");
                let refused = self.copy.restore(moment, &into).unwrap_err();
                assert!(matches!(
                    refused,
                    RestoreError::History(HistoryError::NotKept { .. })
                ));
                assert!(!into.exists());
                continue;
            }
            assert_eq!(self.restored(moment).await, (commit, held.clone()));
            let (_, by_time) = self.restored(Moment::At(at_ms + 999)).await;
            assert_eq!(by_time, held, "{commit:?}");
            checked += 1;
        }
        checked
    }
}

fn open(folder: &Path) -> Copy {
    let mut copy = Copy::open(&folder.join("source.db"), CopyKind::Written, files()).unwrap();
    copy.keep_history(History::new(folder.join("history"), files()));
    copy
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Sell,
    SellMany,
    Delete,
    Generation,
    Reopen,
    Prune,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => Just(Step::Sell),
        2 => Just(Step::SellMany),
        1 => Just(Step::Delete),
        3 => Just(Step::Generation),
        1 => Just(Step::Reopen),
        1 => Just(Step::Prune),
    ]
}

async fn run(steps: &[Step]) {
    let mut scene = Scene::new().await;
    for step in steps {
        match step {
            Step::Sell => sell(&scene.writer, 1).await,
            Step::SellMany => sell_at_once(&scene.writer, 300).await,
            Step::Delete => {
                // Pages become free and the file smaller.
                for sql in ["DELETE FROM sale WHERE id % 3 > 0", "VACUUM"] {
                    scene.writer.execute(sql, ()).await.unwrap();
                }
            }
            Step::Generation => {
                scene.begin_generation();
                continue;
            }
            Step::Reopen => {
                scene.copy = open(scene.folder.path());
                continue;
            }
            Step::Prune => {
                let mut history = History::new(scene.folder.path().join("history"), files());
                history.prune(scene.now_ms - 4_000).unwrap();
                continue;
            }
        }
        scene.note().await;
    }
    assert!(scene.check().await > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_commit_that_is_kept_can_be_restored(steps in prop::collection::vec(step(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(&steps));
    }
}

#[tokio::test]
async fn what_was_kept_is_forgotten_in_whole_groups_and_not_before_its_time() {
    let mut scene = Scene::new().await;
    for _ in 0..12 {
        sell_at_once(&scene.writer, 400).await;
        scene.note().await;
        scene.begin_generation();
    }
    let mut history = History::new(scene.folder.path().join("history"), files());
    let (before, bytes) = (scene.copy.history().unwrap(), history.bytes().unwrap());
    let limit = scene.now_ms - 3_500;
    history.prune(limit).unwrap();
    let after = scene.copy.history().unwrap();
    assert!(after.len() < before.len());
    assert!(history.bytes().unwrap() < bytes);
    assert!(
        after[0].first_ms.unwrap() <= limit,
        "it still reaches back that far"
    );
    assert!(scene.check().await > 3);
    let files = std::fs::read_dir(scene.folder.path().join("history")).unwrap();
    let named = after.len() * 3 + 1;
    assert!(files.count() <= named, "nothing is left over");
    while history.bytes().unwrap() > 0 {
        history.forget_oldest().unwrap();
    }
    assert_eq!(scene.copy.history().unwrap().len(), 1);
}

#[tokio::test]
async fn a_moment_before_everything_or_an_unknown_frame_is_refused() {
    let mut scene = Scene::new().await;
    let into = scene.folder.path().join("nothing.db");
    let early = scene.copy.restore(Moment::At(5), &into).unwrap_err();
    assert!(matches!(
        early,
        RestoreError::History(HistoryError::TooEarly)
    ));
    // Behind the end is the end: that is the last commit up to there.
    let beyond = Moment::Frame {
        generation: 1,
        frame: 1_000_000,
    };
    let last = scene.commits.last().unwrap().clone();
    assert_eq!(scene.restored(beyond).await, (last.0, last.2));
}

#[tokio::test]
async fn a_damaged_block_is_refused_and_leaves_no_file() {
    let mut scene = Scene::new().await;
    sell_at_once(&scene.writer, 500).await;
    scene.note().await;
    scene.begin_generation();
    let path = scene
        .folder
        .path()
        .join("history")
        .join("frames-0000000001");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len().div_euclid(2);
    bytes[middle] ^= 0x20;
    std::fs::write(&path, bytes).unwrap();
    let into = scene.folder.path().join("nothing.db");
    let moment = Moment::Frame {
        generation: 1,
        frame: 1_000,
    };
    let refused = scene.copy.restore(moment, &into).unwrap_err();
    assert!(matches!(
        refused,
        RestoreError::History(HistoryError::Damaged { .. })
    ));
    assert!(!into.exists());
}

#[tokio::test]
async fn a_history_that_cannot_be_written_does_not_hold_up_the_generation() {
    let folder = folder();
    // A file stands where the folder should be.
    std::fs::write(folder.path().join("history"), b"").unwrap();
    let mut copy = open(folder.path());
    let writer = connect(&folder.path().join("source.db")).await;
    create_sales(&writer).await;
    copy.note_time(5).unwrap();
    let rotated = copy.begin_generation().unwrap();
    assert!(matches!(
        rotated,
        Rotation::Rotated {
            history_kept: false,
            ..
        }
    ));
    // There is room again: the next generation begins with its main file.
    std::fs::remove_file(folder.path().join("history")).unwrap();
    sell(&writer, 3).await;
    let rotated = copy.begin_generation().unwrap();
    assert!(matches!(
        rotated,
        Rotation::Rotated {
            history_kept: true,
            ..
        }
    ));
    let generations: Vec<u64> = copy
        .history()
        .unwrap()
        .iter()
        .map(|row| row.generation)
        .collect();
    assert_eq!(generations, [2, 3]);
}
