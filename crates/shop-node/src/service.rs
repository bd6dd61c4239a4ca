//! The daemon: the API on a socket, the sync loop beside it, until it is told to stop.

use crate::api;
use crate::marks;
use crate::mesh::{self, Settings};
use crate::node::Node;
use crate::stock;
use crate::sync;
use axum::serve::Listener;
use std::future::Future;
use std::io;

/// How a daemon meets the other lanes of its shop.
pub struct Lanes<L> {
    /// What it must know for that.
    pub settings: Settings,
    /// Where it is reached, when it is.
    pub listener: Option<L>,
}

/// Serves the node's API on a listener and syncs in the background until `shutdown` is done.
///
/// # Errors
/// From the listener.
pub async fn run<L>(
    node: Node,
    listener: L,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    run_among(node, listener, None::<Lanes<L>>, shutdown).await
}

/// The same, and meets the other lanes of its shop.
///
/// # Errors
/// From the listener of the API.
pub async fn run_among<L, P>(
    node: Node,
    listener: L,
    lanes: Option<Lanes<P>>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
    P: Listener,
{
    let is_among = lanes.is_some();
    if is_among {
        // Before the first sale is answered: it says whether there is a second copy.
        node.inner.mesh.begin();
    }
    let router = api::router(node.clone());
    let at_end = node.clone();
    let mut background = tokio::spawn(async move {
        let Some(Lanes { settings, listener }) = lanes else {
            tokio::join!(
                sync::run(node.clone()),
                stock::run(node.clone()),
                marks::run(node)
            );
            return;
        };
        let (sync, mesh) = (
            sync::run(node.clone()),
            mesh::run(node.clone(), settings, listener),
        );
        let (relay, stock) = (sync::relay::run(node.clone()), stock::run(node.clone()));
        let (marks, reconcile) = (marks::run(node.clone()), mesh::reconcile::run(node));
        tokio::join!(sync, mesh, relay, stock, marks, reconcile);
    });
    let ended = background.abort_handle();
    let server = axum::serve(listener, router).with_graceful_shutdown(shutdown);
    let first = at_end.clone();
    let served = async move {
        if is_among {
            mesh::hear_a_peer(&first).await;
        }
        drop(first);
        server.await
    };
    tokio::select! {
        biased;
        served = served => {
            ended.abort();
            // Aborted on purpose: the task has nothing to say any more, only to let go of the node.
            let _aborted = background.await;
            at_end.keep_mark().await;
            served
        }
        // It never ends by itself: without it the daemon would look alive and deliver nothing.
        stopped = &mut background => {
            let text = format!("the background sync has stopped: {stopped:?}");
            Err(io::Error::other(text))
        }
    }
}
