//! Named limits: unit, reason, and what happens at the limit.

use std::time::Duration;

/// Bytes of a page. The stock clients know no other size, so a database with another is refused.
pub const PAGE_BYTES: usize = 4096;

/// Bytes of a WAL frame's header.
pub const FRAME_HEADER_BYTES: usize = 24;

/// Bytes of a WAL file's header, fixed by SQLite's file format; a WAL with more holds frames.
pub const WAL_HEADER_BYTES: u64 = 32;

/// Bytes of a frame as it travels.
pub const FRAME_BYTES: usize = FRAME_HEADER_BYTES + PAGE_BYTES;

/// Frames in one push of our own client: 4 MB before compression, so a slow line sees progress and
/// a lost answer costs little. A longer transaction continues in the next push. When more frames wait,
/// only the newest version of each page is sent.
pub const PUSH_FRAMES_MAX: u64 = 1024;

/// Frames asked for in one pull of our own client; same reason as [`PUSH_FRAMES_MAX`].
pub const PULL_FRAMES_MAX: u64 = 1024;

/// Frames the hub gives or takes in one request of any client; more is a bad request, fewer are
/// given. 16,384 frames are 67 MB, held in memory.
pub const REQUEST_FRAMES_MAX: u64 = 16_384;

/// Bytes of a transaction that the hub holds back on disk until its last frame arrives; a larger one
/// is refused. The first contact sends a whole book as one transaction: 16 GiB are a hundred times
/// the book of a busy lane after ten years.
pub const TAIL_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;

/// Bytes of a transaction that a pull holds back in memory until its last frame arrives; a larger
/// one is refused. 512 MiB are 130,000 frames, forty times a full catalog import.
pub const PULL_TAIL_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Bytes of the digests of all pages, which node and hub hold in memory while they compare: 4 million
/// pages, a database of 16 GiB. An answer with more is a protocol error.
pub const DIGESTS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Pages of a database that a push may write or state, 16 GiB: as many as can be compared (see above).
/// A frame beyond is refused: SQLite would make a file of any size that a frame states.
pub const PUSHED_PAGES_MAX: u32 = 4 * 1024 * 1024;

/// Pages of a database file in one part of an export: 1 MiB, held in memory on both sides. A cut costs
/// one part at most, and a hub that serves fifty nodes at once holds fifty. More is a bad request.
pub const EXPORT_PAGES_MAX: u64 = 256;

/// Bytes of a JSON answer; a larger one is a protocol error.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Closed generations the hub remembers for renumbering; a node further behind sends the
/// pages that differ.
pub const CLOSED_GENERATIONS_MAX: usize = 64;

/// Generations between the numbers of a copy before and after its record was lost: more than a copy
/// ever begins, so none is given out twice, and few enough for the 32 bits of a stock client.
pub const GENERATION_STRIDE: u64 = 1_000_000;

/// Frames between two remembered values of the rolling checksum: 128 values in a 64 MB WAL, and at
/// most 0.5 MB hashed to find any one.
pub const CHAIN_STRIDE_FRAMES: u64 = 128;

/// How long SQLite waits for a lock of another connection, in milliseconds. Short, because during a
/// checkpoint the writer waits too; then the caller is told `Busy` and comes back.
pub const BUSY_TIMEOUT_MS: u32 = 200;

/// Attempts to take the write lock before an insert reports `Busy`, each up to
/// [`BUSY_TIMEOUT_MS`].
pub const INSERT_ATTEMPTS_MAX: u32 = 5;

/// Attempts to read a wal-index header that is just being written; it is two copies of 48 bytes,
/// so a second attempt nearly always succeeds.
pub const INDEX_READ_ATTEMPTS_MAX: u32 = 10_000;

/// Rounds of one push or pull in which the hub's answer changed the plan; then the caller is told
/// to come back.
pub const REPLANS_MAX: u32 = 8;

/// Compression level: zstd's default, faster than a shop's line.
pub const ZSTD_LEVEL: i32 = 3;

/// Compression level of messages between lanes: 4 µs each; a higher one gains a twentieth and takes five times the memory
/// (ADR 0025).
pub const STREAM_LEVEL: i32 = 1;

/// How far back such messages refer, as a power of two in bytes: 64 KB, some eighty sales, at 330 KB of memory for each
/// connection. Four times as much gains a twentieth.
pub const STREAM_WINDOW_LOG: u32 = 16;

/// How far back those of others may refer: 2 MB, as much as zstd takes by itself at its usual level. A stream that wants
/// more is refused.
pub const STREAM_WINDOW_LOG_MAX: u32 = 21;

/// Bytes that come out of a packed message at a time, before the next ones are asked for.
pub const STREAM_CHUNK_BYTES: usize = 16 * 1024;

/// Deadline of one request for frames or JSON: the largest batch of whole frames, 4 MB, over a line of 7 KB a
/// second. A shorter one would send the same batch over a slow line again and again; that the other side
/// has vanished shows sooner, see [`STALL_TIMEOUT`].
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(600);

/// Deadline for the digests of all pages of a database: the hub reads all of it first.
pub const DIGESTS_TIMEOUT: Duration = Duration::from_secs(1800);

/// A transfer on which no byte moves for this long is given up: the other side has vanished, and
/// sync must not wait for the deadline of the whole. Long enough for a hub to check and store a base.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// As [`STALL_TIMEOUT`] while the hub reads a whole database for its digests and says nothing: 15 GB of a disk
/// that gives 50 MB a second.
pub const DIGESTS_STALL_TIMEOUT: Duration = Duration::from_secs(300);

/// Idle connections are closed after this time, before servers and middleboxes do it silently.
pub const HTTP_IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Idle connections kept per host.
pub const HTTP_IDLE_CONNECTIONS_MAX: usize = 2;

/// Bytes of a block in a file of the history, before compression: what is in memory at a time.
pub const HISTORY_BLOCK_BYTES: usize = 4_000 * FRAME_BYTES;

/// Frames in one batch of delta frames, those of the largest push or pull of our own client; a larger
/// batch is sent whole, or refused.
pub const DELTA_FRAMES_MAX: usize = 1024;

/// Pages at the end of the database that a difference refers to besides those that it replaces:
/// 192 KB. More found fewer bytes than they cost time (ADR 0007).
pub const DELTA_CONTEXT_PAGES: u32 = 48;

/// Pages that one batch of delta frames may refer to: 4.4 MB in memory. One of each frame, and
/// the context; a batch that names more is refused.
pub const DELTA_PAGES_MAX: usize = DELTA_FRAMES_MAX + 48;

/// Compression level of delta frames: 0.9 ms for one sale (ADR 0007).
pub const DELTA_ZSTD_LEVEL: i32 = 7;

/// How far back zstd refers, as a power of two in bytes: 8 MB hold every page and most of the
/// largest batch. What lies further back is sent again.
pub const DELTA_WINDOW_LOG: u32 = 23;
