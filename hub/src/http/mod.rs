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
mod events;
mod export;
mod history;
mod lineage;
mod policies;
mod problems;
mod proof;
mod quarantine;
mod shop_conflicts;
mod sync;

pub(crate) use problems::ApiError;

use self::access::{ANYONE, OWN_COPY, READ_CHAIN, TILL};
use self::calls::Calls;
use crate::hub::Hub;
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::access::EndpointRow;
use counterfoil_protocol::wire::events::EVENTS_PATH;
use counterfoil_protocol::wire::hub::{ACTIVATE_PATH, CATALOG_PATH, CONFLICTS_PATH, HELLO_PATH};
use counterfoil_protocol::wire::lineage::{IDENTITY_PATH, LINEAGE_PATH};
use std::net::SocketAddr;
use std::sync::Arc;

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

/// The calls on a copy that its owner may push to: a node's book, a free-standing database.
fn own_copy(base: &str) -> Calls {
    let range = format!("{base}/sync/{{generation}}/{{start}}/{{end}}");
    let stock = format!("{range}/{{baton}}");
    let export = format!("{base}/export/{{generation}}");
    Calls::new()
        .get(&format!("{base}/info"), OWN_COPY, sync::own_info)
        .get(&export, OWN_COPY, export::own_whole)
        .get(
            &format!("{export}/{{start}}/{{end}}"),
            OWN_COPY,
            export::own_part,
        )
        .get(&range, OWN_COPY, sync::own_pull)
        .post(&range, OWN_COPY, sync::own_push)
        .get(&stock, OWN_COPY, sync::own_pull)
        .post(&stock, OWN_COPY, sync::own_push)
        .get(
            &format!("{base}/pages/{{generation}}/{{frame}}"),
            OWN_COPY,
            sync::own_pages,
        )
}

/// The calls on the catalog, which tills pull.
fn catalog() -> Calls {
    let range = format!("{CATALOG_PATH}/sync/{{generation}}/{{start}}/{{end}}");
    let stock = format!("{range}/{{baton}}");
    let export = format!("{CATALOG_PATH}/export/{{generation}}");
    Calls::new()
        .get(&format!("{CATALOG_PATH}/info"), TILL, sync::catalog_info)
        .get(&export, TILL, export::catalog_whole)
        .get(
            &format!("{export}/{{start}}/{{end}}"),
            TILL,
            export::catalog_part,
        )
        .get(&range, TILL, sync::catalog_pull)
        .post(&range, TILL, sync::catalog_refuse)
        .get(&stock, TILL, sync::catalog_pull)
        .post(&stock, TILL, sync::catalog_refuse)
}

/// Everything the hub answers, and to whom.
fn calls() -> Calls {
    Calls::new()
        .get("/healthz", ANYONE, admin::health)
        .post(ACTIVATE_PATH, ANYONE, admission::activate)
        .post(HELLO_PATH, TILL, admission::hello)
        .get(CONFLICTS_PATH, TILL, shop_conflicts::changes)
        .get(EVENTS_PATH, TILL, events::events)
        .post(LINEAGE_PATH, TILL, lineage::points)
        .post(IDENTITY_PATH, TILL, lineage::identity)
        .merge(own_copy("/v1/db/book/{node}"))
        .merge(own_copy("/v1/db/database/{database}"))
        .merge(catalog())
        .merge(admin::calls())
        .merge(conflicts::calls())
        .merge(policies::calls())
        .merge(databases::calls())
        .merge(history::calls())
        .merge(quarantine::calls())
        .merge(proof::calls())
        .get("/v1/admin/endpoints", READ_CHAIN, endpoints)
}

/// Everything the hub answers.
pub fn router(hub: Arc<Hub>) -> Router {
    calls()
        .into_router(&hub)
        .fallback(no_such_call)
        .method_not_allowed_fallback(no_such_call)
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
