//! The network between node and hub, in memory.

use axum::serve::Listener;
use counterfoil_replica::env::{BoxFuture, Dial, Io};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::DuplexStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Bytes a connection holds before the sender waits.
const BUFFER_BYTES: usize = 1024 * 1024;

/// The hub's end.
pub(crate) struct MemoryListener(UnboundedReceiver<DuplexStream>);

/// The node's end.
#[derive(Clone)]
pub(crate) struct MemoryDial(UnboundedSender<DuplexStream>);

pub(crate) fn wire() -> (MemoryDial, MemoryListener) {
    let (sender, receiver) = unbounded_channel();
    (MemoryDial(sender), MemoryListener(receiver))
}

impl Dial for MemoryDial {
    fn dial(&self, _host: &str, _port: u16) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let (near, far) = tokio::io::duplex(BUFFER_BYTES);
        let sent = self.0.send(far);
        Box::pin(async move {
            sent.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            let near: Box<dyn Io> = Box::new(near);
            Ok(near)
        })
    }
}

fn address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 8700))
}

impl Listener for MemoryListener {
    type Io = DuplexStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (DuplexStream, SocketAddr) {
        match self.0.recv().await {
            Some(stream) => (stream, address()),
            // Nobody can call any more.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(address())
    }
}
