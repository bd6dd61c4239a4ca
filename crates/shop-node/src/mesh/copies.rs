//! The second copy of a receipt (X7): a peer has it on its disk before the customer has it on paper, or it says so.

use crate::node::Node;
use counterfoil_protocol::wire::node::Recorded;
use std::time::Duration;

impl Node {
    /// Marks the receipts that are on this lane's disk alone. Waits for one peer to say that it has them, for as long as
    /// a customer does not notice, when one is connected. Nothing is marked for a lane that is by itself.
    pub(crate) async fn mark_single_copies(
        &self,
        recorded: impl Iterator<Item = &mut Recorded> + Send,
    ) {
        let receipts: Vec<&mut Recorded> = recorded.filter(|it| it.number.is_some()).collect();
        let newest = receipts.iter().map(|receipt| receipt.seq).max();
        let (Some(newest), true) = (newest, self.inner.mesh.is_on()) else {
            return;
        };
        let held = self.copied_until(newest).await;
        for receipt in receipts {
            receipt.single_copy = receipt.seq > held;
        }
    }

    /// How far a peer has the own journal, as soon as it reaches `seq`, or when the wait is over.
    async fn copied_until(&self, seq: i64) -> i64 {
        let mesh = &self.inner.mesh;
        let mut acknowledged = mesh.acknowledged();
        let held = *acknowledged.borrow_and_update();
        if held >= seq || !mesh.is_heard() {
            return held;
        }
        let wait = Duration::from_millis(self.inner.config.second_copy_wait_ms);
        let copied = acknowledged.wait_for(|held| *held >= seq);
        match tokio::time::timeout(wait, copied).await {
            Ok(Ok(held)) => *held,
            // Older receipts may have been copied meanwhile.
            Ok(Err(_)) | Err(_) => *mesh.acknowledged().borrow(),
        }
    }
}
