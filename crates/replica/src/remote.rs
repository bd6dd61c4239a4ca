//! The hub's replication calls as the node makes them.

mod call;
mod packet;
#[cfg(test)]
mod tests;

use std::str::FromStr;

use counterfoil_protocol::problem::Problem;
use counterfoil_protocol::wire::replication::{
    CHAIN_BEFORE_HEADER, CHAIN_HEADER, ClosedGeneration, EXTENSION_DELTA, EXTENSION_PAGES,
    EXTENSION_ZSTD, FILE_BYTES_HEADER, FILE_DIGEST_HEADER, FRAMES_HEADER, GenerationAnswer, Info,
    PAGE_DIGEST_BYTES, PART_DIGEST_HEADER, PushAnswer,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING},
};
use serde::de::DeserializeOwned;

use self::call::Call;
pub(crate) use self::packet::{Body, Packet};
use crate::{
    DeltaFrames, Retry, compress, delta,
    env::{HttpClient, HttpError, HttpRequest, HttpResponse},
    frame::Chain,
    limits::{
        ANSWER_BYTES_MAX, DIGESTS_BYTES_MAX, DIGESTS_STALL_TIMEOUT, DIGESTS_TIMEOUT,
        EXPORT_PAGES_MAX, FRAME_BYTES, PAGE_BYTES, PULL_FRAMES_MAX, REQUEST_TIMEOUT, STALL_TIMEOUT,
    },
};

/// Why a call to the hub did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The hub cannot be reached; it may or may not have acted.
    #[error("the hub is offline")]
    Offline(#[source] HttpError),
    /// The request cannot be sent as it is.
    #[error("the request to the hub is not possible")]
    Request(#[source] HttpError),
    /// The token is unknown, revoked, or not for this database.
    #[error("the hub does not accept the credentials (status {status})")]
    Unauthorized {
        /// 401 or 403.
        status: StatusCode,
    },
    /// The hub wants a newer node.
    #[error("the hub requires an update of this node")]
    UpdateRequired,
    /// The hub cannot answer now.
    #[error("the hub cannot answer now (status {status})")]
    Unavailable {
        /// 408, 429 or 5xx; also 401 and 403 from something that is no hub.
        status: StatusCode,
    },
    /// A status that the protocol does not have.
    #[error("the hub answers {call} with status {status}")]
    Status {
        /// The call.
        call: &'static str,
        /// The status.
        status: StatusCode,
    },
    /// An answer that cannot be read.
    #[error("the hub's answer to {call} is not understood")]
    Answer {
        /// The call.
        call: &'static str,
    },
}

impl RemoteError {
    /// What the caller should do.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Offline(_)
            | Self::Unavailable { .. }
            | Self::Status { .. }
            | Self::Answer { .. } => Retry::Later,
            Self::Request(_) | Self::Unauthorized { .. } | Self::UpdateRequired => Retry::Never,
        }
    }
}

/// What the hub says about a database.
#[derive(Clone, Debug)]
pub(crate) struct HubInfo {
    pub(crate) generation: u64,
    pub(crate) max_frame_no: u64,
    /// `None` from a server that is not ours.
    pub(crate) chain: Option<Chain>,
    /// What it held when the last transaction was complete: the same, or less.
    pub(crate) committed_frame_no: u64,
    pub(crate) committed_chain: Option<Chain>,
    /// Whether the hub's copy holds nothing at all.
    pub(crate) empty: bool,
    /// The server says its generation and nothing else: the other numbers are not its own.
    pub(crate) is_stock: bool,
    pub(crate) chain_start: Option<Chain>,
    pub(crate) closed: Vec<ClosedGeneration>,
    pub(crate) takes_zstd: bool,
    pub(crate) takes_delta: bool,
    pub(crate) says_pages: bool,
}

impl HubInfo {
    pub(crate) fn end_of(&self, generation: u64) -> Option<u64> {
        self.closed
            .iter()
            .find(|it| it.generation == generation)
            .map(|it| it.end_frame)
    }
}

/// Answer to a pull.
#[derive(Debug)]
pub(crate) enum Pulled {
    Frames { body: Vec<u8>, bytes_down: u64 },
    Delta(DeltaFrames),
    Ended,
    Gone,
}

/// Answer to an export.
#[derive(Debug)]
pub(crate) enum Exported {
    Part(Part),
    Gone,
}

/// Pages of the hub's main file, and what it says about the whole of it.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Chain,
    pub(crate) file_bytes: u64,
    pub(crate) file_digest: Chain,
    pub(crate) bytes_down: u64,
}

/// One database at the hub: its address and the credentials for it.
#[derive(Clone)]
pub struct Remote {
    http: HttpClient,
    /// For the one call that the hub thinks about for long.
    patient: HttpClient,
    base_url: String,
    token: Option<String>,
    headers: HeaderMap,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Remote")
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
    }
}

impl Remote {
    /// The database at `base_url`, without a slash at its end; `token` is sent as a bearer token.
    #[must_use]
    pub fn new(http: &HttpClient, base_url: impl Into<String>, token: Option<String>) -> Self {
        let base_url = base_url.into();
        let base_url = base_url.trim_end_matches('/').to_owned();
        Self {
            http: http.with_stall_timeout(STALL_TIMEOUT),
            patient: http.with_stall_timeout(DIGESTS_STALL_TIMEOUT),
            base_url,
            token,
            headers: HeaderMap::new(),
        }
    }

    /// Sends one more header with every call; one that HTTP cannot carry is left out.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    pub(crate) async fn info(&self) -> Result<HubInfo, RemoteError> {
        const CALL: &str = "GET /info";
        let call = Call::get("/info".to_owned(), ANSWER_BYTES_MAX);
        let response = self.send(call).await?;
        let info: Info = read_json(CALL, &response)?;
        let wrong = || RemoteError::Answer { call: CALL };
        if info.current_generation == 0 {
            return Err(wrong());
        }
        let chain = |text: &str| match text {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| wrong()),
        };
        let has = |extension: &str| info.extensions.iter().any(|known| known == extension);
        Ok(HubInfo {
            generation: info.current_generation,
            max_frame_no: info.max_frame_no,
            chain: chain(&info.chain)?,
            committed_frame_no: info.committed_frame_no,
            committed_chain: chain(&info.committed_chain)?,
            empty: info.empty,
            is_stock: info.chain.is_empty() && info.extensions.is_empty(),
            chain_start: chain(&info.chain_start)?,
            takes_zstd: has(EXTENSION_ZSTD),
            takes_delta: has(EXTENSION_DELTA),
            says_pages: has(EXTENSION_PAGES),
            closed: info.closed,
        })
    }

    pub(crate) async fn push(&self, packet: Packet) -> Result<PushAnswer, RemoteError> {
        const CALL: &str = "POST /sync";
        let Packet {
            generation,
            start,
            end,
            before,
            chain,
            body,
        } = packet;
        let path = format!("/sync/{generation}/{start}/{end}");
        let mut call = Call::post(path, body, REQUEST_TIMEOUT);
        call.header(CHAIN_BEFORE_HEADER, &before.to_string());
        call.header(CHAIN_HEADER, &chain.to_string());
        let response = self.send(call).await?;
        read_json(CALL, &response)
    }

    /// The digests of all pages as of a frame; `None` when the hub stands elsewhere by now.
    pub(crate) async fn pages(
        &self,
        generation: u64,
        frame: u64,
    ) -> Result<Option<Vec<u8>>, RemoteError> {
        const CALL: &str = "GET /pages";
        let mut call = Call::get(format!("/pages/{generation}/{frame}"), DIGESTS_BYTES_MAX);
        call.timeout = DIGESTS_TIMEOUT;
        let response = self.send_with(&self.patient, call).await?;
        match response.status {
            StatusCode::OK => {}
            StatusCode::GONE => return Ok(None),
            status => return Err(RemoteError::Status { call: CALL, status }),
        }
        let digests = unpack(CALL, &response, DIGESTS_BYTES_MAX)?;
        if !digests.len().is_multiple_of(PAGE_DIGEST_BYTES) {
            return Err(RemoteError::Answer { call: CALL });
        }
        Ok(Some(digests))
    }

    /// Frames from `start` on; as delta frames when the hub takes `before` for the rolling checksum of
    /// what comes before them.
    pub(crate) async fn pull(
        &self,
        generation: u64,
        start: u64,
        before: Option<Chain>,
    ) -> Result<Pulled, RemoteError> {
        const CALL: &str = "GET /sync";
        let end = start + PULL_FRAMES_MAX;
        let limit = usize::try_from(PULL_FRAMES_MAX).unwrap_or_default() * FRAME_BYTES;
        let mut call = Call::get(format!("/sync/{generation}/{start}/{end}"), limit);
        match before {
            None => call.header(ACCEPT_ENCODING.as_str(), compress::ENCODING),
            Some(before) => {
                let both = format!("{}, {}", delta::ENCODING, compress::ENCODING);
                call.header(ACCEPT_ENCODING.as_str(), &both);
                call.header(CHAIN_BEFORE_HEADER, &before.to_string());
            }
        }
        let response = self.send(call).await?;
        match response.status {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST => {
                let _ended: GenerationAnswer = parse_json(CALL, &response.body)?;
                return Ok(Pulled::Ended);
            }
            StatusCode::GONE => return Ok(Pulled::Gone),
            status => return Err(RemoteError::Status { call: CALL, status }),
        }
        if header(&response, CONTENT_ENCODING.as_str()) == Some(delta::ENCODING.to_owned()) {
            let frames = header(&response, FRAMES_HEADER).filter(|frames| *frames > 0);
            let chain = header(&response, CHAIN_HEADER);
            let (Some(frames), Some(chain)) = (frames, chain) else {
                return Err(RemoteError::Answer { call: CALL });
            };
            return Ok(Pulled::Delta(DeltaFrames {
                bytes: response.body.to_vec(),
                frames,
                chain,
            }));
        }
        let bytes_down = u64::try_from(response.body.len()).unwrap_or(u64::MAX);
        let body = unpack(CALL, &response, limit)?;
        if body.is_empty() || !body.len().is_multiple_of(FRAME_BYTES) {
            return Err(RemoteError::Answer { call: CALL });
        }
        Ok(Pulled::Frames { body, bytes_down })
    }

    /// Whether the main file of a generation holds nothing, from a server that gives files whole.
    pub(crate) async fn is_base_empty(&self, generation: u64) -> Result<bool, RemoteError> {
        const CALL: &str = "GET /export";
        match self
            .send(Call::get(format!("/export/{generation}"), PAGE_BYTES))
            .await
        {
            Ok(response) if response.status == StatusCode::OK => Ok(true),
            Ok(response) => Err(RemoteError::Status {
                call: CALL,
                status: response.status,
            }),
            // A database with a table has two pages.
            Err(RemoteError::Request(HttpError::TooLarge { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Pages of the main file from `first` on.
    pub(crate) async fn export(
        &self,
        generation: u64,
        first: u64,
    ) -> Result<Exported, RemoteError> {
        const CALL: &str = "GET /export";
        let end = first + EXPORT_PAGES_MAX;
        let limit = usize::try_from(EXPORT_PAGES_MAX).unwrap_or_default() * PAGE_BYTES;
        let mut call = Call::get(format!("/export/{generation}/{first}/{end}"), limit);
        call.header(ACCEPT_ENCODING.as_str(), compress::ENCODING);
        let response = self.send(call).await?;
        match response.status {
            StatusCode::OK => {}
            StatusCode::GONE => return Ok(Exported::Gone),
            status => return Err(RemoteError::Status { call: CALL, status }),
        }
        let bytes_down = u64::try_from(response.body.len()).unwrap_or(u64::MAX);
        let wrong = || RemoteError::Answer { call: CALL };
        let bytes = unpack(CALL, &response, limit)?;
        let digest = header(&response, PART_DIGEST_HEADER).ok_or_else(wrong)?;
        if Chain::of_base(&bytes) != digest {
            return Err(wrong());
        }
        Ok(Exported::Part(Part {
            bytes,
            digest,
            file_bytes: header(&response, FILE_BYTES_HEADER).ok_or_else(wrong)?,
            file_digest: header(&response, FILE_DIGEST_HEADER).ok_or_else(wrong)?,
            bytes_down,
        }))
    }

    /// Sends a call; an answer that says more about hub or node than about the call is an error.
    async fn send(&self, call: Call) -> Result<HttpResponse, RemoteError> {
        self.send_with(&self.http, call).await
    }

    async fn send_with(&self, http: &HttpClient, call: Call) -> Result<HttpResponse, RemoteError> {
        let Call {
            method,
            path,
            mut headers,
            body,
            timeout,
            response_bytes_max,
        } = call;
        headers.extend(self.headers.clone());
        if let Some(token) = &self.token
            && let Ok(mut value) = HeaderValue::try_from(format!("Bearer {token}"))
        {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let url = format!("{}{path}", self.base_url);
        let request = HttpRequest {
            method,
            url,
            headers,
            body,
            timeout,
            response_bytes_max,
        };
        let response = http.send(request).await.map_err(|error| match error {
            HttpError::Connection { .. } | HttpError::Timeout { .. } => RemoteError::Offline(error),
            HttpError::Address { .. } | HttpError::Request(_) | HttpError::TooLarge { .. } => {
                RemoteError::Request(error)
            }
        })?;
        let status = response.status;
        // A captive portal refuses too: only our hub says why in a problem document.
        let is_hub = serde_json::from_slice::<Problem>(&response.body).is_ok();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !is_hub => {
                Err(RemoteError::Unavailable { status })
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(RemoteError::Unauthorized { status })
            }
            StatusCode::UPGRADE_REQUIRED => Err(RemoteError::UpdateRequired),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(RemoteError::Unavailable { status })
            }
            status if status.is_server_error() => Err(RemoteError::Unavailable { status }),
            _ => Ok(response),
        }
    }
}

fn read_json<T: DeserializeOwned>(
    call: &'static str,
    response: &HttpResponse,
) -> Result<T, RemoteError> {
    if response.status != StatusCode::OK {
        return Err(RemoteError::Status {
            call,
            status: response.status,
        });
    }
    parse_json(call, &response.body)
}

fn header<T: FromStr>(response: &HttpResponse, name: &str) -> Option<T> {
    response.headers.get(name)?.to_str().ok()?.parse().ok()
}

fn parse_json<T: DeserializeOwned>(call: &'static str, body: &[u8]) -> Result<T, RemoteError> {
    serde_json::from_slice(body).map_err(|_| RemoteError::Answer { call })
}

fn unpack(
    call: &'static str,
    response: &HttpResponse,
    limit_bytes: usize,
) -> Result<Vec<u8>, RemoteError> {
    match response
        .headers
        .get(CONTENT_ENCODING)
        .map(HeaderValue::as_bytes)
    {
        None | Some(b"identity") => Ok(response.body.to_vec()),
        Some(b"zstd") => {
            compress::decode(&response.body, limit_bytes).map_err(|_| RemoteError::Answer { call })
        }
        Some(_) => Err(RemoteError::Answer { call }),
    }
}
