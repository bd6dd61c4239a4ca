//! Limits of the local API, with units, reasons, and what happens there.

use std::time::Duration;

/// Most characters of the name of who decides; more is refused.
pub(crate) const WHO_CHARS_MAX: usize = 200;

/// PINs that wait to be checked, one after another, some 50 ms each; one more is refused at once.
pub(crate) const PIN_CHECKS_MAX: usize = 8;

/// How long a decision waits for one exchange with the hub. A hub that takes longer counts as away: the
/// decision is recorded and travels later.
pub(crate) const DECISION_SYNC_WITHIN: Duration = Duration::from_secs(5);

/// Exchanges with the hub after a decision, until it has merged it; then the answer says that it is on its way.
pub(crate) const DECISION_SYNCS_MAX: u32 = 5;

/// Pause between two of them: the hub consolidates by itself.
pub(crate) const DECISION_MERGED_PAUSE: Duration = Duration::from_millis(100);

/// How long the hub may take to undo: a hundred thousand rows of an import. After that nobody knows how far it got;
/// the same again goes on from there.
pub(crate) const UNDO_WITHIN: Duration = Duration::from_secs(600);

/// Largest answer of an undoing in bytes: ten thousand fields with both values. A larger one fails, and what was
/// undone stays undone.
pub(crate) const UNDONE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Exchanges with the hub before an undoing, until it has merged what this till wrote; then the caller is told to
/// come again.
pub(crate) const UNDO_SYNCS_MAX: u32 = 20;

/// Pause between two of them: the hub consolidates by itself.
pub(crate) const UNDO_MERGED_PAUSE: Duration = Duration::from_millis(200);

/// Operations in one batch of a client; more are refused whole. They are one transaction, and sales wait while
/// it is written.
pub(crate) const OPERATIONS_MAX: usize = 500;

/// Changes in one page, when the client does not say and at most; it asks again for the rest.
pub(crate) const CHANGES_MAX: usize = 1_000;

/// How long before the end of its token the status says what to do, in milliseconds: two weeks, in which an
/// operator is found. A token that the node changes by itself never comes so close.
pub(crate) const TOKEN_NOTICE_MS: i64 = 14 * 24 * 60 * 60 * 1000;

/// Pause between two marks: how far a mark may be behind a till that is killed. What is sold in it is not missed when
/// the folder is put back to a moment in it.
pub(crate) const MARK_PAUSE: Duration = Duration::from_millis(500);

/// How long a sale waits for the mark of its till to be read, once while a fence folder hangs: a local disk that is busy
/// has answered by then. Later it says nothing.
pub(crate) const MARK_READ_WITHIN: Duration = Duration::from_millis(200);

/// Fewest characters of the secret that lanes share, so that nobody guesses it who hears a proof. A shorter one is
/// refused at the start.
pub(crate) const PEER_SECRET_CHARS_MIN: usize = 32;

/// Connected lanes at once: twice as many as any shop is expected to have. One more is refused, and comes again.
pub(crate) const PEER_CONNECTIONS_MAX: usize = 64;

/// Connections of which nobody knows yet whose they are. One more is closed, and comes again.
pub(crate) const PEER_GREETINGS_MAX: usize = 16;

/// How long one step of a greeting may take: what is asked goes to the other end and an answer comes back, over a line with a
/// delay of two seconds each way, with time to spare. Somebody who says nothing is put out then.
pub(crate) const PEER_STEP_WITHIN: Duration = Duration::from_secs(6);

/// How long a greeting may take altogether, from the connection on: five steps. Then the connection is closed.
pub(crate) const PEER_GREETING_WITHIN: Duration = Duration::from_secs(30);

/// Longest wait, chosen by chance, before a lane looks what the hub lacks of others' journals: of several that lost the
/// same one the first brings it, and the others see that nothing lacks.
pub(crate) const RELAY_JITTER: Duration = Duration::from_secs(2);

/// Bytes of others' entries in one request to the hub, give or take one message: sales of this lane wait while they are
/// read.
pub(crate) const RELAY_BATCH_BYTES: usize = 512 * 1024;

/// How long the hub may take to be sent one request of others' entries and to answer, over a slow line too. Then it
/// counts as away; what it has taken by then it says at the next look.
pub(crate) const RELAY_WITHIN: Duration = Duration::from_secs(300);

/// Bytes of one message of somebody who is not known yet: a hello or a proof fits many times. A larger one is malformed.
pub(crate) const PEER_GREETING_BYTES_MAX: usize = 16 * 1024;

/// Bytes of all that somebody says who is not known yet: the opening of the line, a hello and a proof, and what is read
/// ahead of what follows. Then the connection is closed.
pub(crate) const PEER_STRANGER_BYTES_MAX: usize = 256 * 1024;

/// How often what one peer tells of itself is noted in the log. In between it is passed over.
pub(crate) const PEER_EVENT_PAUSE: Duration = Duration::from_secs(10);

/// How often the same refusal is noted. In between it is passed over.
pub(crate) const PEER_REFUSAL_PAUSE: Duration = Duration::from_secs(60);

/// How long a till sells without its lane port before it tries again to open it.
pub(crate) const PEER_LISTEN_PAUSE: Duration = Duration::from_secs(5);

/// How long a peer may accept no more bytes. Then the connection counts as lost.
pub(crate) const PEER_SEND_WITHIN: Duration = Duration::from_secs(20);

/// Messages that may be on their way to a peer without its acknowledgement, of the own journal, and as many of all others: as
/// many as their bytes allow. At the limit the next ones wait.
pub(crate) const PEER_WINDOW_MESSAGES: usize = 8_192;

/// Their bytes: over a line with a delay of two seconds each way a megabyte a second. At the limit the next ones wait; one
/// always fits. On a line where acknowledgements are late it is less ([`counterfoil_domain::mesh::pace`]).
pub(crate) const PEER_WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of others' entries that are sent in one go, give or take one: an entry that is recorded meanwhile is next.
pub(crate) const PEER_SLICE_BYTES: usize = 64 * 1024;

/// Bytes of a frame from which on it is packed, where the peer takes that: shorter ones gain nothing.
pub(crate) const PEER_PACK_BYTES_MIN: usize = 256;

/// Bytes of messages that are read, sent or stored at once (`batch_size` of them at most), give or take one message: sales of this
/// lane wait for one batch. The rest follows.
pub(crate) const PEER_BATCH_BYTES: usize = 512 * 1024;

/// Frames of one peer in a second: more than a lane can store. Above it nothing more is read until the second is over.
pub(crate) const PEER_FRAMES_PER_SECOND_MAX: usize = 20_000;

/// Their bytes, as they are when they are unpacked. Above it nothing more is read until the second is over: few bytes on the
/// line may be many.
pub(crate) const PEER_BYTES_PER_SECOND_MAX: usize = 64 * 1024 * 1024;

/// Longest pause before a peer is dialed again, in milliseconds: it is in the same room, and a sale that waits for a
/// second copy is there soon.
pub(crate) const PEER_BACKOFF_LAST_MS: u64 = 5_000;

/// Lanes that announce themselves on the network and are known at once, and how many the library keeps of what was said: anybody
/// can announce anything. At the limit all of them are forgotten and heard anew.
#[cfg(feature = "lan")]
pub(crate) const PEER_FOUND_MAX: usize = 2_048;

/// Records of announcements that the library keeps, four to seven of each lane. At the limit it is started anew.
#[cfg(feature = "lan")]
pub(crate) const PEER_FOUND_RECORDS_MAX: i64 = 10_000;

/// Addresses of one of them. More are passed over.
#[cfg(feature = "lan")]
pub(crate) const PEER_FOUND_ADDRESSES_MAX: usize = 4;

/// How many of them are dialed at once. The others wait for their turn.
#[cfg(feature = "lan")]
pub(crate) const PEER_FOUND_DIALS_MAX: usize = 16;

/// First and longest pause before one of them is dialed again that was never reached, in milliseconds: mostly it is none.
#[cfg(feature = "lan")]
pub(crate) const PEER_FOUND_BACKOFF_MS: (u64, u64) = (500, 60_000);

/// How long it takes until announcing and looking begin anew after a failure.
#[cfg(feature = "lan")]
pub(crate) const PEER_FOUND_PAUSE: Duration = Duration::from_secs(5);

/// How often it is looked how much the library keeps.
#[cfg(feature = "lan")]
pub(crate) const PEER_FOUND_LOOK_PAUSE: Duration = Duration::from_secs(10);

/// How long a lane that ends waits until it has said so on the network.
#[cfg(feature = "lan")]
pub(crate) const PEER_GOODBYE_WITHIN: Duration = Duration::from_millis(500);

/// Entries that are counted into the levels of stock at once: sales of this lane wait for one such batch.
pub(crate) const STOCK_BATCH_ENTRIES: usize = 256;

/// How long what was recorded waits to be counted, when nobody asks for a level meanwhile.
pub(crate) const STOCK_SETTLE: Duration = Duration::from_secs(1);

/// How long whoever asks for levels waits for what is not counted yet, and how long after a failure it is tried
/// again. Then the answer says how much is missing.
pub(crate) const STOCK_PAUSE: Duration = Duration::from_secs(2);

/// How often it is kept how far peers have this lane's journal; what is lost of it is told again by the next hello.
pub(crate) const PEER_MARKS_PAUSE: Duration = Duration::from_secs(1);

/// Time between two looks whether a connected lane may still take part: its certificate may end meanwhile.
pub(crate) const PEER_TRUST_PAUSE: Duration = Duration::from_secs(30);

/// Products whose levels are read at once: sales of this lane wait for one such page.
pub(crate) const RECONCILE_PAGE_PRODUCTS: usize = 4_096;

/// Products that are compared document by document at a time: what is counted of so many is in memory.
pub(crate) const RECONCILE_PRODUCTS_AT_ONCE: usize = 64;

/// Products that differ which one comparison looks into. The others are left to the next one.
pub(crate) const RECONCILE_PRODUCTS_MAX: usize = 1_000;

/// Documents of one product that one comparison counts again. The others are left to the next one.
pub(crate) const RECONCILE_DOCUMENTS_MAX: usize = 10_000;

/// Documents that are counted again at once: sales of this lane wait for one such part.
pub(crate) const RECONCILE_DOCUMENTS_AT_ONCE: usize = 64;

/// Entries that one of two lanes has and the other lacks, above which the two are not compared: they would differ everywhere. The
/// next comparison comes when that one has caught up.
pub(crate) const RECONCILE_APART_MAX: u64 = 1_000;

/// How long a lane may take to answer one request, a large inventory on a slow machine too. Then it counts as silent.
pub(crate) const RECONCILE_ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Pauses before what differs is compared once more: what was on its way to one of both is counted by then.
pub(crate) const RECONCILE_SETTLE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// Codes of products that a person is told of at once.
pub(crate) const RECONCILE_NAMED_MAX: usize = 10;

/// How long after a damaged journal was asked for again it is asked for once more; doubles each time, as all that follows on
/// the damage comes again.
pub(crate) const MEND_PAUSE: Duration = Duration::from_secs(5);

/// Longest such pause.
pub(crate) const MEND_PAUSE_MAX: Duration = Duration::from_secs(600);

/// How long certificates of a trial shop hold, in days: longer than anybody tries out a till. Pairing again gives another.
pub(crate) const TRIAL_CERTIFICATE_DAYS: i64 = 400;

/// Requests for rights that wait on one connection, either way. One more is dropped: its sale is refused, and may be made again.
pub(crate) const RIGHTS_REQUESTS_MAX: usize = 256;
