//! Where this lane is reached.

use super::Mesh;
use std::net::SocketAddr;

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
}
