//! Relays between hosts that are all on this machine: they cut, one way or both, and delay. What only packets know is
//! not theirs.

use super::weather::{Way, Weather};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

const BUFFER_SIZE: usize = 16 * 1024;

/// Gone when dropped.
#[derive(Debug, Default)]
pub(super) struct Relays {
    addresses: BTreeMap<usize, SocketAddr>,
    relays: BTreeMap<(usize, usize), SocketAddr>,
    weather: watch::Sender<Weather>,
    accepting: JoinSet<()>,
}

impl Relays {
    pub(super) fn listens(&mut self, host: usize, address: &str) -> anyhow::Result<()> {
        self.addresses.insert(host, address.parse()?);
        Ok(())
    }

    pub(super) fn address(&self, host: usize) -> Option<String> {
        self.addresses.get(&host).map(ToString::to_string)
    }

    pub(super) async fn way(&mut self, from: usize, to: usize) -> anyhow::Result<Option<String>> {
        let Some(address) = self.addresses.get(&to).copied() else {
            return Ok(None);
        };
        if let Some(relay) = self.relays.get(&(from, to)) {
            return Ok(Some(relay.to_string()));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let relay = listener.local_addr()?;
        self.relays.insert((from, to), relay);
        let weather = self.weather.subscribe();
        self.accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                // What fails belongs to one connection.
                if let Ok((near, _)) = listener.accept().await {
                    connections.spawn(connection(near, address, (from, to), weather.clone()));
                }
            }
        });
        Ok(Some(relay.to_string()))
    }

    pub(super) fn set(&self, weather: &Weather) {
        self.weather.send_replace(weather.clone());
    }
}

async fn connection(
    near: TcpStream,
    address: SocketAddr,
    (from, to): (usize, usize),
    weather: watch::Receiver<Weather>,
) {
    let Ok(far) = TcpStream::connect(address).await else {
        return;
    };
    if near.set_nodelay(true).and(far.set_nodelay(true)).is_err() {
        return;
    }
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let back = weather.clone();
    tokio::select! {
        () = pump(near_read, far_write, (from, to), weather) => {}
        () = pump(far_read, near_write, (to, from), back) => {}
    }
}

/// Carries one way. What comes while it is cut waits, as what TCP sends again does.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: (usize, usize),
    mut weather: watch::Receiver<Weather>,
) {
    let mut buffer = vec![0; BUFFER_SIZE];
    while let Ok(size @ 1..) = from.read(&mut buffer).await {
        let open = |weather: &Weather| !weather.way(way.0, way.1).cut;
        // The run is over when nobody makes the weather any more.
        let Way { delay, .. } = match weather.wait_for(open).await {
            Ok(weather) => weather.way(way.0, way.1),
            Err(_) => return,
        };
        tokio::time::sleep(Duration::from_millis(delay.into())).await;
        if to.write_all(&buffer[..size]).await.is_err() {
            return;
        }
    }
}
