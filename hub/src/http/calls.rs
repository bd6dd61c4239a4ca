//! The table of calls: every endpoint with who may make it. The router is built from it and from nothing
//! else, so an endpoint without an entry cannot exist.

use super::access::{self, Access};
use crate::hub::Hub;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use counterfoil_protocol::openapi::operations;
use http::Method;
use std::sync::Arc;
use utoipa::openapi::{ComponentsBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::UtoipaMethodRouter;

/// One endpoint.
struct Call {
    method: Method,
    /// Below the hub's base URL, with names in braces.
    path: String,
    access: Access,
    handler: MethodRouter<Arc<Hub>>,
}

/// Endpoints, each with who may call it and what it is for.
#[derive(Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    described: OpenApi,
}

impl Calls {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A call as its handler describes it: address, method, what goes in and comes out.
    pub(super) fn add(mut self, access: Access, call: UtoipaMethodRouter<Arc<Hub>>) -> Self {
        let (schemas, mut paths, handler) = call;
        for (path, item) in &mut paths.paths {
            for (name, operation) in operations(item) {
                access.describe(operation);
                self.calls.push(Call {
                    method: method(name),
                    path: path.clone(),
                    access,
                    handler: handler.clone(),
                });
            }
        }
        let components = ComponentsBuilder::new().schemas_from_iter(schemas);
        let described = OpenApiBuilder::new()
            .paths(paths)
            .components(Some(components.build()));
        self.described.merge(described.build());
        self
    }

    /// A further address of a call, which the description leaves out: it is there for stock clients.
    pub(super) fn also(
        mut self,
        method: Method,
        path: &str,
        access: Access,
        handler: MethodRouter<Arc<Hub>>,
    ) -> Self {
        self.calls.push(Call {
            method,
            path: path.to_owned(),
            access,
            handler,
        });
        self
    }

    /// All of them below an address.
    pub(super) fn below(mut self, base: &str) -> Self {
        for call in &mut self.calls {
            call.path.insert_str(0, base);
        }
        let paths = std::mem::take(&mut self.described.paths.paths);
        let moved = paths
            .into_iter()
            .map(|(path, item)| (format!("{base}{path}"), item));
        self.described.paths.paths = moved.collect();
        self
    }

    pub(super) fn merge(mut self, others: Self) -> Self {
        self.calls.extend(others.calls);
        self.described.merge(others.described);
        self
    }

    /// Method, path and access of every endpoint.
    pub(super) fn table(&self) -> impl Iterator<Item = (&Method, &str, Access)> {
        self.calls
            .iter()
            .map(|call| (&call.method, call.path.as_str(), call.access))
    }

    /// What the calls are for, before it is finished.
    pub(super) fn into_description(self) -> OpenApi {
        self.described
    }

    /// The router; each call asks who is calling first.
    pub(super) fn into_router(self, hub: &Arc<Hub>) -> Router<Arc<Hub>> {
        self.calls.into_iter().fold(Router::new(), |router, call| {
            let guarded = Guarded {
                hub: Arc::clone(hub),
                access: call.access,
            };
            let handler = call.handler.route_layer(from_fn_with_state(guarded, guard));
            router.route(&call.path, handler)
        })
    }
}

fn method(name: &str) -> Method {
    match name {
        "get" => Method::GET,
        "put" => Method::PUT,
        "delete" => Method::DELETE,
        _ => Method::POST,
    }
}

#[derive(Clone)]
struct Guarded {
    hub: Arc<Hub>,
    access: Access,
}

async fn guard(State(guarded): State<Guarded>, request: Request, next: Next) -> Response {
    let Guarded { hub, access } = guarded;
    let (mut parts, body) = request.into_parts();
    match access::admit(&hub, access, &mut parts).await {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(refusal) => refusal.into_response(),
    }
}
