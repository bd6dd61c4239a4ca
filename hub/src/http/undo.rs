//! Taking back what a till or an import wrote to the catalog: for operators, and for tills what their own shop did.

use super::ApiError;
use super::access::{OWNER, READ_SHOP, TILL};
use super::bodies::read_json;
use super::caller::{Caller, name_of};
use super::calls::Calls;
use crate::hub::Hub;
use crate::store::{AuthedNode, UndoError, UndoOf};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use counterfoil_domain::ShopId;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::decisions::{ImportRow, UNDO_PATH, UndoRequest, Undone};
use http::HeaderMap;
use std::sync::Arc;
use utoipa_axum::routes;

/// The last moment that a logical time can hold is later; milliseconds since the Unix epoch.
const MOMENT_MS_MAX: i64 = 100_000_000_000_000;

/// Who undoes at a till, when nobody says so.
const BY_DEFAULT: &str = "till";

type Hubs = State<Arc<Hub>>;
type Answer<T> = Result<Json<T>, ApiError>;

pub(super) fn calls() -> Calls {
    Calls::new()
        .add(OWNER, routes!(undo))
        .add(TILL, routes!(undo_of_shop))
        .add(READ_SHOP, routes!(imports))
}

/// Whose edits a request names, of one shop or of any.
fn asked(request: &UndoRequest, shop: Option<ShopId>) -> Result<UndoOf, ApiError> {
    let UndoRequest {
        import_id,
        node_id,
        from_ms,
        to_ms,
        ..
    } = *request;
    match (import_id, node_id, from_ms, to_ms) {
        (Some(import), None, None, None) => Ok(UndoOf::Import { import, shop }),
        (None, Some(node), Some(from_ms), Some(to_ms)) => {
            if from_ms < 0 || to_ms <= from_ms || to_ms > MOMENT_MS_MAX {
                let detail = "the time to undo ends after it begins, and begins after 1970";
                return Err(ApiError::new(Code::Invalid, detail));
            }
            Ok(UndoOf::Node {
                node,
                from_ms,
                to_ms,
                shop,
            })
        }
        _ => {
            let detail =
                "an undo names either `import_id`, or `node_id` with `from_ms` and `to_ms`";
            Err(ApiError::new(Code::BadRequest, detail))
        }
    }
}

/// Takes back what one node wrote to the catalog in a time, or what one import did.
#[utoipa::path(
    post,
    path = "/v1/admin/undo",
    tag = "conflicts",
    request_body = UndoRequest,
    responses((status = 200, body = Undone)),
)]
async fn undo(State(hub): Hubs, caller: Caller, headers: HeaderMap, body: Body) -> Answer<Undone> {
    let request: UndoRequest = read_json(&headers, body).await?;
    let of = asked(&request, None)?;
    carried_out(&hub, of, request.dry_run, caller.decides(request.by)?).await
}

/// Takes back what the shop of the till wrote to the catalog: one of its nodes in a time, or one import.
#[utoipa::path(
    post,
    path = UNDO_PATH,
    tag = "nodes",
    request_body = UndoRequest,
    responses((status = 200, body = Undone)),
)]
async fn undo_of_shop(
    State(hub): Hubs,
    node: AuthedNode,
    headers: HeaderMap,
    body: Body,
) -> Answer<Undone> {
    let mut request: UndoRequest = read_json(&headers, body).await?;
    if request.import_id.is_none() {
        request.node_id.get_or_insert(node.id);
    }
    let of = asked(&request, Some(node.shop))?;
    let said = request.by.unwrap_or_else(|| BY_DEFAULT.to_owned());
    let till = hub
        .lookups
        .call(move |it| it.till_name(node.number))
        .await?;
    let who = format!("{} at {till}", name_of(said)?);
    carried_out(&hub, of, request.dry_run, who).await
}

async fn carried_out(hub: &Hub, of: UndoOf, dry_run: bool, who: String) -> Answer<Undone> {
    match hub.undo(of, dry_run, who).await? {
        Ok(undone) => {
            tracing::info!(?of, dry_run, fields = undone.count, "undone");
            Ok(Json(undone))
        }
        Err(UndoError::NoNode) => Err(ApiError::new(Code::NotFound, "there is no such node")
            .hint("`counterfoil-hub node list` shows the ids")),
        Err(UndoError::NoImport) => Err(ApiError::new(
            Code::NotFound,
            "nothing of such an import has arrived",
        )
        .hint("`counterfoil-hub imports` shows the ids; its till may not have synced yet")),
        Err(UndoError::AnotherShop) => Err(ApiError::new(
            Code::Forbidden,
            "this belongs to another shop: a till takes back what its own shop wrote",
        )
        .hint("an owner of the chain undoes it at the hub: counterfoil-hub undo")),
        Err(UndoError::Refused(reason)) => Err(ApiError::new(Code::Invalid, reason)),
    }
}

/// Lists imports that have arrived, the newest first.
#[utoipa::path(
    get,
    path = "/v1/admin/imports",
    tag = "conflicts",
    responses((status = 200, body = Vec<ImportRow>)),
)]
async fn imports(State(hub): Hubs, caller: Caller) -> Answer<Vec<ImportRow>> {
    let shop = caller.shop;
    let rows = hub.reports.call(move |reader| reader.imports(shop));
    Ok(Json(rows.await?))
}
