//! Where other lanes reach this one. A port that cannot be opened keeps nobody from selling.

use crate::limits::PEER_LISTEN_PAUSE;
use crate::node::Node;
use axum::serve::Listener;
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// A port that is opened again and again until it is open.
pub(crate) struct LanePort {
    node: Node,
    address: String,
    open: Option<TcpListener>,
    /// When it is tried again.
    next: Instant,
}

impl LanePort {
    /// Opens it, or leaves that for later.
    pub(crate) async fn open(node: &Node, address: String) -> Self {
        let mut port = Self {
            node: node.clone(),
            address,
            open: None,
            next: Instant::now(),
        };
        port.attempt().await;
        port
    }

    async fn attempt(&mut self) {
        self.next = Instant::now() + PEER_LISTEN_PAUSE;
        let opened = async {
            let listener = TcpListener::bind(&self.address).await?;
            let address = listener.local_addr()?;
            Ok::<_, io::Error>((listener, address))
        };
        match opened.await {
            Ok((listener, address)) => {
                tracing::info!(%address, "other lanes reach this one");
                self.node.inner.mesh.set_address(address);
                self.open = Some(listener);
            }
            Err(error) => {
                tracing::error!(
                    %error,
                    address = self.address,
                    "other lanes cannot reach this one, and it is tried again: end what else listens there, or \
                     name another address of this machine as `peer_listen`"
                );
                let text = format!("{}: {error}", self.address);
                self.node.inner.mesh.set_address_error(text);
            }
        }
    }
}

impl Listener for LanePort {
    type Io = TcpStream;
    type Addr = SocketAddr;

    /// May be dropped and called again at any time.
    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            if let Some(listener) = &mut self.open {
                let (stream, address) = Listener::accept(listener).await;
                // Messages are small and waited for: filling a packet first only costs time.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection of a lane may be slower than it could");
                }
                return (stream, address);
            }
            tokio::time::sleep_until(self.next).await;
            self.attempt().await;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        let closed = || io::Error::from(io::ErrorKind::NotConnected);
        self.open.as_ref().ok_or_else(closed)?.local_addr()
    }
}
