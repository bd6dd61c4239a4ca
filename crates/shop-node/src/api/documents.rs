//! Recording: each request becomes one document in one transaction. The answer is sent after the
//! commit, so what it says is durable; syncing is somebody else's business.

use crate::api::Json;
use crate::api::employees::Headers;
use crate::credentials::token_digest;
use crate::node::Node;
use crate::problem::{Refusal, internal};
use axum::extract::State;
use counterfoil_domain::closure::{DayRule, SealKey};
use counterfoil_domain::employee::Permission;
use counterfoil_domain::{Document, DocumentId, NodeId, Priority, Topic};
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::closure::{CloseDayRequest, ClosedDay};
use counterfoil_protocol::wire::import::{ImportBatch, ImportResult};
use counterfoil_protocol::wire::node::{
    CashRequest, ExpenseRequest, LedgerRequest, OrderRequest, ReceiptRequest, Recorded,
    StockAnswer, StockBody, StockRequest,
};
use counterfoil_shop_store::record::Entry;
use counterfoil_shop_store::{CloseDay, Presented, ShopStore, StoreError};
use std::sync::Arc;

/// How far the clocks of till and hub may differ before the till doubts what day it is, in milliseconds: a minute,
/// as much as the hub takes without an alert. Beyond it a closing near the end of a day is refused.
const CLOCK_OFFSET_MS_MAX: i64 = 60_000;

/// How often a key is read for one closing. Each further time an activation or another identity came in between;
/// then the request is refused, and may be repeated.
const KEY_ATTEMPTS_MAX: u32 = 4;

pub(super) type Answer = Result<axum::Json<Recorded>, Refusal>;

/// Drafts and records on the store's thread, then wakes the sync loop.
pub(super) async fn record(
    node: &Node,
    (topic, id): (Topic, Option<DocumentId>),
    presented: Presented,
    draft: impl FnOnce(&ShopStore, i64) -> Result<Document, StoreError> + Send + 'static,
) -> Answer {
    if matches!(topic, Topic::Sale | Topic::Refund) {
        node.look_at_mark().await;
    }
    let now_ms = node.now_ms();
    let draft = move |store: &ShopStore, now_ms| {
        store.admit_document(presented, draft(store, now_ms)?, now_ms)
    };
    #[cfg(feature = "planted-bugs")]
    if counterfoil_replica::planted::PlantedBug::ReplyBeforeCommit.is_planted() {
        return too_early(node, topic, id, draft).await;
    }
    let work = move |store: &mut ShopStore| -> Result<Recorded, StoreError> {
        // A repeated request is answered with what was recorded, whatever has changed since.
        if let Some(known) = store.known(id, topic)? {
            return Ok(known);
        }
        let document = draft(store, now_ms)?;
        store.record(Entry {
            id,
            document,
            now_ms,
        })
    };
    let mut recorded = node.store(work).await?;
    announce(node, topic, &recorded);
    node.mark_single_copies(std::iter::once(&mut recorded))
        .await;
    Ok(axum::Json(recorded))
}

/// Answers, and then records.
#[cfg(feature = "planted-bugs")]
async fn too_early(
    node: &Node,
    topic: Topic,
    id: Option<DocumentId>,
    draft: impl FnOnce(&ShopStore, i64) -> Result<Document, StoreError> + Send + 'static,
) -> Answer {
    let now_ms = node.now_ms();
    let look_ahead = move |store: &mut ShopStore| -> Result<_, StoreError> {
        let document = draft(store, now_ms)?;
        let entry = Entry {
            id,
            document,
            now_ms,
        };
        Ok((store.foretell(entry.clone())?, entry))
    };
    let (foretold, entry) = node.store(look_ahead).await?;
    let late = node.clone();
    drop(tokio::spawn(async move {
        let recorded = late.store(move |store| store.record(entry)).await;
        announce(&late, topic, &recorded.expect("what was foretold"));
    }));
    Ok(axum::Json(foretold))
}

fn announce(node: &Node, topic: Topic, recorded: &Recorded) {
    tracing::info!(
        id = %recorded.id,
        topic = %recorded.topic,
        seq = recorded.seq,
        number = recorded.number,
        total_minor = recorded.total_minor,
        trial = recorded.trial,
        repeated = recorded.repeated,
        "recorded"
    );
    node.recorded(topic.priority());
}

/// Records a sale.
#[utoipa::path(
    post,
    path = "/v1/sales",
    tag = "documents",
    request_body = ReceiptRequest,
    responses((status = 200, body = Recorded)),
)]
pub(super) async fn sale(
    State(node): State<Node>,
    Headers(presented): Headers,
    Json(request): Json<ReceiptRequest>,
) -> Answer {
    let request = Arc::new(request);
    let sell = || {
        let (request, topic) = (Arc::clone(&request), (Topic::Sale, request.id));
        record(&node, topic, presented, move |store, now_ms| {
            store.draft_receipt(&request, false, now_ms)
        })
    };
    match sell().await {
        // Another lane may have the right to sell it, and give it. Nobody waits for ordinary products.
        Err(Refusal(problem))
            if problem.code == Code::NoRights && node.seek_rights(&request).await =>
        {
            sell().await
        }
        answer => answer,
    }
}

/// Records a refund.
#[utoipa::path(
    post,
    path = "/v1/refunds",
    tag = "documents",
    request_body = ReceiptRequest,
    responses((status = 200, body = Recorded)),
)]
pub(super) async fn refund(
    State(node): State<Node>,
    Headers(presented): Headers,
    Json(request): Json<ReceiptRequest>,
) -> Answer {
    record(
        &node,
        (Topic::Refund, request.id),
        presented,
        move |store, now_ms| store.draft_receipt(&request, true, now_ms),
    )
    .await
}

/// What was recorded under the ids of such requests, when all of them are repetitions: answered whatever has changed since.
fn known_stock(
    store: &ShopStore,
    requests: &[StockRequest],
) -> Result<Option<Vec<Recorded>>, StoreError> {
    let known = requests.iter().map(|request| {
        let topic = match request.count {
            true => Topic::StockCount,
            false => Topic::StockMovement,
        };
        store.known(request.id, topic)
    });
    let known = known.collect::<Result<Option<Vec<_>>, _>>()?;
    Ok(known.filter(|known| !known.is_empty()))
}

/// Records a stock movement or count, or a list of them whole or not at all.
#[utoipa::path(
    post,
    path = "/v1/stock",
    tag = "documents",
    request_body = StockBody,
    responses((status = 200, body = StockAnswer)),
)]
pub(super) async fn stock(
    State(node): State<Node>,
    Headers(presented): Headers,
    Json(body): Json<StockBody>,
) -> Result<axum::Json<StockAnswer>, Refusal> {
    let now_ms = node.now_ms();
    let (requests, listed) = match body {
        StockBody::One(request) => (vec![request], false),
        StockBody::Many(requests) => (requests, true),
    };
    let work = move |store: &mut ShopStore| -> Result<Vec<Recorded>, StoreError> {
        if let Some(known) = known_stock(store, &requests)? {
            return Ok(known);
        }
        let mut entries = Vec::with_capacity(requests.len());
        for request in &requests {
            let document = store.draft_stock(request, now_ms)?;
            let document = store.admit_document(presented, document, now_ms)?;
            entries.push(Entry {
                id: request.id,
                document,
                now_ms,
            });
        }
        store.record_all(entries)
    };
    let recorded = node.store(work).await?;
    for recorded in &recorded {
        announce(&node, Topic::StockMovement, recorded);
    }
    Ok(axum::Json(match recorded.as_slice() {
        [only] if !listed => StockAnswer::One(only.clone()),
        _ => StockAnswer::Many(recorded),
    }))
}

/// Records money spent out of the drawer.
#[utoipa::path(
    post,
    path = "/v1/expenses",
    tag = "documents",
    request_body = ExpenseRequest,
    responses((status = 200, body = Recorded)),
)]
pub(super) async fn expense(
    State(node): State<Node>,
    Headers(presented): Headers,
    Json(request): Json<ExpenseRequest>,
) -> Answer {
    record(
        &node,
        (Topic::Expense, request.id),
        presented,
        move |store, now_ms| store.draft_expense(&request, now_ms),
    )
    .await
}

/// Records what a customer owes more, or has paid back.
#[utoipa::path(
    post,
    path = "/v1/ledger",
    tag = "documents",
    request_body = LedgerRequest,
    responses((status = 200, body = Recorded)),
)]
pub(super) async fn ledger(
    State(node): State<Node>,
    Headers(presented): Headers,
    Json(request): Json<LedgerRequest>,
) -> Answer {
    record(
        &node,
        (Topic::LedgerEntry, request.id),
        presented,
        move |store, now_ms| store.draft_ledger(&request, now_ms),
    )
    .await
}

/// Records an advance order.
#[utoipa::path(
    post,
    path = "/v1/orders",
    tag = "documents",
    request_body = OrderRequest,
    responses((status = 200, body = Recorded)),
)]
pub(super) async fn order(
    State(node): State<Node>,
    Headers(presented): Headers,
    Json(request): Json<OrderRequest>,
) -> Answer {
    record(
        &node,
        (Topic::AdvanceOrder, request.id),
        presented,
        move |store, now_ms| store.draft_order(&request, now_ms),
    )
    .await
}

/// Records the opening or the closing count of a drawer.
#[utoipa::path(
    post,
    path = "/v1/cash",
    tag = "documents",
    request_body = CashRequest,
    responses((status = 200, body = Recorded)),
)]
pub(super) async fn cash(
    State(node): State<Node>,
    Headers(presented): Headers,
    Json(request): Json<CashRequest>,
) -> Answer {
    record(
        &node,
        (Topic::CashSession, request.id),
        presented,
        move |store, now_ms| store.draft_cash(&request, now_ms),
    )
    .await
}

/// Closes a business day; works offline and in trial. Every closure wakes the sync loop as a sale does.
#[utoipa::path(
    post,
    path = "/v1/close-day",
    tag = "documents",
    request_body = CloseDayRequest,
    responses((status = 200, body = ClosedDay)),
)]
pub(super) async fn close_day(
    State(node): State<Node>,
    Headers(presented): Headers,
    Json(request): Json<CloseDayRequest>,
) -> Result<axum::Json<ClosedDay>, Refusal> {
    let (rule, now_ms) = (node.inner.config.day_rule(), node.now_ms());
    node.store(move |store| store.admit(presented, None, now_ms))
        .await?;
    if request.day.is_none() {
        check_clock(node.state().clock_offset_ms, rule, now_ms)?;
    }
    let mut attempts = 1..KEY_ATTEMPTS_MAX;
    let closed = loop {
        let order = CloseDay {
            day: request.day,
            rule,
            key: seal_key(&node).await?,
            now_ms,
        };
        match node.store(move |store| store.close_day(&order)).await {
            // An activation or another identity came in between.
            Err(StoreError::SealOfAnother) if attempts.next().is_some() => {}
            closed => break closed?,
        }
    };
    let closure = &closed.closure;
    tracing::info!(day = %closure.day, seq = closed.seq, repeated = closed.repeated,
        also_closed = closed.also_closed.len(), late = closure.late, "day closed");
    node.recorded(Topic::Closure.priority());
    Ok(axum::Json(closed))
}

/// Refuses to close the present day by a clock that is known to be wrong, when by the right one it is another
/// day: a closure of a day to come would stand in the way of those before it. Who names the day says what it
/// is; so a till whose clock was put right while it is offline can be closed.
fn check_clock(offset_ms: Option<i64>, rule: DayRule, now_ms: i64) -> Result<(), Refusal> {
    let offset_ms = offset_ms.unwrap_or(0);
    let (today, found) = (
        rule.day_of(now_ms),
        rule.day_of(now_ms.saturating_sub(offset_ms)),
    );
    if offset_ms.saturating_abs() <= CLOCK_OFFSET_MS_MAX || today == found {
        return Ok(());
    }
    let detail = format!(
        "by this till's clock it is {today}, by the hub's {found}: nothing was closed, because a day closed by a \
         wrong clock cannot be closed again"
    );
    let problem = Problem::new(Code::Conflict, detail).hint(
        "set the clock of this till, run `counterfoil-node sync`, and close the day again; when the hub cannot be \
         reached, name the day: `counterfoil-node close-day --day YYYY-MM-DD`",
    );
    Err(problem.into())
}

/// The key of the present identity, and which one that is; `None` in trial. Without its token a till cannot sync
/// either, and a closure without a seal would never be proved: nothing is recorded.
async fn seal_key(node: &Node) -> Result<Option<(NodeId, SealKey)>, Refusal> {
    let read = |store: &mut ShopStore| store.binding().map(|_| store.node());
    let Some(id) = node.store(read).await else {
        return Ok(None);
    };
    let token = node.inner.credentials.of(id).token();
    match token.map_err(|error| internal(&error))? {
        Some(token) => {
            let key = SealKey::of_token_hash(&token_digest(&token));
            Ok(Some((id, key)))
        }
        None => Err(Problem::new(
            Code::Unauthorized,
            "this till has no token to seal the day with; nothing was recorded",
        )
        .hint("put the token back (see `counterfoil-node status`), and close the day again")
        .into()),
    }
}

/// Records a batch of receipts of another system.
#[utoipa::path(
    post,
    path = "/v1/import",
    tag = "documents",
    request_body = ImportBatch,
    responses((status = 200, body = ImportResult)),
)]
pub(super) async fn import(
    State(node): State<Node>,
    Headers(presented): Headers,
    Json(batch): Json<ImportBatch>,
) -> Result<axum::Json<ImportResult>, Refusal> {
    node.look_at_mark().await;
    let now_ms = node.now_ms();
    let import = move |store: &mut ShopStore| {
        store.admit(presented, Some(Permission::Manage), now_ms)?;
        store.import(&batch, now_ms)
    };
    let result = node.store(import).await?;
    tracing::info!(?result, "imported");
    // An import is no customer at the counter: it goes with the next batch.
    node.recorded(Priority::Normal);
    Ok(axum::Json(result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_not_closed_by_a_clock_that_is_known_to_be_on_another() {
        const HOUR_MS: i64 = 3_600_000;
        let rule = DayRule::default();
        let noon_ms = rule.start_ms(rule.day_of(1_700_000_000_000)) + 12 * HOUR_MS;
        let closes = |offset_ms, now_ms| check_clock(offset_ms, rule, now_ms).is_ok();
        assert!(closes(None, noon_ms), "in trial nobody knows");
        assert!(closes(Some(3 * HOUR_MS), noon_ms), "it is the same day");
        for offset_ms in [13 * HOUR_MS, -13 * HOUR_MS, 240 * HOUR_MS, i64::MIN] {
            assert!(!closes(Some(offset_ms), noon_ms), "{offset_ms}");
        }
        let midnight_ms = noon_ms + 12 * HOUR_MS;
        assert!(closes(Some(CLOCK_OFFSET_MS_MAX), midnight_ms));
        assert!(!closes(Some(CLOCK_OFFSET_MS_MAX + 1), midnight_ms));
    }
}
