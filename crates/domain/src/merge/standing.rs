//! What stands while concurrent edits wait for a person? A function of the set of versions alone.

use super::{Field, Origin, Place, Places, Replacements};
use crate::hlc::Hlc;
use std::collections::BTreeSet;

impl Field {
    /// The head that the first member has become: an edit of what is visible stays visible. Where ways part, what
    /// comes first is a matter of [`Weight`], and of time only between equals.
    pub(super) fn standing(
        &self,
        members: &BTreeSet<Place>,
        replaced: &Replacements,
    ) -> Option<Place> {
        let chosen = self.chosen(members);
        let following = |place: &Place| {
            let by = replaced.get(&place.stamp).into_iter().flatten();
            by.filter(|place| members.contains(place))
        };
        let weight = |place: &Place| {
            let origin = self.origin(place);
            Weight {
                is_not_chosen: !chosen.contains(place),
                is_imported: origin.is_some_and(|it| it.imported),
                is_undated: place.time < DATED,
                is_a_shops: origin.is_some_and(|it| it.shop.is_some()),
                place: *place,
            }
        };
        let gives_way = |place: &Place| self.origin(place).is_some_and(|it| it.imported);
        // What a file brought gives way to whoever went on from it.
        let first = |ways: Vec<Place>| -> Option<Place> {
            let (mut ways, mut typed, mut passed) = (ways, Vec::new(), BTreeSet::new());
            while let Some(way) = ways.pop() {
                let next: Vec<Place> = following(&way).copied().collect();
                if gives_way(&way) && !next.is_empty() && passed.insert(way) {
                    ways.extend(next);
                } else {
                    typed.push(way);
                }
            }
            typed.into_iter().min_by_key(weight)
        };
        let mut at = first(self.roots(members).copied().collect())?;
        let mut passed = BTreeSet::new();
        while let Some(next) = first(following(&at).copied().collect()) {
            if !passed.insert(at) {
                return None;
            }
            at = next;
        }
        Some(at)
    }

    fn origin(&self, place: &Place) -> Option<&Origin> {
        Some(&self.versions.get(&place.stamp)?.origin)
    }

    /// The members that one of them replaces.
    fn known<'a>(&self, by_stamp: &'a Places, place: &Place) -> impl Iterator<Item = &'a Place> {
        let bases = self.versions.get(&place.stamp).map(|held| &held.base);
        bases
            .into_iter()
            .flatten()
            .filter_map(|base| by_stamp.get(base))
    }

    /// The members that replace none of the others.
    fn roots<'a>(&self, members: &'a BTreeSet<Place>) -> impl Iterator<Item = &'a Place> {
        let by_stamp: Places = members.iter().map(|place| (place.stamp, *place)).collect();
        members
            .iter()
            .filter(move |place| self.known(&by_stamp, place).next().is_none())
    }

    /// Persons' choices, and what led to them: who replaces several versions has seen a conflict and settled it,
    /// whichever policy they were written under.
    fn chosen(&self, members: &BTreeSet<Place>) -> BTreeSet<Place> {
        let by_stamp: Places = members.iter().map(|place| (place.stamp, *place)).collect();
        let choices = members.iter().filter(|place| {
            let version = self.versions.get(&place.stamp);
            version.is_some_and(|version| version.base.len() > 1)
        });
        let mut open: Vec<Place> = choices.copied().collect();
        let mut chosen = BTreeSet::new();
        while let Some(place) = open.pop() {
            if chosen.insert(place) {
                open.extend(self.known(&by_stamp, &place));
            }
        }
        chosen
    }
}

/// What stands until a person chooses: the least. Nothing of it depends on what arrived first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Weight {
    /// A person's choice, and what led to it, comes first.
    is_not_chosen: bool,
    /// What somebody typed comes before what a file said, though the file is older.
    is_imported: bool,
    /// A clock that had lost its time makes nothing the earliest.
    is_undated: bool,
    /// The hub knows what it has: only something that arrived later can meet it.
    is_a_shops: bool,
    place: Place,
}

/// The year 2000: whatever is dated before was written by a clock that had lost its time.
const DATED: Hlc = Hlc::at_millis(946_684_800_000);

#[cfg(test)]
mod tests;
