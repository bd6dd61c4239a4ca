//! HTTP: reads requests, asks the store or a copy, writes answers.

mod access;
mod admin;
mod admission;
mod auth;
mod bodies;
mod caller;
mod calls;
mod conflicts;
mod databases;
mod employees;
mod events;
mod export;
mod gate;
mod history;
mod lanes;
mod lineage;
mod machines;
mod monitor;
mod noted;
mod openapi;
mod policies;
mod problems;
mod proof;
mod quarantine;
mod relay;
mod shop_conflicts;
mod stock;
mod sync;
mod tokens;
mod undo;
mod users;

pub(crate) use openapi::description;
pub(crate) use problems::ApiError;

use self::access::{ANYONE, OWN_COPY, READ_CHAIN, TILL};
use self::calls::Calls;
use crate::hub::Hub;
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::serve::{IncomingStream, Listener};
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::access::EndpointRow;
use counterfoil_protocol::wire::hub::CATALOG_PATH;
use http::Method;
use std::net::SocketAddr;
use std::sync::Arc;
use utoipa_axum::routes;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Any listener, as a type of our own.
pub(crate) struct Listening<L>(pub(crate) L);

impl<L: Listener> Listener for Listening<L> {
    type Io = L::Io;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        self.0.accept().await
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl<L: Listener<Addr = SocketAddr>> Connected<IncomingStream<'_, Listening<L>>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listening<L>>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Frames as a stock client asks for them, with a baton that is taken and not needed.
const WITH_BATON: &str = "/sync/{generation}/{start}/{end}/{baton}";

/// The calls on a copy that its owner may push to: a node's book, a free-standing database.
fn own_copy() -> Calls {
    Calls::new()
        .add(OWN_COPY, routes!(sync::own_info))
        .add(OWN_COPY, routes!(export::own_whole))
        .add(OWN_COPY, routes!(export::own_part))
        .add(OWN_COPY, routes!(sync::own_pull))
        .add(OWN_COPY, routes!(sync::own_push))
        .add(OWN_COPY, routes!(sync::own_pages))
        .also(Method::GET, WITH_BATON, OWN_COPY, get(sync::own_pull))
        .also(Method::POST, WITH_BATON, OWN_COPY, post(sync::own_push))
}

/// The calls on the catalog, which tills pull.
fn catalog() -> Calls {
    Calls::new()
        .add(TILL, routes!(sync::catalog_info))
        .add(TILL, routes!(export::catalog_whole))
        .add(TILL, routes!(export::catalog_part))
        .add(TILL, routes!(sync::catalog_pull))
        .add(TILL, routes!(sync::catalog_refuse))
        .also(Method::GET, WITH_BATON, TILL, get(sync::catalog_pull))
        .also(Method::POST, WITH_BATON, TILL, post(sync::catalog_refuse))
}

/// Everything the hub answers, and to whom.
fn calls() -> Calls {
    Calls::new()
        .add(ANYONE, routes!(admission::activate))
        .add(TILL, routes!(admission::hello))
        .add(TILL, routes!(shop_conflicts::changes))
        .add(TILL, routes!(events::events))
        .add(TILL, routes!(lineage::points))
        .add(TILL, routes!(lineage::identity))
        .add(TILL, routes!(tokens::next))
        .add(TILL, routes!(lanes::certificate))
        .add(TILL, routes!(relay::ends))
        .add(TILL, routes!(relay::relay))
        .add(ANYONE, routes!(openapi::openapi))
        .merge(own_copy().below("/v1/db/book/{node}"))
        .merge(own_copy().below("/v1/db/database/{database}"))
        .merge(catalog().below(CATALOG_PATH))
        .merge(admin::calls())
        .merge(employees::calls())
        .merge(tokens::calls())
        .merge(conflicts::calls())
        .merge(gate::calls())
        .merge(undo::calls())
        .merge(policies::calls())
        .merge(databases::calls())
        .merge(history::calls())
        .merge(quarantine::calls())
        .merge(proof::calls())
        .merge(relay::calls())
        .merge(stock::calls())
        .merge(users::calls())
        .merge(machines::calls())
        .merge(monitor::calls())
        .add(READ_CHAIN, routes!(endpoints))
}

/// Everything the hub answers.
pub fn router(hub: Arc<Hub>) -> Router {
    calls()
        .into_router(&hub)
        .fallback(no_such_call)
        .method_not_allowed_fallback(no_such_call)
        .layer(from_fn_with_state(Arc::clone(&hub), noted::noted))
        .with_state(hub)
}

/// The table of calls: every endpoint of the hub with who may call it.
#[must_use]
pub fn endpoint_table() -> Vec<EndpointRow> {
    let calls = calls();
    let rows = calls.table();
    rows.map(|(method, path, access)| access.to_wire(method, path))
        .collect()
}

/// Lists every endpoint with who may call it.
#[utoipa::path(
    get,
    path = "/v1/admin/endpoints",
    tag = "status",
    responses((status = 200, body = Vec<EndpointRow>)),
)]
async fn endpoints() -> axum::Json<Vec<EndpointRow>> {
    axum::Json(endpoint_table())
}

async fn no_such_call(request: axum::extract::Request) -> ApiError {
    let detail = format!(
        "the hub has no call {} {}",
        request.method(),
        request.uri().path()
    );
    ApiError(Problem::new(Code::NotFound, detail))
}
