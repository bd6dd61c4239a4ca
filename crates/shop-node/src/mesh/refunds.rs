//! What was taken back twice by lanes that could not see each other.

use crate::node::Node;
use crate::problem::chain;
use counterfoil_domain::NodeId;
use counterfoil_shop_store::StoreError;
use counterfoil_shop_store::refunds::OverRefund;
use serde_json::json;

impl Node {
    /// Two lanes that could not see each other took back the same goods: a person has to know.
    pub(super) async fn tell_over_refunds(
        &self,
        origin: NodeId,
        found: Option<Result<Vec<OverRefund>, StoreError>>,
    ) {
        match found {
            None => {}
            Some(Ok(found)) => {
                for OverRefund {
                    sale,
                    sku,
                    sold,
                    refunded,
                } in found
                {
                    tracing::warn!(%origin, %sale, sku, %sold, %refunded, "more was taken back than was sold");
                    let detail = json!({"sale": sale, "product": sku, "sold": sold.to_string(),
                        "refunded": refunded.to_string(), "node": origin});
                    self.log_mesh("warn", "refunded_twice", detail).await;
                }
            }
            Some(Err(error)) => {
                tracing::error!(%origin, error = %chain(&error), "refunds of another lane cannot be looked at");
            }
        }
    }
}
