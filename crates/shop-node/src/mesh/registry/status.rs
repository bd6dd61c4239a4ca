//! How this lane stands with the others, for the status.

use super::Mesh;
use counterfoil_protocol::wire::mesh::{JournalRow, MeshStatus, PeerRow};

impl Mesh {
    /// As the status shows it; `None` when this lane is by itself.
    pub(crate) fn status(&self) -> Option<MeshStatus> {
        let state = self.state();
        let peers = state.marks.iter().map(|(node, &mark)| {
            let connected = state.connections.get(node);
            PeerRow {
                node_id: *node,
                lane: connected.map(|it| it.lane),
                connected: connected.is_some(),
                since_ms: connected.map(|it| it.since_ms),
                found_by: state.found.get(node).copied(),
                acknowledged_seq: mark,
                unacknowledged: connected.map_or(0, |it| it.conversation.unacknowledged()),
                sent_bytes: connected.map(|it| it.traffic.sent.get()),
                sent_plain_bytes: connected.map(|it| it.traffic.plain.get()),
            }
        });
        let others = state.holdings.iter();
        let others = others.filter(|(origin, _)| Some(**origin) != state.me);
        state.is_on.then(|| MeshStatus {
            listen: state.address.clone(),
            listen_error: state.address_error.clone(),
            certificate_expires_ms: None,
            connections: state.connections.len(),
            peers: peers.collect(),
            journals: others
                .map(|(origin, held)| JournalRow {
                    node_id: *origin,
                    held_seq: held.end.seq,
                    hub_seq: state.hub_ends.get(origin).copied(),
                })
                .collect(),
            reconciliation: state.reconciled.clone(),
            last_refusal: state.last_refusal.clone(),
        })
    }
}
