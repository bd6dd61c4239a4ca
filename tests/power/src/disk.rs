//! A disk in memory, for SQLite and for the files beside its databases alike.
//!
//! It can note every change on a tape, and let one call fail.

use crate::tape::{Entry, Op, Side, Tape};
use counterfoil_replica::env::DiskSteps;
use counterfoil_replica::vfs::{Disk, DiskFault, DiskFile, FileEvent, FileKind};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a disk holds.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Image {
    /// Files by path on the disk.
    pub names: BTreeMap<String, u64>,
    /// Content by file.
    pub contents: BTreeMap<u64, Arc<Vec<u8>>>,
}

impl Image {
    /// Content of a name.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<&Arc<Vec<u8>>> {
        self.contents.get(self.names.get(name)?)
    }

    /// Carries out a change; a sync changes nothing.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Create { name, file } => {
                self.names.insert(name.clone(), *file);
                self.contents.entry(*file).or_default();
            }
            Op::Write {
                file,
                offset,
                bytes,
            } => self.write(*file, *offset, bytes),
            Op::Truncate { file, size } => {
                Arc::make_mut(self.contents.entry(*file).or_default()).resize(*size, 0);
            }
            Op::Rename { from, to } => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                }
            }
            Op::Remove { name } => drop(self.names.remove(name)),
            Op::Sync { .. } | Op::SyncNames { .. } => {}
        }
    }

    pub(crate) fn write(&mut self, file: u64, offset: usize, bytes: &[u8]) {
        let content = Arc::make_mut(self.contents.entry(file).or_default());
        let end = offset + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset..end].copy_from_slice(bytes);
    }
}

/// How a call fails.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Failure {
    /// An I/O error, of any call.
    Io,
    /// No space, of a call that needs some.
    Full,
    /// Half of a write, then no space.
    ShortWrite,
}

/// What a call does, as far as failing goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Read,
    Write,
    Change,
}

/// What a [`Hook`] is told, before it is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touch {
    /// SQLite reads, writes, sizes or syncs an open file.
    Call,
    /// Something else happened to an open file.
    Event(FileEvent),
}

/// Looks on at what happens to open files, and may hold it up.
pub type Hook = Box<dyn Fn(Touch) + Send + Sync>;

#[derive(Default)]
struct Inner {
    image: Image,
    next_file: u64,
    /// Which call fails, counted from 1 among those that can, and how.
    fault: Option<(u64, Failure)>,
    calls: u64,
    failed: bool,
}

/// See the module.
pub struct MemoryDisk {
    root: PathBuf,
    side: Side,
    tape: Option<Tape>,
    hook: Option<Hook>,
    inner: Mutex<Inner>,
}

impl MemoryDisk {
    /// A disk that holds an image, for the paths below `root`.
    #[must_use]
    pub fn new(root: PathBuf, side: Side, image: Image, tape: Option<Tape>) -> Self {
        let next_file = image.contents.keys().max().map_or(1, |last| last + 1);
        let inner = Inner {
            image,
            next_file,
            ..Inner::default()
        };
        Self {
            root,
            side,
            tape,
            hook: None,
            inner: Mutex::new(inner),
        }
    }

    /// Calls back on what happens to open files.
    #[must_use]
    pub fn watched(mut self, hook: Hook) -> Self {
        self.hook = Some(hook);
        self
    }

    /// What it holds now, synced or not.
    #[must_use]
    pub fn image(&self) -> Image {
        self.inner().image.clone()
    }

    /// Lets a call fail once: the `nth` from now on of those that can.
    pub fn fail_at(&self, nth: u64, failure: Failure) {
        let mut inner = self.inner();
        (inner.calls, inner.failed) = (0, false);
        inner.fault = Some((nth, failure));
    }

    /// Whether the call that was to fail has been made.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.inner().failed
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self, touch: Touch) {
        if let Some(hook) = &self.hook {
            hook(touch);
        }
    }

    fn name(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        below.to_string_lossy().into_owned()
    }

    fn change(&self, inner: &mut Inner, op: Op) {
        inner.image.apply(&op);
        if let Some(tape) = &self.tape {
            tape.push(Entry::Disk(self.side, op));
        }
    }

    fn create(&self, inner: &mut Inner, name: String) -> u64 {
        let file = inner.next_file;
        inner.next_file += 1;
        if name.ends_with(".db") {
            show(&self.root.join(&name));
        }
        self.change(inner, Op::Create { name, file });
        file
    }

    fn sync_names(&self, inner: &mut Inner, name: &str) {
        let folder = folder_of(name);
        self.change(inner, Op::SyncNames { folder });
    }

    fn write(&self, inner: &mut Inner, file: u64, offset: usize, bytes: &[u8]) -> Fallible {
        let op = |bytes: &[u8]| Op::Write {
            file,
            offset,
            bytes: bytes.into(),
        };
        match inner.fails(Call::Write) {
            None => {
                self.change(inner, op(bytes));
                Ok(())
            }
            Some(Failure::ShortWrite) => {
                self.change(inner, op(&bytes[..bytes.len().div_euclid(2)]));
                Err(DiskFault::Full)
            }
            Some(failure) => Err(failure.fault()),
        }
    }

    fn sync(&self, inner: &mut Inner, file: u64, name: &str) -> Fallible {
        inner.check(Call::Change)?;
        let name = name.to_owned();
        self.change(inner, Op::Sync { file, name });
        Ok(())
    }
}

type Fallible = Result<(), DiskFault>;

impl Failure {
    fn fault(self) -> DiskFault {
        match self {
            Self::Io => DiskFault::Io,
            Self::Full | Self::ShortWrite => DiskFault::Full,
        }
    }
}

impl Inner {
    /// Whether the call at hand is the one that fails.
    fn fails(&mut self, call: Call) -> Option<Failure> {
        let (nth, failure) = self.fault?;
        let can = match failure {
            Failure::Io => true,
            Failure::Full => call != Call::Read,
            Failure::ShortWrite => call == Call::Write,
        };
        if !can {
            return None;
        }
        self.calls += 1;
        let now = self.calls == nth;
        self.failed |= now;
        now.then_some(failure)
    }

    fn check(&mut self, call: Call) -> Fallible {
        match self.fails(call) {
            Some(failure) => Err(failure.fault()),
            None => Ok(()),
        }
    }
}

pub(crate) fn folder_of(name: &str) -> String {
    name.rsplit_once('/')
        .map_or(String::new(), |(folder, _)| folder.to_owned())
}

/// Some code asks the file system whether a database is there before SQLite opens it: so every one
/// that ever was has an empty file there.
fn show(path: &Path) {
    static SHOWN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if shown.insert(path.to_owned()) {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).expect("the scratch folder can be written");
        }
        std::fs::write(path, []).expect("the scratch folder can be written");
    }
}

struct OpenFile {
    disk: Arc<MemoryDisk>,
    file: u64,
    name: String,
    /// The name is synced with the first sync, as SQLite does it for a log it has created.
    name_unsynced: Mutex<bool>,
}

impl DiskFile for OpenFile {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<usize, DiskFault> {
        self.disk.touch(Touch::Call);
        let mut inner = self.disk.inner();
        inner.check(Call::Read)?;
        let content = inner.image.contents.get(&self.file);
        let content = content.ok_or(DiskFault::Io)?;
        let start = usize::try_from(offset).map_or(content.len(), |at| at.min(content.len()));
        let read = bytes.len().min(content.len() - start);
        bytes[..read].copy_from_slice(&content[start..start + read]);
        Ok(read)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Fallible {
        self.disk.touch(Touch::Call);
        let offset = usize::try_from(offset).map_err(|_| DiskFault::Io)?;
        let mut inner = self.disk.inner();
        self.disk.write(&mut inner, self.file, offset, bytes)
    }

    fn truncate(&self, size: u64) -> Fallible {
        self.disk.touch(Touch::Call);
        let size = usize::try_from(size).map_err(|_| DiskFault::Io)?;
        let mut inner = self.disk.inner();
        inner.check(Call::Change)?;
        let file = self.file;
        self.disk.change(&mut inner, Op::Truncate { file, size });
        Ok(())
    }

    fn sync(&self) -> Fallible {
        self.disk.touch(Touch::Call);
        let mut inner = self.disk.inner();
        self.disk.sync(&mut inner, self.file, &self.name)?;
        let mut unsynced = self
            .name_unsynced
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *unsynced) {
            self.disk.sync_names(&mut inner, &self.name);
        }
        Ok(())
    }

    fn size(&self) -> Result<u64, DiskFault> {
        let inner = self.disk.inner();
        let content = inner.image.contents.get(&self.file);
        let size = content.ok_or(DiskFault::Io)?.len();
        Ok(u64::try_from(size).unwrap_or(u64::MAX))
    }

    fn event(&self, event: FileEvent) {
        self.disk.touch(Touch::Event(event));
    }
}

/// A mounted disk. SQLite's files keep it.
pub struct Mounted(pub Arc<MemoryDisk>);

impl Disk for Mounted {
    fn open(
        &self,
        path: &Path,
        kind: FileKind,
        create: bool,
    ) -> Result<Arc<dyn DiskFile>, DiskFault> {
        let name = self.0.name(path);
        let mut inner = self.0.inner();
        let known = inner.image.names.get(&name).copied();
        let file = match known {
            Some(file) => file,
            None if create => {
                inner.check(Call::Change)?;
                self.0.create(&mut inner, name.clone())
            }
            None => return Err(DiskFault::Missing),
        };
        drop(inner);
        Ok(Arc::new(OpenFile {
            disk: Arc::clone(&self.0),
            file,
            name,
            name_unsynced: Mutex::new(known.is_none() && kind != FileKind::Main),
        }))
    }

    fn delete(&self, path: &Path, sync_names: bool) -> Result<(), DiskFault> {
        let name = self.0.name(path);
        let mut inner = self.0.inner();
        if !inner.image.names.contains_key(&name) {
            return Err(DiskFault::Missing);
        }
        inner.check(Call::Change)?;
        self.0.change(&mut inner, Op::Remove { name: name.clone() });
        if sync_names {
            self.0.sync_names(&mut inner, &name);
        }
        Ok(())
    }

    fn stat(&self, path: &Path) -> Option<u64> {
        let name = self.0.name(path);
        let inner = self.0.inner();
        let size = inner.image.content(&name)?.len();
        u64::try_from(size).ok()
    }
}

fn os(fault: DiskFault) -> io::Error {
    match fault {
        DiskFault::Io => io::Error::other("an I/O error"),
        DiskFault::Full => io::ErrorKind::StorageFull.into(),
        DiskFault::Missing => io::ErrorKind::NotFound.into(),
    }
}

impl DiskSteps for MemoryDisk {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let mut inner = self.inner();
        inner.check(Call::Read).map_err(os)?;
        let content = inner.image.content(&self.name(path));
        Ok(content.map(|content| content.to_vec()))
    }

    fn read_range(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut inner = self.inner();
        inner.check(Call::Read).map_err(os)?;
        let content = inner.image.content(&self.name(path));
        let bytes = content.map_or(&[][..], |content| content.as_slice());
        let start = usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
        let end = start.saturating_add(length).min(bytes.len());
        Ok(bytes[start..end].to_vec())
    }

    fn write_synced(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let (name, mut inner) = (self.name(path), self.inner());
        inner.check(Call::Change).map_err(os)?;
        let file = match inner.image.names.get(&name).copied() {
            Some(file) => {
                self.change(&mut inner, Op::Truncate { file, size: 0 });
                file
            }
            None => self.create(&mut inner, name.clone()),
        };
        self.write(&mut inner, file, 0, content).map_err(os)?;
        self.sync(&mut inner, file, &name).map_err(os)
    }

    fn append(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let (name, mut inner) = (self.name(path), self.inner());
        let file = match inner.image.names.get(&name).copied() {
            Some(file) => file,
            None => {
                inner.check(Call::Change).map_err(os)?;
                self.create(&mut inner, name)
            }
        };
        let end = inner.image.contents.get(&file).map_or(0, |it| it.len());
        self.write(&mut inner, file, end, content).map_err(os)
    }

    fn append_synced(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.append(path, content)?;
        let (name, mut inner) = (self.name(path), self.inner());
        let file = inner.image.names.get(&name).copied().unwrap_or_default();
        self.sync(&mut inner, file, &name).map_err(os)
    }

    fn truncate_synced(&self, path: &Path, length: u64) -> io::Result<()> {
        let (name, mut inner) = (self.name(path), self.inner());
        inner.check(Call::Change).map_err(os)?;
        let Some(file) = inner.image.names.get(&name).copied() else {
            return Ok(());
        };
        let size = usize::try_from(length).map_err(io::Error::other)?;
        self.change(&mut inner, Op::Truncate { file, size });
        self.sync(&mut inner, file, &name).map_err(os)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to, mut inner) = (self.name(from), self.name(to), self.inner());
        inner.check(Call::Change).map_err(os)?;
        if !inner.image.names.contains_key(&from) {
            return Err(os(DiskFault::Missing));
        }
        if to.ends_with(".db") {
            show(&self.root.join(&to));
        }
        self.change(&mut inner, Op::Rename { from, to });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<bool> {
        let (name, mut inner) = (self.name(path), self.inner());
        inner.check(Call::Change).map_err(os)?;
        let known = inner.image.names.contains_key(&name);
        if known {
            self.change(&mut inner, Op::Remove { name });
        }
        Ok(known)
    }

    fn has(&self, path: &Path) -> io::Result<bool> {
        let mut inner = self.inner();
        inner.check(Call::Read).map_err(os)?;
        Ok(inner.image.names.contains_key(&self.name(path)))
    }

    fn sync_names_beside(&self, path: &Path) -> io::Result<()> {
        let (name, mut inner) = (self.name(path), self.inner());
        inner.check(Call::Change).map_err(os)?;
        self.sync_names(&mut inner, &name);
        Ok(())
    }
}
