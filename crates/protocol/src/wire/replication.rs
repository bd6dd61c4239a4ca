//! Messages of libSQL's offline-write sync, and what our own client and hub add to it.
//!
//! The stock clients decide the names and meanings of `current_generation`, `status`, `generation`,
//! `max_frame_no` and `baton`; those must not change. Everything else is optional for them.
//! The protocol's rules are in `crates/replica/DESIGN.md`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Header with the rolling checksum after the last frame of a pushed batch, 64 hexadecimal digits.
pub const CHAIN_HEADER: &str = "x-counterfoil-chain";

/// Header with the rolling checksum before the first frame of a pushed batch, 64 hexadecimal digits.
/// A server that has other content there answers with a conflict.
pub const CHAIN_BEFORE_HEADER: &str = "x-counterfoil-chain-before";

/// Header of an export: bytes of the whole database file, decimal.
pub const FILE_BYTES_HEADER: &str = "x-counterfoil-file-bytes";

/// Header of an export: BLAKE3 digest of the whole database file, 64 hexadecimal digits.
pub const FILE_DIGEST_HEADER: &str = "x-counterfoil-file-digest";

/// Header of a part of an export: BLAKE3 digest of its bytes before compression, 64 hexadecimal digits.
pub const PART_DIGEST_HEADER: &str = "x-counterfoil-part-digest";

/// Extension: request and response bodies may be `content-encoding: zstd`.
pub const EXTENSION_ZSTD: &str = "zstd";

/// Extension: `GET /pages/{generation}/{frame}` says the digest of every page as of that frame, and
/// a push that says [`CHAIN_BEFORE_HEADER`] replaces a held-back tail that it contradicts.
pub const EXTENSION_PAGES: &str = "pages";

/// Bytes of one page's digest: the first half of its BLAKE3 hash. They follow each other by page
/// number, from page 1.
pub const PAGE_DIGEST_BYTES: usize = 16;

/// Extension: a push may have `content-encoding: x-counterfoil-delta`, and a pull may ask for it. The
/// rolling checksums before and after such a push are then not optional.
pub const EXTENSION_DELTA: &str = "delta";

/// Header of an answer to a pull that is delta frames: how many there are, decimal.
pub const FRAMES_HEADER: &str = "x-counterfoil-frames";

/// Every extension this version of the hub announces.
pub const EXTENSIONS: [&str; 3] = [EXTENSION_ZSTD, EXTENSION_PAGES, EXTENSION_DELTA];

/// Answer of `GET /info`. A stock client reads `current_generation` only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Info {
    /// The generation that frames are pushed to now, at least 1.
    pub current_generation: u64,
    /// Highest frame held, held-back tail included; 0 when the generation has no frame yet.
    #[serde(default)]
    pub max_frame_no: u64,
    /// Rolling checksum after `max_frame_no`, 64 hexadecimal digits; empty from a foreign server.
    #[serde(default)]
    pub chain: String,
    /// Highest frame of a complete transaction; what follows it is a held-back tail.
    #[serde(default)]
    pub committed_frame_no: u64,
    /// Rolling checksum after `committed_frame_no`, 64 hexadecimal digits.
    #[serde(default)]
    pub committed_chain: String,
    /// Whether the database holds nothing at all.
    #[serde(default)]
    pub empty: bool,
    /// Rolling checksum at the beginning of the generation, 64 hexadecimal digits.
    #[serde(default)]
    pub chain_start: String,
    /// Generations that ended and can be renumbered, ascending; a missing one cannot.
    #[serde(default)]
    pub closed: Vec<ClosedGeneration>,
    /// What this server can do beyond the stock protocol.
    #[serde(default)]
    pub extensions: Vec<String>,
}

/// Where a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClosedGeneration {
    /// The generation's number.
    pub generation: u64,
    /// Its last frame.
    pub end_frame: u64,
}

/// `status` of a [`PushAnswer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PushStatus {
    /// Frames up to `max_frame_no` are durable at the hub.
    Ok,
    /// Nothing was applied.
    Conflict,
}

/// Answer of `POST /sync/{generation}/{start}/{end}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PushAnswer {
    /// Whether frames were accepted.
    pub status: PushStatus,
    /// The hub's current generation.
    pub generation: u64,
    /// Highest frame held, never more than the request's last frame.
    pub max_frame_no: u64,
    /// Last frame of the generation that was pushed to, when it has ended. Not read by stock clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// The push was delta frames that do not fit the pages here: send the same frames whole. Not read
    /// by stock clients, which are never told so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub send_whole: bool,
}

/// The body of the 400 that ends a pull, and what programs read of a 410.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GenerationAnswer {
    /// The hub's current generation.
    pub generation: u64,
}

/// The body of a 410: what was asked for is of a generation that has ended. A stock client shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GoneAnswer {
    /// The hub's current generation.
    pub generation: u64,
    /// What it is about, for a person.
    pub detail: String,
    /// What to do.
    pub hint: String,
}
