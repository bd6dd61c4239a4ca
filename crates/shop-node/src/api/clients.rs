//! What other clients of the node do (E3): push operations in batches, pull what has changed.

use crate::api::employees::Headers;
use crate::api::{Json, asked, page_size};
use crate::limits::{CHANGES_MAX, OPERATIONS_MAX};
use crate::node::Node;
use crate::problem::{Refusal, store_problem};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use counterfoil_domain::{DocumentId, Priority};
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::clients::{
    ChangePage, Operation, OperationContent, OperationOutcome, OperationResult, OperationsAnswer,
    OperationsRequest,
};
use counterfoil_shop_store::operations::Carried;
use counterfoil_shop_store::{ChangeFilter, StoreError};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

/// Which changes.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangesQuery {
    /// A cursor that was given out; from the beginning without one.
    after: Option<String>,
    /// Catalog tables and kinds of documents, separated by commas; all of them without it.
    types: Option<String>,
    /// At most so many changes, 1 to 1000.
    limit: Option<usize>,
}

/// What has changed since a cursor: rows of the catalog as this till sees them, and documents.
#[utoipa::path(
    get,
    path = "/v1/changes",
    tag = "clients",
    params(ChangesQuery),
    responses((status = 200, body = ChangePage)),
)]
pub(super) async fn changes(
    State(node): State<Node>,
    query: Result<Query<ChangesQuery>, QueryRejection>,
) -> Result<axum::Json<ChangePage>, Refusal> {
    let query = asked(query)?;
    let limit = page_size(query.limit, CHANGES_MAX)?;
    let types = query.types.unwrap_or_default();
    let types = types.split(',').map(str::trim);
    let filter = ChangeFilter {
        after: query.after.filter(|text| !text.is_empty()),
        types: types
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
        limit,
    };
    Ok(axum::Json(
        node.store(move |store| store.changes(&filter)).await?,
    ))
}

/// An operation as it came: what can be read of it, or why it cannot.
enum Read {
    Good(Box<Operation>),
    Bad(Option<DocumentId>, Problem),
}

fn read(value: Value) -> Read {
    let id = value.get("id").and_then(Value::as_str);
    let id: Option<DocumentId> = id.and_then(|text| text.parse().ok());
    let bad = |detail: String| Read::Bad(id, Problem::new(Code::BadRequest, detail));
    let operation: Operation = match serde_json::from_value(value) {
        Ok(operation) => operation,
        Err(error) => return bad(format!("the operation cannot be read: {error}")),
    };
    if operation
        .content
        .inner_id()
        .is_some_and(|inner| inner != operation.id)
    {
        return bad("the operation has two ids; leave out the one in `content`".to_owned());
    }
    Read::Good(Box::new(operation))
}

/// Records a batch of operations; each is checked by itself and answered by itself.
#[utoipa::path(
    post,
    path = "/v1/operations",
    tag = "clients",
    request_body = OperationsRequest,
    responses((status = 200, body = OperationsAnswer)),
)]
pub(super) async fn operations(
    State(node): State<Node>,
    Headers(presented): Headers,
    Json(request): Json<OperationsRequest>,
) -> Result<axum::Json<OperationsAnswer>, Refusal> {
    if request.operations.len() > OPERATIONS_MAX {
        let detail = format!("a batch has at most {OPERATIONS_MAX} operations");
        return Err(Problem::new(Code::TooLarge, detail)
            .hint("send them in several batches; each may be repeated")
            .into());
    }
    let read: Vec<Read> = request.operations.into_iter().map(read).collect();
    let mut good = Vec::new();
    let mut places = Vec::with_capacity(read.len());
    for read in read {
        places.push(match read {
            Read::Good(operation) => {
                good.push(*operation);
                None
            }
            Read::Bad(id, problem) => Some(refused(id, problem)),
        });
    }
    let urgent = good.iter().any(|operation| {
        matches!(
            operation.content,
            OperationContent::Sale(_) | OperationContent::Refund(_)
        )
    });
    if urgent {
        node.look_at_mark().await;
    }
    let now_ms = node.now_ms();
    let carried = node
        .store(move |store| -> Result<Vec<OperationResult>, StoreError> {
            let carried = store.carry_out(&good, presented, now_ms)?;
            let ids = good.iter().map(|operation| operation.id);
            Ok(ids
                .zip(carried)
                .map(|(id, carried)| result(id, carried))
                .collect())
        })
        .await?;
    let recorded = carried
        .iter()
        .filter(|it| it.outcome == OperationOutcome::Recorded);
    let recorded = recorded.count();
    let mut carried = carried.into_iter();
    let mut results: Vec<_> = places
        .into_iter()
        .filter_map(|place| place.or_else(|| carried.next()))
        .collect();
    tracing::info!(
        operations = results.len(),
        recorded,
        "a batch of operations was carried out"
    );
    if recorded > 0 {
        node.recorded(if urgent {
            Priority::Critical
        } else {
            Priority::Normal
        });
    }
    let receipts = results.iter_mut().filter_map(|it| it.recorded.as_mut());
    node.mark_single_copies(receipts).await;
    Ok(axum::Json(OperationsAnswer { results }))
}

fn refused(id: Option<DocumentId>, problem: Problem) -> OperationResult {
    OperationResult {
        id,
        outcome: OperationOutcome::Refused,
        recorded: None,
        problem: Some(problem),
    }
}

fn result(id: DocumentId, carried: Carried) -> OperationResult {
    let recorded = match carried {
        Ok(recorded) => recorded,
        Err(error) => return refused(Some(id), store_problem(&error)),
    };
    OperationResult {
        id: Some(id),
        outcome: match &recorded {
            Some(known) if known.repeated => OperationOutcome::Repeated,
            Some(_) => OperationOutcome::Recorded,
            None => OperationOutcome::Unchanged,
        },
        recorded,
        problem: None,
    }
}
