//! What lanes that could not see each other finished both.

use crate::node::Node;
use crate::problem::chain;
use counterfoil_domain::NodeId;
use counterfoil_domain::parked::Sold;
use counterfoil_shop_store::StoreError;
use counterfoil_shop_store::parked::SoldTwice;
use serde_json::json;

impl Node {
    /// Two lanes finished the same parked sale: both sales stand, and a person has to know.
    pub(super) async fn tell_sold_twice(
        &self,
        origin: NodeId,
        found: Option<Result<Vec<SoldTwice>, StoreError>>,
    ) {
        match found {
            None => {}
            Some(Ok(found)) => {
                for SoldTwice { parked, sold } in found {
                    tracing::warn!(%origin, %parked, sales = sold.len(), "a parked sale was finished more than once");
                    let receipt = |it: &Sold| json!({"id": it.id, "lane": it.lane, "series": it.series, "number": it.number});
                    let sold: Vec<_> = sold.iter().map(receipt).collect();
                    let detail = json!({"parked": parked, "sales": sold, "node": origin});
                    self.log_mesh("warn", "parked_sold_twice", detail).await;
                }
            }
            Some(Err(error)) => {
                tracing::error!(%origin, error = %chain(&error), "parked sales of another lane cannot be looked at");
            }
        }
    }
}
