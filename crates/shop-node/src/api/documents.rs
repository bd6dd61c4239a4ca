//! Recording: each request becomes one document in one transaction. The answer is sent after the
//! commit, so what it says is durable; syncing is somebody else's business.

use crate::api::Json;
use crate::node::Node;
use crate::problem::Refusal;
use axum::extract::State;
use counterfoil_domain::{Document, DocumentId, Priority};
use counterfoil_protocol::wire::node::{
    CashRequest, ExpenseRequest, ImportBatch, ImportResult, LedgerRequest, OrderRequest,
    ReceiptRequest, Recorded, StockRequest,
};
use counterfoil_shop_store::record::Entry;
use counterfoil_shop_store::{ShopStore, StoreError};

type Answer = Result<axum::Json<Recorded>, Refusal>;

/// Drafts and records on the store's thread, then wakes the sync loop.
async fn record(
    node: &Node,
    id: Option<DocumentId>,
    draft: impl FnOnce(&ShopStore, i64) -> Result<Document, StoreError> + Send + 'static,
) -> Answer {
    let now_ms = node.now_ms();
    let work = move |store: &mut ShopStore| -> Result<(Recorded, Priority), StoreError> {
        // A repeated request is answered with what was recorded, whatever has changed since.
        if let Some(id) = id
            && let Some(known) = store.recorded(id)?
        {
            return Ok((known, Priority::Low));
        }
        let document = draft(store, now_ms)?;
        let priority = document.topic().priority();
        Ok((
            store.record(Entry {
                id,
                document,
                now_ms,
            })?,
            priority,
        ))
    };
    let (recorded, priority) = node.store(work).await?;
    tracing::info!(
        id = %recorded.id, topic = %recorded.topic, seq = recorded.seq, number = recorded.number,
        total_minor = recorded.total_minor, trial = recorded.trial, repeated = recorded.repeated,
        "recorded"
    );
    node.recorded(priority);
    Ok(axum::Json(recorded))
}

pub(super) async fn sale(State(node): State<Node>, Json(request): Json<ReceiptRequest>) -> Answer {
    let id = request.id;
    record(&node, id, move |store, now_ms| {
        store.draft_receipt(&request, false, now_ms)
    })
    .await
}

pub(super) async fn refund(
    State(node): State<Node>,
    Json(request): Json<ReceiptRequest>,
) -> Answer {
    let id = request.id;
    record(&node, id, move |store, now_ms| {
        store.draft_receipt(&request, true, now_ms)
    })
    .await
}

pub(super) async fn stock(State(node): State<Node>, Json(request): Json<StockRequest>) -> Answer {
    record(&node, request.id, move |_, now_ms| {
        ShopStore::draft_stock(&request, now_ms)
    })
    .await
}

pub(super) async fn expense(
    State(node): State<Node>,
    Json(request): Json<ExpenseRequest>,
) -> Answer {
    let id = request.id;
    record(&node, id, move |store, now_ms| {
        store.draft_expense(&request, now_ms)
    })
    .await
}

pub(super) async fn ledger(State(node): State<Node>, Json(request): Json<LedgerRequest>) -> Answer {
    let id = request.id;
    record(&node, id, move |store, now_ms| {
        store.draft_ledger(&request, now_ms)
    })
    .await
}

pub(super) async fn order(State(node): State<Node>, Json(request): Json<OrderRequest>) -> Answer {
    let id = request.id;
    record(&node, id, move |store, now_ms| {
        store.draft_order(&request, now_ms)
    })
    .await
}

pub(super) async fn cash(State(node): State<Node>, Json(request): Json<CashRequest>) -> Answer {
    let id = request.id;
    record(&node, id, move |store, now_ms| {
        store.draft_cash(&request, now_ms)
    })
    .await
}

pub(super) async fn import(
    State(node): State<Node>,
    Json(batch): Json<ImportBatch>,
) -> Result<axum::Json<ImportResult>, Refusal> {
    let result = node.store(move |store| store.import(&batch)).await?;
    tracing::info!(?result, "imported");
    // An import is no customer at the counter: it goes with the next batch.
    node.recorded(Priority::Normal);
    Ok(axum::Json(result))
}
