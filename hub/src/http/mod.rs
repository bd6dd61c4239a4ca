//! HTTP: reads requests, asks the store or a copy, writes answers.

mod admin;
mod admission;
mod auth;
mod bodies;
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
mod sync;

pub(crate) use problems::ApiError;

use crate::hub::Hub;
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::routing::{get, post};
use axum::serve::{IncomingStream, Listener};
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::events::EVENTS_PATH;
use counterfoil_protocol::wire::hub::{ACTIVATE_PATH, CATALOG_PATH, HELLO_PATH};
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
fn own_copy() -> Router<Arc<Hub>> {
    Router::new()
        .route("/info", get(sync::own_info))
        .route("/export/{generation}", get(export::own_whole))
        .route("/export/{generation}/{start}/{end}", get(export::own_part))
        .route(
            "/sync/{generation}/{start}/{end}",
            get(sync::own_pull).post(sync::own_push),
        )
        .route(
            "/sync/{generation}/{start}/{end}/{baton}",
            get(sync::own_pull).post(sync::own_push),
        )
        .route("/pages/{generation}/{frame}", get(sync::own_pages))
}

/// Everything the hub answers.
pub fn router(hub: Arc<Hub>) -> Router {
    let catalog = Router::new()
        .route("/info", get(sync::catalog_info))
        .route("/export/{generation}", get(export::catalog_whole))
        .route(
            "/export/{generation}/{start}/{end}",
            get(export::catalog_part),
        )
        .route(
            "/sync/{generation}/{start}/{end}",
            get(sync::catalog_pull).post(sync::catalog_refuse),
        )
        .route(
            "/sync/{generation}/{start}/{end}/{baton}",
            get(sync::catalog_pull).post(sync::catalog_refuse),
        );
    Router::new()
        .route("/healthz", get(admin::health))
        .route(ACTIVATE_PATH, post(admission::activate))
        .route(HELLO_PATH, post(admission::hello))
        .route(EVENTS_PATH, get(events::events))
        .route(LINEAGE_PATH, post(lineage::points))
        .route(IDENTITY_PATH, post(lineage::identity))
        .nest("/v1/db/book/{node}", own_copy())
        .nest("/v1/db/database/{database}", own_copy())
        .nest(CATALOG_PATH, catalog)
        .nest(
            "/v1/admin",
            admin::router()
                .merge(conflicts::router())
                .merge(policies::router())
                .merge(databases::router())
                .merge(history::router())
                .merge(quarantine::router())
                .merge(proof::router()),
        )
        .fallback(no_such_call)
        .method_not_allowed_fallback(no_such_call)
        .with_state(hub)
}

async fn no_such_call(request: axum::extract::Request) -> ApiError {
    let detail = format!(
        "the hub has no call {} {}",
        request.method(),
        request.uri().path()
    );
    ApiError(Problem::new(Code::NotFound, detail))
}
