//! A small HTTP client over [`Dial`]: whole bodies in memory, one deadline per request.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};

use super::{BoxFuture, Dial, Io};
use crate::limits::{HTTP_IDLE_CONNECTIONS_MAX, HTTP_IDLE_TIMEOUT};

/// One request.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// Method.
    pub method: Method,
    /// Absolute `http://` address.
    pub url: String,
    /// Headers besides `host` and `content-length`.
    pub headers: HeaderMap,
    /// Whole body.
    pub body: Bytes,
    /// Time for everything, from dialling to the last byte of the answer.
    pub timeout: Duration,
    /// Largest answer accepted, in bytes.
    pub response_bytes_max: usize,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Whole body, as sent.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is not one this client can use.
    #[error("cannot use the address {url}")]
    Address {
        /// The address as given.
        url: String,
    },
    /// TLS is not part of this client.
    #[error("https is not supported here: {url}")]
    Tls {
        /// The address as given.
        url: String,
    },
    /// The headers cannot be sent.
    #[error("cannot build the request")]
    Request(#[source] http::Error),
    /// No connection, or it broke: the other side may or may not have acted.
    #[error("cannot reach {url}")]
    Connection {
        /// The address as given.
        url: String,
        /// What hyper reports.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The deadline passed: the other side may or may not have acted.
    #[error("no answer from {url} within {timeout:?}")]
    Timeout {
        /// The address as given.
        url: String,
        /// The deadline.
        timeout: Duration,
    },
    /// The answer is larger than the caller accepts.
    #[error("the answer from {url} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The address as given.
        url: String,
        /// The caller's limit.
        limit_bytes: usize,
    },
}

/// Sends requests; clones share their idle connections.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<DialConnector, Full<Bytes>>,
    dial: Arc<dyn Dial>,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

impl HttpClient {
    /// A client that connects through `dial`.
    #[must_use]
    pub fn new(dial: Arc<dyn Dial>) -> Self {
        Self::build(dial, None)
    }

    /// The same client, but a connection on which nothing moves for this long is given up. For
    /// transfers that may take long, and whose other side may vanish without a word.
    #[must_use]
    pub fn with_stall_timeout(&self, limit: Duration) -> Self {
        Self::build(Arc::clone(&self.dial), Some(limit))
    }

    fn build(dial: Arc<dyn Dial>, stall: Option<Duration>) -> Self {
        let connector = DialConnector {
            dial: Arc::clone(&dial),
            stall,
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(HTTP_IDLE_TIMEOUT)
            .pool_max_idle_per_host(HTTP_IDLE_CONNECTIONS_MAX)
            .build(connector);
        Self { client, dial }
    }

    /// Sends one request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// [`HttpError`]; `Connection` and `Timeout` leave open whether the other side acted.
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let HttpRequest {
            method,
            url,
            headers,
            body,
            timeout,
            response_bytes_max,
        } = request;
        let uri: Uri = url
            .parse()
            .map_err(|_| HttpError::Address { url: url.clone() })?;
        match (uri.scheme_str(), uri.host()) {
            (Some("http"), Some(_)) => {}
            (Some("https"), _) => return Err(HttpError::Tls { url }),
            _ => return Err(HttpError::Address { url }),
        }
        let mut request = http::Request::builder()
            .method(method)
            .uri(uri)
            .body(Full::new(body))
            .map_err(HttpError::Request)?;
        *request.headers_mut() = headers;
        let exchange = self.exchange(request, &url, response_bytes_max);
        match tokio::time::timeout(timeout, exchange).await {
            Ok(result) => result,
            Err(_elapsed) => Err(HttpError::Timeout { url, timeout }),
        }
    }

    async fn exchange(
        &self,
        request: http::Request<Full<Bytes>>,
        url: &str,
        limit_bytes: usize,
    ) -> Result<HttpResponse, HttpError> {
        let response =
            self.client
                .request(request)
                .await
                .map_err(|error| HttpError::Connection {
                    url: url.to_owned(),
                    source: Box::new(error),
                })?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, limit_bytes)
            .collect()
            .await
            .map_err(|source| {
                if source.is::<LengthLimitError>() {
                    HttpError::TooLarge {
                        url: url.to_owned(),
                        limit_bytes,
                    }
                } else {
                    HttpError::Connection {
                        url: url.to_owned(),
                        source,
                    }
                }
            })?;
        Ok(HttpResponse {
            status: parts.status,
            headers: parts.headers,
            body: body.to_bytes(),
        })
    }
}

#[derive(Clone)]
struct DialConnector {
    dial: Arc<dyn Dial>,
    stall: Option<Duration>,
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
        let stream = self.dial.dial(host, uri.port_u16().unwrap_or(80));
        let stall = self.stall;
        Box::pin(async move {
            let stream = match stall {
                Some(limit) => tokio::time::timeout(limit, stream).await??,
                None => stream.await?,
            };
            Ok(DialStream {
                io: TokioIo::new(stream),
                stall: stall.map(|limit| (limit, Box::pin(tokio::time::sleep(limit)))),
            })
        })
    }
}

struct DialStream {
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
