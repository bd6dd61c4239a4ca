//! What does a row show where edits of it are known that the hub has not merged yet?
//!
//! A lane knows of each column the version that the hub published, and the edits that stand in the journals of its shop.
//! Joined they are fields like those of the hub, and decided alike (ADR 0021). What only the hub knows is filled in: a
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

/// What each column of the row shows. It follows from the sets of edits and published versions; those that the hub has
/// merged count only where they build on one that it has not.
pub fn shown(
    published: Option<&Published>,
    edits: &[LaneEdit],
    settling: &Settling<'_>,
) -> BTreeMap<String, Shown> {
    let mut fields = fields(published, &counted(edits), settling);
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

/// The edits that count, each once: those that the hub has not merged, and those that build on them. The hub may have
/// merged an edit before the one that it replaces, when their lanes reach it one after the other.
fn counted(edits: &[LaneEdit]) -> Vec<&LaneEdit> {
    let mut counted: Vec<&LaneEdit> = edits.iter().filter(|edit| !edit.is_merged).collect();
    let mut rest: Vec<&LaneEdit> = edits.iter().filter(|edit| edit.is_merged).collect();
    let mut stamps: BTreeSet<Stamp> = counted.iter().map(|edit| edit.stamp).collect();
    loop {
        let builds = |edit: &&LaneEdit| {
            let mut bases = edit.edit.base.values().flatten();
            bases.any(|base| stamps.contains(base))
        };
        let (building, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(builds);
        if building.is_empty() {
            break;
        }
        stamps.extend(building.iter().map(|edit| edit.stamp));
        counted.extend(building);
        rest = others;
    }
    // Journals that went on from one book have entries in common, under the names of both.
    let mut once: BTreeMap<DocumentId, &LaneEdit> = BTreeMap::new();
    for edit in counted {
        let known = once.entry(edit.origin.edit).or_insert(edit);
        if edit.stamp < known.stamp {
            *known = edit;
        }
    }
    once.into_values().collect()
}

fn fields(
    published: Option<&Published>,
    edits: &[&LaneEdit],
    settling: &Settling<'_>,
) -> BTreeMap<String, Field> {
    let mut fields: BTreeMap<String, Field> = BTreeMap::new();
    for edit in edits {
        for (column, value) in &edit.edit.columns {
            let made = edit.edit.at_ms.map(|at_ms| at_ms.max(0));
            let version = Version {
                value: value.clone(),
                base: base(column, edit, published, edits),
                corrected: made.map_or(edit.stamp.hlc, |ms| corrected_hlc(edit.stamp.hlc, ms)),
                origin: edit.origin,
            };
            let field = fields.entry(column.clone()).or_default();
            field.insert(edit.stamp, version);
        }
    }
    let Some(published) = published else {
        return fields;
    };
    for (column, (stamp, value)) in &published.columns {
        let field = fields.entry(column.clone()).or_default();
        // Who has the edit itself knows more of it.
        if field.version(stamp).is_none() {
            field.insert(*stamp, version_of(published, stamp, value, settling));
        }
    }
    fields
}

fn version_of(
    published: &Published,
    stamp: &Stamp,
    value: &Scalar,
    settling: &Settling<'_>,
) -> Version {
    Version {
        value: value.clone(),
        base: BTreeSet::new(),
        corrected: stamp.hlc.min(published.modified),
        origin: Origin {
            edit: DocumentId::from_uuid(Uuid::nil()),
            node: NodeId::from_uuid(Uuid::nil()),
            shop: (settling.writer)(stamp),
            imported: false,
        },
    }
}

/// The versions that an edit replaces, by what they are called here.
fn base(
    column: &str,
    edit: &LaneEdit,
    published: Option<&Published>,
    edits: &[&LaneEdit],
) -> BTreeSet<Stamp> {
    let held = published.and_then(|row| row.columns.get(column));
    let held = held.map(|(stamp, _)| *stamp);
    let is_known = |stamp: &Stamp| {
        let mut of_column = edits
            .iter()
            .filter(|other| other.edit.columns.contains_key(column));
        held == Some(*stamp) || of_column.any(|other| other.stamp == *stamp)
    };
    let here = |stamp: &Stamp| {
        // What a till wrote under a former name, its peers have under the present one.
        let mut own = edits.iter().filter(|other| {
            other.origin.node == edit.origin.node && other.edit.columns.contains_key(column)
        });
        own.find(|other| other.stamp.hlc == stamp.hlc)
            .map_or(*stamp, |other| other.stamp)
    };
    let said = edit.edit.base.get(column).map_or(&[][..], Vec::as_slice);
    let mut base: BTreeSet<Stamp> = said
        .iter()
        .map(|stamp| if is_known(stamp) { *stamp } else { here(stamp) })
        .collect();
    let is_ahead = published.is_some_and(|row| edit.edit.base_revision > row.revision);
    if let Some(held) = held
        && is_ahead
        && !base.iter().any(is_known)
        && base.pop_first().is_some()
    {
        // Its editor had a newer catalog than this lane, in which that stood for what is here. As many as they were:
        // whoever replaces several has made a choice.
        base.insert(held);
    }
    base
}

#[cfg(test)]
mod tests;
