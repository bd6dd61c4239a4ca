//! The network between tills and hub: a TCP relay that can be cut, and that counts.

use anyhow::Context as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const BUFFER_SIZE: usize = 16 * 1024;

/// The network; gone when dropped.
#[derive(Debug)]
pub(crate) struct Network {
    address: SocketAddr,
    link: Arc<Link>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Link {
    hub: SocketAddr,
    up: watch::Sender<bool>,
    connections: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
}

impl Network {
    /// A network that leads to the hub.
    pub(crate) async fn to(hub: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot open a port for the network")?;
        let address = listener.local_addr()?;
        let link = Arc::new(Link {
            hub,
            up: watch::Sender::new(true),
            connections: AtomicU64::new(0),
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&link)));
        Ok(Self {
            address,
            link,
            accepting,
        })
    }

    /// Where tills reach the hub.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks every connection and takes no new one.
    pub(crate) fn cut(&self) {
        self.link.up.send_replace(false);
    }

    /// Takes connections again.
    pub(crate) fn restore(&self) {
        self.link.up.send_replace(true);
    }

    /// Connections that were attempted so far, also while it was cut.
    pub(crate) fn connections(&self) -> u64 {
        self.link.connections.load(Ordering::Relaxed)
    }

    /// Bytes from tills to hub.
    pub(crate) fn bytes_up(&self) -> u64 {
        self.link.bytes_up.load(Ordering::Relaxed)
    }

    /// Bytes from hub to tills.
    pub(crate) fn bytes_down(&self) -> u64 {
        self.link.bytes_down.load(Ordering::Relaxed)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, link: Arc<Link>) {
    loop {
        // An error of one connection is that connection's own.
        let Ok((till, _)) = listener.accept().await else {
            continue;
        };
        link.connections.fetch_add(1, Ordering::Relaxed);
        let link = Arc::clone(&link);
        drop(tokio::spawn(async move {
            let mut up = link.up.subscribe();
            let is_up = *up.borrow_and_update();
            if is_up {
                tokio::select! {
                    () = relay(till, &link) => {}
                    _ = up.wait_for(|up| !up) => {}
                }
            }
        }));
    }
}

async fn relay(mut till: TcpStream, link: &Link) {
    // No hub behind the network: the connection ends, as it would at a router.
    let Ok(mut hub) = TcpStream::connect(link.hub).await else {
        return;
    };
    let nagle = till.set_nodelay(true).and(hub.set_nodelay(true));
    if nagle.is_err() {
        return;
    }
    let (till_read, till_write) = till.split();
    let (hub_read, hub_write) = hub.split();
    tokio::join!(
        pump(till_read, hub_write, &link.bytes_up),
        pump(hub_read, till_write, &link.bytes_down),
    );
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    bytes: &AtomicU64,
) {
    let mut buffer = vec![0; BUFFER_SIZE];
    while let Ok(size @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..size]).await.is_err() {
            return;
        }
        bytes.fetch_add(size as u64, Ordering::Relaxed);
    }
    // The other side reads the end, as it would without a relay; it may be gone already.
    drop(to.shutdown().await);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                drop(tokio::spawn(async move {
                    let (read, write) = stream.split();
                    pump(read, write, &AtomicU64::new(0)).await;
                }));
            }
        }));
        address
    }

    async fn ask(network: &Network, text: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        let mut stream = TcpStream::connect(network.address)
            .await
            .expect("the network listens");
        drop(stream.write_all(text).await);
        drop(stream.shutdown().await);
        drop(stream.read_to_end(&mut answer).await);
        answer
    }

    #[tokio::test]
    async fn a_cut_breaks_open_connections_and_takes_no_new_ones() {
        let network = Network::to(echo().await).await.expect("a network");
        assert_eq!(ask(&network, b"hello").await, b"hello");
        assert_eq!(
            (
                network.bytes_up(),
                network.bytes_down(),
                network.connections()
            ),
            (5, 5, 1)
        );
        let mut open = TcpStream::connect(network.address)
            .await
            .expect("the network listens");
        open.write_all(b"x").await.expect("sent");
        open.read_u8().await.expect("answered");
        network.cut();
        assert!(
            open.read_u8().await.is_err(),
            "the open connection is broken"
        );
        assert_eq!(ask(&network, b"hello").await, b"");
        network.restore();
        assert_eq!(ask(&network, b"again").await, b"again");
    }
}
