//! The catalog merge: what a field holds after any set of edits, however they arrived.
//!
//! A field is the set of all versions it ever had. Each version names the versions its editor saw
//! and replaced. The versions that nobody replaced are the heads: one head is an agreed value, several
//! are concurrent edits, and the policy picks the current one; the others are conflicts, kept
//! with their values. Joining two sets is a union, so the result depends on neither order, nor
//! grouping, nor repetition (ADR 0001). Earlier and later are by corrected time, so no clock wins a
//! conflict by being wrong (`place`, ADR 0012).

mod ownership;
mod place;
mod policy;
mod shown;
mod standing;

pub use ownership::of_others;
pub use place::Place;
pub use policy::{Policy, Timeline};
pub use shown::{LaneEdit, Published, Settling, Shown, shown};

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
    /// Whether an import brought it: nobody has typed it.
    #[serde(default)]
    pub imported: bool,
}

/// One value that a field had, has, or might have had.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Version {
    /// The value.
    pub value: Scalar,
    /// The versions its editor saw and replaced.
    pub base: BTreeSet<Stamp>,
    /// Logical time by the hub's clock, fixed when the edit was taken in.
    pub corrected: Hlc,
    /// Who wrote it.
    pub origin: Origin,
}

/// All versions of one field.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Field {
    versions: BTreeMap<Stamp, Version>,
    /// Those that say nothing of whose the row is: they were taken back, or took others back.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    undone: BTreeSet<Stamp>,
}

type Places = BTreeMap<Stamp, Place>;

/// Versions that were replaced, with those that replaced them.
type Replacements = BTreeMap<Stamp, BTreeSet<Place>>;

/// What a field comes to under its policies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The stamp of the version that is current.
    pub current: Stamp,
    /// Where it stands.
    pub place: Place,
    /// The concurrent versions whose value lost, oldest first.
    pub losers: Vec<Stamp>,
    /// The policy by which each of them lost.
    lost: BTreeMap<Stamp, Policy>,
    replaced: Replacements,
}

impl Decision {
    /// The policy by which a version lost; `None` when it did not.
    pub fn lost_by(&self, loser: &Stamp) -> Option<Policy> {
        self.lost.get(loser).copied()
    }

    /// The versions that replaced the given one, oldest first; none while it is a head.
    pub fn replaced_by(&self, stamp: &Stamp) -> impl Iterator<Item = Stamp> {
        let by = self.replaced.get(stamp).into_iter().flatten();
        by.map(|place| place.stamp)
    }
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
        self.undone.extend(other.undone);
        self
    }

    /// Says of a version that an undoing took it back or wrote it: whose the row is, is decided as if nobody had
    /// written it.
    pub fn undo(&mut self, stamp: Stamp) {
        self.undone.insert(stamp);
    }

    /// Whether an undoing took a version back, or wrote it.
    pub fn is_undone(&self, stamp: &Stamp) -> bool {
        self.undone.contains(stamp)
    }

    /// The field without some of its versions.
    #[must_use]
    pub fn without(&self, leaves: impl Fn(&Stamp) -> bool) -> Self {
        let versions = self.versions.iter().filter(|(stamp, _)| !leaves(stamp));
        Self {
            versions: versions
                .map(|(stamp, held)| (*stamp, held.clone()))
                .collect(),
            undone: self.undone.clone(),
        }
    }

    /// The version with the given stamp.
    pub fn version(&self, stamp: &Stamp) -> Option<&Version> {
        self.versions.get(stamp)
    }

    /// All versions by stamp.
    pub fn versions(&self) -> impl Iterator<Item = (&Stamp, &Version)> {
        self.versions.iter()
    }

    /// The versions that nobody replaced: what an editor replaces who has seen everything.
    pub fn heads(&self) -> Vec<Stamp> {
        let replaced = self.replacements(&self.places());
        let heads = self.versions.keys();
        heads
            .filter(|stamp| !replaced.contains_key(stamp))
            .copied()
            .collect()
    }

    /// The versions that were replaced, with those that replaced them. A version that holds the same
    /// value as a replaced one counts as replaced too: two tills that typed the same name agreed.
    fn replacements(&self, places: &Places) -> Replacements {
        let mut replaced = Replacements::new();
        let mut by_value: BTreeMap<&Scalar, Vec<(&Stamp, &Version)>> = BTreeMap::new();
        for (stamp, version) in &self.versions {
            let twins = by_value.entry(&version.value).or_default();
            twins.push((stamp, version));
        }
        for (stamp, version) in &self.versions {
            let Some(place) = places.get(stamp) else {
                continue;
            };
            for base in &version.base {
                replaced.entry(*base).or_default().insert(*place);
                let Some(seen) = self.versions.get(base) else {
                    continue;
                };
                let twins = by_value.get(&seen.value).into_iter().flatten();
                let agreed = twins.filter(|(twin, held)| {
                    let before = places.get(twin).is_some_and(|twin| twin < place);
                    before && *twin != base && !held.base.contains(stamp)
                });
                for (twin, _) in agreed {
                    replaced.entry(**twin).or_default().insert(*place);
                }
            }
        }
        replaced
    }

    /// Decides the field; `None` when it has no version. `owner` is the shop whose own row it is.
    ///
    /// Policies take turns: under each the versions written while it held stand beside what was current
    /// before, so that a change of policy brings back nothing that had lost.
    pub fn decide(&self, policies: &Timeline, owner: Option<ShopId>) -> Option<Decision> {
        let places = self.places();
        let replaced = self.replacements(&places);
        let mut lost = BTreeMap::new();
        let mut current: Option<Place> = None;
        let ordered: BTreeSet<Place> = places.values().copied().collect();
        let mut rest = ordered.iter().peekable();
        for (end, policy) in policies.spans() {
            let ended = |place: &Place| end.is_some_and(|end| place.moment() >= end);
            let mut members: BTreeSet<Place> = BTreeSet::new();
            while let Some(place) = rest.next_if(|place| !ended(place)) {
                members.insert(*place);
            }
            if members.is_empty() {
                continue;
            }
            members.extend(current);
            let is_head = |place: &&Place| {
                let by = replaced.get(&place.stamp);
                by.is_none_or(|by| by.first().is_none_or(ended))
            };
            let heads: Vec<Place> = members.iter().filter(is_head).copied().collect();
            let picked = self.pick(&heads, &members, &replaced, (policy, owner));
            // A ring of versions that replace each other, which no sane node makes, has no head; then
            // the latest stands.
            current = picked.or_else(|| members.last().copied());
            let losers = heads.iter().filter(|place| Some(**place) != current);
            lost.extend(losers.map(|place| (place.stamp, policy)));
        }
        let place = current?;
        let value = &self.versions.get(&place.stamp)?.value;
        let losers = ordered.iter().filter(|loser| {
            let held = self.versions.get(&loser.stamp);
            **loser != place
                && !replaced.contains_key(&loser.stamp)
                && held.is_some_and(|held| held.value != *value)
        });
        let losers: Vec<Place> = losers.copied().collect();
        let by = |stamp: &Stamp| lost.get(stamp).copied();
        let policy =
            |place: &Place| by(&place.stamp).unwrap_or_else(|| policies.at(&place.moment()));
        Some(Decision {
            current: place.stamp,
            place,
            lost: losers
                .iter()
                .map(|loser| (loser.stamp, policy(loser)))
                .collect(),
            losers: losers.into_iter().map(|loser| loser.stamp).collect(),
            replaced,
        })
    }

    fn pick(
        &self,
        heads: &[Place],
        members: &BTreeSet<Place>,
        replaced: &Replacements,
        (policy, owner): (Policy, Option<ShopId>),
    ) -> Option<Place> {
        let writer = |place: &Place| {
            let version = self.versions.get(&place.stamp);
            version.map(|held| held.origin.shop)
        };
        let heads = heads.iter().copied();
        match policy {
            Policy::LastWriterWins => heads.max(),
            Policy::HubWins => heads.max_by_key(|place| (writer(place) == Some(None), *place)),
            Policy::ShopWins => heads.max_by_key(|place| {
                let own = owner.is_some() && writer(place) == Some(owner);
                (own, *place)
            }),
            Policy::Manual => self.standing(members, replaced),
        }
    }
}

/// The shop that created a row, from all its fields: the writer of the oldest version that was not undone; `None` is
/// the hub.
pub fn creator<'a>(fields: impl IntoIterator<Item = &'a Field>) -> Option<ShopId> {
    let oldest = fields.into_iter().filter_map(|field| {
        let places = field.places().into_values();
        let oldest = places
            .filter(|place| !field.is_undone(&place.stamp))
            .min()?;
        Some((oldest, field.versions.get(&oldest.stamp)?.origin.shop))
    });
    oldest.min_by_key(|(place, _)| *place)?.1
}

fn rank(version: &Version) -> (DocumentId, &Scalar, &BTreeSet<Stamp>, Hlc) {
    let Version { value, base, .. } = version;
    (version.origin.edit, value, base, version.corrected)
}

#[cfg(test)]
mod tests;
