//! When a lane brings to the hub what it holds of another lane's journal (X7): that one was killed for good, or is cut
//! off from the internet and not from here.
//!
//! A pure comparison of what is held with what the hub said it has. There is no clock: what waits is counted in looks.

use super::Holding;
use crate::ids::NodeId;
use crate::lineage::Point;
use std::collections::{BTreeMap, BTreeSet};

/// After so many looks the hub is asked about every journal, whatever it said before: one that was restored from a backup
/// has less than that.
pub const LOOKS_TRUSTED: u32 = 60;

/// What the hub says of one journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said {
    /// The last entry that it has.
    pub known: Point,
    /// Whether what is held here is not what it has.
    pub diverged: bool,
}

/// What a look at one journal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Bring what follows on what the hub has.
    Bring {
        /// Whose journal.
        origin: NodeId,
        /// The last entry that the hub has.
        known: Point,
        /// What is held of it here.
        holding: Holding,
    },
    /// Bring nothing and tell a person: two books go on under one name.
    Diverged {
        /// Whose journal.
        origin: NodeId,
        /// The last entry that the hub has.
        known: Point,
        /// What is held of it here.
        holding: Holding,
    },
}

/// How far the hub has the journals that a lane holds of others, as far as it has said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HubEnds {
    known: BTreeMap<NodeId, Point>,
    /// Behind which position the hub lacked entries at the look before.
    lacked: BTreeMap<NodeId, i64>,
    /// Looks since the hub was asked about every journal.
    looks: u32,
}

impl HubEnds {
    /// Begins a look at what is held of others: the journals to ask about. None when the hub has everything.
    pub fn look(&mut self, held: &BTreeMap<NodeId, Holding>) -> BTreeMap<NodeId, Holding> {
        self.looks = self.looks.saturating_add(1);
        let is_trusted = self.looks < LOOKS_TRUSTED;
        let has = |origin: &NodeId, holding: &Holding| {
            let known = self.known.get(origin);
            known.is_some_and(|known| known.seq >= holding.end.seq)
        };
        let asked = held
            .iter()
            .filter(|(origin, it)| !(is_trusted && has(origin, it)));
        asked.map(|(origin, it)| (*origin, *it)).collect()
    }

    /// Takes in what the hub answered to a look. A journal whose lane is connected here is brought when the hub lacked the
    /// same entries at the look before: until then that lane may do so itself.
    pub fn heard(
        &mut self,
        asked: &BTreeMap<NodeId, Holding>,
        said: &BTreeMap<NodeId, Said>,
        connected: &BTreeSet<NodeId>,
    ) -> Vec<Step> {
        if self.looks >= LOOKS_TRUSTED {
            self.looks = 0;
        }
        let mut steps = Vec::new();
        for (&origin, &holding) in asked {
            let lacked = self.lacked.remove(&origin);
            let Some(&Said { known, diverged }) = said.get(&origin) else {
                continue;
            };
            self.known.insert(origin, known);
            if diverged {
                steps.push(Step::Diverged {
                    origin,
                    known,
                    holding,
                });
            } else if (holding.begin.seq..holding.end.seq).contains(&known.seq) {
                self.lacked.insert(origin, known.seq);
                if !connected.contains(&origin) || lacked == Some(known.seq) {
                    steps.push(Step::Bring {
                        origin,
                        known,
                        holding,
                    });
                }
            }
        }
        steps
    }

    /// The hub has taken entries of a journal, and has it up to there.
    pub fn brought(&mut self, origin: NodeId, known: Point) {
        self.known.insert(origin, known);
        self.lacked.remove(&origin);
    }

    /// How far the hub has each journal.
    pub fn known(&self) -> &BTreeMap<NodeId, Point> {
        &self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Chain;

    fn node(number: u8) -> NodeId {
        NodeId::from_slice(&[number; 16]).expect("an id")
    }

    fn point(seq: i64) -> Point {
        let chain = Chain::from_slice(&[seq.to_be_bytes()[7]; 32]).expect("32 bytes");
        Point { seq, chain }
    }

    fn behind(begin: i64, end: i64) -> Holding {
        let (begin, end) = (point(begin), point(end));
        Holding { begin, end }
    }

    /// A lane that looks, and what the hub has by now.
    struct Look {
        ends: HubEnds,
        held: BTreeMap<NodeId, Holding>,
        hub: BTreeMap<NodeId, Said>,
        connected: BTreeSet<NodeId>,
    }

    impl Look {
        fn at(holding: Holding, known: i64) -> Self {
            let known = point(known);
            let said = Said {
                known,
                diverged: false,
            };
            Self {
                ends: HubEnds::default(),
                held: BTreeMap::from([(node(1), holding)]),
                hub: BTreeMap::from([(node(1), said)]),
                connected: BTreeSet::new(),
            }
        }

        fn hub_has(&mut self, known: i64) {
            self.hub.insert(
                node(1),
                Said {
                    known: point(known),
                    diverged: false,
                },
            );
        }

        fn holds(&mut self, end: i64) {
            self.held.insert(node(1), behind(0, end));
        }

        /// Behind which position entries are brought; `None` when not even a question is asked.
        fn once(&mut self) -> Option<Vec<i64>> {
            let asked = self.ends.look(&self.held);
            if asked.is_empty() {
                return None;
            }
            let steps = self.ends.heard(&asked, &self.hub, &self.connected);
            let brings = steps.into_iter().map(|step| match step {
                Step::Bring { known, .. } => known.seq,
                Step::Diverged { .. } => -1,
            });
            Some(brings.collect())
        }
    }

    #[test]
    fn the_journal_of_a_lane_that_is_away_is_brought_at_once_and_then_not_asked_about() {
        let mut look = Look::at(behind(0, 5), 3);
        assert_eq!(look.once(), Some(vec![3]));
        look.ends.brought(node(1), point(5));
        assert_eq!(look.once(), None);
        look.hub_has(5);
        look.holds(6);
        assert_eq!(look.once(), Some(vec![5]), "more came");
    }

    #[test]
    fn a_lane_that_is_connected_delivers_itself_until_the_hub_lacks_the_same_twice() {
        let mut look = Look::at(behind(0, 5), 3);
        look.connected.insert(node(1));
        assert_eq!(look.once(), Some(vec![]));
        look.hub_has(4);
        look.holds(8);
        assert_eq!(look.once(), Some(vec![]), "it gets on by itself");
        assert_eq!(look.once(), Some(vec![4]), "nothing has come");
        look.ends.brought(node(1), point(8));
        look.hub_has(8);
        look.holds(9);
        assert_eq!(look.once(), Some(vec![]), "the next one waits again");
        look.connected.clear();
        assert_eq!(look.once(), Some(vec![8]));
    }

    #[test]
    fn entries_that_were_delivered_between_two_looks_are_not_lacked() {
        let mut look = Look::at(behind(0, 5), 3);
        look.connected.insert(node(1));
        assert_eq!(look.once(), Some(vec![]));
        look.hub_has(7);
        assert_eq!(look.once(), Some(vec![]));
        assert_eq!(look.once(), None, "it has more than this lane");
        // Put back to what it had.
        look.hub_has(3);
        look.holds(9);
        assert_eq!(look.once(), Some(vec![]), "that is another time");
    }

    #[test]
    fn what_is_not_held_far_enough_back_is_not_brought() {
        let mut look = Look::at(behind(4, 9), 3);
        assert_eq!(look.once(), Some(vec![]));
        look.hub_has(4);
        assert_eq!(look.once(), Some(vec![4]));
    }

    #[test]
    fn two_histories_under_one_name_are_told_and_not_mixed() {
        for (seq, diverged, step) in [(5, true, -1), (3, true, -1), (9, true, -1), (3, false, 3)] {
            let mut look = Look::at(behind(0, 5), seq);
            look.hub.get_mut(&node(1)).expect("asked").diverged = diverged;
            assert_eq!(look.once(), Some(vec![step]), "{seq}");
        }
    }

    #[test]
    fn a_journal_of_which_nothing_is_said_is_asked_about_again() {
        let mut look = Look::at(behind(0, 5), 3);
        look.hub.clear();
        assert_eq!(look.once(), Some(vec![]));
        look.hub_has(3);
        assert_eq!(look.once(), Some(vec![3]));
    }

    #[test]
    fn a_hub_that_was_restored_from_a_backup_is_asked_in_the_end() {
        let mut look = Look::at(behind(0, 5), 5);
        assert_eq!(look.once(), Some(vec![]));
        look.hub_has(2);
        let mut looks = 1;
        while look.once().is_none() {
            looks += 1;
        }
        assert_eq!(looks + 1, LOOKS_TRUSTED);
        assert_eq!(look.ends.known()[&node(1)], point(2));
    }
}
