//! Connections of the client: dialled through the environment, given up when nothing moves.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};

use crate::env::{BoxFuture, Dial, Io, TlsClock, tls};

/// Opens connections for the client.
#[derive(Clone)]
pub(super) struct DialConnector {
    pub(super) dial: Arc<dyn Dial>,
    pub(super) clock: TlsClock,
    /// How long nothing may move on a connection.
    pub(super) stall: Option<Duration>,
}

impl tower::Service<Uri> for DialConnector {
    type Response = DialStream;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<DialStream>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = uri.host().unwrap_or_default();
        // An IPv6 address stands in brackets in an address, and without them in a dial.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let secured = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secured { 443 } else { 80 });
        let stream = self.dial.dial(host, port);
        let (stall, clock) = (self.stall, self.clock.clone());
        Box::pin(async move {
            let opening = async {
                let stream = stream.await?;
                match secured {
                    true => tls::secure(stream, &uri, &clock).await,
                    false => Ok(stream),
                }
            };
            let stream = match stall {
                Some(limit) => tokio::time::timeout(limit, opening).await??,
                None => opening.await?,
            };
            Ok(DialStream {
                io: TokioIo::new(stream),
                stall: stall.map(|limit| (limit, Box::pin(tokio::time::sleep(limit)))),
            })
        })
    }
}

/// A connection of the client.
pub(super) struct DialStream {
    io: TokioIo<Box<dyn Io>>,
    /// How long nothing may move, and when that time is over.
    stall: Option<(Duration, Pin<Box<tokio::time::Sleep>>)>,
}

impl DialStream {
    /// Passes the result on; one that is not there in time is an error.
    fn watched<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some((limit, over)) = &mut self.stall else {
            return result;
        };
        if result.is_ready() {
            over.as_mut().reset(tokio::time::Instant::now() + *limit);
            return result;
        }
        over.as_mut().poll(context).map(|()| {
            let text = format!("nothing moved on the connection for {limit:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
    }
}

impl Connection for DialStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for DialStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        self.watched(context, read)
    }
}

impl Write for DialStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.watched(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
