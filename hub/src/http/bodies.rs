//! Bodies with limits: on the wire, after decompression, and in time.

use super::ApiError;
use crate::limits::{BODY_TIMEOUT, COMPRESS_BYTES_MIN, JSON_BYTES_MAX};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use counterfoil_protocol::problem::Code;
use counterfoil_replica::{compress, delta};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::io;
use std::time::Duration;

/// How a body is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    /// As it is.
    Identity,
    /// zstd.
    Zstd,
    /// Delta frames, which only a push of frames may be.
    Delta,
}

/// Reads a whole body of at most `limit` bytes.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    timeout: Duration,
) -> Result<Bytes, ApiError> {
    let declared = headers.get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > u64::try_from(limit).unwrap_or(u64::MAX)) {
        return Err(too_large(limit));
    }
    let collected = tokio::time::timeout(timeout, Limited::new(body, limit).collect()).await;
    let Ok(collected) = collected else {
        return Err(ApiError::new(
            Code::BadRequest,
            "the request's body took too long to arrive",
        ));
    };
    match collected {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Err(_) => Err(ApiError::new(
            Code::BadRequest,
            "the request's body broke off",
        )),
    }
}

fn too_large(limit: usize) -> ApiError {
    let detail = format!("the request's body is larger than {limit} bytes");
    ApiError::new(Code::TooLarge, detail)
}

/// Reads a JSON body.
pub(crate) async fn read_json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, ApiError> {
    read_json_of(headers, body, JSON_BYTES_MAX).await
}

/// The same of one that may be larger.
pub(crate) async fn read_json_of<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<T, ApiError> {
    let bytes = read(headers, body, bytes_max, BODY_TIMEOUT).await?;
    understood(&bytes)
}

/// The JSON of a request that may come without: an empty body, or null, says nothing.
pub(crate) async fn read_json_if_any<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, ApiError> {
    let bytes = read(headers, body, JSON_BYTES_MAX, BODY_TIMEOUT).await?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    Ok(understood::<Option<T>>(&bytes)?.unwrap_or_default())
}

fn understood<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        ApiError::new(
            Code::BadRequest,
            format!("the request's JSON is not understood: {error}"),
        )
    })
}

/// The encoding of a request's body.
pub(crate) fn encoding(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    match headers
        .get(header::CONTENT_ENCODING)
        .map(HeaderValue::as_bytes)
    {
        None | Some(b"identity") => Ok(Encoding::Identity),
        Some(b"zstd") => Ok(Encoding::Zstd),
        Some(other) if other == delta::ENCODING.as_bytes() => Ok(Encoding::Delta),
        Some(_) => Err(ApiError::new(
            Code::BadRequest,
            "the only content-encoding here is zstd",
        )),
    }
}

/// Undoes the encoding; blocking work.
pub(crate) fn decode(encoding: Encoding, body: Bytes, limit: usize) -> Result<Bytes, ApiError> {
    match encoding {
        Encoding::Identity => return Ok(body),
        Encoding::Zstd => {}
        Encoding::Delta => {
            return Err(ApiError::new(
                Code::BadRequest,
                "the body cannot be delta frames",
            ));
        }
    }
    match compress::decode(&body, limit) {
        Ok(plain) => Ok(plain.into()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(too_large(limit)),
        Err(_) => Err(ApiError::new(Code::BadRequest, "the body is not zstd")),
    }
}

/// Whether the caller reads zstd.
pub(crate) fn accepts_zstd(headers: &HeaderMap) -> bool {
    accepts(headers, compress::ENCODING)
}

/// Whether the caller takes an answer in this encoding.
pub(crate) fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    let accepted = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|text| text.to_str().ok());
    accepted.is_some_and(|text| {
        text.split(',')
            .any(|item| item.split(';').next().unwrap_or("").trim() == encoding)
    })
}

/// Bytes on their way out, compressed when that helps; blocking work.
pub(crate) fn encode(plain: Vec<u8>, zstd_accepted: bool) -> (Vec<u8>, Encoding) {
    if !zstd_accepted || plain.len() < COMPRESS_BYTES_MIN {
        return (plain, Encoding::Identity);
    }
    match compress::encode(&plain) {
        Ok(packed) => (packed, Encoding::Zstd),
        // Uncompressed is right too.
        Err(_) => (plain, Encoding::Identity),
    }
}

/// An answer of bytes.
pub(crate) fn binary((bytes, encoding): (Vec<u8>, Encoding)) -> Response {
    let mut response = bytes.into_response();
    let encoding = match encoding {
        Encoding::Identity => return response,
        Encoding::Zstd => compress::ENCODING,
        Encoding::Delta => delta::ENCODING,
    };
    response
        .headers_mut()
        .insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    response
}
