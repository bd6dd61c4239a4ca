//! `counterfoil-node run`.

use crate::cli::{Common, Failure, output};
use crate::config::Config;
use crate::local_client::{Announcement, wait_for_lock};
use crate::node::{Node, NodeOptions};
use crate::service;
use counterfoil_protocol::wire::node::Address;
use counterfoil_replica::env::Env;
use std::future::Future;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) async fn run(common: &Common, listen: Option<String>, env: Env) -> Result<(), Failure> {
    let data = &common.data;
    let config = Config::load(data)?;
    let _lock = wait_for_lock(data, &env).await?;
    let listen = listen.unwrap_or_else(|| config.listen.clone());
    let files = Arc::clone(&env.files);
    let node = Node::open(data, config, env, &NodeOptions::default())?;
    let listener = TcpListener::bind(&listen).await.map_err(|error| {
        let text = format!("cannot listen on {listen}: {error}");
        Failure::configuration(&io::Error::new(error.kind(), text))
    })?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::configuration(&error))?;
    let url = format!("http://{address}");
    let instance = node.inner.instance.clone();
    let address = Address {
        url: url.clone(),
        instance,
        daemon: true,
    };
    let announcement = Announcement::write(data, files, &address)
        .map_err(|error| Failure::configuration(&error))?;
    let shutdown = shutdown().map_err(|error| Failure::configuration(&error))?;
    output::print(&format!("listening on {url}"))?;
    tracing::info!(%url, data = %data.display(), "the node runs");
    let served = service::run(node, listener, shutdown).await;
    drop(announcement);
    tracing::info!("the node has stopped");
    served.map_err(|error| Failure::failed(&error))
}

/// Done when the process is asked to end.
fn shutdown() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
