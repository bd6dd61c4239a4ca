//! A bootstrap that is interrupted: nothing that has arrived is asked for again.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use counterfoil_replica::{
    CatalogReplica, CopyKind, OpenGate, PullError, PullReport, RemoteError,
    env::{Execution, Files},
};
use tempfile::TempDir;

use crate::{
    faults::CrashingFiles,
    server::{Damage, Hub},
    support::{assert_same_content, connect, create_sales, files, folder, sell_at_once},
};

/// A hub whose generation begins with a file of several parts, which many frames follow.
struct Chain {
    folder: TempDir,
    hub: Arc<Hub>,
    /// The hub's writer has the database open as long as the hub.
    _publisher: libsql::Connection,
    rows: usize,
}

impl Chain {
    async fn start(transactions: usize) -> Self {
        let folder = folder();
        let path = folder.path().join("catalog.db");
        let hub = Hub::start(&path, CopyKind::Written).await;
        let publisher = connect(&path).await;
        create_sales(&publisher).await;
        sell_at_once(&publisher, 20_000).await;
        hub.on_copy(|copy| copy.checkpoint_if_over(0)).unwrap();
        // Each transaction fits into one pull.
        for _ in 0..transactions {
            sell_at_once(&publisher, 4_000).await;
        }
        Self {
            folder,
            hub,
            _publisher: publisher,
            rows: 20_000 + transactions * 4_000,
        }
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("node.db{suffix}"))
    }

    /// A process that pulls once.
    async fn pull(&self) -> Result<PullReport, PullError> {
        self.pull_with(files()).await
    }

    async fn pull_with(&self, files: Arc<dyn Files>) -> Result<PullReport, PullError> {
        let node = CatalogReplica::open(&self.path(""), files, Execution::Inline)?;
        node.pull(&self.hub.remote(), &OpenGate).await
    }

    /// A process whose line drops after that many parts, and that many pulls of frames.
    async fn pull_cut(&self, parts: u32, pulls: u32) {
        let (parts_left, pulls_left) = (&self.hub.parts_to_answer, &self.hub.pulls_to_answer);
        parts_left.store(parts, Ordering::SeqCst);
        pulls_left.store(pulls, Ordering::SeqCst);
        let cut = self.pull().await;
        assert!(matches!(cut, Err(PullError::Remote(_))), "{cut:?}");
        parts_left.store(u32::MAX, Ordering::SeqCst);
        pulls_left.store(u32::MAX, Ordering::SeqCst);
    }

    async fn assert_whole(&self) {
        let hub = self.folder.path().join("catalog.db");
        assert_same_content(&hub, &self.path(""), self.rows).await;
        for suffix in ["", "-part", "-steps", "-wal", "-shm"] {
            let left = self.path(&format!("-incoming{suffix}"));
            assert!(!left.exists(), "{} is left", left.display());
        }
    }

    /// First pages of the parts, and first frames of the pulls, that were answered so far.
    fn given(&self) -> (Vec<u64>, Vec<u64>) {
        let parts = self.hub.parts.lock().unwrap().clone();
        (parts, self.hub.pulls.lock().unwrap().clone())
    }

    fn forget_given(&self) {
        self.hub.parts.lock().unwrap().clear();
        self.hub.pulls.lock().unwrap().clear();
    }
}

fn in_order(numbers: &[u64]) -> bool {
    numbers.windows(2).all(|pair| pair[0] < pair[1])
}

#[tokio::test]
async fn a_bootstrap_goes_on_where_a_process_ended_and_asks_for_nothing_twice() {
    let chain = Chain::start(12).await;
    chain.pull_cut(0, 0).await;
    for _ in 0..3 {
        chain.pull_cut(1, 0).await;
    }
    chain.pull_cut(u32::MAX, 0).await;
    for _ in 0..2 {
        chain.pull_cut(0, 1).await;
    }
    assert_eq!(chain.given().1.len(), 2);
    assert!(chain.pull().await.unwrap().bootstrapped);
    let (parts, pulls) = chain.given();
    assert!(parts.len() > 3 && in_order(&parts), "{parts:?}");
    assert!(pulls.len() >= 3 && in_order(&pulls), "{pulls:?}");
    chain.assert_whole().await;
    assert_eq!(chain.pull().await.unwrap().bytes_down, 0);
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_bootstrap_costs_one_part_at_most() {
    let chain = Chain::start(1).await;
    for takes_effect in [false, true] {
        for changes in 1.. {
            let node = folder();
            let path = node.path().join("node.db");
            let hub = &chain.hub;
            let life = |files: Arc<dyn Files>| {
                let (path, remote) = (path.clone(), hub.remote());
                async move {
                    let node = CatalogReplica::open(&path, files, Execution::Inline)?;
                    node.pull(&remote, &OpenGate).await
                }
            };
            chain.forget_given();
            let crashing = CrashingFiles::new(changes, takes_effect);
            let ended = life(crashing.clone()).await;
            let at = format!("crash at change {changes}, effect {takes_effect}");
            assert_eq!(ended.is_err(), crashing.crashed(), "{at}: {ended:?}");
            let found = count(&path).await;
            assert!(found == 0 || found == chain.rows, "{at}: {found} sales");
            life(files()).await.unwrap();
            assert_eq!(count(&path).await, chain.rows, "{at}");
            let (parts, pulls) = chain.given();
            for numbers in [parts, pulls] {
                let falls = numbers.windows(2).filter(|pair| pair[0] >= pair[1]);
                let again: Vec<_> = falls.collect();
                let one = again.iter().all(|pair| pair[0] == pair[1]);
                assert!(again.len() <= 1 && one, "{at}: {numbers:?}");
            }
            if ended.is_ok() {
                assert!(changes > 15, "the life has many steps, it had {changes}");
                break;
            }
        }
    }
}

/// Sales in a database; none where it has no table.
async fn count(path: &Path) -> usize {
    let connection = connect(path).await;
    let mut count = 0;
    for (sql, next) in [
        ("SELECT count(*) FROM sqlite_schema", true),
        ("SELECT count(*) FROM sale", false),
    ] {
        let mut rows = connection.query(sql, ()).await.unwrap();
        let row = rows.next().await.unwrap().unwrap();
        count = usize::try_from(row.get::<u64>(0).unwrap()).unwrap();
        if next && count == 0 {
            break;
        }
    }
    count
}

#[tokio::test]
async fn a_part_that_is_damaged_on_the_line_is_asked_for_again() {
    let chain = Chain::start(1).await;
    chain.pull_cut(2, 0).await;
    chain.forget_given();
    chain
        .hub
        .damage
        .store(Damage::ON_THE_LINE, Ordering::SeqCst);
    let damaged = chain.pull().await;
    let expected = matches!(damaged, Err(PullError::Remote(RemoteError::Answer { .. })));
    assert!(expected, "{damaged:?}");
    chain.hub.damage.store(Damage::NONE, Ordering::SeqCst);
    chain.pull().await.unwrap();
    let parts = chain.given().0;
    assert!(parts[0] > 1 && parts[0] == parts[1], "{parts:?}");
    assert!(in_order(&parts[1..]), "{parts:?}");
    chain.assert_whole().await;
}

#[tokio::test]
async fn a_file_that_is_not_what_its_digest_says_costs_one_error_and_begins_anew() {
    let chain = Chain::start(1).await;
    chain
        .hub
        .damage
        .store(Damage::IN_THE_FILE, Ordering::SeqCst);
    let damaged = chain.pull().await;
    assert!(matches!(damaged, Err(PullError::Base(_))), "{damaged:?}");
    assert_eq!(count(&chain.path("")).await, 0);
    chain.hub.damage.store(Damage::NONE, Ordering::SeqCst);
    chain.forget_given();
    chain.pull().await.unwrap();
    let parts = chain.given().0;
    assert!(parts[0] == 1 && in_order(&parts), "{parts:?}");
    chain.assert_whole().await;
}

#[tokio::test]
async fn what_a_crash_tears_of_a_download_is_fetched_again_and_nothing_else() {
    type Tear = fn(&Chain);
    let tears: [(&str, Tear, u64); 6] = [
        ("nothing", |_| {}, 3),
        (
            "a part without its step",
            |chain| append(&chain.path("-incoming-part")),
            3,
        ),
        (
            "a torn step",
            |chain| append(&chain.path("-incoming-steps")),
            3,
        ),
        (
            "the last part",
            |chain| cut(&chain.path("-incoming-part"), 700),
            2,
        ),
        (
            "a byte of the second part",
            |chain| flip(&chain.path("-incoming-part"), 1_100_000),
            1,
        ),
        (
            "the steps",
            |chain| std::fs::remove_file(chain.path("-incoming-steps")).unwrap(),
            0,
        ),
    ];
    for (what, tear, parts_kept) in tears {
        let chain = Chain::start(1).await;
        chain.pull_cut(3, 0).await;
        chain.forget_given();
        tear(&chain);
        chain.pull().await.unwrap();
        let parts = chain.given().0;
        assert_eq!(parts[0], parts_kept * 256 + 1, "{what}: {parts:?}");
        assert!(in_order(&parts), "{what}: {parts:?}");
        chain.assert_whole().await;
    }
}

#[tokio::test]
async fn steps_of_a_download_that_became_the_catalog_do_not_stand_for_one_that_is_there() {
    let chain = Chain::start(1).await;
    chain.pull_cut(u32::MAX, 0).await;
    let steps = std::fs::read(chain.path("-incoming-steps")).unwrap();
    chain.pull().await.unwrap();
    // The process ended before it forgot them; then the disk lost the catalog.
    std::fs::write(chain.path("-incoming-steps"), steps).unwrap();
    for lost in ["", "-wal", "-shm", "-sync"] {
        std::fs::remove_file(chain.path(lost)).ok();
    }
    assert!(chain.pull().await.unwrap().bootstrapped);
    chain.assert_whole().await;
}

fn append(path: &Path) {
    let torn = [std::fs::read(path).unwrap(), b"{\"part\":{\"by".to_vec()].concat();
    std::fs::write(path, torn).unwrap();
}

fn cut(path: &Path, bytes: usize) {
    let mut content = std::fs::read(path).unwrap();
    content.truncate(content.len() - bytes);
    std::fs::write(path, content).unwrap();
}

fn flip(path: &Path, at: usize) {
    let mut content = std::fs::read(path).unwrap();
    content[at] ^= 1;
    std::fs::write(path, content).unwrap();
}
