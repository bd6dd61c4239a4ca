//! A crash at every file operation of a node's and a hub's life, before and after its effect.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use counterfoil_replica::{
    BookReplica, CatalogReplica, Copy, CopyKind, LocalCheckpoint, OpenGate, Supersede, WalLimits,
    env::{Execution, Files, OsFiles},
};

use crate::{
    server::Hub,
    support::{
        assert_same_content, connect, content, create_sales, files, folder, sell, sell_at_once,
    },
};

/// Files that work until the n-th change and never again after it, as for a process that is gone.
pub(crate) struct CrashingFiles {
    left: AtomicU64,
    /// Whether the last change still takes effect.
    takes_effect: bool,
}

impl CrashingFiles {
    pub(crate) fn new(changes: u64, takes_effect: bool) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicU64::new(changes),
            takes_effect,
        })
    }

    pub(crate) fn crashed(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }

    fn change<R>(&self, work: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        let gone = || io::Error::other("the process is gone");
        let before = self.left.load(Ordering::SeqCst);
        self.left.store(before.saturating_sub(1), Ordering::SeqCst);
        match before {
            0 => Err(gone()),
            1 if self.takes_effect => work().and_then(|_| Err(gone())),
            1 => Err(gone()),
            _ => work(),
        }
    }
}

impl Files for CrashingFiles {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        OsFiles.read(path)
    }

    fn write_atomic(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.change(|| OsFiles.write_atomic(path, content))
    }

    fn read_range(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        OsFiles.read_range(path, offset, length)
    }

    fn append(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.change(|| OsFiles.append(path, content))
    }

    fn append_sync(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.change(|| OsFiles.append_sync(path, content))
    }

    fn truncate_sync(&self, path: &Path, length: u64) -> io::Result<()> {
        self.change(|| OsFiles.truncate_sync(path, length))
    }

    fn rename_durable(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|| OsFiles.rename_durable(from, to))
    }

    fn remove_if_exists(&self, path: &Path) -> io::Result<bool> {
        self.change(|| OsFiles.remove_if_exists(path))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        OsFiles.exists(path)
    }

    fn sync_dir_of(&self, path: &Path) -> io::Result<()> {
        self.change(|| OsFiles.sync_dir_of(path))
    }

    fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        OsFiles.size(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<Option<u64>> {
        OsFiles.free_bytes(path)
    }
}

/// What a life got done before the crash.
#[derive(Default)]
struct Done {
    sold: usize,
    met: bool,
}

/// A node's life until something fails; `None` when nothing did.
async fn book_life(
    folder: &Path,
    node_files: Arc<dyn Files>,
    hub_files: Arc<dyn Files>,
    done: &mut Done,
) -> Option<()> {
    let copy = Copy::open(&folder.join("copy.db"), CopyKind::Pushed, hub_files).ok()?;
    let hub = Hub::start_with(copy).await;
    let life = book_rounds(folder, node_files, &hub, done).await;
    *hub.copy.lock().unwrap() = None;
    life
}

async fn book_rounds(
    folder: &Path,
    node_files: Arc<dyn Files>,
    hub: &Hub,
    done: &mut Done,
) -> Option<()> {
    let (path, remote) = (folder.join("book.db"), hub.remote());
    let book = BookReplica::open(&path, node_files, Execution::Inline).ok()?;
    let store = connect(&path).await;
    create_sales(&store).await;
    for round in 0..3 {
        sell(&store, 3).await;
        // More than one push takes, so that the hub holds a tail back.
        let large = if round == 1 { 30_000 } else { 1 };
        sell_at_once(&store, large).await;
        done.sold += 3 + large;
        book.push(&remote, &OpenGate, &|_| {}, Supersede::Allowed)
            .await
            .ok()?;
        done.met = true;
        hub.on_copy(|copy| copy.checkpoint_if_over(0)).ok()?;
        let checkpoint = book
            .checkpoint_if_over(&OpenGate, WalLimits::acknowledged_bytes(0))
            .await
            .ok()?;
        assert_eq!(checkpoint, LocalCheckpoint::Done);
    }
    Some(())
}

#[tokio::test]
async fn a_book_survives_a_crash_of_the_node_at_every_step() {
    book_crashes(false).await;
}

#[tokio::test]
async fn a_book_survives_a_crash_of_the_hub_at_every_step() {
    book_crashes(true).await;
}

async fn book_crashes(at_hub: bool) {
    for takes_effect in [false, true] {
        for changes in 1.. {
            let folder = folder();
            let crashing = CrashingFiles::new(changes, takes_effect);
            let (node_files, hub_files): (Arc<dyn Files>, Arc<dyn Files>) = if at_hub {
                (files(), crashing.clone())
            } else {
                (crashing.clone(), files())
            };
            let mut done = Done::default();
            let life = book_life(folder.path(), node_files, hub_files, &mut done).await;
            assert_eq!(life.is_none(), crashing.crashed());
            let (book_path, copy_path) =
                (folder.path().join("book.db"), folder.path().join("copy.db"));
            let copy = Copy::open(&copy_path, CopyKind::Pushed, files()).unwrap();
            let hub = Hub::start_with(copy).await;
            let book = BookReplica::open(&book_path, files(), Execution::Inline).unwrap();
            let store = connect(&book_path).await;
            create_sales(&store).await;
            sell(&store, 2).await;
            let report = book
                .push(&hub.remote(), &OpenGate, &|_| {}, Supersede::Allowed)
                .await
                .unwrap();
            let at = format!("crash at change {changes}, effect {takes_effect}, hub {at_hub}");
            assert!(
                !(done.met && report.difference_pages.is_some()),
                "{at}: numbers were lost"
            );
            assert_same_content(&book_path, &copy_path, done.sold + 2).await;
            if life.is_some() {
                assert!(changes > 10, "the life has many steps, it had {changes}");
                break;
            }
        }
    }
}

/// A catalog's life until something fails.
async fn catalog_life(folder: &Path, hub: &Hub, node_files: Arc<dyn Files>) -> Option<()> {
    let node = CatalogReplica::open(&folder.join("node.db"), node_files, Execution::Inline).ok()?;
    let publisher = connect(&folder.join("catalog.db")).await;
    for round in 0..3 {
        sell(&publisher, 3).await;
        node.pull(&hub.remote(), &OpenGate).await.ok()?;
        if round == 1 {
            // Two generations at once: the node has to download the file again.
            hub.on_copy(|copy| copy.checkpoint_if_over(0)).unwrap();
            sell(&publisher, 3).await;
        }
        hub.on_copy(|copy| copy.checkpoint_if_over(0)).unwrap();
        node.checkpoint_if_over(&OpenGate, 0).await.ok()?;
    }
    Some(())
}

#[tokio::test]
async fn a_catalog_survives_a_crash_of_the_node_at_every_step() {
    for takes_effect in [false, true] {
        for changes in 1.. {
            let folder = folder();
            let hub_path = folder.path().join("catalog.db");
            let hub = Hub::start(&hub_path, CopyKind::Written).await;
            let publisher = connect(&hub_path).await;
            create_sales(&publisher).await;
            let crashing = CrashingFiles::new(changes, takes_effect);
            let life = catalog_life(folder.path(), &hub, crashing.clone()).await;
            assert_eq!(life.is_none(), crashing.crashed());
            let path = folder.path().join("node.db");
            let node = CatalogReplica::open(&path, files(), Execution::Inline).unwrap();
            sell(&publisher, 2).await;
            node.pull(&hub.remote(), &OpenGate).await.unwrap();
            let rows = content(&hub_path).await.0.len();
            assert_same_content(&hub_path, &path, rows).await;
            if life.is_some() {
                assert!(changes > 5, "the life has many steps, it had {changes}");
                break;
            }
        }
    }
}

/// A node that had everything and lost its numbers, so that it downloads the file again.
async fn bootstrap_life(folder: &Path, hub: &Hub, node_files: Arc<dyn Files>) -> Option<()> {
    let node = CatalogReplica::open(&folder.join("node.db"), node_files, Execution::Inline).ok()?;
    node.pull(&hub.remote(), &OpenGate).await.ok()?;
    Some(())
}

#[tokio::test]
async fn a_crash_in_a_bootstrap_leaves_the_old_catalog_or_the_new_one() {
    for takes_effect in [false, true] {
        for changes in 1.. {
            let folder = folder();
            let (hub_path, path) = (
                folder.path().join("catalog.db"),
                folder.path().join("node.db"),
            );
            let hub = Hub::start(&hub_path, CopyKind::Written).await;
            let publisher = connect(&hub_path).await;
            create_sales(&publisher).await;
            sell(&publisher, 3).await;
            bootstrap_life(folder.path(), &hub, files()).await.unwrap();
            OsFiles
                .remove_if_exists(&folder.path().join("node.db-sync"))
                .unwrap();
            let old = content(&path).await;
            sell(&publisher, 3).await;
            let new = content(&hub_path).await;
            let crashing = CrashingFiles::new(changes, takes_effect);
            let life = bootstrap_life(folder.path(), &hub, crashing.clone()).await;
            assert_eq!(life.is_none(), crashing.crashed());
            let node = CatalogReplica::open(&path, files(), Execution::Inline).unwrap();
            let found = content(&path).await;
            let at = format!("crash at change {changes}, effect {takes_effect}");
            assert!(
                found == old || found == new,
                "{at}: {} sales",
                found.0.len()
            );
            sell(&publisher, 2).await;
            node.pull(&hub.remote(), &OpenGate).await.unwrap();
            assert_same_content(&hub_path, &path, 8).await;
            if life.is_some() {
                assert!(changes > 8, "the life has many steps, it had {changes}");
                break;
            }
        }
    }
}
