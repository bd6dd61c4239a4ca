//! Whom this lane asks beside what the conversations say by themselves.

use super::{Connected, Letters, Mesh};
use counterfoil_domain::NodeId;
use counterfoil_domain::mesh::Holding;
use counterfoil_protocol::wire::escrow::RightsRequest;
use counterfoil_protocol::wire::lane::EventMessage;
use counterfoil_protocol::wire::stock::Reconciliation;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// A connected peer that may be asked.
pub(in crate::mesh) struct Correspondent {
    pub(in crate::mesh) letters: Arc<Letters>,
    pub(in crate::mesh) wake: Arc<Notify>,
    pub(in crate::mesh) apart: u64,
}

impl Mesh {
    /// Where peers are asked, with how many entries of all journals either has that the other lacks, as far as is known.
    pub(in crate::mesh) fn correspondents(&self, own_end: i64) -> Vec<(NodeId, Correspondent)> {
        let state = self.state();
        let mut mine = state.holdings.clone();
        if let Some(own) = state.me.and_then(|me| mine.get_mut(&me)) {
            own.end.seq = own_end;
        }
        let apart = |connected: &Connected| {
            let theirs = connected.conversation.holds();
            let origins: BTreeSet<&NodeId> = theirs.keys().chain(mine.keys()).collect();
            let end = |holds: &BTreeMap<NodeId, Holding>, origin: &NodeId| {
                holds.get(origin).map_or(0, |held| held.end.seq)
            };
            let lacks = |origin: &NodeId| end(theirs, origin).abs_diff(end(&mine, origin));
            let lacking = origins.into_iter().map(lacks);
            lacking.fold(0, u64::saturating_add)
        };
        let all = state.connections.iter();
        all.map(|(peer, connected)| {
            let correspondent = Correspondent {
                letters: Arc::clone(&connected.letters),
                wake: Arc::clone(&connected.wake),
                apart: apart(connected),
            };
            (*peer, correspondent)
        })
        .collect()
    }

    pub(in crate::mesh) fn is_connected(&self, peer: NodeId) -> bool {
        self.state().connections.contains_key(&peer)
    }

    /// Asks a peer for rights, when it is connected.
    pub(in crate::mesh) fn ask_rights(&self, peer: NodeId, request: RightsRequest) {
        if let Some(connected) = self.state().connections.get(&peer) {
            connected.letters.ask_rights(request);
            connected.wake.notify_one();
        }
    }

    /// Tells every connected lane.
    pub(in crate::mesh) fn tell_all(&self, event: &EventMessage) {
        for connected in self.state().connections.values() {
            connected.letters.tell(event.clone());
            connected.wake.notify_one();
        }
    }

    /// Something came of escrow.
    pub(in crate::mesh) fn note_rights(&self) {
        self.rights.send_modify(|came| *came += 1);
    }

    /// Tells when something comes of escrow.
    pub(in crate::mesh) fn rights_came(&self) -> watch::Receiver<u64> {
        self.rights.subscribe()
    }

    pub(in crate::mesh) fn reconciled(&self, outcome: Reconciliation) {
        self.state().reconciled = Some(outcome);
    }

    /// Has what is behind a position of another lane's journal sent again; `false` when nobody is there who holds it.
    pub(crate) fn ask_from(&self, origin: NodeId, after: i64) -> bool {
        let mut state = self.state();
        if state.me == Some(origin) {
            return false;
        }
        // The entry before may be what is damaged.
        let held = state.holdings.get(&origin);
        let after = (after - 1).max(held.map_or(0, |held| held.begin.seq));
        let holds = |it: &Connected| {
            let held = it.conversation.holds().get(&origin);
            held.is_some_and(|held| held.begin.seq <= after && after < held.end.seq)
        };
        let able = state.connections.values_mut().filter(|it| holds(it));
        // Two would send the same.
        let chosen = able.max_by_key(|it| it.conversation.asked().contains(&origin));
        let Some(connected) = chosen else {
            return false;
        };
        connected.conversation.ask_from(origin, after);
        connected.wake.notify_one();
        true
    }
}
