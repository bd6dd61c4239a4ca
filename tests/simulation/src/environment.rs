//! The environment of a simulated host: turmoil's network, the simulation's clock, seeded ids.

use crate::disk::Disk;
use crate::wire::{Line, Watched};
use axum::serve::Listener;
use counterfoil_domain::env::{Clock, Random};
use counterfoil_replica::env::{BoxFuture, Dial, Env, Execution, Files, Io, OsFiles};
use counterfoil_testkit::SeededRandom;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use turmoil::net::{TcpListener, TcpStream};

/// When the simulated world begins: 2026-01-05T08:00:00Z.
pub(crate) const EPOCH_MS: i64 = 1_767_600_000_000;

/// True time, moved by the simulation before every step.
#[derive(Debug, Default)]
pub(crate) struct WorldTime(AtomicI64);

impl WorldTime {
    /// Sets the time since the world began, for clocks and for SQLite.
    pub(crate) fn set(&self, elapsed: std::time::Duration) {
        let elapsed_ms = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        self.0.store(EPOCH_MS + elapsed_ms, Ordering::SeqCst);
        counterfoil_replica::vfs::set_time_ms(EPOCH_MS + elapsed_ms);
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A wall clock that is wrong by a number of milliseconds, which may change.
#[derive(Debug)]
pub(crate) struct SkewedClock {
    time: Arc<WorldTime>,
    skew_ms: AtomicI64,
}

impl SkewedClock {
    pub(crate) fn new(time: Arc<WorldTime>, skew_ms: i64) -> Self {
        Self {
            time,
            skew_ms: AtomicI64::new(skew_ms),
        }
    }

    pub(crate) fn set_skew(&self, skew_ms: i64) {
        self.skew_ms.store(skew_ms, Ordering::SeqCst);
    }
}

impl Clock for SkewedClock {
    fn now_ms(&self) -> i64 {
        self.time.now_ms() + self.skew_ms.load(Ordering::SeqCst)
    }
}

/// Connections over turmoil's network, with an eye on what is under way.
struct SimulatedDial {
    line: Arc<Line>,
}

impl Dial for SimulatedDial {
    fn dial(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let (host, line) = (host.to_owned(), Arc::clone(&self.line));
        Box::pin(async move {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            let stream: Box<dyn Io> = Box::new(Watched::new(stream, line));
            Ok(stream)
        })
    }
}

/// What survives a crash of a host's program: its clock, its luck and its line.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) clock: Arc<SkewedClock>,
    pub(crate) random: Arc<SeededRandom>,
    pub(crate) line: Arc<Line>,
    /// People have none that matters.
    pub(crate) disk: Option<Arc<Disk>>,
}

impl Machine {
    pub(crate) fn new(time: &Arc<WorldTime>, skew_ms: i64, seed: u64) -> Self {
        Self {
            disk: None,
            clock: Arc::new(SkewedClock::new(Arc::clone(time), skew_ms)),
            random: Arc::new(SeededRandom::new(seed)),
            line: Arc::default(),
        }
    }

    /// The environment handed to the real code.
    pub(crate) fn env(&self) -> Env {
        let random: Arc<dyn Random> = Arc::clone(&self.random) as Arc<dyn Random>;
        let files: Arc<dyn Files> = match &self.disk {
            Some(disk) => Arc::clone(disk) as Arc<dyn Files>,
            None => Arc::new(OsFiles),
        };
        Env {
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            random,
            files,
            dial: Arc::new(SimulatedDial {
                line: Arc::clone(&self.line),
            }),
            execution: Execution::Inline,
        }
    }
}

/// A listener of turmoil's network as axum wants it.
pub(crate) struct SimulatedListener(TcpListener);

impl SimulatedListener {
    pub(crate) async fn bind(port: u16) -> io::Result<Self> {
        Ok(Self(TcpListener::bind(("0.0.0.0", port)).await?))
    }
}

impl Listener for SimulatedListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            if let Ok(accepted) = self.0.accept().await {
                return accepted;
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
