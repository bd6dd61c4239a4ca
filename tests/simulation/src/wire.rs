//! What is under way between a node and the hub, seen from the bytes on the line.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

/// A request that was sent and is not answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Nothing is under way.
    Idle = 0,
    /// Something that is none of the below.
    Other = 1,
    /// The node asks to be bound.
    Activate = 2,
    /// Frames or the base of a book go up.
    Push = 3,
    /// Frames or the base of the catalog come down.
    Pull = 4,
}

impl Stage {
    const ALL: [Self; 5] = [
        Self::Idle,
        Self::Other,
        Self::Activate,
        Self::Push,
        Self::Pull,
    ];

    /// What the first bytes of a request say.
    fn of_request(head: &[u8]) -> Option<Self> {
        let has = |needle: &[u8]| {
            head.windows(needle.len())
                .take(160)
                .any(|window| window == needle)
        };
        match () {
            () if head.starts_with(b"POST /v1/activate") => Some(Self::Activate),
            () if head.starts_with(b"POST /v1/db/book/") => Some(Self::Push),
            () if head.starts_with(b"GET /v1/db/catalog/")
                && (has(b"/sync/") || has(b"/export/")) =>
            {
                Some(Self::Pull)
            }
            () if head.starts_with(b"POST ") || head.starts_with(b"GET ") => Some(Self::Other),
            () => None,
        }
    }
}

/// The state of one node's line to the hub.
#[derive(Debug, Default)]
pub(crate) struct Line(AtomicU8);

impl Line {
    pub(crate) fn stage(&self) -> Stage {
        let code = self.0.load(Ordering::SeqCst);
        Stage::ALL
            .into_iter()
            .find(|stage| *stage as u8 == code)
            .unwrap_or(Stage::Idle)
    }

    pub(crate) fn set(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::SeqCst);
    }
}

/// A connection that notes on its line which request it carries.
pub(crate) struct Watched {
    stream: TcpStream,
    line: Arc<Line>,
    /// A request went out on this connection and nothing came back.
    waits: bool,
}

impl Watched {
    pub(crate) fn new(stream: TcpStream, line: Arc<Line>) -> Self {
        Self {
            stream,
            line,
            waits: false,
        }
    }

    /// The request is answered or given up. Connections that idle in a pool say nothing.
    fn settle(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.line.set(Stage::Idle);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.settle();
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.settle();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if matches!(written, Poll::Ready(Ok(_)))
            && let Some(stage) = Stage::of_request(bytes)
        {
            self.line.set(stage);
            self.waits = true;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
