//! A hub in the benchmark's own process that takes pushes and consolidates only when it is told to.
#![expect(clippy::expect_used, reason = "a benchmark may stop")]

use crate::daemon::{ANY_PORT, Api};
use axum::Extension;
use axum::extract::ConnectInfo;
use counterfoil_hub::{Hub, HubConfig, Peer, router};
use counterfoil_replica::env::Env;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use tokio::task::JoinHandle;

/// See the module.
#[derive(Debug)]
pub struct Idle {
    api: Api,
    serving: JoinHandle<std::io::Result<()>>,
    /// The token of its owner.
    pub admin: String,
}

impl Deref for Idle {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Idle {
    /// Opens a hub's data folder.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub async fn open(data: &Path) -> Self {
        let hub = Hub::open(HubConfig::new(data), Env::system());
        let hub = hub.await.expect("it opens");
        let listener = tokio::net::TcpListener::bind(ANY_PORT).await;
        let listener = listener.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let peer = ConnectInfo(Peer(SocketAddr::from(([127, 0, 0, 1], 1))));
        let app = router(hub).layer(Extension(peer));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await });
        let admin = std::fs::read_to_string(data.join("admin.token")).expect("it is there");
        Self {
            api: Api::at(url),
            serving,
            admin: admin.trim().to_owned(),
        }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
