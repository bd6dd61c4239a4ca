//! Where versions stand in time.
//!
//! A version is placed by its corrected logical time (X1), never by the clock of whoever wrote it, and always
//! after what it replaces. Places follow from the set of versions alone, so every hub that holds the same
//! versions places them alike.

use super::{Field, Stamp, Version};
use crate::hlc::Hlc;
use std::collections::BTreeMap;

/// Where a version stands among the others of its field.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// Corrected logical time, or the next after what the version replaces.
    pub time: Hlc,
    /// Names the version; settles equal times.
    pub stamp: Stamp,
}

impl Place {
    /// The place as changes of policy are stamped.
    pub const fn moment(&self) -> Stamp {
        Stamp {
            hlc: self.time,
            node_tag: self.stamp.node_tag,
        }
    }
}

impl Field {
    /// Where the latest version stands; `None` when there is none.
    pub fn newest(&self) -> Option<Place> {
        self.places().into_values().max()
    }

    /// Where each version stands.
    pub fn places(&self) -> BTreeMap<Stamp, Place> {
        let own = |(stamp, version): (&Stamp, &Version)| {
            let place = Place {
                time: version.corrected,
                stamp: *stamp,
            };
            (*stamp, place)
        };
        let mut places: BTreeMap<Stamp, Place> = self.versions.iter().map(own).collect();
        if places.len() < 2 {
            return places;
        }
        let mut order: Vec<Place> = places.values().copied().collect();
        order.sort_unstable();
        // Bases come before what replaces them unless a clock was wrong, so one pass and one that
        // finds nothing are the rule. A ring, which no sane node makes, would go on for ever.
        for _ in 0..=order.len() {
            let mut moved = false;
            for Place { stamp, .. } in &order {
                let bases = self.versions.get(stamp).map(|version| &version.base);
                let bases = bases.into_iter().flatten().filter(|base| *base != stamp);
                let last = bases.filter_map(|base| places.get(base)).max().copied();
                let (Some(last), Some(place)) = (last, places.get_mut(stamp)) else {
                    continue;
                };
                if *place <= last {
                    place.time = last.time.next();
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        places
    }
}

#[cfg(test)]
mod tests;
