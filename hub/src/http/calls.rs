//! The table of calls: every endpoint with who may make it. The router is built from it and from nothing
//! else, so an endpoint without an entry cannot exist.

use super::access::{self, Access};
use crate::hub::Hub;
use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use http::Method;
use std::sync::Arc;

/// One endpoint.
struct Call {
    method: Method,
    /// Below the hub's base URL, with names in braces.
    path: String,
    access: Access,
    handler: MethodRouter<Arc<Hub>>,
}

/// Endpoints, each with who may call it.
#[derive(Default)]
pub(super) struct Calls(Vec<Call>);

impl Calls {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Something that is read.
    pub(super) fn get<H, T>(self, path: &str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Arc<Hub>>,
        T: 'static,
    {
        self.add((Method::GET, MethodFilter::GET), path, access, handler)
    }

    /// Something that is done.
    pub(super) fn post<H, T>(self, path: &str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Arc<Hub>>,
        T: 'static,
    {
        self.add((Method::POST, MethodFilter::POST), path, access, handler)
    }

    fn add<H, T>(
        mut self,
        (method, filter): (Method, MethodFilter),
        path: &str,
        access: Access,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Arc<Hub>>,
        T: 'static,
    {
        self.0.push(Call {
            method,
            path: path.to_owned(),
            access,
            handler: on(filter, handler),
        });
        self
    }

    pub(super) fn merge(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Method, path and access of every endpoint.
    pub(super) fn table(&self) -> impl Iterator<Item = (&Method, &str, Access)> {
        self.0
            .iter()
            .map(|call| (&call.method, call.path.as_str(), call.access))
    }

    /// The router; each call asks who is calling first.
    pub(super) fn into_router(self, hub: &Arc<Hub>) -> Router<Arc<Hub>> {
        self.0.into_iter().fold(Router::new(), |router, call| {
            let guarded = Guarded {
                hub: Arc::clone(hub),
                access: call.access,
            };
            let handler = call.handler.route_layer(from_fn_with_state(guarded, guard));
            router.route(&call.path, handler)
        })
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
