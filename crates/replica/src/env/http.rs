//! A small HTTP client over [`Dial`]: whole bodies in memory under one deadline per request, or a body
//! piece by piece, each piece in its time.

mod connection;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use counterfoil_domain::env::Clock;
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};

use self::connection::DialConnector;
use super::{Dial, TlsClock};
use crate::limits::{HTTP_IDLE_CONNECTIONS_MAX, HTTP_IDLE_TIMEOUT};

/// One request.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// Method.
    pub method: Method,
    /// Absolute `http://` or `https://` address; it may name the certificate that is expected
    /// ([`counterfoil_protocol::hub_url`]).
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
    clock: TlsClock,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

impl HttpClient {
    /// A client that connects through `dial`, and asks `clock` whether a certificate holds.
    #[must_use]
    pub fn new(dial: Arc<dyn Dial>, clock: Arc<dyn Clock>) -> Self {
        Self::build(dial, TlsClock(clock), None)
    }

    /// The same client, but a connection on which nothing moves for this long is given up. For
    /// transfers that may take long, and whose other side may vanish without a word.
    #[must_use]
    pub fn with_stall_timeout(&self, limit: Duration) -> Self {
        Self::build(Arc::clone(&self.dial), self.clock.clone(), Some(limit))
    }

    fn build(dial: Arc<dyn Dial>, clock: TlsClock, stall: Option<Duration>) -> Self {
        let connector = DialConnector {
            dial: Arc::clone(&dial),
            clock: clock.clone(),
            stall,
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(HTTP_IDLE_TIMEOUT)
            .pool_max_idle_per_host(HTTP_IDLE_CONNECTIONS_MAX)
            .build(connector);
        Self {
            client,
            dial,
            clock,
        }
    }

    /// Sends one request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// [`HttpError`]; `Connection` and `Timeout` leave open whether the other side acted.
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (timeout, limit_bytes) = (request.timeout, request.response_bytes_max);
        let url = request.url.clone();
        let exchange = async { self.exchange(request).await?.whole(limit_bytes).await };
        within(timeout, &url, exchange).await
    }

    /// Sends one request and returns when the head of the answer is there: the request's deadline is for
    /// that. Its largest answer is for a whole body, and does not count here.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn open(&self, request: HttpRequest) -> Result<HttpStream, HttpError> {
        let (timeout, url) = (request.timeout, request.url.clone());
        within(timeout, &url, self.exchange(request)).await
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpStream, HttpError> {
        let HttpRequest {
            method,
            url,
            headers,
            body,
            ..
        } = request;
        let uri: Uri = url
            .parse()
            .map_err(|_| HttpError::Address { url: url.clone() })?;
        match (uri.scheme_str(), uri.host()) {
            (Some("http" | "https"), Some(_)) => {}
            _ => return Err(HttpError::Address { url }),
        }
        let mut request = http::Request::builder()
            .method(method)
            .uri(uri)
            .body(Full::new(body))
            .map_err(HttpError::Request)?;
        *request.headers_mut() = headers;
        let response =
            self.client
                .request(request)
                .await
                .map_err(|error| HttpError::Connection {
                    url: url.clone(),
                    source: Box::new(error),
                })?;
        let (parts, body) = response.into_parts();
        Ok(HttpStream {
            status: parts.status,
            headers: parts.headers,
            body,
            url,
        })
    }
}

/// An answer whose body is still on its way. Dropping it closes the connection.
#[derive(Debug)]
pub struct HttpStream {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    body: Incoming,
    url: String,
}

impl HttpStream {
    /// The next bytes, at least one; `None` when the body has ended.
    ///
    /// # Errors
    /// [`HttpError::Timeout`] when nothing comes in time, [`HttpError::Connection`] when the body breaks off.
    pub async fn next(&mut self, timeout: Duration) -> Result<Option<Bytes>, HttpError> {
        let Self { body, url, .. } = self;
        let frame = async {
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|source| HttpError::Connection {
                    url: url.clone(),
                    source: Box::new(source),
                })?;
                match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => return Ok(Some(bytes)),
                    // Trailers say nothing that anybody here reads.
                    Ok(_) | Err(_) => {}
                }
            }
            Ok(None)
        };
        within(timeout, url, frame).await
    }

    /// The rest of the body in memory.
    ///
    /// # Errors
    /// [`HttpError::TooLarge`], [`HttpError::Connection`].
    pub async fn whole(self, limit_bytes: usize) -> Result<HttpResponse, HttpError> {
        let Self {
            status,
            headers,
            body,
            url,
        } = self;
        match Limited::new(body, limit_bytes).collect().await {
            Ok(body) => Ok(HttpResponse {
                status,
                headers,
                body: body.to_bytes(),
            }),
            Err(source) if source.is::<LengthLimitError>() => {
                Err(HttpError::TooLarge { url, limit_bytes })
            }
            Err(source) => Err(HttpError::Connection { url, source }),
        }
    }
}

async fn within<T>(
    timeout: Duration,
    url: &str,
    work: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result,
        Err(_elapsed) => Err(HttpError::Timeout {
            url: url.to_owned(),
            timeout,
        }),
    }
}
