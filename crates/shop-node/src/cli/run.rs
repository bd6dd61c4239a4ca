//! `counterfoil-node run`.

use crate::cli::{Common, Failure, output};
use crate::config::Config;
use crate::local_client::{ADDRESS_FILE, lock};
use crate::node::{Node, NodeOptions};
use crate::service;
use counterfoil_replica::env::Env;
use std::future::Future;
use std::io;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) async fn run(common: &Common, listen: Option<String>, env: Env) -> Result<(), Failure> {
    let data = &common.data;
    let config = Config::load(data)?;
    let Some(_lock) = lock(data)? else {
        let text = format!("another process holds {}", data.display());
        return Err(
            Failure::configuration(&io::Error::new(io::ErrorKind::ResourceBusy, text))
                .hint("a till has one daemon; the running one's address is in node.json"),
        );
    };
    let listen = listen.unwrap_or_else(|| config.listen.clone());
    let files = env.files.clone();
    let node = Node::open(data, config, env, &NodeOptions::default())?;
    let address_file = data.join(ADDRESS_FILE);
    let listener = TcpListener::bind(&listen).await.map_err(|error| {
        let text = format!("cannot listen on {listen}: {error}");
        Failure::configuration(&io::Error::new(error.kind(), text))
    })?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::configuration(&error))?;
    let url = format!("http://{address}");
    let document = serde_json::json!({ "url": url }).to_string();
    files
        .write_atomic(&address_file, document.as_bytes())
        .map_err(|error| Failure::configuration(&error))?;
    let shutdown = shutdown().map_err(|error| Failure::configuration(&error))?;
    output::print(&format!("listening on {url}"))?;
    tracing::info!(%url, data = %data.display(), "the node runs");
    let served = service::run(node, listener, shutdown).await;
    if let Err(error) = files.remove_if_exists(&address_file) {
        tracing::warn!(%error, "node.json stays behind");
    }
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
