//! A listener whose connections are secured. Handshakes run beside each other, so that who is slow, or says
//! nothing, keeps nobody out.

use crate::limits::{HANDSHAKE_TIMEOUT, HANDSHAKES_AT_ONCE_MAX};
use axum::serve::Listener;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// See the module.
pub(crate) struct TlsListener<L: Listener> {
    inner: L,
    acceptor: TlsAcceptor,
    handshakes: JoinSet<io::Result<(TlsStream<L::Io>, SocketAddr)>>,
}

impl<L: Listener<Addr = SocketAddr>> TlsListener<L> {
    pub(crate) fn new(inner: L, config: Arc<ServerConfig>) -> Self {
        Self {
            inner,
            acceptor: TlsAcceptor::from(config),
            handshakes: JoinSet::new(),
        }
    }

    fn begin(&mut self, stream: L::Io, peer: SocketAddr) {
        let acceptor = self.acceptor.clone();
        self.handshakes.spawn(async move {
            let secured = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
            Ok((secured.map_err(io::Error::from)??, peer))
        });
    }
}

impl<L: Listener<Addr = SocketAddr>> Listener for TlsListener<L> {
    type Io = TlsStream<L::Io>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let room = self.handshakes.len() < HANDSHAKES_AT_ONCE_MAX;
            tokio::select! {
                Some(done) = self.handshakes.join_next() => match done {
                    Ok(Ok(secured)) => return secured,
                    // Who trusts another authority, or speaks no TLS, ends here.
                    Ok(Err(error)) => tracing::debug!(%error, "a connection was not secured"),
                    Err(error) => tracing::error!(%error, "a handshake was cut off"),
                },
                (stream, peer) = self.inner.accept(), if room => self.begin(stream, peer),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}
