//! What the outside world supplies, as interfaces: time and randomness. The binaries hand in the
//! real ones, the simulation hands in repeatable ones (design 13).

use crate::ids::{DocumentId, ImportId};

/// A wall clock.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
}

/// A source of random bytes, cryptographically strong in production.
pub trait Random: Send + Sync {
    /// Fills the whole slice.
    fn fill(&self, bytes: &mut [u8]);
}

/// Mints a UUIDv7 for the given time; two ids of one millisecond are ordered by chance only.
pub fn uuid_v7(now_ms: i64, random: &dyn Random) -> uuid::Uuid {
    let mut tail = [0_u8; 10];
    random.fill(&mut tail);
    uuid::Builder::from_unix_timestamp_millis(now_ms.max(0).unsigned_abs(), &tail).into_uuid()
}

/// Mints a document id, see [`uuid_v7`].
pub fn document_id(now_ms: i64, random: &dyn Random) -> DocumentId {
    DocumentId::from_uuid(uuid_v7(now_ms, random))
}

/// Mints the id of an import, see [`uuid_v7`].
pub fn import_id(now_ms: i64, random: &dyn Random) -> ImportId {
    ImportId::from_uuid(uuid_v7(now_ms, random))
}
