//! A bootstrap on its way: parts of the hub's file, then the frames that follow it. What had arrived
//! outlives the pull, and the process.

use super::{
    catalog::Catalog,
    download::{self, Download},
    staged::Staged,
    steps::{self, Source, Step},
};
use crate::{
    local::{Local, LocalError},
    numbering::Mapping,
    remote::{HubInfo, Part},
    swap::{self, BaseRefusal},
};

/// See the module.
pub(super) enum Incoming {
    /// Parts of the file are missing.
    Parts(Box<Download>),
    /// Frames may be missing.
    Staged(Staged),
}

/// What a bootstrap needs next.
pub(super) enum Need {
    /// Pages of the file from this one on.
    Part(u64),
    /// The frames after this one, numbered by the mapping.
    Frames(Mapping, u64),
}

/// Finds out where the bootstrap stands; what the hub does not have any more is discarded. `None`
/// while a swap takes what stands there.
pub(super) fn need(catalog: &mut Catalog, info: &HubInfo) -> Result<Option<Need>, LocalError> {
    if catalog.local.record.swap.is_some() {
        return Ok(None);
    }
    if !catalog.is_loaded {
        load(catalog)?;
    }
    let staged = with_staged(catalog, |_, staged| {
        let frame = staged.continues(info)?;
        Ok(frame.map(|frame| Need::Frames(staged.mapping(), frame)))
    })?;
    if let Some(need) = staged.flatten() {
        return Ok(Some(need));
    }
    match &catalog.incoming {
        Some(Incoming::Parts(download)) if download.source().is_of(info) => {
            Ok(Some(Need::Part(download.next_page())))
        }
        Some(Incoming::Parts(_) | Incoming::Staged(_)) | None => {
            discard(catalog)?;
            Ok(Some(Need::Part(1)))
        }
    }
}

/// Takes up what an earlier process has left. What cannot be read is downloaded anew.
fn load(catalog: &mut Catalog) -> Result<(), LocalError> {
    // An intent that could not be stored may stand on disk all the same, and must not name a file
    // that goes on changing.
    catalog.local.store_record()?;
    match resume(&catalog.local) {
        Ok(incoming) => catalog.incoming = incoming,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "a download that was begun is of no use");
        }
    }
    catalog.is_loaded = true;
    Ok(())
}

fn resume(local: &Local) -> Result<Option<Incoming>, LocalError> {
    let (files, database) = (local.files(), local.path());
    let steps = steps::load(files, database)?;
    let [Step::Began(source), steps @ ..] = &steps[..] else {
        return Ok(None);
    };
    if let Some(whole) = steps.iter().position(|step| *step == Step::Whole) {
        download::move_in(files, database)?;
        let incoming = swap::incoming_path(database);
        if !files.exists(&incoming).map_err(swap::failed(&incoming))? {
            // It is the catalog already.
            return Ok(None);
        }
        let staged = Staged::resume(files, database, *source, &steps[whole..])?;
        return Ok(Some(Incoming::Staged(staged)));
    }
    let part = |step: &Step| match step {
        Step::Part { bytes, digest } => Some((*bytes, *digest)),
        Step::Began(_) | Step::Whole | Step::Folding(_) | Step::Folded => None,
    };
    let parts: Vec<_> = steps.iter().filter_map(part).collect();
    let download = Box::new(Download::resume(files, database, *source, &parts)?);
    match go_on(local, download)? {
        Ok(incoming) => Ok(Some(incoming)),
        Err(refusal) => {
            tracing::warn!(%refusal, "a download is not what the hub announced");
            Ok(None)
        }
    }
}

/// Takes a part that begins with page `first`; false when it does not follow what is there.
///
/// The inner error says that the whole file is of no use; the next pull begins anew.
pub(super) fn take_part(
    catalog: &mut Catalog,
    first: u64,
    part: &Part,
    info: &HubInfo,
) -> Result<Result<bool, BaseRefusal>, LocalError> {
    // Work of a pull that was dropped may run late.
    if catalog.local.record.swap.is_some() {
        return Ok(Ok(false));
    }
    let source = Source {
        generation: info.generation,
        chain_start: info.chain_start,
        file_bytes: part.file_bytes,
        file_digest: part.file_digest,
    };
    let download = match catalog.incoming.take() {
        None if first == 1 => Box::new(begin(catalog, source)?),
        Some(Incoming::Parts(download)) if download.next_page() == first => {
            if download.source() != source {
                tracing::warn!("the hub gives out another file: it is downloaded anew");
                discard(catalog)?;
                return Ok(Ok(false));
            }
            download
        }
        other => {
            catalog.incoming = other;
            return Ok(Ok(false));
        }
    };
    let stored = store(&catalog.local, download, part);
    match stored {
        Ok(Ok(incoming)) => {
            catalog.incoming = Some(incoming);
            Ok(Ok(true))
        }
        Ok(Err(refusal)) => {
            discard(catalog)?;
            Ok(Err(refusal))
        }
        Err(error) => {
            make_room(catalog);
            Err(error)
        }
    }
}

fn begin(catalog: &mut Catalog, source: Source) -> Result<Download, LocalError> {
    // As in loading: whatever an intent names must not be replaced.
    catalog.local.store_record()?;
    discard(catalog)?;
    Download::begin(catalog.local.files(), catalog.local.path(), source)
}

fn store(
    local: &Local,
    mut download: Box<Download>,
    part: &Part,
) -> Result<Result<Incoming, BaseRefusal>, LocalError> {
    download.store(local.files(), local.path(), part)?;
    go_on(local, download)
}

/// The frames come next when every part is there.
fn go_on(
    local: &Local,
    download: Box<Download>,
) -> Result<Result<Incoming, BaseRefusal>, LocalError> {
    if !download.is_complete() {
        return Ok(Ok(Incoming::Parts(download)));
    }
    let whole = download.finish(local.files(), local.path())?;
    Ok(whole.map(|source| Incoming::Staged(Staged::begin(local.path(), source))))
}

/// Works on the whole file, if there is one; after an error there is none any more.
pub(super) fn with_staged<R>(
    catalog: &mut Catalog,
    work: impl FnOnce(&Local, &mut Staged) -> Result<R, LocalError>,
) -> Result<Option<R>, LocalError> {
    let mut staged = match catalog.incoming.take() {
        Some(Incoming::Staged(staged)) => staged,
        other => {
            catalog.incoming = other;
            return Ok(None);
        }
    };
    let result = work(&catalog.local, &mut staged);
    if result.is_ok() {
        catalog.incoming = Some(Incoming::Staged(staged));
    } else {
        drop(staged);
        make_room(catalog);
    }
    result.map(Some)
}

/// After an error: it may be the disk that is full, and sales need it. What stays is removed by the
/// next download.
fn make_room(catalog: &mut Catalog) {
    if let Err(error) = discard(catalog) {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "what was downloaded cannot be removed");
    }
}

/// Forgets what is on its way, if anything is.
pub(super) fn discard(catalog: &mut Catalog) -> Result<(), LocalError> {
    // Closes the handle first.
    catalog.incoming = None;
    Ok(steps::discard(catalog.local.files(), catalog.local.path())?)
}

/// The catalog goes on by itself: what was begun is not needed any more.
pub(super) fn give_up(catalog: &mut Catalog) -> Result<(), LocalError> {
    let (files, database) = (catalog.local.files(), catalog.local.path());
    if catalog.incoming.is_some() || steps::exist(files, database)? {
        discard(catalog)?;
    }
    Ok(())
}

/// What was on its way is the catalog now.
pub(super) fn forget(local: &Local) -> Result<(), LocalError> {
    Ok(steps::forget(local.files(), local.path())?)
}
