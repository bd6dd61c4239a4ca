//! Marks on disk: read and judged when a node is opened, written when its journal has grown.
//!
//! Nothing here is a reason not to sell: a mark that cannot be read or written is a warning.

use crate::fence::{Evidence, Mark, Marked, Place, in_words, judge, judge_open};
use crate::limits::{MARK_PAUSE, MARK_READ_WITHIN};
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
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

/// The places of marks, for whoever reads or writes one.
pub(crate) struct Outside {
    files: Arc<dyn Files>,
    /// All are read at the opening; the first that takes a mark is written.
    folders: Vec<PathBuf>,
    /// How many of them a look reads: up to the one that is written.
    looked_at: AtomicUsize,
    /// Held while a look reads.
    reading: Arc<tokio::sync::Mutex<()>>,
    /// Whoever reads is late: nobody waits for it.
    is_late: AtomicBool,
    has_warned: AtomicBool,
}

/// What lies outside for one series.
struct Found {
    key: String,
    /// Each with the number of the folder that it lies in.
    marks: Vec<(usize, Mark)>,
    /// Numbers of the folders that could be read. What lies in others may be what tells a copy, and is not overwritten.
    readable: Vec<usize>,
}

/// A series that may be marked: what lay outside of it was judged.
pub(crate) struct Looked {
    found: Found,
    end: Point,
    /// It has just begun.
    has_fenced: bool,
}

impl Outside {
    /// What lies in the first so many folders.
    fn found(&self, key: String, folders: usize) -> Found {
        let (mut marks, mut readable) = (Vec::new(), Vec::new());
        for (number, folder) in self.folders.iter().enumerate().take(folders) {
            let bytes = match self.files.read(&mark_in(folder, &key)) {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.warn("a mark cannot be read", &error);
                    continue;
                }
            };
            readable.push(number);
            let mark = bytes.map(|bytes| serde_json::from_slice::<Mark>(&bytes));
            match mark.transpose() {
                Ok(mark) => marks.extend(mark.map(|mark| (number, mark))),
                Err(error) => self.warn("a mark cannot be read", &error.into()),
            }
        }
        Found {
            key,
            marks,
            readable,
        }
    }

    /// What a look finds; `None` when it takes too long: a fence folder that hangs stops no sale. One at a time, and
    /// nobody waits behind one that is late.
    async fn found_soon(self: &Arc<Self>, key: String, execution: Execution) -> Option<Found> {
        let read = async {
            let turn = Arc::clone(&self.reading);
            let turn = if self.is_late.load(Ordering::Relaxed) {
                match turn.try_lock_owned() {
                    Ok(turn) => turn,
                    Err(_) => return Ok(None),
                }
            } else {
                turn.lock_owned().await
            };
            let outside = Arc::clone(self);
            let work = move || {
                let found = outside.found(key, outside.looked_at.load(Ordering::Relaxed));
                outside.is_late.store(false, Ordering::Relaxed);
                drop(turn);
                found
            };
            aside(execution, work).await.map(Some)
        };
        let found = tokio::time::timeout(MARK_READ_WITHIN, read).await;
        found
            .unwrap_or_else(|_| {
                self.is_late.store(true, Ordering::Relaxed);
                Err(io::ErrorKind::TimedOut.into())
            })
            .unwrap_or_else(|error| {
                self.warn("a mark cannot be read", &error);
                None
            })
    }

    /// Writes a mark in the first of these folders that takes it.
    fn write(&self, key: &str, mark: &Mark, folders: &[usize]) -> io::Result<()> {
        let content = serde_json::to_vec(mark)?;
        let mut refused = None;
        for (number, folder) in self.folders.iter().enumerate() {
            if !folders.contains(&number) {
                continue;
            }
            let write = || self.files.write_atomic(&mark_in(folder, key), &content);
            let written = write().or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => create_folder(folder).and_then(|()| write()),
                _ => Err(error),
            });
            match written {
                Ok(()) => {
                    self.looked_at.store(number + 1, Ordering::Relaxed);
                    return Ok(());
                }
                Err(error) => refused = Some(error),
            }
        }
        // The next look reads those behind it too, so that the mark may lie there.
        self.looked_at.store(self.folders.len(), Ordering::Relaxed);
        Err(refused.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    /// Once: a till that cannot have a mark does not say so at each sale.
    fn warn(&self, what: &str, error: &io::Error) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            let folders = &self.folders;
            tracing::warn!(%error, ?folders, "{what}: a restored or copied folder may not be known before the hub is reached");
        }
    }
}

/// Runs what may never end on a thread that nobody waits for, neither in time nor at the end of the process.
async fn aside<R: Send + 'static>(
    execution: Execution,
    work: impl FnOnce() -> R + Send + 'static,
) -> io::Result<R> {
    if execution == Execution::Inline {
        return Ok(work());
    }
    let (reply, answer) = tokio::sync::oneshot::channel();
    let builder = std::thread::Builder::new().name("mark-reader".to_owned());
    builder.spawn(move || {
        // Whoever asked may have stopped waiting.
        reply.send(work()).ok();
    })?;
    answer.await.map_err(io::Error::other)
}

/// Lets a book that is open leave its series when another copy of it runs, which has marked what this one does not
/// hold. On the store's thread, so that no number is given meanwhile. `None` when the series is another one by now.
fn look(store: &mut ShopStore, found: Found, now_ms: i64) -> Result<Option<Looked>, StoreError> {
    if store.series_key() != found.key {
        return Ok(None);
    }
    for (_, mark) in &found.marks {
        // Whatever this folder marked itself is in its journal, however long ago and by which process.
        if let Some(why) = judge_open(store.holds(&[mark.end])?) {
            store.fence(why, now_ms)?;
            break;
        }
    }
    Ok(Some(Looked::of(store, found)))
}

impl Looked {
    /// What may be marked after what lay there was judged.
    fn of(store: &ShopStore, found: Found) -> Self {
        let (key, end) = (store.series_key(), store.end());
        let has_fenced = key != found.key;
        let found = if has_fenced {
            // Nobody else has the new one.
            Found {
                key,
                marks: Vec::new(),
                readable: found.readable,
            }
        } else {
            found
        };
        Self {
            found,
            end,
            has_fenced,
        }
    }
}

/// Notes in the book where it was marked.
fn remember(store: &ShopStore, marked: &Marked) -> Result<(), StoreError> {
    store.keep_marked(&serde_json::to_string(marked)?)
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
    /// The series at the opening, when it could not be judged: nothing that tells of it is overwritten. The next opening
    /// judges it.
    unjudged: Option<String>,
    /// Folders that could not be read at the opening: what lies there is not judged yet.
    unread: Vec<usize>,
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
                looked_at: AtomicUsize::new(folders.len()),
                folders,
                reading: Arc::default(),
                is_late: AtomicBool::new(false),
                has_warned: AtomicBool::new(false),
            }),
            data,
            book,
            kept: BTreeMap::new(),
            told: None,
            unjudged: None,
            unread: Vec::new(),
        })
    }

    /// Lets the book leave its series when it must, and marks where it is. Before the first receipt.
    pub(crate) fn settle(&mut self, store: &mut ShopStore, now_ms: i64) {
        let key = store.series_key();
        let here = match self.here() {
            Ok(here) => here,
            Err(error) => {
                self.outside.warn("the book cannot be looked at", &error);
                self.unjudged = Some(key);
                return;
            }
        };
        match self.settled(store, here, now_ms) {
            Ok(looked) => {
                let Some(marked) = self.keep(&looked) else {
                    return;
                };
                match remember(store, &marked) {
                    Ok(()) => self.told = Some(marked),
                    Err(error) => warn_of_note(&error),
                }
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!(%error, "whether this folder was restored or copied cannot be settled");
                self.unjudged = Some(key);
            }
        }
    }

    fn settled(
        &mut self,
        store: &mut ShopStore,
        here: Place,
        now_ms: i64,
    ) -> Result<Looked, StoreError> {
        let (key, end) = (store.series_key(), store.end());
        let folders = self.outside.folders.len();
        let found = self.outside.found(key.clone(), folders);
        self.unread = (0..folders)
            .filter(|folder| !found.readable.contains(folder))
            .collect();
        // The one that is furthest.
        let mark = found.marks.iter().max_by_key(|(_, mark)| mark.end.seq);
        let marked: Option<Marked> = store.marked()?;
        self.told = marked.clone().filter(|it| it.place == here);
        if let Some((folder, mark)) = mark
            && (mark.path == here.path && mark.end == end)
        {
            self.kept.insert(key.clone(), end.seq);
            let looked_at = &self.outside.looked_at;
            looked_at.store(folder + 1, Ordering::Relaxed);
        }
        let mark = mark.map(|(_, mark)| mark.clone());
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
        Ok(Looked::of(store, found))
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

    /// Writes how far a series is, when that is news. What the book has to remember of it, when that has changed.
    pub(crate) fn keep(&mut self, looked: &Looked) -> Option<Marked> {
        let (Found { key, .. }, end) = (&looked.found, looked.end);
        if self.unjudged.as_ref() == Some(key) {
            return None;
        }
        let is_kept = self.kept.get(key).is_some_and(|seq| *seq >= end.seq);
        if is_kept && self.told.as_ref().is_some_and(|told| told.key == *key) {
            return None;
        }
        let written = self.here().and_then(|place| {
            if !is_kept {
                let folders = self.settled_folders(&looked.found, &place.path);
                let path = place.path.clone();
                self.outside.write(key, &Mark { path, end }, &folders)?;
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
            self.kept.insert(key.clone(), end.seq);
        }
        let key = key.clone();
        let marked = Marked { key, place };
        (self.told.as_ref() != Some(&marked)).then_some(marked)
    }

    /// Where no mark lies that was not judged. A look judges one that it could not read at the opening only when it names
    /// this folder: one of another folder is a matter of the next opening.
    fn settled_folders(&mut self, found: &Found, path: &str) -> Vec<usize> {
        let names_another = |folder: usize| {
            let mut marks = found.marks.iter();
            marks.any(|(number, mark)| *number == folder && mark.path != path)
        };
        self.unread
            .retain(|folder| !found.readable.contains(folder) || names_another(*folder));
        let mut folders = found.readable.clone();
        folders.retain(|folder| !self.unread.contains(folder));
        folders
    }
}

fn warn_of_note(error: &StoreError) {
    tracing::warn!(error = %chain(error), "the book cannot remember its mark");
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
        let (Some(KeptMarks { worker, .. }), Some(looked)) = (&self.inner.marks, self.look().await)
        else {
            return;
        };
        let Some(marked) = worker.call(move |marks| marks.keep(&looked)).await else {
            return;
        };
        let noted = self.store(move |store| remember(store, &marked).map(|()| marked));
        match noted.await {
            Ok(marked) => worker.call(move |marks| marks.told = Some(marked)).await,
            Err(error) => warn_of_note(&error),
        }
    }

    /// Leaves the series when another copy of this folder has marked something, before the next receipt.
    pub(crate) async fn look_at_mark(&self) {
        if self.look().await.is_some_and(|looked| looked.has_fenced) {
            self.inner.to_mark.notify_one();
        }
    }

    /// Judges what lies outside, when it can be read in time.
    async fn look(&self) -> Option<Looked> {
        let KeptMarks { outside, .. } = self.inner.marks.as_ref()?;
        let key = self.store(|store| store.series_key()).await;
        let found = outside.found_soon(key, self.inner.env.execution).await?;
        let now_ms = self.now_ms();
        let looked = self.store(move |store| look(store, found, now_ms)).await;
        looked.unwrap_or_else(|error| {
            tracing::error!(error = %chain(&error), "whether another copy of this folder runs cannot be settled");
            None
        })
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
