//! Opens what is on a disk by the code that recovers it, database by database.

use crate::crash::digest_of;
use crate::disk::Image;
use crate::tape::Side;
use crate::wal::committed_bytes;
use crate::world::Place;
use counterfoil_migrate::{Connection, Durability};
use counterfoil_replica::env::{Execution, Files};
use counterfoil_replica::{BookReplica, CatalogReplica, Copy, CopyKind};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What recovery made of each database that was met. A database recovers from its own files alone, so
/// one that looks as it did before is not opened again.
#[derive(Default)]
pub(crate) struct Recovery {
    known: HashMap<(String, u128), Option<u128>>,
}

impl Recovery {
    /// Names what counts of an image after recovery; `None` when a database cannot be opened.
    pub(crate) fn of(
        &mut self,
        place: &Place,
        side: Side,
        image: &Image,
        digests: &[(String, blake3::Hash)],
        seed: u64,
    ) -> Option<u128> {
        let mut databases: Vec<&str> = digests
            .iter()
            .filter_map(|(name, _)| database(name))
            .collect();
        databases.dedup();
        let mut hasher = blake3::Hasher::new();
        for name in databases {
            let key = (
                name.to_owned(),
                digest_of(digests, |file| database(file) == Some(name)),
            );
            let counts = *self.known.entry(key).or_insert_with(|| {
                counterfoil_replica::vfs::register_deterministic(seed);
                let mut own = image.clone();
                own.names.retain(|file, _| database(file) == Some(name));
                let opened = catch_unwind(AssertUnwindSafe(|| open(place, side, name, own)));
                Some(what_counts(&opened.ok()?.ok()?))
            });
            hasher.update(&counts?.to_le_bytes());
        }
        let rest = digest_of(digests, |file| {
            database(file).is_none() && !file.ends_with(".tmp")
        });
        hasher.update(&rest.to_le_bytes());
        Some(half(&hasher))
    }
}

/// The database that a file belongs to, by its name.
fn database(file: &str) -> Option<&str> {
    file.find(".db").map(|at| &file[..at + 3])
}

/// Opens a database as its owner does; its files after that.
fn open(place: &Place, side: Side, name: &str, image: Image) -> anyhow::Result<Image> {
    let is_there = image.names.contains_key(name);
    let disk = place.insert(side, image, None);
    let files: Arc<dyn Files> = Arc::clone(&disk) as _;
    let path = place.of(side).join(name);
    // The image is taken while it is open, as a kill leaves it: closing would fold some logs.
    let opened: Box<dyn std::any::Any> = match (side, name) {
        (Side::Node, "book.db") => Box::new(BookReplica::open(&path, files, Execution::Inline)?),
        (Side::Node, "catalog.db") => {
            Box::new(CatalogReplica::open(&path, files, Execution::Inline)?)
        }
        (Side::Hub, "catalog.db") => Box::new(Copy::open(&path, CopyKind::Written, files)?),
        (Side::Hub, book) if book.starts_with("books/") => {
            Box::new(Copy::open(&path, CopyKind::Pushed, files)?)
        }
        _ if is_there => {
            let plain = Connection::open_existing(&path, Durability::Full)?;
            let schema: Vec<String> =
                plain.query_map("SELECT name FROM sqlite_schema", (), |row| row.get(0))?;
            Box::new((plain, schema))
        }
        _ => Box::new(()),
    };
    let left = disk.image();
    drop(opened);
    Ok(left)
}

/// Names an image by what of it will ever be read: of a log its commits, and no temporary files.
fn what_counts(image: &Image) -> u128 {
    let mut hasher = blake3::Hasher::new();
    for (name, file) in &image.names {
        if name.ends_with(".tmp") || name.ends_with("-shm") {
            continue;
        }
        let Some(content) = image.contents.get(file) else {
            continue;
        };
        let counted = if name.ends_with("-wal") {
            &content[..committed_bytes(content)]
        } else {
            content.as_slice()
        };
        hasher.update(name.as_bytes()).update(&[0]);
        hasher.update(blake3::hash(counted).as_bytes());
    }
    half(&hasher)
}

fn half(hasher: &blake3::Hasher) -> u128 {
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(half)
}
