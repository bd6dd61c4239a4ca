//! How much somebody may say of whom nobody knows yet who it is.
//!
//! The library that reads frames keeps one until it is whole, and its limit cannot change while it reads: what stands
//! between it and the line counts.

use crate::limits::PEER_STRANGER_BYTES_MAX;
use counterfoil_replica::env::Io;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

/// Somebody who connected and is not known yet.
pub(super) struct Stranger {
    /// The place that it has until it is let in.
    pub(super) place: OwnedSemaphorePermit,
    pub(super) gate: Arc<Gate>,
}

/// Counts what a stranger says, until it is opened.
#[derive(Debug, Default)]
pub(super) struct Gate {
    heard: AtomicUsize,
    is_open: AtomicBool,
}

impl Gate {
    /// What comes over a line passes by the gate.
    pub(super) fn before(io: Box<dyn Io>) -> (Box<dyn Io>, Arc<Self>) {
        let gate = Arc::new(Self::default());
        let gated = Gated {
            io,
            gate: Arc::clone(&gate),
        };
        (Box::new(gated), gate)
    }

    /// It is known by now who that is.
    pub(super) fn open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// Whether it said more than anybody has to before being known.
    pub(super) fn is_full(&self) -> bool {
        !self.is_open.load(Ordering::Relaxed)
            && self.heard.load(Ordering::Relaxed) > PEER_STRANGER_BYTES_MAX
    }
}

struct Gated {
    io: Box<dyn Io>,
    gate: Arc<Gate>,
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.gate.is_full() {
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        let size = buffer.filled().len() - before;
        self.gate.heard.fetch_add(size, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_stranger_is_heard_no_longer_than_a_greeting_takes() {
        for opens in [false, true] {
            let (mut far, near) = tokio::io::duplex(1024);
            let (mut near, gate) = Gate::before(Box::new(near));
            let said = tokio::spawn(async move {
                let whole = vec![0; 2 * PEER_STRANGER_BYTES_MAX];
                far.write_all(&whole).await.is_ok()
            });
            let mut first = vec![0; PEER_STRANGER_BYTES_MAX];
            near.read_exact(&mut first).await.expect("a greeting fits");
            if opens {
                gate.open();
            }
            let mut rest = Vec::new();
            let read = near.read_to_end(&mut rest).await;
            assert_eq!(read.is_ok(), opens, "{read:?}");
            assert_eq!(gate.is_full(), !opens);
            drop(near);
            assert_eq!(said.await.expect("ended"), opens, "the rest stays with it");
        }
    }
}
