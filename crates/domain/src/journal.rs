//! The journal: one dense, chained list of everything a node did.
//!
//! Each entry is chained to the one before it with BLAKE3, so a changed, missing or swapped entry
//! shows at the hub and at every peer.

use crate::document::Topic;
use crate::hlc::Hlc;
use crate::ids::DocumentId;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use utoipa::ToSchema;

/// How urgent an entry is for the hub; lower goes first (T4).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Registration, device, authentication.
    Critical = 0,
    /// Sales, payments, customer ledger: sync starts at once.
    High = 1,
    /// Catalog edits and stock: the next batch.
    Normal = 2,
    /// Audit and analytics: when idle.
    Low = 3,
}

impl Priority {
    /// All of them, most urgent first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// The stored number.
    pub const fn code(self) -> i64 {
        self as i64
    }

    /// The name used in commands and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

/// The chain value of an entry; the first entry follows [`Chain::START`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chain([u8; 32]);

impl Chain {
    /// What the first entry of a journal is chained to.
    pub const START: Self = Self([0; 32]);

    /// Reads a stored value; `None` unless it has 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes as they are stored.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The chain value after one more entry. `content` is the canonical form of the document
    /// ([`crate::document::Document::canonical`]). The format must not change: every stored
    /// chain depends on it.
    #[must_use]
    pub fn next(&self, entry: &EntryHead, content: &[u8]) -> Self {
        let head = (entry.seq, entry.id, entry.hlc, entry.topic.code());
        self.link(head, content)
    }

    /// The same for an entry whose topic only a newer program knows, by its code.
    #[must_use]
    pub(crate) fn link(
        &self,
        (seq, id, hlc, topic): (i64, DocumentId, Hlc, i64),
        content: &[u8],
    ) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(&seq.to_be_bytes());
        hasher.update(id.uuid().as_bytes());
        hasher.update(&hlc.raw().to_be_bytes());
        hasher.update(&topic.to_be_bytes());
        hasher.update(&(content.len() as u64).to_be_bytes());
        hasher.update(content);
        Self(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", blake3::Hash::from_bytes(self.0))
    }
}

/// As 64 hexadecimal digits.
impl Serialize for Chain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let hash = blake3::Hash::from_hex(text).map_err(D::Error::custom)?;
        Ok(Self(*hash.as_bytes()))
    }
}

/// The part of a journal entry that every topic has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryHead {
    /// Position in the node's journal, dense from 1.
    pub seq: i64,
    /// Id of the document or edit.
    pub id: DocumentId,
    /// When it happened, in the node's hybrid logical time.
    pub hlc: Hlc,
    /// What kind of thing it is.
    pub topic: Topic,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(seq: i64) -> EntryHead {
        EntryHead {
            seq,
            id: DocumentId::from_uuid(uuid::Uuid::from_u128(7)),
            hlc: Hlc::at_millis(1),
            topic: Topic::Sale,
        }
    }

    #[test]
    fn any_change_to_an_entry_changes_the_chain() {
        let whole = Chain::START.next(&head(1), b"tea").next(&head(2), b"milk");
        let swapped = Chain::START.next(&head(1), b"milk").next(&head(2), b"tea");
        let moved = Chain::START.next(&head(1), b"te").next(&head(2), b"amilk");
        let renumbered = Chain::START.next(&head(1), b"tea").next(&head(3), b"milk");
        for other in [swapped, moved, renumbered] {
            assert_ne!(whole, other);
        }
    }
}
