//! Lanes that announced themselves, and which of them is dialed next. Anybody can announce anything, any number of times.

use super::settings::Peer;
use crate::limits::{PEER_BACKOFF_LAST_MS, PEER_FOUND_BACKOFF_MS, PEER_FOUND_MAX};
use crate::sync::{doubled, jittered};
use counterfoil_domain::NodeId;
use counterfoil_domain::env::Random;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// See the module.
#[derive(Default)]
pub(super) struct Found {
    /// By the names under which they announce themselves.
    lanes: BTreeMap<String, Lane>,
    /// Counts those that came.
    came: u64,
    /// The next choice is for the newest, else for whoever waits longest.
    takes_newest: bool,
}

struct Lane {
    /// Where it is reached, one address or more.
    peers: Vec<Peer>,
    came: u64,
    /// Tries since one of them reached it, or since it has other addresses.
    tries: u32,
    /// When it is dialed again.
    next: Instant,
    /// Dialed now, or connected by that.
    is_dialed: bool,
    /// It is announced no more.
    is_gone: bool,
    /// Who it was.
    reached: Option<NodeId>,
}

impl Found {
    /// A lane announced itself. `false` when there is no room for it.
    #[must_use]
    pub(super) fn seen(&mut self, name: &str, peers: Vec<Peer>, now: Instant) -> bool {
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.is_gone = false;
            if lane.peers != peers {
                (lane.peers, lane.tries, lane.next) = (peers, 0, now);
            }
            return true;
        }
        if self.lanes.len() >= PEER_FOUND_MAX {
            return false;
        }
        self.came += 1;
        let lane = Lane {
            peers,
            came: self.came,
            tries: 0,
            next: now,
            is_dialed: false,
            is_gone: false,
            reached: None,
        };
        self.lanes.insert(name.to_owned(), lane);
        true
    }

    /// A lane is announced no more. One that is connected stays until it is not.
    pub(super) fn gone(&mut self, name: &str) {
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.is_gone = true;
        }
        self.drop_gone();
    }

    /// What was heard is not known any more: whoever is still there says so again.
    pub(super) fn forget(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.is_gone = true;
        }
        self.drop_gone();
    }

    fn drop_gone(&mut self) {
        self.lanes.retain(|_, lane| lane.is_dialed || !lane.is_gone);
    }

    /// Whom to dial now: whoever was reached before comes first. Then it is the turn of the newest and of whoever waits
    /// longest, one after the other, so that no number of false ones keeps a true one waiting for ever.
    pub(super) fn choose(
        &mut self,
        now: Instant,
        is_connected: impl Fn(NodeId) -> bool,
    ) -> Option<(String, Peer)> {
        let may = |lane: &Lane| {
            !lane.is_dialed && lane.next <= now && !lane.reached.is_some_and(&is_connected)
        };
        let waiting = || self.lanes.iter().filter(|(_, lane)| may(lane));
        let reached = waiting().find(|(_, lane)| lane.reached.is_some());
        let newest = waiting()
            .filter(|(_, lane)| lane.tries == 0 && self.takes_newest)
            .max_by_key(|(_, lane)| lane.came);
        let longest = waiting().min_by_key(|(_, lane)| (lane.next, lane.came));
        let name = reached.or(newest).or(longest)?.0.clone();
        self.takes_newest = !self.takes_newest;
        let lane = self.lanes.get_mut(&name)?;
        let turn = usize::try_from(lane.tries).unwrap_or(0) % lane.peers.len().max(1);
        let peer = lane.peers.get(turn)?.clone();
        (lane.is_dialed, lane.tries) = (true, lane.tries.saturating_add(1));
        Some((name, peer))
    }

    /// The connection is over, or never was.
    pub(super) fn ended(
        &mut self,
        name: &str,
        reached: Option<NodeId>,
        (now, random): (Instant, &dyn Random),
    ) {
        if reached.is_some() {
            // Under one name each lane comes first, under others that lead to it like anybody.
            let others = self.lanes.values_mut();
            for other in others.filter(|other| other.reached == reached) {
                other.reached = None;
            }
        }
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.is_dialed = false;
            if reached.is_some() {
                (lane.reached, lane.tries) = (reached, 0);
            }
            let (first, last) = PEER_FOUND_BACKOFF_MS;
            let last = lane.reached.map_or(last, |_| PEER_BACKOFF_LAST_MS);
            lane.next = now + jittered(doubled(first, last, lane.tries.max(1)), random);
        }
        self.drop_gone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_testkit::SeededRandom;
    use std::time::Duration;

    fn at(last: u8) -> Vec<Peer> {
        let text = format!("wss://10.0.0.{last}");
        vec![Peer::parse(&text).expect("an address")]
    }

    fn node(last: u8) -> NodeId {
        NodeId::from_slice(&[[0; 15].as_slice(), &[last]].concat()).expect("an id")
    }

    #[test]
    fn a_thousand_false_announcements_keep_no_true_one_from_being_dialed() {
        let (mut found, random) = (Found::default(), SeededRandom::new(1));
        let mut now = Instant::now();
        assert!(found.seen("before", at(1), now));
        for number in 0..1_000 {
            assert!(found.seen(&format!("false {number}"), at(9), now));
        }
        assert!(found.seen("after", at(2), now));
        let first: Vec<String> = (0..2)
            .map(|_| found.choose(now, |_| false).expect("somebody").0)
            .collect();
        assert_eq!(first, ["before", "after"]);
        for name in &first {
            found.ended(name, None, (now, &random));
        }
        // More come all the time, and each place is free again at once.
        let (mut tries, mut more) = (0, 0);
        while tries < 3 {
            now += Duration::from_millis(10);
            more += 1;
            assert!(more < 20_000, "the true one has its turn");
            if more < 1_000 {
                assert!(found.seen(&format!("more {more}"), at(9), now));
            }
            if let Some((name, _)) = found.choose(now, |_| false) {
                tries += i32::from(name == "before");
                found.ended(&name, None, (now, &random));
            }
        }
        assert!(found.seen("before", at(3), now), "it is known still");
        found.ended("before", Some(node(1)), (now, &random));
        now += Duration::from_secs(1);
        let next = found.choose(now, |_| false).expect("somebody").0;
        assert_eq!(next, "before", "who was reached comes first");
    }

    #[test]
    fn there_is_no_room_for_ever_more_of_them_until_all_are_forgotten() {
        let (mut found, now) = (Found::default(), Instant::now());
        for number in 0..PEER_FOUND_MAX {
            assert!(found.seen(&number.to_string(), at(9), now));
        }
        assert!(!found.seen("one more", at(1), now));
        let dialed = found.choose(now, |_| false).expect("somebody").0;
        found.forget();
        assert!(found.seen("one more", at(1), now));
        assert_eq!(found.lanes.len(), 2, "and {dialed}, until that has ended");
        found.ended(&dialed, None, (now, &SeededRandom::new(1)));
        assert_eq!(found.lanes.len(), 1);
    }

    #[test]
    fn a_lane_with_another_address_is_dialed_there_and_one_that_is_connected_is_not() {
        let (mut found, random) = (Found::default(), SeededRandom::new(1));
        let mut now = Instant::now();
        assert!(found.seen("it", at(1), now));
        let (name, peer) = found.choose(now, |_| false).expect("it is dialed");
        assert_eq!((name.as_str(), peer.host.as_str()), ("it", "10.0.0.1"));
        assert!(found.choose(now, |_| false).is_none(), "once");
        found.gone("it");
        found.ended("it", Some(node(1)), (now, &random));
        assert!(found.lanes.is_empty(), "it vanished while it was connected");
        assert!(found.seen("it", at(1), now));
        assert!(found.choose(now, |_| false).is_some());
        found.ended("it", Some(node(1)), (now, &random));
        now += Duration::from_secs(1);
        assert!(found.choose(now, |found| found == node(1)).is_none());
        assert!(found.seen("it", at(2), now));
        let (_, peer) = found.choose(now, |_| false).expect("it is dialed again");
        assert_eq!(peer.host, "10.0.0.2");
    }
}
