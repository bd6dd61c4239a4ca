//! Marks on disk: read and judged when a node is opened, written when its journal has grown.
//!
//! Nothing here is a reason not to sell: a mark that cannot be read or written is a warning.

use crate::fence::{Evidence, Mark, Marked, Place, in_words, judge, judge_open};
use crate::limits::MARK_PAUSE;
use crate::node::Node;
use crate::problem::chain;
use counterfoil_domain::NodeId;
use counterfoil_domain::lineage::Point;
use counterfoil_replica::env::{Execution, Files, Worker, create_folder};
use counterfoil_shop_store::{Paths, ShopStore, StoreError, node_of};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

/// The places of marks, for whoever reads or writes one.
pub(crate) struct Outside {
    files: Arc<dyn Files>,
    /// All are read, the first that takes a mark is written.
    folders: Vec<PathBuf>,
    has_warned: AtomicBool,
}

impl Outside {
    /// What lies in all of them.
    fn found(&self, key: &str) -> Vec<Mark> {
        let read = |folder: &PathBuf| {
            let bytes = self.files.read(&mark_in(folder, key))?;
            let mark = bytes.map(|bytes| serde_json::from_slice::<Mark>(&bytes));
            Ok(mark.transpose()?)
        };
        let mut found = Vec::new();
        for folder in &self.folders {
            match read(folder) {
                Ok(mark) => found.extend(mark),
                Err(error) => self.warn("a mark cannot be read", &error),
            }
        }
        found
    }

    /// Writes a mark in the first place that takes it.
    fn write(&self, key: &str, mark: &Mark) -> io::Result<()> {
        let content = serde_json::to_vec(mark)?;
        let mut refused = None;
        for folder in &self.folders {
            let write = || self.files.write_atomic(&mark_in(folder, key), &content);
            let written = write().or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => create_folder(folder).and_then(|()| write()),
                _ => Err(error),
            });
            match written {
                Ok(()) => return Ok(()),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    /// Once: a till that cannot have a mark does not say so at each sale.
    fn warn(&self, what: &str, error: &io::Error) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            let folders = &self.folders;
            tracing::warn!(%error, ?folders, "{what}: a restored or copied folder may not be known before the hub is reached");
        }
    }

    /// Lets a book that is open leave its series when another copy of it runs, which has marked what this one does not
    /// hold. On the store's thread, so that no number is given meanwhile.
    fn look(&self, store: &mut ShopStore, now_ms: i64) {
        if let Err(error) = self.looked(store, now_ms) {
            tracing::error!(error = %chain(&error), "whether another copy of this folder runs cannot be settled");
        }
    }

    fn looked(&self, store: &mut ShopStore, now_ms: i64) -> Result<(), StoreError> {
        for mark in self.found(&store.series_key()) {
            // Whatever this folder marked itself is in its journal, however long ago and by which process.
            if let Some(why) = judge_open(store.holds(&[mark.end])?) {
                store.fence(why, now_ms)?;
                break;
            }
        }
        Ok(())
    }
}

/// The marks of one node.
pub(crate) struct Marks {
    outside: Arc<Outside>,
    data: PathBuf,
    book: PathBuf,
    /// How far the mark of each series is.
    kept: BTreeMap<String, i64>,
    /// What the book says of its mark.
    told: Option<Marked>,
}

impl Marks {
    /// The marks of a data folder; `None` when there is no place for them.
    pub(crate) fn of(
        data: &Path,
        paths: &Paths,
        folders: &[PathBuf],
        files: &Arc<dyn Files>,
    ) -> Option<Self> {
        let data = data.canonicalize().unwrap_or_else(|_| data.to_owned());
        let is_outside = |folder: &&PathBuf| {
            let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
            let is_below = folder.starts_with(&data);
            if is_below {
                let folder = folder.display();
                tracing::warn!(%folder, "a mark in the data folder would go back in time with it: none is made there");
            }
            !is_below
        };
        let folders: Vec<PathBuf> = folders.iter().filter(is_outside).cloned().collect();
        let book = paths.book.clone();
        (!folders.is_empty()).then(|| Self {
            outside: Arc::new(Outside {
                files: Arc::clone(files),
                folders,
                has_warned: AtomicBool::new(false),
            }),
            data,
            book,
            kept: BTreeMap::new(),
            told: None,
        })
    }

    /// Lets the book leave its series when it must, and marks where it is. Before the first receipt.
    pub(crate) fn settle(&mut self, store: &mut ShopStore, now_ms: i64) {
        if let Err(error) = self.settled(store, now_ms) {
            let error = chain(&error);
            tracing::error!(%error, "whether this folder was restored or copied cannot be settled");
        }
    }

    fn settled(&mut self, store: &mut ShopStore, now_ms: i64) -> Result<(), StoreError> {
        let here = match self.here() {
            Ok(here) => here,
            Err(error) => {
                self.outside.warn("the book cannot be looked at", &error);
                return Ok(());
            }
        };
        let (key, end) = (store.series_key(), store.end());
        let mark = self.read(&key);
        let marked: Option<Marked> = store.marked()?;
        self.told = marked.clone().filter(|it| it.place == here);
        if let Some(mark) = &mark
            && (mark.path == here.path && mark.end == end)
        {
            self.kept.insert(key.clone(), end.seq);
        }
        let evidence = Evidence {
            holds_mark: match &mark {
                Some(mark) => store.holds(&[mark.end])?,
                None => true,
            },
            another_is_there: mark
                .as_ref()
                .is_some_and(|mark| self.lies_at(&mark.path, store.node())),
            marked,
            key,
            here,
            mark,
        };
        if let Some(why) = judge(&evidence) {
            let before = store.fenced()?.map(|fenced| fenced.why);
            let why = in_words(why, &evidence, before.as_deref());
            store.fence(&why, now_ms)?;
        }
        match self.keep(&store.series_key(), store.end()) {
            Some(marked) => store.keep_marked(&marked),
            None => Ok(()),
        }
    }

    /// Where the book lies now.
    fn here(&self) -> io::Result<Place> {
        let file = std::fs::metadata(&self.book)?;
        let born = file.created().ok();
        let born = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Ok(Place {
            path: self.data.to_string_lossy().into_owned(),
            inode: file.ino(),
            born_ms: born.and_then(|born| i64::try_from(born.as_millis()).ok()),
        })
    }

    /// Whether a book of this till lies in a folder, and is another file than this one. What is there and cannot be read
    /// counts as one: a series costs less than a number twice.
    fn lies_at(&self, folder: &str, node: NodeId) -> bool {
        let book = Paths::of(Path::new(folder)).book;
        let there = match std::fs::metadata(&book) {
            Ok(there) => there,
            Err(error) => {
                let kind = error.kind();
                return !matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
            }
        };
        let is_this = std::fs::metadata(&self.book)
            .is_ok_and(|own| (own.dev(), own.ino()) == (there.dev(), there.ino()));
        !is_this && node_of(&book).map_or(true, |found| found == Some(node))
    }

    /// The mark that is furthest, of all places.
    fn read(&self, key: &str) -> Option<Mark> {
        let found = self.outside.found(key).into_iter();
        found.max_by_key(|mark| mark.end.seq)
    }

    /// Writes how far a series is, when that is news. What the book has to remember of it, when that has changed.
    pub(crate) fn keep(&mut self, key: &str, end: Point) -> Option<String> {
        let is_kept = self.kept.get(key).is_some_and(|seq| *seq >= end.seq);
        if is_kept && self.told.as_ref().is_some_and(|told| told.key == key) {
            return None;
        }
        let written = self.here().and_then(|place| {
            let path = place.path.clone();
            if !is_kept {
                self.outside.write(key, &Mark { path, end })?;
            }
            Ok(place)
        });
        let place = match written {
            Ok(place) => place,
            Err(error) => {
                self.outside.warn("no mark can be written", &error);
                return None;
            }
        };
        if !is_kept {
            self.kept.insert(key.to_owned(), end.seq);
        }
        let key = key.to_owned();
        let told = Some(Marked { key, place });
        if self.told == told {
            return None;
        }
        self.told = told;
        serde_json::to_string(&self.told).ok()
    }
}

fn mark_in(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("{key}.json"))
}

/// The marks of an open node.
pub(crate) struct KeptMarks {
    worker: Worker<Marks>,
    /// Not behind the worker: what is to be read before a receipt does not wait for a mark that is being written.
    outside: Arc<Outside>,
}

impl KeptMarks {
    /// Puts them to work.
    ///
    /// # Errors
    /// When the operating system has no thread to give.
    pub(crate) fn start(marks: Marks, execution: Execution) -> io::Result<Self> {
        let outside = Arc::clone(&marks.outside);
        let worker = Worker::start(execution, "marks", marks)?;
        Ok(Self { worker, outside })
    }
}

impl Node {
    /// Marks how far the journal is, when it has grown. What lies there is read first: two copies of one folder that
    /// write the same mark in turn would each take away what tells the other.
    pub(crate) async fn keep_mark(&self) {
        let Some(KeptMarks { worker, .. }) = &self.inner.marks else {
            return;
        };
        self.look_at_mark().await;
        let (key, end) = self.store(|store| (store.series_key(), store.end())).await;
        let Some(marked) = worker.call(move |marks| marks.keep(&key, end)).await else {
            return;
        };
        let kept = self.store(move |store| store.keep_marked(&marked)).await;
        if let Err(error) = kept {
            tracing::warn!(error = %chain(&error), "the book cannot remember its mark");
        }
    }

    /// Leaves the series when another copy of this folder has marked something, before the next receipt.
    pub(crate) async fn look_at_mark(&self) {
        if let Some(KeptMarks { outside, .. }) = &self.inner.marks {
            let (outside, now_ms) = (Arc::clone(outside), self.now_ms());
            self.store(move |store| outside.look(store, now_ms)).await;
        }
    }
}

/// Marks how far the journal is, soon after it has grown and never in a sale. Ends only with the task.
pub(crate) async fn run(node: Node) {
    loop {
        node.inner.to_mark.notified().await;
        node.keep_mark().await;
        tokio::time::sleep(MARK_PAUSE).await;
    }
}
