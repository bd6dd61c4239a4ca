//! The file that a generation began with: part by part for nodes, as one stream for stock clients.
//!
//! The copy is held while a part is read and not while it travels, so a slow line holds up nobody; a
//! part is all that is ever in memory.

use super::ApiError;
use super::auth::OwnCopy;
use super::bodies::{self, accepts_zstd, binary};
use super::sync::{Segments, catalog, gone, number};
use crate::copies::{CopyKey, Held};
use crate::hub::Hub;
use crate::store::AuthedNode;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::replication::{
    FILE_BYTES_HEADER, FILE_DIGEST_HEADER, GoneAnswer, PART_DIGEST_HEADER,
};
use counterfoil_replica::limits::EXPORT_PAGES_MAX;
use counterfoil_replica::{Chain, ExportOutcome};
use http::{HeaderMap, HeaderValue, header};
use std::io;
use std::sync::Arc;

type Hubs = State<Arc<Hub>>;
type Answer = Result<Response, ApiError>;

/// Whose file it is.
enum Database {
    Own(CopyKey),
    Catalog,
}

impl Database {
    async fn hold(&self, hub: &Hub) -> Result<Held, ApiError> {
        Ok(match self {
            Self::Own(key) => hub.copies.pushed(key).await?,
            Self::Catalog => hub.copies.catalog().await?,
        })
    }
}

/// Which pages of which generation.
#[derive(Clone, Copy)]
struct Range {
    generation: u64,
    start: u64,
    end: u64,
}

impl Range {
    fn of(segments: &Segments) -> Result<Self, ApiError> {
        Ok(Self {
            generation: number(segments, "generation")?,
            start: number(segments, "start")?,
            end: number(segments, "end")?,
        })
    }
}

/// A part, and what is known about the whole.
struct Part {
    bytes: Vec<u8>,
    file_bytes: u64,
    file_digest: Chain,
}

async fn read(hub: &Hub, database: &Database, range: Range) -> Result<Part, Response> {
    let held = database
        .hold(hub)
        .await
        .map_err(IntoResponse::into_response)?;
    let work = move |copy: &mut counterfoil_replica::Copy| {
        copy.export(range.generation, range.start, range.end)
    };
    let outcome = hub.copies.work(held, work).await;
    match outcome.map_err(|error| ApiError::from(error).into_response())? {
        ExportOutcome::Part {
            bytes,
            file_bytes,
            file_digest,
        } => Ok(Part {
            bytes,
            file_bytes,
            file_digest,
        }),
        ExportOutcome::Gone { generation } => Err(gone(generation)),
        ExportOutcome::BadRequest => {
            let detail = "the range of pages makes no sense";
            Err(ApiError::new(Code::Invalid, detail).into_response())
        }
    }
}

async fn part(hub: Arc<Hub>, database: Database, range: Range, zstd: bool) -> Answer {
    // Reading and compressing is work; the others wait for their turn.
    let _turn = hub
        .exports
        .acquire()
        .await
        .map_err(|_| ApiError::new(Code::Internal, "the hub is stopping"))?;
    let part = match read(&hub, &database, range).await {
        Ok(part) => part,
        Err(refusal) => return Ok(refusal),
    };
    let (file_bytes, file_digest) = (part.file_bytes, part.file_digest);
    let pack = move || {
        let digest = Chain::of_base(&part.bytes);
        (bodies::encode(part.bytes, zstd), digest)
    };
    let (encoded, digest) = hub.env.execution.blocking(pack).await;
    let mut response = binary(encoded);
    describe(response.headers_mut(), file_bytes, file_digest);
    if let Ok(value) = HeaderValue::try_from(digest.to_string()) {
        response.headers_mut().insert(PART_DIGEST_HEADER, value);
    }
    Ok(response)
}

fn describe(headers: &mut HeaderMap, file_bytes: u64, file_digest: Chain) {
    headers.insert(FILE_BYTES_HEADER, HeaderValue::from(file_bytes));
    if let Ok(value) = HeaderValue::try_from(file_digest.to_string()) {
        headers.insert(FILE_DIGEST_HEADER, value);
    }
}

/// What a stream still has to send.
struct Rest {
    hub: Arc<Hub>,
    database: Database,
    range: Range,
    file_digest: Chain,
    left: u64,
}

async fn whole(hub: Arc<Hub>, database: Database, generation: u64) -> Answer {
    let range = Range {
        generation,
        start: 1,
        end: 1 + EXPORT_PAGES_MAX,
    };
    let first = match read(&hub, &database, range).await {
        Ok(part) => part,
        Err(refusal) => return Ok(refusal),
    };
    let (file_bytes, file_digest) = (first.file_bytes, first.file_digest);
    let rest = Rest {
        hub,
        database,
        range,
        file_digest,
        left: file_bytes.saturating_sub(bytes_of(&first)),
    };
    let parts = futures_util::stream::unfold((Some(first), rest), |(first, mut rest)| async {
        let part = match first {
            Some(part) => Ok(part.bytes),
            None => rest.next().await?,
        };
        Some((part, (None, rest)))
    });
    let mut response = Response::new(Body::from_stream(parts));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(file_bytes));
    describe(headers, file_bytes, file_digest);
    Ok(response)
}

impl Rest {
    /// The next part; an error breaks the answer off, which is short of its length then.
    async fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        if self.left == 0 {
            return None;
        }
        self.range.start = self.range.end;
        self.range.end += EXPORT_PAGES_MAX;
        let changed = || io::Error::other("the generation has ended meanwhile");
        Some(match read(&self.hub, &self.database, self.range).await {
            Ok(part) if part.file_digest == self.file_digest => {
                self.left = self.left.saturating_sub(bytes_of(&part));
                Ok(part.bytes)
            }
            Ok(_) | Err(_) => {
                self.left = 0;
                Err(changed())
            }
        })
    }
}

fn bytes_of(part: &Part) -> u64 {
    u64::try_from(part.bytes.len()).unwrap_or(u64::MAX)
}

/// Gives out the main file of a generation as one stream.
#[utoipa::path(
    get,
    path = "/export/{generation}",
    tag = "replication",
    responses(
        (status = 200, content_type = "application/octet-stream"),
        (status = 410, description = "Another generation is current.", body = GoneAnswer),
    ),
)]
pub(crate) async fn own_whole(
    State(hub): Hubs,
    OwnCopy(key): OwnCopy,
    segments: Segments,
) -> Answer {
    let generation = number(&segments, "generation")?;
    whole(hub, Database::Own(key), generation).await
}

/// Gives out pages of the main file of a generation.
#[utoipa::path(
    get,
    path = "/export/{generation}/{start}/{end}",
    tag = "replication",
    responses(
        (status = 200, content_type = "application/octet-stream"),
        (status = 410, description = "Another generation is current.", body = GoneAnswer),
    ),
)]
pub(crate) async fn own_part(
    State(hub): Hubs,
    OwnCopy(key): OwnCopy,
    segments: Segments,
    headers: HeaderMap,
) -> Answer {
    let (range, zstd) = (Range::of(&segments)?, accepts_zstd(&headers));
    part(hub, Database::Own(key), range, zstd).await
}

/// Gives out the main file of a generation of the catalog as one stream.
#[utoipa::path(
    get,
    path = "/export/{generation}",
    tag = "replication",
    responses(
        (status = 200, content_type = "application/octet-stream"),
        (status = 410, description = "Another generation is current.", body = GoneAnswer),
    ),
)]
pub(crate) async fn catalog_whole(
    State(hub): Hubs,
    node: AuthedNode,
    segments: Segments,
    headers: HeaderMap,
) -> Answer {
    let generation = number(&segments, "generation")?;
    drop(catalog(&hub, &node, &headers).await?);
    whole(hub, Database::Catalog, generation).await
}

/// Gives out pages of the main file of a generation of the catalog.
#[utoipa::path(
    get,
    path = "/export/{generation}/{start}/{end}",
    tag = "replication",
    responses(
        (status = 200, content_type = "application/octet-stream"),
        (status = 410, description = "Another generation is current.", body = GoneAnswer),
    ),
)]
pub(crate) async fn catalog_part(
    State(hub): Hubs,
    node: AuthedNode,
    segments: Segments,
    headers: HeaderMap,
) -> Answer {
    let (range, zstd) = (Range::of(&segments)?, accepts_zstd(&headers));
    drop(catalog(&hub, &node, &headers).await?);
    part(hub, Database::Catalog, range, zstd).await
}
