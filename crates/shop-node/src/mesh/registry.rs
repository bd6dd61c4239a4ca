//! What all connections of a lane share: what is held, who is connected, and how far peers have the own journal.

pub(super) mod inquiry;
mod port;
mod status;

use super::letters::Letters;
use super::packing::Traffic;
use counterfoil_domain::mesh::conversation::{Conversation, Window};
use counterfoil_domain::mesh::sources::{Offer, Step, plan};
use counterfoil_domain::mesh::{Holding, LaneEntry};
use counterfoil_domain::{Chain, NodeId};
use counterfoil_protocol::wire::mesh::FoundBy;
use counterfoil_protocol::wire::stock::Reconciliation;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::limits::{PEER_CONNECTIONS_MAX, PEER_WINDOW_BYTES, PEER_WINDOW_MESSAGES};

/// What may be on its way to one peer without its acknowledgement.
pub(super) const WINDOW: Window = Window {
    messages: PEER_WINDOW_MESSAGES,
    bytes: PEER_WINDOW_BYTES,
};

/// The lanes of the shop as this one knows them.
pub(crate) struct Mesh {
    state: Mutex<State>,
    /// The highest position of the own journal that a peer has.
    acknowledged: watch::Sender<i64>,
    /// Whether a peer has said what it holds of this lane.
    has_met: watch::Sender<bool>,
    /// A connection was lost.
    lost: Notify,
    /// On all connections since the start.
    pub(crate) traffic: Traffic,
    /// Where this lane listens, since its port is open.
    bound: watch::Sender<Option<SocketAddr>>,
    /// Counts what came of escrow.
    rights: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    is_on: bool,
    address: Option<String>,
    /// Why there is none, when one was to be.
    address_error: Option<String>,
    me: Option<NodeId>,
    holdings: BTreeMap<NodeId, Holding>,
    /// How far the hub has others' journals, for the status.
    hub_ends: BTreeMap<NodeId, i64>,
    connections: BTreeMap<NodeId, Connected>,
    /// How this lane found whom it has reached.
    found: BTreeMap<NodeId, FoundBy>,
    /// How far each peer has the own journal, connected or not.
    marks: BTreeMap<NodeId, i64>,
    has_new_marks: bool,
    /// Counts connections, to tell one from the next with the same peer.
    opened: u64,
    last_refusal: Option<String>,
    /// How the last comparison of stock came out.
    reconciled: Option<Reconciliation>,
    /// When which refusal was noted.
    refusals: BTreeMap<String, Instant>,
}

struct Connected {
    number: u64,
    lane: i64,
    since_ms: i64,
    dialed: bool,
    conversation: Conversation,
    /// There is something to say.
    wake: Arc<Notify>,
    /// Another connection has taken its place.
    replaced: Arc<Notify>,
    letters: Arc<Letters>,
    traffic: Arc<Traffic>,
}

/// A peer that was let in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Introduced {
    pub(super) node: NodeId,
    pub(super) lane: i64,
    /// How this lane found it when it dialed; nothing when the peer did.
    pub(super) found_by: Option<FoundBy>,
}

/// A connection that takes part.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) peer: NodeId,
    pub(super) number: u64,
    pub(super) wake: Arc<Notify>,
    pub(super) replaced: Arc<Notify>,
    pub(super) letters: Arc<Letters>,
    pub(super) traffic: Arc<Traffic>,
    /// When it began; times of the conversation count from it.
    pub(super) since: Instant,
}

/// Why a connection gets no seat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoSeat {
    /// There is a better one between the two.
    Duplicate,
    /// There are as many as may be.
    TooMany,
}

/// Whether what a peer holds of this lane's own journal fits what this lane holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OwnJournal {
    Fits,
    /// It has more: this till was restored from a backup.
    Longer,
    /// It has another: this till was restored or cloned, and sold on.
    Other,
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            acknowledged: watch::Sender::new(0),
            has_met: watch::Sender::new(false),
            lost: Notify::new(),
            traffic: Traffic::default(),
            bound: watch::Sender::default(),
            rights: watch::Sender::new(0),
        }
    }
}

impl Mesh {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was recorded in the own journal.
    pub(crate) fn grown(&self) {
        let mut state = self.state();
        let Some(me) = state.me else { return };
        for connected in state.connections.values_mut() {
            connected.conversation.grown(me);
            connected.wake.notify_one();
        }
    }

    /// This lane is not by itself, whoever is there.
    pub(crate) fn begin(&self) {
        self.state().is_on = true;
    }

    /// A peer has said what it holds of this lane, and what follows from it was done.
    pub(super) fn meet(&self) {
        self.has_met.send_replace(true);
    }

    /// Waits for the first peer, and no longer than that.
    pub(super) async fn first_peer(&self, wait: Duration) {
        let mut has_met = self.has_met.subscribe();
        // Nobody came: then nobody knows more.
        let _met = tokio::time::timeout(wait, has_met.wait_for(|met| *met)).await;
    }

    pub(super) fn join(
        &self,
        me: NodeId,
        holdings: BTreeMap<NodeId, Holding>,
        mut marks: BTreeMap<NodeId, i64>,
    ) {
        // What peers had of a lost end is not what comes in its place.
        let end = holdings.get(&me).map_or(0, |own| own.end.seq);
        marks.retain(|_, seq| *seq <= end);
        let best = marks.values().copied().max().unwrap_or(0);
        let mut state = self.state();
        (state.me, state.holdings, state.marks) = (Some(me), holdings, marks);
        self.acknowledged.send_replace(best);
    }

    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.me = None;
        state.connections.clear();
    }

    pub(super) fn is_on(&self) -> bool {
        self.state().is_on
    }

    /// Whether a peer is connected that takes the own journal.
    pub(super) fn is_heard(&self) -> bool {
        let state = self.state();
        let hears = |it: &Connected| state.me.is_some_and(|me| it.conversation.serves(me));
        state.connections.values().any(hears)
    }

    pub(super) fn acknowledged(&self) -> watch::Receiver<i64> {
        self.acknowledged.subscribe()
    }

    /// Who is connected.
    pub(crate) fn connected(&self) -> BTreeSet<NodeId> {
        self.state().connections.keys().copied().collect()
    }

    /// Who is connected, and has given everything of its own journal that it has told of.
    pub(crate) fn caught_up_with(&self) -> BTreeSet<NodeId> {
        let state = self.state();
        let connections = state.connections.iter();
        let all_here = connections
            .filter(|(peer, connected)| connected.conversation.has_given(state.holdings.get(peer)));
        all_here.map(|(peer, _)| *peer).collect()
    }

    /// Waits until a connection is lost; one that was lost before anybody waited counts.
    pub(crate) async fn lost(&self) {
        self.lost.notified().await;
    }

    /// How far the hub has others' journals, as it said the last time.
    pub(crate) fn tell_hub_ends(&self, ends: BTreeMap<NodeId, i64>) {
        self.state().hub_ends = ends;
    }

    /// Whose journal peers have, and how far, when that is news.
    pub(super) fn marks_to_keep(&self) -> Option<(NodeId, BTreeMap<NodeId, i64>)> {
        let mut state = self.state();
        let me = state.me?;
        std::mem::take(&mut state.has_new_marks).then(|| (me, state.marks.clone()))
    }

    /// They are to be kept still.
    pub(super) fn marks_were_not_kept(&self) {
        self.state().has_new_marks = true;
    }

    /// What is held here of peers' journals, and of the own one as it is now.
    pub(super) fn holdings(&self, own: Holding) -> BTreeMap<NodeId, Holding> {
        let mut state = self.state();
        if let Some(me) = state.me {
            state.holdings.insert(me, own);
        }
        state.holdings.clone()
    }

    /// Gives a connection its seat. Of two with one peer the one stays that the smaller of both ids dialed, on either
    /// side; of two that one side dialed, the newer.
    pub(super) fn seat(
        &self,
        peer: Introduced,
        holds: BTreeMap<NodeId, Holding>,
        fits: OwnJournal,
        now_ms: i64,
    ) -> Result<Seat, NoSeat> {
        let mut state = self.state();
        let Some(me) = state.me else {
            return Err(NoSeat::Duplicate);
        };
        let dialed = peer.found_by.is_some();
        if let Some(found_by) = peer.found_by {
            state.found(peer.node, found_by);
        }
        let smaller_dials = me < peer.node;
        match state.connections.get(&peer.node) {
            Some(held) if held.dialed != dialed && dialed != smaller_dials => {
                return Err(NoSeat::Duplicate);
            }
            Some(held) => held.replaced.notify_one(),
            None if state.connections.len() >= PEER_CONNECTIONS_MAX => return Err(NoSeat::TooMany),
            None => {}
        }
        let theirs = holds.get(&me).copied();
        let mark = match fits {
            OwnJournal::Fits => theirs.map_or(0, |held| held.end.seq),
            OwnJournal::Longer | OwnJournal::Other => 0,
        };
        state.opened += 1;
        let seat = Seat {
            peer: peer.node,
            number: state.opened,
            wake: Arc::new(Notify::new()),
            replaced: Arc::new(Notify::new()),
            letters: Arc::default(),
            traffic: Arc::default(),
            since: Instant::now(),
        };
        let connected = Connected {
            number: seat.number,
            lane: peer.lane,
            since_ms: now_ms,
            dialed,
            conversation: Conversation::new((me, peer.node), holds, WINDOW),
            wake: Arc::clone(&seat.wake),
            replaced: Arc::clone(&seat.replaced),
            letters: Arc::clone(&seat.letters),
            traffic: Arc::clone(&seat.traffic),
        };
        state.connections.insert(peer.node, connected);
        state.mark(peer.node, mark, &self.acknowledged);
        state.replan();
        Ok(seat)
    }

    /// The connection is over.
    pub(super) fn unseat(&self, seat: &Seat) {
        let mut state = self.state();
        let held = state.connections.get(&seat.peer);
        if held.is_some_and(|held| held.number == seat.number) {
            state.connections.remove(&seat.peer);
            state.replan();
            self.lost.notify_one();
        }
    }

    /// Does something with the conversation of a connection, as long as that has its seat.
    pub(super) fn with<T>(
        &self,
        seat: &Seat,
        work: impl FnOnce(&mut Conversation) -> T,
    ) -> Option<T> {
        let mut state = self.state();
        let held = state.connections.get_mut(&seat.peer);
        let held = held.filter(|held| held.number == seat.number)?;
        Some(work(&mut held.conversation))
    }

    /// The same, when it may change whom to ask.
    pub(super) fn change(&self, seat: &Seat, work: impl FnOnce(&mut Conversation)) {
        if self.with(seat, work).is_some() {
            self.state().replan();
        }
        seat.wake.notify_one();
    }

    /// A peer has acknowledged a message.
    pub(super) fn acked(&self, seat: &Seat, id: counterfoil_domain::DocumentId) {
        let now = seat.since.elapsed();
        let acked = self.with(seat, |conversation| conversation.acked(id, now));
        let mut state = self.state();
        if let Some(Some((origin, point))) = acked
            && state.me == Some(origin)
        {
            // What is sent once more was there before.
            let had = state.marks.get(&seat.peer).copied().unwrap_or(0);
            state.mark(seat.peer, point.seq.max(had), &self.acknowledged);
        }
        drop(state);
        // There is room for more.
        seat.wake.notify_one();
    }

    /// Entries of a journal are durable here, up to there.
    pub(super) fn stored(&self, seat: &Seat, last: &LaneEntry, holding: Holding) {
        let (origin, id) = (last.origin, last.id);
        self.with(seat, |conversation| conversation.stored(origin, id));
        let mut state = self.state();
        let held = state.holdings.entry(origin).or_insert(holding);
        // Another connection may have brought more meanwhile.
        if held.end.seq < holding.end.seq {
            *held = holding;
        }
        let holding = *held;
        for connected in state.connections.values_mut() {
            connected.conversation.news(origin, holding);
            connected.wake.notify_one();
        }
        state.replan();
    }

    /// A peer sent what does not follow on what is held: it is asked again. That may have been on its way from before
    /// it was asked to stop. `false` for one that was asked before and still lacks what follows here: it has a gap.
    pub(super) fn ask_again(&self, seat: &Seat, origin: NodeId) -> bool {
        let held = self.state().holdings.get(&origin).copied();
        let mut may_go_on = true;
        self.change(seat, |conversation| {
            let theirs = conversation.holds().get(&origin).copied();
            if let Some(theirs) = theirs
                && conversation.asked().contains(&origin)
            {
                may_go_on = conversation.ask_again(origin, theirs.after(held.as_ref()));
            }
        });
        may_go_on
    }
}

impl State {
    /// A lane was reached. Of two ways to it the configured one is told.
    fn found(&mut self, peer: NodeId, found_by: FoundBy) {
        if self.found.get(&peer) != Some(&FoundBy::Configured) {
            self.found.insert(peer, found_by);
        }
    }

    fn mark(&mut self, peer: NodeId, seq: i64, acknowledged: &watch::Sender<i64>) {
        if self.marks.insert(peer, seq) != Some(seq) {
            self.has_new_marks = true;
            acknowledged.send_if_modified(|best| {
                let found = self.marks.values().copied().max().unwrap_or(0);
                std::mem::replace(best, found) != found
            });
        }
    }

    fn replan(&mut self) {
        let Some(me) = self.me else { return };
        let offer = |connected: &Connected| Offer {
            holds: connected.conversation.holds().clone(),
            asked: connected.conversation.asked().clone(),
        };
        let offers: BTreeMap<NodeId, Offer> = self
            .connections
            .iter()
            .map(|(peer, connected)| (*peer, offer(connected)))
            .collect();
        for step in plan(me, &self.holdings, &offers) {
            let (Step::Ask { peer, .. } | Step::Stop { peer, .. }) = step;
            let Some(connected) = self.connections.get_mut(&peer) else {
                continue;
            };
            match step {
                Step::Ask { origin, after, .. } => connected.conversation.ask(origin, after),
                Step::Stop { origin, .. } => connected.conversation.stop(origin),
            }
            connected.wake.notify_one();
        }
    }
}

/// Judges what a peer holds of the own journal. `at_their_end` is what the own one has at the position where theirs
/// ends, if it reaches so far.
pub(super) fn judge(theirs: Holding, own: Holding, at_their_end: Option<Chain>) -> OwnJournal {
    if theirs.contradicts(&own) || at_their_end.is_some_and(|chain| chain != theirs.end.chain) {
        OwnJournal::Other
    } else if theirs.end.seq > own.end.seq {
        OwnJournal::Longer
    } else {
        OwnJournal::Fits
    }
}

#[cfg(test)]
mod tests;
