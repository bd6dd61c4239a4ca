//! The daemon: the API on a socket, the sync loop beside it, until it is told to stop.

use crate::api;
use crate::node::Node;
use crate::sync;
use axum::serve::Listener;
use std::future::Future;
use std::io;

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
    let router = api::router(node.clone());
    let mut background = tokio::spawn(sync::run(node));
    let ended = background.abort_handle();
    let server = axum::serve(listener, router).with_graceful_shutdown(shutdown);
    let served = async move { server.await };
    tokio::select! {
        biased;
        served = served => {
            ended.abort();
            // Aborted on purpose: the task has nothing to say any more, only to let go of the node.
            let _aborted = background.await;
            served
        }
        // It never ends by itself: without it the daemon would look alive and deliver nothing.
        stopped = &mut background => {
            let text = format!("the background sync has stopped: {stopped:?}");
            Err(io::Error::other(text))
        }
    }
}
