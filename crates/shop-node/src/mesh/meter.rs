//! What passes over a line: how much somebody may say of whom nobody knows yet who it is, and whether anything passes at all.
//!
//! The library that reads frames keeps one until it is whole, and its limit cannot change while it reads; nor does it say that a
//! long frame is on its way. What stands between it and the line counts.

use crate::limits::PEER_STRANGER_BYTES_MAX;
use counterfoil_replica::env::Io;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Counts the bytes of a line.
#[derive(Debug, Default)]
pub(super) struct Meter {
    heard: AtomicUsize,
    said: AtomicUsize,
    is_known: AtomicBool,
}

impl Meter {
    /// What passes over a line is counted.
    pub(super) fn on(io: Box<dyn Io>) -> (Box<dyn Io>, Arc<Self>) {
        let meter = Arc::new(Self::default());
        let metered = Metered {
            io,
            meter: Arc::clone(&meter),
        };
        (Box::new(metered), meter)
    }

    /// It is known by now who is at the other end.
    pub(super) fn known(&self) {
        self.is_known.store(true, Ordering::Relaxed);
    }

    /// Whether it said more than anybody has to before being known.
    pub(super) fn is_too_much(&self) -> bool {
        !self.is_known.load(Ordering::Relaxed) && self.heard() > PEER_STRANGER_BYTES_MAX
    }

    /// Bytes that came.
    pub(super) fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }

    /// Bytes that the line took.
    pub(super) fn said(&self) -> usize {
        self.said.load(Ordering::Relaxed)
    }
}

/// Does something on a line for as long as bytes pass: a long frame on a slow line is neither silent nor stuck. `None` when
/// none has passed for `wait`.
pub(super) async fn while_passing<T>(
    passed: impl Fn() -> usize,
    wait: Duration,
    doing: impl Future<Output = T>,
) -> Option<T> {
    let mut doing = pin!(doing);
    let (mut known, mut since) = (passed(), Instant::now());
    loop {
        match tokio::time::timeout(wait / 5, doing.as_mut()).await {
            Ok(done) => return Some(done),
            Err(_) if passed() != known => (known, since) = (passed(), Instant::now()),
            Err(_) if since.elapsed() >= wait => return None,
            Err(_) => {}
        }
    }
}

struct Metered {
    io: Box<dyn Io>,
    meter: Arc<Meter>,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.meter.is_too_much() {
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        let size = buffer.filled().len() - before;
        self.meter.heard.fetch_add(size, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        if let Poll::Ready(Ok(size)) = written {
            self.meter.said.fetch_add(size, Ordering::Relaxed);
        }
        written
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
        for is_known in [false, true] {
            let (mut far, near) = tokio::io::duplex(1024);
            let (mut near, meter) = Meter::on(Box::new(near));
            let said = tokio::spawn(async move {
                let whole = vec![0; 2 * PEER_STRANGER_BYTES_MAX];
                far.write_all(&whole).await.is_ok()
            });
            let mut first = vec![0; PEER_STRANGER_BYTES_MAX];
            near.read_exact(&mut first).await.expect("a greeting fits");
            if is_known {
                meter.known();
            }
            let mut rest = Vec::new();
            let read = near.read_to_end(&mut rest).await;
            assert_eq!(read.is_ok(), is_known, "{read:?}");
            assert_eq!(meter.is_too_much(), !is_known);
            drop(near);
            assert_eq!(
                said.await.expect("ended"),
                is_known,
                "the rest stays with it"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_is_waited_for_as_long_as_something_passes() {
        let wait = Duration::from_secs(5);
        let (far, near) = tokio::io::duplex(64);
        let (near, meter) = Meter::on(Box::new(near));
        let (mut reads, mut writes) = tokio::io::split(near);
        let (mut far_reads, mut far_writes) = tokio::io::split(far);
        // Four bytes at a time, for three times as long as silence may last, and the last one never.
        let peer = tokio::spawn(async move {
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_secs(2)).await;
                far_writes.write_all(&[0; 4]).await.expect("open");
                let mut taken = [0; 4];
                far_reads.read_exact(&mut taken).await.expect("open");
            }
            (far_reads, far_writes)
        });
        let begun = Instant::now();
        let mut frame = [0; 32];
        let heard = while_passing(|| meter.heard(), wait, reads.read_exact(&mut frame));
        let said = while_passing(|| meter.said(), wait, writes.write_all(&[0; 96]));
        let (heard, said) = tokio::join!(heard, said);
        assert!(heard.is_some_and(|heard| heard.is_ok()));
        assert!(said.is_some_and(|said| said.is_ok()));
        assert_eq!(begun.elapsed(), Duration::from_secs(16));
        let _open = peer.await.expect("no failure");
        let heard = while_passing(|| meter.heard(), wait, reads.read_exact(&mut frame));
        let said = while_passing(|| meter.said(), wait, writes.write_all(&[0; 96]));
        let (heard, said) = tokio::join!(heard, said);
        assert!(heard.is_none() && said.is_none());
        // Neither at once, nor much later than it should.
        assert!(begun.elapsed() >= Duration::from_secs(16) + wait);
        assert!(begun.elapsed() <= Duration::from_secs(18) + wait);
    }
}
