//! Rights to sell scarce products, moved between connected lanes (ADR 0024).

use super::connection::Never;
use super::greeting::ConnectionError;
use super::registry::{Mesh, Seat};
use crate::node::Node;
use crate::problem::chain;
use counterfoil_domain::env::document_id;
use counterfoil_domain::{DocumentId, NodeId, Topic};
use counterfoil_protocol::wire::escrow::{EscrowOrder, RightsRequest};
use counterfoil_protocol::wire::node::{ReceiptRequest, Recorded};
use counterfoil_shop_store::StoreError;
use counterfoil_shop_store::escrow::{EscrowNews, Lack};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Whom to ask for how much of what is lacking; nobody when those that are connected have not enough together: rights that
/// come for a sale that is refused all the same are missed elsewhere.
fn questions(lacking: &[Lack], need: DocumentId, mesh: &Mesh) -> Vec<(NodeId, RightsRequest)> {
    let mut asked = Vec::new();
    for lack in lacking {
        let mut missing = lack.needed.saturating_sub(lack.rights);
        for (node, _, has) in &lack.others {
            let part = missing.min(*has);
            if part > 0 && mesh.is_connected(*node) {
                missing -= part;
                let request = RightsRequest {
                    need,
                    escrow: lack.escrow,
                    sku: lack.sku.clone(),
                    quantity_milli: part,
                };
                asked.push((*node, request));
            }
        }
        if missing > 0 {
            return Vec::new();
        }
    }
    asked
}

impl Node {
    /// Asks connected lanes for the rights that a sale lacks, and waits for them for as long as the settings say; `false` when
    /// nobody could be asked.
    pub(crate) async fn seek_rights(&self, request: &Arc<ReceiptRequest>) -> bool {
        let wait = Duration::from_millis(self.inner.config.escrow_wait_ms);
        let until = Instant::now() + wait;
        let mesh = &self.inner.mesh;
        let mut came = mesh.rights_came();
        let now_ms = self.now_ms();
        let sale = Arc::clone(request);
        let read = self.store(move |store| -> Result<_, StoreError> {
            let need = sale
                .id
                .unwrap_or_else(|| document_id(now_ms, store.random()));
            Ok((store.rights_lacking(&sale, now_ms)?, need))
        });
        let Ok((lacking, need)) = read.await else {
            // The sale is refused for another reason.
            return false;
        };
        let questions = questions(&lacking, need, mesh);
        if questions.is_empty() {
            return false;
        }
        for (node, question) in questions {
            mesh.ask_rights(node, question);
        }
        loop {
            let sale = Arc::clone(request);
            let lacking = self.store(move |store| store.rights_lacking(&sale, now_ms));
            if lacking.await.is_ok_and(|lacking| lacking.is_empty()) {
                return true;
            }
            let changed = tokio::time::timeout_at(until, came.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return true;
            }
        }
    }

    /// Gives a peer the rights that it asks for.
    async fn give_rights(&self, peer: NodeId, asked: RightsRequest) {
        let now_ms = self.now_ms();
        let (sku, need) = (asked.sku.clone(), asked.need);
        let given = self.store(move |store| store.give_rights(peer, &asked, now_ms));
        match given.await {
            Ok(None) => {
                tracing::debug!(%peer, sku, "a lane asked for rights, and there are none to give");
            }
            Ok(Some(recorded)) => {
                self.recorded(Topic::Escrow.priority());
                let detail =
                    json!({"node": peer, "product": sku, "document": recorded.id, "need": need});
                self.log_mesh("info", "escrow_given", detail).await;
            }
            Err(error) if error.is_refusal() => {
                tracing::info!(%peer, sku, error = %chain(&error), "rights are not given to a lane");
            }
            Err(error) => {
                tracing::error!(%peer, sku, error = %chain(&error), "rights cannot be given to a lane");
            }
        }
    }

    /// Says of each escrow that this lane has heard of it: it may be under a new name, or have been killed before it said so.
    pub(super) async fn join_escrows(&self) {
        let now_ms = self.now_ms();
        let joined = self.store(move |store| store.join_escrows(None, now_ms));
        match joined.await {
            Ok(joined) if joined.is_empty() => {}
            Ok(_) => self.recorded(Topic::Escrow.priority()),
            // It does so before its first sale by right all the same.
            Err(error) => {
                tracing::error!(error = %chain(&error), "this lane cannot say that it has heard of an escrow");
            }
        }
    }

    /// What came of escrow from another lane, and what this one said to it.
    pub(super) async fn tell_escrow(
        &self,
        origin: NodeId,
        news: Option<Result<EscrowNews, StoreError>>,
    ) {
        match news {
            None => {}
            Some(Ok(EscrowNews {
                joined,
                ended,
                begun_apart,
            })) => {
                self.inner.mesh.note_rights();
                if !joined.is_empty() {
                    self.recorded(Topic::Escrow.priority());
                }
                for sku in ended {
                    let detail = json!({"product": sku, "node": origin});
                    self.log_mesh("info", "escrow_ended", detail).await;
                }
                for sku in begun_apart {
                    tracing::warn!(%origin, sku, "two lanes began the escrow of a product apart: count it, end it, begin anew");
                    let detail = json!({"product": sku, "node": origin});
                    self.log_mesh("warn", "escrow_begun_twice", detail).await;
                }
            }
            Some(Err(error)) => {
                tracing::error!(%origin, error = %chain(&error), "escrow of another lane cannot be looked at");
            }
        }
    }

    /// Keeps in the log what a person ordered; what makes rights that no lane gave is a warning.
    pub(crate) async fn tell_escrow_order(&self, what: EscrowOrder, sku: &str, order: &Recorded) {
        let (level, event) = match what {
            EscrowOrder::Begin => ("info", "escrow_begun"),
            EscrowOrder::Give => ("info", "escrow_given"),
            EscrowOrder::Take => ("warn", "escrow_taken_over"),
            EscrowOrder::Release => ("warn", "escrow_released"),
            EscrowOrder::End => ("info", "escrow_ended"),
        };
        let detail = json!({"product": sku, "document": order.id});
        self.log_mesh(level, event, detail).await;
    }
}

/// Gives what the peer asks for, one request after the other.
pub(super) async fn give_away(node: &Node, seat: &Seat) -> Result<Never, ConnectionError> {
    loop {
        seat.letters.rights_asked.notified().await;
        while let Some(asked) = seat.letters.take_rights_request() {
            node.give_rights(seat.peer, asked).await;
        }
    }
}
