//! Conflicts in which this shop has a part, and how conflicts are settled.
//!
//! A decision is recorded in the book, online or not. Before that a node that reaches its hub asks what is
//! new, so that nobody decides about what is settled; after it the node delivers.

use crate::api::employees::Headers;
use crate::api::{Json, asked, bad_request, check_who, page_size};
use crate::limits::{DECISION_MERGED_PAUSE, DECISION_SYNC_WITHIN, DECISION_SYNCS_MAX};
use crate::node::Node;
use crate::problem::Refusal;
use crate::sync;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use counterfoil_domain::Topic;
use counterfoil_protocol::wire::decisions::{
    Choice, ConflictState, Deciding, ResolveRequest, ShopConflict, ShopConflictDecided,
    ShopConflictPage,
};
use counterfoil_protocol::wire::policies::PolicyRow;
use counterfoil_shop_store::{
    ConflictFilter, DecideConflict, EditOf, Presented, ShopStore, StoreError,
};
use serde::Deserialize;
use utoipa::IntoParams;

/// Conflicts in a page when the caller does not say, and at most.
const PAGE_ROWS_MAX: i64 = 500;

/// Which conflicts.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only in this state.
    state: Option<ConflictState>,
    /// Only of this table.
    table: Option<String>,
    /// The `next` of the page before.
    #[serde(default)]
    after: i64,
    /// Largest number of rows.
    limit: Option<i64>,
}

/// Lists how conflicts are settled, by table and column.
#[utoipa::path(
    get,
    path = "/v1/policies",
    tag = "conflicts",
    responses((status = 200, body = Vec<PolicyRow>)),
)]
pub(super) async fn policies(
    State(node): State<Node>,
) -> Result<axum::Json<Vec<PolicyRow>>, Refusal> {
    Ok(axum::Json(node.store(|store| store.policies()).await?))
}

/// Lists the conflicts in which this shop has a part.
#[utoipa::path(
    get,
    path = "/v1/conflicts",
    tag = "conflicts",
    params(ListQuery),
    responses((status = 200, body = ShopConflictPage)),
)]
pub(super) async fn list(
    State(node): State<Node>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<axum::Json<ShopConflictPage>, Refusal> {
    let query = asked(query)?;
    let limit = page_size(query.limit, PAGE_ROWS_MAX)?;
    let filter = ConflictFilter {
        state: query.state,
        table: query.table,
        after: query.after,
        limit,
    };
    Ok(axum::Json(
        node.store(move |store| store.conflicts(&filter)).await?,
    ))
}

type Named = Result<Path<i64>, PathRejection>;

fn number(named: Named) -> Result<i64, Refusal> {
    let Path(number) = named.map_err(|_| bad_request("a conflict is named by its number"))?;
    Ok(number)
}

/// Shows a conflict with both values.
#[utoipa::path(
    get,
    path = "/v1/conflicts/{conflict}",
    tag = "conflicts",
    responses((status = 200, body = ShopConflict)),
)]
pub(super) async fn show(
    State(node): State<Node>,
    named: Named,
) -> Result<axum::Json<ShopConflict>, Refusal> {
    let number = number(named)?;
    Ok(axum::Json(
        node.store(move |store| store.conflict(number)).await?,
    ))
}

/// Settles a conflict by a choice, online or not.
#[utoipa::path(
    post,
    path = "/v1/conflicts/{conflict}/resolve",
    tag = "conflicts",
    request_body = ResolveRequest,
    responses((status = 200, body = ShopConflictDecided)),
)]
pub(super) async fn resolve(
    State(node): State<Node>,
    named: Named,
    Headers(presented): Headers,
    Json(request): Json<ResolveRequest>,
) -> Result<axum::Json<ShopConflictDecided>, Refusal> {
    let ResolveRequest { choice, deciding } = request;
    let wanted = (choice, false, deciding);
    decide(&node, number(named)?, presented, wanted).await
}

/// Makes the value that lost current again, online or not.
#[utoipa::path(
    post,
    path = "/v1/conflicts/{conflict}/put-back",
    tag = "conflicts",
    request_body = Deciding,
    responses((status = 200, body = ShopConflictDecided)),
)]
pub(super) async fn put_back(
    State(node): State<Node>,
    named: Named,
    Headers(presented): Headers,
    Json(deciding): Json<Deciding>,
) -> Result<axum::Json<ShopConflictDecided>, Refusal> {
    let wanted = (Choice::Loser, true, deciding);
    decide(&node, number(named)?, presented, wanted).await
}

async fn decide(
    node: &Node,
    conflict: i64,
    presented: Presented,
    (choice, put_back, deciding): (Choice, bool, Deciding),
) -> Result<axum::Json<ShopConflictDecided>, Refusal> {
    if let Some(by) = &deciding.by {
        check_who(by)?;
    }
    let now_ms = node.now_ms();
    let admit = move |store: &mut ShopStore| {
        let row = store.conflict(conflict)?.conflict;
        let of = EditOf {
            table: &row.table,
            row: &row.row,
            columns: &[&row.column],
            sets_pin: false,
        };
        store.admit_edit(presented, of, now_ms)
    };
    node.store(admit).await?;
    let online = exchange(node).await;
    let order = DecideConflict {
        conflict,
        choice,
        put_back,
        deciding,
        now_ms: node.now_ms(),
    };
    let recorded = node
        .store(move |store| store.decide_conflict(&order))
        .await?;
    tracing::info!(conflict, id = %recorded.id, seq = recorded.seq, put_back,
        repeated = recorded.repeated, "conflict decided");
    node.recorded(Topic::CatalogEdit.priority());
    let seq = recorded.seq;
    let merged = online && delivered(node, seq).await?;
    let conflict = node.store(move |store| store.conflict(conflict)).await?;
    Ok(axum::Json(ShopConflictDecided {
        conflict,
        id: recorded.id,
        merged,
        repeated: recorded.repeated,
    }))
}

/// Syncs until the hub has merged the decision, for a moment: it is on its way in any case.
async fn delivered(node: &Node, seq: i64) -> Result<bool, StoreError> {
    for attempt in 0..DECISION_SYNCS_MAX {
        if attempt > 0 {
            tokio::time::sleep(DECISION_MERGED_PAUSE).await;
        }
        if !exchange(node).await {
            return Ok(false);
        }
        if node.store(|store| store.merged_seq()).await? >= seq {
            // What became of the conflict is heard in the run after the merge.
            return Ok(exchange(node).await);
        }
    }
    Ok(false)
}

/// Asks the hub what is new and delivers, when it can be reached in time. The run goes on without its caller.
async fn exchange(node: &Node) -> bool {
    if !node.is_bound().await {
        return false;
    }
    let run = {
        let node = node.clone();
        tokio::spawn(async move { sync::sync_once(&node).await.is_ok() })
    };
    matches!(
        tokio::time::timeout(DECISION_SYNC_WITHIN, run).await,
        Ok(Ok(true))
    )
}
