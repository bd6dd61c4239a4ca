//! Marks on disk: read and judged when a node is opened, written when its journal has grown.
//!
//! Nothing here is a reason not to sell: a mark that cannot be read or written is a warning.

use crate::fence::{Evidence, Mark, Marked, Place, judge};
use crate::limits::MARK_PAUSE;
use crate::node::Node;
use crate::problem::chain;
use counterfoil_domain::NodeId;
use counterfoil_domain::lineage::Point;
use counterfoil_replica::env::{Files, create_folder};
use counterfoil_shop_store::{Paths, ShopStore, StoreError, node_of};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// The marks of one node.
pub(crate) struct Marks {
    files: Arc<dyn Files>,
    /// Where marks may lie: all are read, the first that takes it is written.
    folders: Vec<PathBuf>,
    data: PathBuf,
    book: PathBuf,
    /// How far the mark of each series is.
    kept: BTreeMap<String, i64>,
    /// What the book says of its mark.
    told: Option<Marked>,
    has_warned: bool,
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
            files: Arc::clone(files),
            folders,
            data,
            book,
            kept: BTreeMap::new(),
            told: None,
            has_warned: false,
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
                self.warn("the book cannot be looked at", &error);
                return Ok(());
            }
        };
        let (key, end) = (store.series_key(), store.end());
        let mark = self.read(&key);
        // One that cannot be read is as good as none.
        let marked: Option<Marked> = store
            .marked()?
            .and_then(|text| serde_json::from_str(&text).ok());
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
            store.fence(why, now_ms)?;
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
            Err(error) => return error.kind() != io::ErrorKind::NotFound,
        };
        let is_this = std::fs::metadata(&self.book)
            .is_ok_and(|own| (own.dev(), own.ino()) == (there.dev(), there.ino()));
        !is_this && node_of(&book).map_or(true, |found| found == Some(node))
    }

    /// The mark that is furthest, of all places.
    fn read(&mut self, key: &str) -> Option<Mark> {
        let mut found: Option<Mark> = None;
        for folder in self.folders.clone() {
            let read = self.files.read(&mark_in(&folder, key)).and_then(|bytes| {
                let mark = bytes.map(|bytes| serde_json::from_slice::<Mark>(&bytes));
                Ok(mark.transpose()?)
            });
            match read {
                Ok(Some(mark)) if found.as_ref().is_none_or(|it| it.end.seq < mark.end.seq) => {
                    found = Some(mark);
                }
                Ok(_) => {}
                Err(error) => self.warn("a mark cannot be read", &error),
            }
        }
        found
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
                self.write(key, &Mark { path, end })?;
            }
            Ok(place)
        });
        let place = match written {
            Ok(place) => place,
            Err(error) => {
                self.warn("no mark can be written", &error);
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
    fn warn(&mut self, what: &str, error: &io::Error) {
        if !std::mem::replace(&mut self.has_warned, true) {
            let folders = &self.folders;
            tracing::warn!(%error, ?folders, "{what}: a restored or copied folder may not be known before the hub is reached");
        }
    }
}

fn mark_in(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("{key}.json"))
}

impl Node {
    /// Marks how far the journal is, when it has grown.
    pub(crate) async fn keep_mark(&self) {
        let Some(marks) = &self.inner.marks else {
            return;
        };
        let (key, end) = self.store(|store| (store.series_key(), store.end())).await;
        let Some(marked) = marks.call(move |marks| marks.keep(&key, end)).await else {
            return;
        };
        let kept = self.store(move |store| store.keep_marked(&marked)).await;
        if let Err(error) = kept {
            tracing::warn!(error = %chain(&error), "the book cannot remember its mark");
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
