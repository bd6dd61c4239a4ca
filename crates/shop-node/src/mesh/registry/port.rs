//! Where this lane is reached, and why somebody was not let in.

use super::Mesh;
use crate::limits::PEER_REFUSAL_PAUSE;
use std::net::SocketAddr;
use tokio::time::Instant;

impl Mesh {
    /// Where this lane is reached, for the status.
    pub(crate) fn set_address(&self, address: SocketAddr) {
        let mut state = self.state();
        (state.address, state.address_error) = (Some(format!("ws://{address}")), None);
        self.bound.send_replace(Some(address));
    }

    /// Where this lane listens, as soon as it does.
    pub(in crate::mesh) async fn bound(&self) -> SocketAddr {
        let mut bound = self.bound.subscribe();
        loop {
            if let Some(address) = *bound.borrow_and_update() {
                return address;
            }
            if bound.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Why nobody reaches this lane, for the status.
    pub(crate) fn set_address_error(&self, error: String) {
        self.state().address_error = Some(error);
    }

    /// Notes why a peer was not let in; whether that is to be logged. All that peers say counts as one reason: they
    /// may say something else each time.
    pub(in crate::mesh) fn refused(&self, text: &str, is_told: bool) -> bool {
        let mut state = self.state();
        state
            .refusals
            .retain(|_, since| since.elapsed() < PEER_REFUSAL_PAUSE);
        state.last_refusal = Some(text.to_owned());
        let reason = if is_told { "" } else { text };
        if state.refusals.contains_key(reason) {
            return false;
        }
        state.refusals.insert(reason.to_owned(), Instant::now());
        true
    }
}
