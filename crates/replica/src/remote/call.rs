//! One call to the hub before it is sent.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header::CONTENT_ENCODING};

use super::Body;
use crate::limits::{ANSWER_BYTES_MAX, REQUEST_TIMEOUT};

/// See the module.
pub(super) struct Call {
    pub(super) method: Method,
    /// Behind the database's address.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) timeout: Duration,
    pub(super) response_bytes_max: usize,
}

impl Call {
    pub(super) fn get(path: String, response_bytes_max: usize) -> Self {
        let (method, headers, body) = (Method::GET, HeaderMap::new(), Bytes::new());
        Self {
            method,
            path,
            headers,
            body,
            timeout: REQUEST_TIMEOUT,
            response_bytes_max,
        }
    }

    pub(super) fn post(path: String, body: Body, timeout: Duration) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(encoding) = body.encoding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        let (method, response_bytes_max) = (Method::POST, ANSWER_BYTES_MAX);
        Self {
            method,
            path,
            headers,
            body: body.bytes,
            timeout,
            response_bytes_max,
        }
    }

    /// Adds a header; one that HTTP cannot carry is left out.
    pub(super) fn header(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
    }
}
