//! What is said on one connection between two lanes: a state without I/O, so that any interleaving can be tried.
//!
//! Each side asks for what it lacks; the other sends it, and whatever follows, as long as not too much is on its way
//! unacknowledged. An acknowledgement means: durable, this entry and all before it.
//!
//! What somebody waits for goes first: answers, and what is recorded here. Entries of others' journals follow, as many as hold
//! up nothing ([`super::pace`]).

use super::pace::Pace;
use super::{Holding, LaneEntry};
use crate::ids::{DocumentId, NodeId};
use crate::lineage::Point;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How often a journal is asked for behind one position because what came left a gap. Then the peer does not have what it tells.
pub const GAPS_MAX: u32 = 8;

/// How much may be on its way unacknowledged, of the own journal and once more of all others. At the limit nothing more of
/// them is sent until an acknowledgement comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Messages, at least 1.
    pub messages: usize,
    /// Bytes; one message always fits.
    pub bytes: usize,
}

/// What a connection says next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// The message and all before it of the same journal are durable here.
    Ack(DocumentId),
    /// Send everything of a journal behind a position.
    Want {
        /// Whose journal.
        origin: NodeId,
        /// Held up to here.
        after: i64,
    },
    /// Send no more of it.
    Stop(NodeId),
    /// It cannot be had here any further.
    Gone(NodeId),
    /// So much of it is held here now.
    Have(NodeId, Holding),
    /// Entries are to be read first: the caller reads them and calls [`Conversation::sent`].
    Read {
        /// Whose journal.
        origin: NodeId,
        /// Behind this position.
        after: i64,
        /// At most so many entries and bytes, but one at least.
        room: Window,
    },
}

/// The state of one connection.
#[derive(Clone, Debug)]
pub struct Conversation {
    me: NodeId,
    peer: NodeId,
    messages_max: usize,
    /// What the peer holds, as far as it has told.
    holds: BTreeMap<NodeId, Holding>,
    /// What the peer is asked for.
    asked: BTreeSet<NodeId>,
    /// Journals that it sends once more, from before what is held.
    resent: BTreeSet<NodeId>,
    /// Behind which position it was asked once more, and how often.
    asked_again: BTreeMap<NodeId, (i64, u32)>,
    /// What the peer asked for.
    served: BTreeMap<NodeId, Served>,
    sent: VecDeque<Sent>,
    /// Of the own journal: what is recorded now does not wait for what others recorded.
    own: Flight,
    /// Of all others.
    others: Flight,
    /// The journal of another lane that was served last; the next one has its turn.
    turn: Option<NodeId>,
    // To be said; only the newest of each counts.
    acks: BTreeMap<NodeId, DocumentId>,
    requests: BTreeMap<NodeId, Option<i64>>,
    gone: BTreeSet<NodeId>,
    news: BTreeMap<NodeId, Holding>,
}

#[derive(Clone, Copy, Debug)]
struct Served {
    after: i64,
    /// Whether there may be more to read.
    more: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    id: DocumentId,
    origin: NodeId,
    point: Point,
    size: usize,
    at: Duration,
}

/// What is on its way of some journals.
#[derive(Clone, Copy, Debug)]
struct Flight {
    pace: Pace,
    messages: usize,
    bytes: usize,
}

impl Flight {
    fn new(window: Window) -> Self {
        Self {
            pace: Pace::new(window.bytes),
            messages: 0,
            bytes: 0,
        }
    }

    /// `None` when there is none.
    fn room(&self, messages_max: usize) -> Option<Window> {
        let room = Window {
            messages: messages_max.saturating_sub(self.messages),
            bytes: self.pace.bytes().saturating_sub(self.bytes),
        };
        (room.messages > 0 && room.bytes > 0).then_some(room)
    }
}

impl Conversation {
    /// Whether everything of the peer's own journal that it has told of is held here.
    pub fn has_given(&self, held: Option<&Holding>) -> bool {
        // While it sends what was there before, what it writes waits behind it.
        if self.resent.contains(&self.peer) {
            return false;
        }
        let told = self.holds.get(&self.peer);
        told.is_none_or(|told| held.is_some_and(|held| held.end.seq >= told.end.seq))
    }

    /// Of this lane with a peer that has told what it holds.
    pub fn new(
        (me, peer): (NodeId, NodeId),
        holds: BTreeMap<NodeId, Holding>,
        window: Window,
    ) -> Self {
        Self {
            me,
            peer,
            messages_max: window.messages,
            holds,
            asked: BTreeSet::new(),
            resent: BTreeSet::new(),
            asked_again: BTreeMap::new(),
            served: BTreeMap::new(),
            sent: VecDeque::new(),
            own: Flight::new(window),
            others: Flight::new(window),
            turn: None,
            acks: BTreeMap::new(),
            requests: BTreeMap::new(),
            gone: BTreeSet::new(),
            news: BTreeMap::new(),
        }
    }

    /// What the peer holds, as far as it has told.
    pub fn holds(&self) -> &BTreeMap<NodeId, Holding> {
        &self.holds
    }

    /// The journals that the peer is asked for.
    pub fn asked(&self) -> &BTreeSet<NodeId> {
        &self.asked
    }

    /// Whether the peer has asked for a journal.
    pub fn serves(&self, origin: NodeId) -> bool {
        self.served.contains_key(&origin)
    }

    /// Messages on their way that are not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.sent.len()
    }

    /// Whether there is room for what the peer says of a journal: it may speak of so many.
    pub fn has_room_for(&self, origin: NodeId, journals_max: usize) -> bool {
        let fits = |is_known: bool, count: usize| is_known || count < journals_max;
        fits(self.holds.contains_key(&origin), self.holds.len())
            && fits(self.served.contains_key(&origin), self.served.len())
    }

    /// The peer wants a journal behind a position, now and from now on.
    pub fn wanted(&mut self, origin: NodeId, after: i64) {
        self.forget_sent(origin);
        self.served.insert(origin, Served { after, more: true });
    }

    /// The peer wants no more of a journal.
    pub fn unwanted(&mut self, origin: NodeId) {
        self.forget_sent(origin);
        self.served.remove(&origin);
    }

    /// The peer holds so much of a journal.
    pub fn told(&mut self, origin: NodeId, holding: Holding) {
        self.holds.insert(origin, holding);
    }

    /// The peer cannot give a journal any further, or gives one that does not fit.
    pub fn refused(&mut self, origin: NodeId) {
        self.holds.remove(&origin);
        self.stop(origin);
    }

    /// Asks the peer for a journal.
    pub fn ask(&mut self, origin: NodeId, after: i64) {
        self.asked.insert(origin);
        self.requests.insert(origin, Some(after));
    }

    /// Asks the peer for what is held here already, and all that follows: something of it is damaged.
    pub fn ask_from(&mut self, origin: NodeId, after: i64) {
        self.resent.insert(origin);
        self.ask(origin, after);
    }

    /// Asks once more for what should have come behind a position: what came may have been on its way for longer. `false` when
    /// that was done [`GAPS_MAX`] times, and nothing came in between that could be kept: it is not asked any more.
    pub fn ask_again(&mut self, origin: NodeId, after: i64) -> bool {
        let again = self.asked_again.entry(origin).or_insert((after, 0));
        if again.0 != after {
            *again = (after, 0);
        }
        again.1 += 1;
        let may_ask = again.1 <= GAPS_MAX;
        if may_ask {
            self.ask(origin, after);
        }
        may_ask
    }

    /// Asks the peer for no more of a journal.
    pub fn stop(&mut self, origin: NodeId) {
        self.resent.remove(&origin);
        if self.asked.remove(&origin) {
            self.requests.insert(origin, None);
        }
    }

    /// There is more of a journal than there was, or may be.
    pub fn grown(&mut self, origin: NodeId) {
        if let Some(served) = self.served.get_mut(&origin) {
            served.more = true;
        }
    }

    /// A journal is held here up to there, durably. Said to the peer, unless it has as much.
    pub fn news(&mut self, origin: NodeId, holding: Holding) {
        let theirs = self.holds.get(&origin).map_or(-1, |held| held.end.seq);
        if origin != self.peer && theirs < holding.end.seq {
            self.news.insert(origin, holding);
        }
        self.grown(origin);
    }

    /// An entry came from the peer, which so has it.
    pub fn came(&mut self, entry: &LaneEntry) {
        let end = entry.point();
        let told = self.holds.get(&entry.origin);
        if told.is_none_or(|told| told.end.seq <= end.seq) {
            self.resent.remove(&entry.origin);
        }
        if let Some(held) = self.holds.get_mut(&entry.origin)
            && held.end.seq < end.seq
        {
            held.end = end;
        }
    }

    /// An entry from the peer is durable here, with all before it.
    pub fn stored(&mut self, origin: NodeId, id: DocumentId) {
        self.acks.insert(origin, id);
    }

    /// The peer has acknowledged a message: what of whose journal is durable there. `None` when no such
    /// message is on its way: it was acknowledged before, or the peer has stopped asking. `now` is since the moment that
    /// [`Conversation::sent`] counts from.
    pub fn acked(&mut self, id: DocumentId, now: Duration) -> Option<(NodeId, Point)> {
        let found = self.sent.iter().find(|sent| sent.id == id)?;
        let (origin, point, at) = (found.origin, found.point, found.at);
        let flight = match origin == self.me {
            true => &mut self.own,
            false => &mut self.others,
        };
        flight.pace.acked(at, now, flight.bytes);
        self.keep_sent(|sent| sent.origin != origin || sent.point.seq > point.seq);
        let begin = self.holds.get(&origin).map_or(Point::START, |it| it.begin);
        let held = self.holds.entry(origin).or_insert(Holding::empty(begin));
        if held.end.seq < point.seq {
            held.end = point;
        }
        Some((origin, point))
    }

    /// Entries were read for the peer. Those that it still wants are on their way from now on, and given back. `now` is
    /// since any one moment.
    pub fn sent(
        &mut self,
        (origin, after): (NodeId, i64),
        entries: Vec<LaneEntry>,
        now: Duration,
    ) -> Vec<LaneEntry> {
        let Some(served) = self.served.get_mut(&origin) else {
            return Vec::new();
        };
        // It asked again, from elsewhere, while they were read.
        if served.after != after {
            return Vec::new();
        }
        let Some(last) = entries.last() else {
            return entries;
        };
        *served = Served {
            after: last.seq,
            more: true,
        };
        for entry in &entries {
            self.sent.push_back(Sent {
                id: entry.id,
                origin,
                point: entry.point(),
                size: entry.size(),
                at: now,
            });
        }
        self.count_sent();
        entries
    }

    /// A journal cannot be read any further here.
    pub fn cannot_serve(&mut self, origin: NodeId) {
        if self.served.remove(&origin).is_some() {
            self.gone.insert(origin);
        }
    }

    /// What is to be said now; `None` when there is nothing.
    pub fn say(&mut self) -> Option<Next> {
        self.say_first().or_else(|| self.say_then())
    }

    /// What somebody waits for: small things, then what is recorded here.
    pub fn say_first(&mut self) -> Option<Next> {
        if let Some((_, id)) = self.acks.pop_first() {
            return Some(Next::Ack(id));
        }
        if let Some((origin, request)) = self.requests.pop_first() {
            return Some(match request {
                Some(after) => Next::Want { origin, after },
                None => Next::Stop(origin),
            });
        }
        if let Some(origin) = self.gone.pop_first() {
            return Some(Next::Gone(origin));
        }
        if let Some((origin, holding)) = self.news.pop_first() {
            return Some(Next::Have(origin, holding));
        }
        let served = self.served.get_mut(&self.me).filter(|own| own.more)?;
        let room = self.own.room(self.messages_max)?;
        Some(served.read(self.me, room))
    }

    /// What nobody waits for: entries of others' journals. They have turns, so that a long one holds up no other.
    pub fn say_then(&mut self) -> Option<Next> {
        let room = self.others.room(self.messages_max)?;
        let behind = |origin: &NodeId| self.turn.is_some_and(|turn| *origin <= turn);
        let others = self.served.iter_mut().filter(|it| *it.0 != self.me);
        let waiting = others.filter(|(_, served)| served.more);
        let (&origin, served) = waiting.min_by_key(|(origin, _)| (behind(origin), **origin))?;
        self.turn = Some(origin);
        Some(served.read(origin, room))
    }

    fn forget_sent(&mut self, origin: NodeId) {
        self.keep_sent(|sent| sent.origin != origin);
    }

    fn keep_sent(&mut self, keeps: impl Fn(&Sent) -> bool) {
        self.sent.retain(|sent| keeps(sent));
        self.count_sent();
    }

    fn count_sent(&mut self) {
        for flight in [&mut self.own, &mut self.others] {
            (flight.messages, flight.bytes) = (0, 0);
        }
        for sent in &self.sent {
            let flight = match sent.origin == self.me {
                true => &mut self.own,
                false => &mut self.others,
            };
            flight.messages += 1;
            flight.bytes += sent.size;
        }
    }
}

impl Served {
    const fn read(&mut self, origin: NodeId, room: Window) -> Next {
        // What is recorded from now on, while they are read, makes it true again.
        self.more = false;
        let after = self.after;
        Next::Read {
            origin,
            after,
            room,
        }
    }
}
