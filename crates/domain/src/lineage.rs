//! How far two journals agree, and under which identity an entry was written.
//!
//! Chain values are monotone over prefixes: where two journals hold the same value at one position,
//! everything before it is the same too. So the last common entry is found by comparing a few points
//! and narrowing the gap between the last that agrees and the first that does not (ADR 0008).

use crate::ids::NodeId;
use crate::journal::Chain;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Bound;
use utoipa::ToSchema;

/// A position in a journal and the chain value found there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Point {
    /// Position, from 1; 0 is the beginning of every journal.
    pub seq: i64,
    /// Chain value of that entry.
    pub chain: Chain,
}

impl Point {
    /// Where every journal begins.
    pub const START: Self = Self {
        seq: 0,
        chain: Chain::START,
    };
}

/// What is known of how far one's own journal agrees with another.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Comparison {
    agreed: BTreeMap<i64, Chain>,
    parted: Option<i64>,
}

impl Comparison {
    /// Takes in a point of the other journal and the own chain value at that position, if the own
    /// journal reaches so far.
    pub fn add(&mut self, theirs: Point, own: Option<Chain>) {
        if own == Some(theirs.chain) {
            self.agreed.insert(theirs.seq, theirs.chain);
        } else {
            let parted = self.parted.map_or(theirs.seq, |seq| seq.min(theirs.seq));
            self.parted = Some(parted);
        }
    }

    /// The last entry known to be common: the highest that agrees before any that does not.
    pub fn common(&self) -> Point {
        let below = self.parted.map_or(Bound::Unbounded, Bound::Excluded);
        let last = self.agreed.range((Bound::Unbounded, below)).next_back();
        last.map_or(Point::START, |(seq, chain)| Point {
            seq: *seq,
            chain: *chain,
        })
    }

    /// The first position at which the other journal is known to hold something else than the own
    /// one, or more; `None` when the own journal continues everything that was compared.
    pub fn parted(&self) -> Option<i64> {
        self.parted
    }

    /// Whether nothing lies between the last common entry and the first other one.
    pub fn is_exact(&self) -> bool {
        self.parted
            .is_none_or(|parted| parted <= self.common().seq + 1)
    }
}

/// Positions after `after` up to `until`, evenly spaced, ascending, `until` among them; at most
/// `count`.
pub fn spaced(after: i64, until: i64, count: i64) -> Vec<i64> {
    let span = i128::from(until) - i128::from(after);
    let count = i128::from(count).min(span);
    (1..=count.max(0))
        .filter_map(|step| i64::try_from(i128::from(after) + (span * step).div_euclid(count)).ok())
        .collect()
}

/// An identity that a book had before its present one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Former {
    /// The node it was.
    pub node: NodeId,
    /// Its lane in the shop; [`Self::NO_LANE`] when it never belonged to one.
    pub lane: i64,
    /// The last entry that was written under it.
    pub until_seq: i64,
    /// The last entry that the hub knew from it when it was given up: entries up to here are its,
    /// whoever wrote on under that name.
    pub common: Point,
}

impl Former {
    /// The lane of an identity that was given up in trial.
    pub const NO_LANE: i64 = 0;
}

/// Who wrote an entry: a former identity, oldest first in `formers`, or the present one.
pub fn writer_of(formers: &[Former], present: NodeId, seq: i64) -> NodeId {
    let former = formers.iter().find(|former| seq <= former.until_seq);
    former.map_or(present, |former| former.node)
}

#[cfg(test)]
mod tests;
