//! What lanes tell each other of comparisons of stock: an event for the others' logs (P3, P5).

use crate::node::Node;
use counterfoil_domain::env::document_id;
use counterfoil_protocol::wire::lane::{EventMessage, ReconciliationEvent};
use serde_json::json;

impl Node {
    /// Tells every connected lane what this one does.
    pub(super) async fn tell_lanes(&self, event: ReconciliationEvent) {
        let from_terminal = self.store(|store| store.node()).await;
        let timestamp = self.now_ms();
        let id = document_id(timestamp, self.inner.env.random.as_ref());
        self.inner.mesh.tell_all(&EventMessage {
            id,
            from_terminal,
            event,
            timestamp,
        });
    }

    /// Keeps in the log what another lane told, when somebody may want to know; whether it did.
    pub(super) async fn note_event(&self, told: &EventMessage) -> bool {
        tracing::debug!(?told, "a lane compares its stock");
        let differs = |it: &ReconciliationEvent| match it {
            ReconciliationEvent::Complete {
                differing, open, ..
            } => *differing > 0 || *open > 0,
            ReconciliationEvent::Request { .. } => false,
        };
        if !differs(&told.event) {
            return false;
        }
        let EventMessage {
            id,
            from_terminal,
            event,
            timestamp,
        } = told;
        let mut detail = json!(event);
        detail["id"] = json!(id);
        detail["node"] = json!(from_terminal);
        detail["at_ms"] = json!(timestamp);
        self.log_mesh("info", "lane_event", detail).await;
        true
    }
}
