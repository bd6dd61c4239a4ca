//! Everything the outside world gives: time, randomness, files, network, threads (design 13).
//!
//! `main` builds one [`Env`] and hands it down; the simulation builds another one. Timers are
//! `tokio::time`, which the simulation controls by itself.

mod authority;
mod dial;
mod execution;
pub(crate) mod files;
mod http;
mod keys;
mod moment;
mod tls;

use std::{future::Future, pin::Pin, sync::Arc};

use counterfoil_domain::env::{Clock, Random};

pub use self::{
    authority::{LaneAuthority, LaneAuthorityError},
    dial::{Dial, Io, TcpDial},
    execution::{Execution, Worker},
    files::{DiskSteps, Files, OsFiles, create_folder},
    http::{HttpClient, HttpError, HttpRequest, HttpResponse, HttpStream},
    keys::{is_signed_by, private_key, public_key, sign},
    moment::parse_time,
    tls::{HUB_NAME, TlsClock, authority_of, fingerprint, provider},
};

/// A future on the heap, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The operating system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the injected clock itself"
    )]
    fn now_ms(&self) -> i64 {
        let now = std::time::SystemTime::now();
        match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }
}

/// The operating system's random number generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system supplies random bytes");
    }
}

/// The one environment value handed down from `main`.
#[derive(Clone)]
pub struct Env {
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub random: Arc<dyn Random>,
    /// Files beside the databases.
    pub files: Arc<dyn Files>,
    /// Outgoing connections.
    pub dial: Arc<dyn Dial>,
    /// Threads, or inline in the simulation.
    pub execution: Execution,
}

impl Env {
    /// The real world.
    #[must_use]
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            files: Arc::new(OsFiles),
            dial: Arc::new(TcpDial),
            execution: Execution::Threads,
        }
    }

    /// A new HTTP client that dials through this environment.
    #[must_use]
    pub fn http(&self) -> HttpClient {
        HttpClient::new(Arc::clone(&self.dial), Arc::clone(&self.clock))
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Env")
            .field("execution", &self.execution)
            .finish_non_exhaustive()
    }
}
