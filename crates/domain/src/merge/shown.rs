//! What does a row show where edits of it are known that the hub has not merged yet?
//!
//! A lane knows of each column the version that the hub published, and the edits that stand in the journals of its shop.
//! Joined they are fields like those of the hub, and decided alike (ADR 0023). What only the hub knows is filled in: a
//! published version was written when its stamp says, and an edit when its till's clock said; neither decides longer
//! than until the hub has merged it.

use super::{Field, Origin, Place, Policy, Stamp, Version, creator, of_others};
use crate::clock::corrected_hlc;
use crate::edit::{CatalogEdit, Scalar};
use crate::hlc::Hlc;
use crate::ids::{DocumentId, NodeId, ShopId};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A row as the hub published it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Published {
    /// The current version of each column that has one, with its value.
    pub columns: BTreeMap<String, (Stamp, Scalar)>,
    /// The publication that wrote the row.
    pub revision: i64,
    /// The latest place of its versions.
    pub modified: Hlc,
    /// The shop that created it; `None` is the hub.
    pub creator: Option<ShopId>,
}

/// An edit of the row that stands in a journal of the shop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaneEdit {
    /// Names the versions that it writes.
    pub stamp: Stamp,
    /// Who wrote it.
    pub origin: Origin,
    /// What it sets.
    pub edit: CatalogEdit,
    /// Whether the hub has decided about it in what it published.
    pub is_merged: bool,
}

/// What the catalog says of how a row is settled.
pub struct Settling<'s> {
    /// The policy of a column.
    pub policy: &'s dyn Fn(&str) -> Policy,
    /// The shop that wrote a published version; `None` is the hub.
    pub writer: &'s dyn Fn(&Stamp) -> Option<ShopId>,
    /// The column that says for which shop a row holds, where the table has one.
    pub owner: Option<&'s str>,
}

/// What a column shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// The value.
    pub value: Scalar,
    /// Where its version stands.
    pub place: Place,
    /// The shop that wrote it; `None` is the hub.
    pub shop: Option<ShopId>,
}

/// What each column of the row shows. It follows from the sets of edits and published versions, not from their order.
pub fn shown(
    published: Option<&Published>,
    edits: &[LaneEdit],
    settling: &Settling<'_>,
) -> BTreeMap<String, Shown> {
    let mut fields = fields(published, &once(edits), settling);
    if let Some(owner) = settling.owner {
        for (column, others) in of_others(&fields, owner, &BTreeSet::new()) {
            if let Some(field) = fields.get_mut(&column) {
                *field = field.without(|stamp| others.contains(stamp));
            }
        }
    }
    let columns = fields.keys().filter_map(|column| {
        let policy = (settling.policy)(column);
        let owner = match policy {
            Policy::ShopWins => owner_of(column, &fields, published, settling),
            Policy::LastWriterWins | Policy::HubWins | Policy::Manual => None,
        };
        Some((column.clone(), decided(fields.get(column)?, policy, owner)?))
    });
    columns.collect()
}

fn decided(field: &Field, policy: Policy, owner: Option<ShopId>) -> Option<Shown> {
    let decision = field.decide(&policy.into(), owner)?;
    let version = field.version(&decision.current)?;
    Some(Shown {
        value: version.value.clone(),
        place: decision.place,
        shop: version.origin.shop,
    })
}

/// The shop whose own row it is: the one it holds for, or the one that created it.
fn owner_of(
    column: &str,
    fields: &BTreeMap<String, Field>,
    published: Option<&Published>,
    settling: &Settling<'_>,
) -> Option<ShopId> {
    let creator = match published {
        Some(published) => published.creator,
        None => creator(fields.values()),
    };
    let Some(owner) = settling.owner.filter(|owner| *owner != column) else {
        return creator;
    };
    let policy = (settling.policy)(owner);
    match decided(fields.get(owner)?, policy, creator)?.value {
        Scalar::Text(shop) => shop.parse().ok(),
        Scalar::Null | Scalar::Integer(_) => None,
    }
}

/// Each edit once: journals that went on from one book have entries in common, under the names of both.
fn once(edits: &[LaneEdit]) -> Vec<LaneEdit> {
    let mut once: BTreeMap<DocumentId, LaneEdit> = BTreeMap::new();
    for edit in edits {
        let known = once.entry(edit.origin.edit).or_insert_with(|| edit.clone());
        let is_merged = known.is_merged || edit.is_merged;
        if edit.stamp < known.stamp {
            *known = edit.clone();
        }
        known.is_merged = is_merged;
    }
    once.into_values().collect()
}

fn fields(
    published: Option<&Published>,
    edits: &[LaneEdit],
    settling: &Settling<'_>,
) -> BTreeMap<String, Field> {
    let held = published.into_iter().flat_map(|row| row.columns.keys());
    let set = edits.iter().flat_map(|edit| edit.edit.columns.keys());
    let columns: BTreeSet<&String> = held.chain(set).collect();
    let fields = columns.into_iter().map(|column| {
        let of_column = Column {
            name: column,
            published,
            edits: edits
                .iter()
                .filter(|edit| edit.edit.columns.contains_key(column))
                .collect(),
        };
        (column.clone(), of_column.field(settling))
    });
    fields.collect()
}

/// What is known of one column.
struct Column<'r> {
    name: &'r str,
    published: Option<&'r Published>,
    /// Those that set it.
    edits: Vec<&'r LaneEdit>,
}

impl Column<'_> {
    fn field(&self, settling: &Settling<'_>) -> Field {
        let mut field = Field::default();
        let counted = self.counted();
        for edit in self
            .edits
            .iter()
            .filter(|edit| counted.contains(&edit.stamp))
        {
            let Some(value) = edit.edit.columns.get(self.name) else {
                continue;
            };
            let hlc = edit.stamp.hlc;
            let at_ms = edit.edit.at_ms.map(|at_ms| at_ms.max(0));
            let version = Version {
                value: value.clone(),
                base: self.base(edit, &counted),
                corrected: at_ms.map_or(hlc, |at_ms| corrected_hlc(hlc, at_ms)),
                origin: edit.origin,
            };
            field.insert(edit.stamp, version);
        }
        let held = self.published.and_then(|row| {
            let (stamp, value) = row.columns.get(self.name)?;
            Some((row, stamp, value))
        });
        // Who has the edit itself knows more of it.
        if let Some((row, stamp, value)) = held
            && field.version(stamp).is_none()
        {
            let version = Version {
                value: value.clone(),
                base: BTreeSet::new(),
                corrected: stamp.hlc.min(row.modified),
                origin: Origin {
                    edit: DocumentId::from_uuid(Uuid::nil()),
                    node: NodeId::from_uuid(Uuid::nil()),
                    shop: (settling.writer)(stamp),
                    imported: false,
                },
            };
            field.insert(*stamp, version);
        }
        field
    }

    fn current(&self) -> Option<Stamp> {
        let (stamp, _) = self.published?.columns.get(self.name)?;
        Some(*stamp)
    }

    fn said<'e>(&self, edit: &'e LaneEdit) -> &'e [Stamp] {
        edit.edit.base.get(self.name).map_or(&[], Vec::as_slice)
    }

    /// The edits that count: those that the hub has not merged. Of the others those that build on one of them, because the
    /// hub may get an edit before the one that it replaces; and what led to the version that is current. Nothing else: the
    /// hub has put it aside, or knows what became of it.
    fn counted(&self) -> BTreeSet<Stamp> {
        let waiting = self.edits.iter().filter(|edit| !edit.is_merged);
        let mut building: BTreeSet<Stamp> = waiting.map(|edit| edit.stamp).collect();
        let mut leading: BTreeSet<Stamp> = self.current().into_iter().collect();
        loop {
            let before = building.len() + leading.len();
            for edit in self.edits.iter().filter(|edit| edit.is_merged) {
                let said = self.said(edit);
                if said.iter().any(|base| building.contains(base)) {
                    building.insert(edit.stamp);
                }
                if leading.contains(&edit.stamp) {
                    leading.extend(said);
                }
            }
            if before == building.len() + leading.len() {
                building.append(&mut leading);
                return building;
            }
        }
    }

    /// The versions that an edit replaces, by what they are called here.
    fn base(&self, edit: &LaneEdit, counted: &BTreeSet<Stamp>) -> BTreeSet<Stamp> {
        let current = self.current();
        let mut known = self
            .edits
            .iter()
            .map(|other| other.stamp)
            .filter(|stamp| counted.contains(stamp));
        let known: BTreeSet<Stamp> = known.by_ref().chain(current).collect();
        let here = |stamp: &Stamp| {
            // What a till wrote under a former name, its peers have under the present one.
            let own = self
                .edits
                .iter()
                .filter(|other| other.origin.node == edit.origin.node);
            let mut own = own.map(|other| other.stamp);
            own.find(|other| other.hlc == stamp.hlc).unwrap_or(*stamp)
        };
        let said = self.said(edit).iter();
        let mut base: BTreeSet<Stamp> = said
            .map(|stamp| match known.contains(stamp) {
                true => *stamp,
                false => here(stamp),
            })
            .collect();
        let is_ahead = self
            .published
            .is_some_and(|row| edit.edit.base_revision > row.revision);
        if let Some(current) = current
            && is_ahead
            && base.is_disjoint(&known)
            && base.pop_first().is_some()
        {
            // Its editor had a newer catalog than this lane, in which that stood for what is here. As many as they were:
            // whoever replaces several has made a choice.
            base.insert(current);
        }
        base
    }
}

#[cfg(test)]
mod tests;
