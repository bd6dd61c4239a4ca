//! The network between one till and the hub: a relay that breaks connections by plan.

use crate::faults::{Deck, Direction, Fault, FaultCounts, Plan};
use anyhow::Context as _;
use counterfoil_testkit::SeededRandom;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const BUFFER_SIZE: usize = 16 * 1024;
/// What a throttled connection lets through at a time, and how long it rests after.
const TRICKLE_SIZE: usize = 700;
const TRICKLE_PAUSE: Duration = Duration::from_millis(3);
/// Bytes of a connection that can be sent once more; a longer one is not repeated.
const RECORDED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a repeated request may take before nobody waits for it any more.
const REPEAT_LIMIT: Duration = Duration::from_secs(5);
/// The port that was closed may be in use for a moment.
const LISTEN_ATTEMPTS_MAX: usize = 200;
const LISTEN_PAUSE: Duration = Duration::from_millis(20);

/// The network of one till; gone when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    link: Arc<Link>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Link {
    hub: SocketAddr,
    random: SeededRandom,
    counts: Arc<FaultCounts>,
    faulty: AtomicBool,
    /// Raised to break every open connection.
    epoch: watch::Sender<u64>,
}

/// How a direction of a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// The sender had no more.
    Whole,
    /// The network ended it; the sockets are to be reset, or closed politely.
    Reset,
    Closed,
}

impl Proxy {
    /// A network that leads to the hub and is sound until [`Self::break_connections`].
    pub(crate) async fn to(
        hub: SocketAddr,
        seed: u64,
        counts: Arc<FaultCounts>,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot open a port for the network")?;
        let address = listener.local_addr()?;
        let link = Arc::new(Link {
            hub,
            random: SeededRandom::new(seed),
            counts,
            faulty: AtomicBool::new(false),
            epoch: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, address, Arc::clone(&link)));
        Ok(Self {
            address,
            link,
            accepting,
        })
    }

    /// Where the till reaches the hub.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on connections have plans.
    pub(crate) fn break_connections(&self) {
        self.link.faulty.store(true, Ordering::SeqCst);
    }

    /// Breaks what is open, and breaks nothing from then on.
    pub(crate) fn heal(&self) {
        self.link.faulty.store(false, Ordering::SeqCst);
        self.link.epoch.send_modify(|epoch| *epoch += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.heal();
    }
}

async fn accept(mut listener: TcpListener, address: SocketAddr, link: Arc<Link>) {
    let mut deck = Deck::default();
    loop {
        // An error of one connection is that connection's own.
        let Ok((till, _)) = listener.accept().await else {
            continue;
        };
        let faulty = link.faulty.load(Ordering::SeqCst);
        let plan = faulty.then(|| deck.deal(&link.random)).flatten();
        if let Some(plan) = plan
            && plan.fault == Fault::Refuse
        {
            link.counts.add(Fault::Refuse);
            reset(&till);
            drop(listener);
            tokio::time::sleep(plan.lasts).await;
            let Some(again) = listen_again(address).await else {
                return;
            };
            listener = again;
            continue;
        }
        drop(tokio::spawn(connection(till, plan, Arc::clone(&link))));
    }
}

async fn listen_again(address: SocketAddr) -> Option<TcpListener> {
    for _ in 0..LISTEN_ATTEMPTS_MAX {
        if let Ok(listener) = TcpListener::bind(address).await {
            return Some(listener);
        }
        tokio::time::sleep(LISTEN_PAUSE).await;
    }
    None
}

/// The other side reads a reset instead of an end.
fn reset(stream: &TcpStream) {
    // A stream that is gone needs no reset.
    drop(stream.set_zero_linger());
}

async fn connection(mut till: TcpStream, plan: Option<Plan>, link: Arc<Link>) {
    let mut epoch = link.epoch.subscribe();
    epoch.mark_unchanged();
    // No hub behind the network: the connection ends, as it would at a router.
    let Ok(mut hub) = TcpStream::connect(link.hub).await else {
        return;
    };
    if till.set_nodelay(true).and(hub.set_nodelay(true)).is_err() {
        return;
    }
    let recorded = Mutex::new(Vec::new());
    let repeats = plan.is_some_and(|plan| plan.fault == Fault::DuplicateRequest);
    let end = {
        let (till_read, till_write) = till.split();
        let (hub_read, hub_write) = hub.split();
        let of = |direction| plan.filter(|plan| plan.direction == direction);
        let (plan_up, plan_down) = match plan {
            Some(_) if repeats => (None, None),
            _ => (of(Direction::Up), of(Direction::Down)),
        };
        let up = pump(till_read, hub_write, plan_up, &link, Some(&recorded));
        let down = pump(hub_read, till_write, plan_down, &link, None);
        tokio::select! {
            end = both(up, down) => end,
            _ = epoch.changed() => End::Reset,
        }
    };
    if end == End::Reset {
        reset(&till);
        reset(&hub);
    }
    if let (Some(plan), true) = (plan, repeats) {
        let sent = recorded
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        tokio::time::sleep(plan.lasts).await;
        Box::pin(repeat(&sent, &link)).await;
    }
}

/// Both directions, until both are whole or one was broken.
async fn both(up: impl Future<Output = End>, down: impl Future<Output = End>) -> End {
    tokio::pin!(up, down);
    let (first, is_up) = tokio::select! {
        end = &mut up => (end, true),
        end = &mut down => (end, false),
    };
    match (first, is_up) {
        (End::Whole, true) => down.await,
        (End::Whole, false) => up.await,
        (broken, _) => broken,
    }
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut plan: Option<Plan>,
    link: &Link,
    record: Option<&Mutex<Vec<u8>>>,
) -> End {
    let mut buffer = vec![0; BUFFER_SIZE];
    let mut passed = 0;
    let mut trickle = false;
    while let Ok(size @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..size];
        if let Some(record) = record {
            let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
            if record.len() + size <= RECORDED_BYTES_MAX {
                record.extend_from_slice(bytes);
            }
        }
        let mut rest = bytes;
        if let Some(struck) = plan.take_if(|plan| passed + size > plan.at) {
            link.counts.add(struck.fault);
            let (before, after) = bytes.split_at(struck.at.saturating_sub(passed));
            if to.write_all(before).await.is_err() {
                return End::Whole;
            }
            rest = after;
            match struck.fault {
                Fault::Cut => return End::Reset,
                Fault::Truncate => return End::Closed,
                Fault::HalfOpen => {
                    tokio::time::sleep(struck.lasts).await;
                    return End::Reset;
                }
                Fault::Delay => tokio::time::sleep(struck.lasts).await,
                Fault::Throttle => trickle = true,
                Fault::DuplicateBytes if to.write_all(after).await.is_err() => return End::Whole,
                Fault::DuplicateBytes | Fault::DuplicateRequest | Fault::Refuse => {}
            }
        }
        if send(&mut to, rest, trickle).await.is_err() {
            return End::Whole;
        }
        passed += size;
    }
    // The other side reads the end, as it would without a relay; it may be gone already.
    drop(to.shutdown().await);
    End::Whole
}

async fn send(to: &mut WriteHalf<'_>, bytes: &[u8], trickle: bool) -> std::io::Result<()> {
    if !trickle {
        return to.write_all(bytes).await;
    }
    for piece in bytes.chunks(TRICKLE_SIZE) {
        to.write_all(piece).await?;
        tokio::time::sleep(TRICKLE_PAUSE).await;
    }
    Ok(())
}

/// Sends what a till has sent once more; nobody hears the answers.
async fn repeat(sent: &[u8], link: &Link) {
    let Ok(mut hub) = TcpStream::connect(link.hub).await else {
        return;
    };
    let (mut answers, mut requests) = hub.split();
    let answered = async {
        let mut answer = vec![0; BUFFER_SIZE];
        let mut counted = false;
        while let Ok(1..) = answers.read(&mut answer).await {
            if !counted {
                link.counts.add(Fault::DuplicateRequest);
                counted = true;
            }
        }
    };
    let asked = async {
        // A hub that is being killed takes none of it.
        drop(requests.write_all(sent).await);
    };
    drop(tokio::time::timeout(REPEAT_LIMIT, async { tokio::join!(asked, answered) }).await);
}
