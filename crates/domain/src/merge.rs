//! The catalog merge: what a field holds after any set of edits, however they arrived.
//!
//! A field is the set of all versions it ever had. Each version names the versions its editor saw
//! and replaced. The versions that nobody replaced are the heads: one head is an agreed value, several
//! are concurrent edits, and the policy picks the current one; the others are conflicts, kept
//! with their values. Joining two sets is a union, so the result depends on neither order, nor
//! grouping, nor repetition (ADR 0001).

use crate::edit::Scalar;
use crate::hlc::Hlc;
use crate::ids::{DocumentId, NodeId, ShopId};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Names one version of a field: when it was written, and a tag of the node that wrote it. The
/// tag settles equal times; it is the last four bytes of the node's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stamp {
    /// Logical time of the edit.
    pub hlc: Hlc,
    /// Last four bytes of the node's (or hub's) id.
    pub node_tag: u32,
}

impl Stamp {
    /// The stamp of an edit.
    pub fn new(hlc: Hlc, node: NodeId) -> Self {
        let [.., a, b, c, d] = *node.uuid().as_bytes();
        Self {
            hlc,
            node_tag: u32::from_be_bytes([a, b, c, d]),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:08x}", self.hlc.raw(), self.node_tag)
    }
}

/// Text that is not a version stamp.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a version stamp")]
pub struct ParseStampError(String);

impl FromStr for Stamp {
    type Err = ParseStampError;

    fn from_str(text: &str) -> Result<Self, ParseStampError> {
        let parse = || {
            let (hlc, tag) = text.split_once('.')?;
            // A sign is understood by Rust, and written by nobody: no moment is below zero.
            let is_signed = |text: &str| text.starts_with(['+', '-']);
            if is_signed(hlc) || is_signed(tag) {
                return None;
            }
            let hlc = i64::from_str_radix(hlc, 16).ok()?;
            let node_tag = u32::from_str_radix(tag, 16).ok()?;
            Some(Self {
                hlc: Hlc::from_raw(hlc),
                node_tag,
            })
        };
        parse().ok_or_else(|| ParseStampError(text.to_owned()))
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// Who wrote a version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The edit it came with.
    pub edit: DocumentId,
    /// The node, or the hub itself.
    pub node: NodeId,
    /// The shop; `None` for the hub.
    pub shop: Option<ShopId>,
}

/// One value that a field had, has, or might have had.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Version {
    /// The value.
    pub value: Scalar,
    /// The versions its editor saw and replaced.
    pub base: BTreeSet<Stamp>,
    /// Who wrote it.
    pub origin: Origin,
}

/// How concurrent edits of a field are settled. Chosen per table and column group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The latest by logical time is current.
    LastWriterWins,
    /// A version written at the hub beats those of shops.
    HubWins,
    /// The earliest, and what it is edited to, stays current until a person chooses.
    Manual,
}

impl Policy {
    /// The stored and typed name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LastWriterWins => "last_writer_wins",
            Self::HubWins => "hub_wins",
            Self::Manual => "manual",
        }
    }

    /// Reads a stored name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::LastWriterWins, Self::HubWins, Self::Manual]
            .into_iter()
            .find(|policy| policy.name() == name)
    }
}

/// All versions of one field.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Field {
    versions: BTreeMap<Stamp, Version>,
}

/// What a field comes to under a policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The stamp of the version that is current.
    pub current: Stamp,
    /// The concurrent versions whose value lost, oldest first.
    pub losers: Vec<Stamp>,
}

impl Field {
    /// Adds a version. Adding it again changes nothing.
    pub fn insert(&mut self, stamp: Stamp, version: Version) {
        // Two contents under one stamp mean two nodes with one identity; which of them stays
        // must not depend on the order of arrival.
        match self.versions.get(&stamp) {
            Some(known) if rank(known) >= rank(&version) => {}
            _ => {
                self.versions.insert(stamp, version);
            }
        }
    }

    /// Adds all versions of another copy of the field.
    #[must_use]
    pub fn join(mut self, other: Self) -> Self {
        for (stamp, version) in other.versions {
            self.insert(stamp, version);
        }
        self
    }

    /// The version with the given stamp.
    pub fn version(&self, stamp: &Stamp) -> Option<&Version> {
        self.versions.get(stamp)
    }

    /// All versions, oldest first.
    pub fn versions(&self) -> impl Iterator<Item = (&Stamp, &Version)> {
        self.versions.iter()
    }

    /// The versions that nobody replaced, oldest first: what an editor replaces who has seen
    /// everything.
    pub fn heads(&self) -> Vec<Stamp> {
        let replaced = self.replacements();
        let heads = self.versions.keys();
        heads
            .filter(|stamp| !replaced.contains_key(stamp))
            .copied()
            .collect()
    }

    /// The versions that replaced the given one; none while it is a head.
    pub fn replaced_by(&self, stamp: &Stamp) -> BTreeSet<Stamp> {
        self.replacements().remove(stamp).unwrap_or_default()
    }

    /// The versions that were replaced, with those that replaced them. A version that holds the same
    /// value as a replaced one counts as replaced too: two tills that typed the same name agreed.
    fn replacements(&self) -> BTreeMap<Stamp, BTreeSet<Stamp>> {
        let mut replaced: BTreeMap<Stamp, BTreeSet<Stamp>> = BTreeMap::new();
        for (stamp, version) in &self.versions {
            for base in &version.base {
                replaced.entry(*base).or_default().insert(*stamp);
                let Some(seen) = self.versions.get(base) else {
                    continue;
                };
                let same_value = self
                    .versions
                    .iter()
                    .filter(|(twin, held)| *twin < stamp && held.value == seen.value)
                    .filter(|(twin, held)| {
                        *twin != base && held.base.is_disjoint(&[*stamp].into())
                    });
                for (twin, _) in same_value {
                    replaced.entry(*twin).or_default().insert(*stamp);
                }
            }
        }
        replaced
    }

    /// The head that the earliest version has become: an edit of what is visible stays visible.
    /// Where ways part, the one that leads to a person's choice comes before the earlier one.
    fn standing(&self, replaced: &BTreeMap<Stamp, BTreeSet<Stamp>>) -> Option<Stamp> {
        let known = |version: &Version| -> Vec<Stamp> {
            let bases = version.base.iter();
            bases
                .filter(|base| self.versions.contains_key(base))
                .copied()
                .collect()
        };
        // Who replaces several versions has seen a conflict and settled it.
        let choices = self
            .versions
            .iter()
            .filter(|(_, held)| known(held).len() > 1);
        let mut open: Vec<Stamp> = choices.map(|(stamp, _)| *stamp).collect();
        let mut chosen = BTreeSet::new();
        while let Some(stamp) = open.pop() {
            if let Some(version) = self.versions.get(&stamp)
                && chosen.insert(stamp)
            {
                open.extend(known(version));
            }
        }
        let rank = |stamp: &Stamp| (!chosen.contains(stamp), *stamp);
        let roots = self
            .versions
            .iter()
            .filter(|(_, held)| known(held).is_empty());
        let mut at = roots.map(|(stamp, _)| *stamp).min_by_key(rank)?;
        let mut passed = BTreeSet::new();
        while let Some(next) = replaced.get(&at) {
            if !passed.insert(at) {
                return None;
            }
            at = next.iter().copied().min_by_key(rank)?;
        }
        Some(at)
    }

    /// Decides the field; `None` when it has no version.
    pub fn decide(&self, policy: Policy) -> Option<Decision> {
        let replaced = self.replacements();
        let heads: Vec<(Stamp, &Version)> = self
            .versions
            .iter()
            .filter(|(stamp, _)| !replaced.contains_key(stamp))
            .map(|(stamp, version)| (*stamp, version))
            .collect();
        let by_hub = |version: &Version| version.origin.shop.is_none();
        let current = match policy {
            Policy::LastWriterWins => heads.iter().map(|(stamp, _)| *stamp).max(),
            Policy::HubWins => heads
                .iter()
                .max_by_key(|(stamp, held)| (by_hub(held), *stamp))
                .map(|(stamp, _)| *stamp),
            Policy::Manual => self.standing(&replaced),
        };
        // Replacing goes forward in time only when clocks are sane; a ring of versions that
        // replace each other has no head, and then the latest stands.
        let current = match current {
            Some(stamp) => stamp,
            None => *self.versions.last_key_value()?.0,
        };
        let value = &self.versions.get(&current)?.value;
        let lost = heads
            .iter()
            .filter(|(stamp, held)| *stamp != current && held.value != *value);
        Some(Decision {
            current,
            losers: lost.map(|(stamp, _)| *stamp).collect(),
        })
    }
}

fn rank(version: &Version) -> (DocumentId, &Scalar, &BTreeSet<Stamp>) {
    (version.origin.edit, &version.value, &version.base)
}

#[cfg(test)]
mod tests;
