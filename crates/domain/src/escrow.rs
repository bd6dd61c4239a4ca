//! Escrow: rights to sell a scarce product, each held by one lane of the shop (ADR 0024).
//!
//! A lane sells such a product, writes it off or gives rights away only as far as its own rights go. It knows them from its own
//! journal, which is always whole, and from what others gave it, as far as that has come: what has not come makes them fewer.
//! So nothing that is late, lost or repeated between lanes lets two of them sell the same piece.

use crate::amount::Quantity;
use crate::document::{Document, Topic};
use crate::hlc::Hlc;
use crate::ids::{DocumentId, NodeId};
use crate::mesh::LaneEntry;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// What a lane records of a product under escrow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Escrow {
    /// Code of the product.
    pub sku: String,
    /// Number of the lane that records it.
    pub lane: Option<i64>,
    /// Milliseconds since the Unix epoch, the clock of that lane.
    pub at_ms: i64,
    /// Who did: a catalog id; empty for what a lane does by itself.
    pub employee: Option<String>,
    /// What was done.
    pub act: EscrowAct,
}

/// What is done to rights.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EscrowAct {
    /// From here on pieces are sold by right; the lane that says so has all rights. Id of the escrow is that of the document.
    Begin {
        /// How many pieces there are in the shop.
        quantity: Quantity,
        /// Escrows of the product that end with it: those that the lane knew.
        replaces: Vec<DocumentId>,
    },
    /// The lane has heard of it. What it sells from here on counts against its rights.
    Join {
        /// Which.
        escrow: DocumentId,
    },
    /// Rights go to another lane.
    Give {
        /// Which.
        escrow: DocumentId,
        /// To whom.
        to: NodeId,
        /// How many pieces; above zero.
        quantity: Quantity,
        /// For what it was asked for: nothing is given twice for that.
        need: Option<DocumentId>,
    },
    /// A person took over rights of a lane that does not come back.
    Take {
        /// Which.
        escrow: DocumentId,
        /// Whose.
        from: NodeId,
        /// How many pieces; above zero.
        quantity: Quantity,
    },
    /// A person says that the rights of this lane are as its journal says, after it was restored or copied.
    Release {
        /// Which.
        escrow: DocumentId,
    },
    /// The product is sold freely again.
    End {
        /// Which: those that the lane knew.
        escrows: Vec<DocumentId>,
    },
}

impl EscrowAct {
    /// The name in lists and messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Begin { .. } => "begin",
            Self::Join { .. } => "join",
            Self::Give { .. } => "give",
            Self::Take { .. } => "take",
            Self::Release { .. } => "release",
            Self::End { .. } => "end",
        }
    }

    /// How many pieces it is about; `None` for what moves none.
    pub const fn quantity(&self) -> Option<Quantity> {
        match self {
            Self::Begin { quantity, .. }
            | Self::Give { quantity, .. }
            | Self::Take { quantity, .. } => Some(*quantity),
            Self::Join { .. } | Self::Release { .. } | Self::End { .. } => None,
        }
    }

    /// The escrow that its author takes part in by it; `None` for one that begins or ends.
    const fn about(&self) -> Option<DocumentId> {
        match self {
            Self::Join { escrow }
            | Self::Give { escrow, .. }
            | Self::Take { escrow, .. }
            | Self::Release { escrow } => Some(*escrow),
            Self::Begin { .. } | Self::End { .. } => None,
        }
    }
}

/// An entry about the escrow of a product.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deed {
    /// Id of the document.
    pub id: DocumentId,
    /// Whose journal it stands in.
    pub origin: NodeId,
    /// Its position there.
    pub seq: i64,
    /// Its logical time.
    pub hlc: Hlc,
    /// What was recorded.
    pub escrow: Escrow,
}

impl Deed {
    /// The escrow that it begins or takes part in; `None` for one that ends some.
    pub fn of(&self) -> Option<DocumentId> {
        match self.escrow.act {
            EscrowAct::Begin { .. } => Some(self.id),
            ref act => act.about(),
        }
    }
}

/// The part of one lane in an escrow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Share {
    /// Number of the lane, as it said itself last; `None` when it said nothing yet.
    pub lane: Option<i64>,
    /// Its first entry about this escrow; what it sells behind it counts. `None`: it has not heard of it, as far as is known.
    pub since: Option<i64>,
    /// What it was given and began with, less what it gave, in thousandths of the unit.
    pub granted: i64,
}

impl Share {
    /// Pieces it may sell, in thousandths of the unit: `moved` is what its journal moved of the product behind
    /// [`Self::since`], positive came in.
    pub const fn rights(&self, moved: i64) -> i64 {
        self.granted.saturating_add(moved)
    }
}

/// The escrow that holds for a product, as far as is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Its id.
    pub id: DocumentId,
    /// Pieces there were when it began, in thousandths of the unit; `None` when the entry that says so is not here.
    pub begun: Option<i64>,
    /// Every lane that is named in it.
    pub shares: BTreeMap<NodeId, Share>,
    /// Who has given for which need.
    answered: BTreeSet<(NodeId, DocumentId)>,
    /// Escrows of the same product that others began without knowing of it: they give no rights.
    pub void: BTreeSet<DocumentId>,
}

impl Standing {
    /// What follows from entries about one product, in any order, each as often as it came; `None`: it is sold freely.
    ///
    /// Of several escrows that nothing has ended the earliest one holds, at all lanes that know the same.
    pub fn of<'d>(deeds: impl IntoIterator<Item = &'d Deed>) -> Option<Self> {
        let mut once: BTreeMap<_, &Deed> = BTreeMap::new();
        for deed in deeds {
            // A till that goes on from a backup brings entries of its former identity once more, under its own.
            let held = once.entry((deed.id, deed.seq, deed.hlc)).or_insert(deed);
            if deed.origin < held.origin {
                *held = deed;
            }
        }
        let over = ended(once.values().copied());
        let mut open: BTreeMap<_, DocumentId> = BTreeMap::new();
        let mut parts = Parts::default();
        for deed in once.values() {
            let Some(id) = deed.of().filter(|id| !over.contains(id)) else {
                continue;
            };
            if matches!(deed.escrow.act, EscrowAct::Begin { .. }) {
                open.insert((deed.hlc, deed.origin, deed.seq), id);
                parts.begun.insert(id, deed);
            }
            parts.note((deed.origin, id), deed.seq);
        }
        let gave_way = parts.gave_way();
        let stands = |id: &&DocumentId| !gave_way.contains(*id);
        let named = parts.named();
        let first = open.values().find(stands);
        let mut standing = match first.and_then(|id| parts.begun.get(id)) {
            Some(begin) => Self::begun(begin),
            // What began it has not come, or was lost here: rights are what others gave, and no more.
            None => Self::unread(*named.iter().find(stands).or_else(|| named.first())?),
        };
        // As long as what began it is not here, that others began too is not said: they may have ended.
        if standing.begun.is_some() {
            standing.void = open.into_values().filter(|id| *id != standing.id).collect();
        }
        let mut in_order: Vec<&Deed> = once.into_values().collect();
        in_order.sort_by_key(|deed| deed.seq);
        for deed in in_order {
            standing.note(deed);
        }
        Some(standing)
    }

    fn begun(begin: &Deed) -> Self {
        Self {
            begun: begin.escrow.act.quantity().map(|it| it.milli),
            ..Self::unread(begin.id)
        }
    }

    /// One of which no more than its id is known: it gives no rights.
    pub const fn unread(id: DocumentId) -> Self {
        Self {
            id,
            begun: None,
            shares: BTreeMap::new(),
            answered: BTreeSet::new(),
            void: BTreeSet::new(),
        }
    }

    fn note(&mut self, deed: &Deed) {
        let act = &deed.escrow.act;
        let is_own = deed.id == self.id && matches!(act, EscrowAct::Begin { .. });
        if !is_own && act.about() != Some(self.id) {
            return;
        }
        let author = self.shares.entry(deed.origin).or_default();
        author.lane = deed.escrow.lane.or(author.lane);
        author.since = Some(author.since.map_or(deed.seq, |since| since.min(deed.seq)));
        match *act {
            EscrowAct::Begin { quantity, .. } => self.grant(deed.origin, quantity.milli),
            EscrowAct::Give {
                to, quantity, need, ..
            } => {
                self.grant(deed.origin, quantity.milli.saturating_neg());
                self.grant(to, quantity.milli);
                self.answered.extend(need.map(|need| (deed.origin, need)));
            }
            EscrowAct::Take { from, quantity, .. } => {
                self.grant(from, quantity.milli.saturating_neg());
                self.grant(deed.origin, quantity.milli);
            }
            EscrowAct::Join { .. } | EscrowAct::Release { .. } | EscrowAct::End { .. } => {}
        }
    }

    fn grant(&mut self, lane: NodeId, milli: i64) {
        let share = self.shares.entry(lane).or_default();
        share.granted = share.granted.saturating_add(milli);
    }

    /// The part of a lane.
    pub fn share(&self, lane: NodeId) -> Share {
        self.shares.get(&lane).copied().unwrap_or_default()
    }

    /// Whether a lane has given something for a need.
    pub fn has_answered(&self, lane: NodeId, need: DocumentId) -> bool {
        self.answered.contains(&(lane, need))
    }
}

/// Who took part in which escrow of a product.
#[derive(Default)]
struct Parts<'d> {
    /// Those of which the entry that began them is here.
    begun: BTreeMap<DocumentId, &'d Deed>,
    /// The newest position of each author in each.
    newest: BTreeMap<(NodeId, DocumentId), i64>,
}

impl Parts<'_> {
    fn note(&mut self, part: (NodeId, DocumentId), seq: i64) {
        let newest = self.newest.entry(part).or_insert(seq);
        *newest = seq.max(*newest);
    }

    /// Those of which what began them is not here.
    fn named(&self) -> BTreeSet<DocumentId> {
        let all = self.newest.keys().map(|(_, id)| *id);
        all.filter(|id| !self.begun.contains_key(id)).collect()
    }

    /// Those of which an author went on to another one of which what began it is not here: that was an earlier one, or came
    /// after the end of this one. Where both are here their order and ends say which one holds; but who began one for a
    /// code, and took part in another one for that after it, has learned the same.
    fn gave_way(&self) -> BTreeSet<DocumentId> {
        let mut last: BTreeMap<(NodeId, Option<&str>), i64> = BTreeMap::new();
        for ((author, id), seq) in &self.newest {
            let code = self.begun.get(id).map(|begin| begin.escrow.sku.as_str());
            let newest = last.entry((*author, code)).or_insert(*seq);
            *newest = (*seq).max(*newest);
        }
        let went_on = |((author, id), seq): &(&(NodeId, DocumentId), &i64)| {
            let later = |code| last.get(&(*author, code)).is_some_and(|last| last > *seq);
            let begun = self.begun.get(id).filter(|begin| begin.origin == *author);
            later(None) || begun.is_some_and(|begin| later(Some(&begin.escrow.sku)))
        };
        let all = self.newest.iter();
        all.filter(went_on).map(|((_, id), _)| *id).collect()
    }
}

/// Escrows that are over as entries about a product say, and whatever else those name.
pub fn ended<'d>(deeds: impl IntoIterator<Item = &'d Deed>) -> BTreeSet<DocumentId> {
    let mut over = BTreeSet::new();
    for deed in deeds {
        match &deed.escrow.act {
            EscrowAct::Begin { replaces, .. } => {
                over.extend(replaces.iter().filter(|id| **id != deed.id));
            }
            EscrowAct::End { escrows } => over.extend(escrows),
            _ => {}
        }
    }
    over
}

/// Of an entry of another lane what it says of the escrow of a product; `None` for any other, and for what cannot be read here. What is
/// not read makes no rights.
pub fn deed_of(entry: &LaneEntry) -> Option<Deed> {
    if entry.kind != Topic::Escrow.code() {
        return None;
    }
    match serde_json::from_str(&entry.document) {
        Ok(Document::Escrow(escrow)) => Some(Deed {
            id: entry.id,
            origin: entry.origin,
            seq: entry.seq,
            hlc: entry.hlc,
            escrow,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
