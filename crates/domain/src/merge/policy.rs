//! How concurrent edits are settled, and since when.

use super::Stamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// How concurrent edits of a field are settled. Chosen per table and column group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The latest by logical time is current.
    LastWriterWins,
    /// A version written at the hub beats those of shops.
    HubWins,
    /// A version of the shop whose own row it is beats those of other shops and of the hub. In a row
    /// that is nobody's own the latest is current.
    ShopWins,
    /// The earliest, and what it is edited to, stays current until a person chooses.
    Manual,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Self; 4] = [
        Self::LastWriterWins,
        Self::HubWins,
        Self::ShopWins,
        Self::Manual,
    ];

    /// The stored and typed name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LastWriterWins => "last_writer_wins",
            Self::HubWins => "hub_wins",
            Self::ShopWins => "shop_wins",
            Self::Manual => "manual",
        }
    }

    /// Reads a stored name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// The policies that a column had, each for the versions from a stamp on.
///
/// A change of policy is an event with a stamp, like an edit: what was written before it stays decided
/// as it was, whenever it arrives. Two hubs that know the same edits and the same changes agree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timeline {
    first: Policy,
    changes: BTreeMap<Stamp, Policy>,
}

impl Timeline {
    /// One policy since ever.
    pub const fn always(first: Policy) -> Self {
        Self {
            first,
            changes: BTreeMap::new(),
        }
    }

    /// Another policy from the stamp on.
    pub fn change(&mut self, at: Stamp, policy: Policy) {
        self.changes.insert(at, policy);
    }

    /// The same column had the policy been this one since the stamp: a rehearsal.
    #[must_use]
    pub fn as_if(&self, since: Stamp, policy: Policy) -> Self {
        let before = self.changes.range(..since);
        let mut changes: BTreeMap<_, _> = before.map(|(at, held)| (*at, *held)).collect();
        changes.insert(since, policy);
        Self {
            first: self.first,
            changes,
        }
    }

    /// The policy that holds now.
    pub fn now(&self) -> Policy {
        self.changes
            .last_key_value()
            .map_or(self.first, |(_, policy)| *policy)
    }

    /// The policy under which a version was written.
    pub fn at(&self, stamp: &Stamp) -> Policy {
        let last = self.changes.range(..=*stamp).next_back();
        last.map_or(self.first, |(_, policy)| *policy)
    }

    /// Whether the policy ever held.
    pub fn ever(&self, policy: Policy) -> bool {
        self.first == policy || self.changes.values().any(|held| *held == policy)
    }

    /// Since when the present policy holds; `None` for since ever.
    pub fn since(&self) -> Option<Stamp> {
        self.changes.last_key_value().map(|(at, _)| *at)
    }

    /// Where one policy ends and the next begins, with the one that ends; the last has no end.
    pub(super) fn spans(&self) -> impl Iterator<Item = (Option<Stamp>, Policy)> {
        let policies = std::iter::once(self.first).chain(self.changes.values().copied());
        let ends = self.changes.keys().copied().map(Some);
        ends.chain(std::iter::once(None)).zip(policies)
    }
}

impl From<Policy> for Timeline {
    fn from(policy: Policy) -> Self {
        Self::always(policy)
    }
}
