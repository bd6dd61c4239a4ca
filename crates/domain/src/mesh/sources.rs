//! From whom a lane takes what it lacks of each journal: one peer per journal, so nothing is sent twice.
//!
//! A pure comparison of what each side holds; nobody is elected, and any peer can stand in for one that is gone.

use super::Holding;
use crate::ids::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// What a connected peer holds, and what it is asked for now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Offer {
    /// What it said it holds, by origin.
    pub holds: BTreeMap<NodeId, Holding>,
    /// Journals that it is asked for.
    pub asked: BTreeSet<NodeId>,
}

/// A change in whom to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Ask a peer for everything of a journal behind a position, now and from now on.
    Ask {
        /// Whom.
        peer: NodeId,
        /// Whose journal.
        origin: NodeId,
        /// What is held up to here.
        after: i64,
    },
    /// Take no more of a journal from a peer.
    Stop {
        /// Whom.
        peer: NodeId,
        /// Whose journal.
        origin: NodeId,
    },
}

/// Whom to ask from now on: a journal's own lane when it is connected; else whoever is asked already as long as it
/// has more; else whoever has most.
pub fn plan(
    me: NodeId,
    mine: &BTreeMap<NodeId, Holding>,
    offers: &BTreeMap<NodeId, Offer>,
) -> Vec<Step> {
    let held = offers.values().flat_map(|offer| offer.holds.keys());
    let asked = offers.values().flat_map(|offer| offer.asked.iter());
    let origins: BTreeSet<NodeId> = held.chain(asked).copied().collect();
    let mut steps = Vec::new();
    for origin in origins {
        let chosen = match origin == me {
            true => None,
            false => choose(origin, mine.get(&origin), offers),
        };
        for (&peer, offer) in offers {
            let is_asked = offer.asked.contains(&origin);
            if is_asked && chosen.map(|(peer, _)| peer) != Some(peer) {
                steps.push(Step::Stop { peer, origin });
            }
        }
        if let Some((peer, after)) = chosen
            && !offers[&peer].asked.contains(&origin)
        {
            steps.push(Step::Ask {
                peer,
                origin,
                after,
            });
        }
    }
    steps
}

fn choose(
    origin: NodeId,
    mine: Option<&Holding>,
    offers: &BTreeMap<NodeId, Offer>,
) -> Option<(NodeId, i64)> {
    let able = offers.iter().filter_map(|(peer, offer)| {
        let holding = offer.holds.get(&origin)?;
        holding
            .can_continue(mine)
            .then_some((*peer, offer, holding))
    });
    let able: Vec<_> = able.collect();
    let after = |holding: &Holding| holding.after(mine);
    // Also when nothing is missing: from its own lane the next entry comes at once.
    if let Some((peer, _, holding)) = able.iter().find(|(peer, ..)| *peer == origin) {
        return Some((*peer, after(holding)));
    }
    let has_more = |holding: &Holding| match mine {
        Some(held) => holding.end.seq > held.end.seq,
        None => true,
    };
    let present = able
        .iter()
        .find(|(_, offer, _)| offer.asked.contains(&origin));
    let most = able
        .iter()
        .filter(|(.., holding)| has_more(holding))
        .max_by_key(|(peer, _, holding)| {
            (
                holding.end.seq,
                -holding.begin.seq,
                std::cmp::Reverse(*peer),
            )
        });
    let chosen = match (present, most) {
        (Some(present), _) if has_more(present.2) => Some(present),
        (present, None) => present,
        (_, most) => most,
    };
    chosen.map(|(peer, _, holding)| (*peer, after(holding)))
}
