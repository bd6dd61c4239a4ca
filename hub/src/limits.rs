//! Named limits: unit, reason, and what happens at the limit.

use std::time::Duration;

/// Bytes of one pushed batch as it arrives; more is answered with 413. Four times what our own
/// client sends before compression.
pub const PUSH_WIRE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a pushed batch after decompression: what [`counterfoil_replica`] takes in one request,
/// and one frame more, so that its own refusal names the rule.
pub const PUSH_PLAIN_BYTES_MAX: usize = 16_385 * 4_120;

/// Bytes of a JSON request; more is answered with 413. The largest is a catalog edit.
pub const JSON_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of entries that a lane brings of another one; more is answered with 413. One entry may be as large as a frame
/// between lanes.
pub const RELAY_BYTES_MAX: usize =
    counterfoil_protocol::wire::lane::FRAME_BYTES_MAX + JSON_BYTES_MAX;

/// Bytes of an answer that a command reads: a whole catalog as JSON; more is an error.
pub const ANSWER_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Time for the frames of a push to arrive; then the request is refused. As long as a till gives it.
pub const PUSH_TIMEOUT: Duration = counterfoil_replica::limits::REQUEST_TIMEOUT;

/// Time for any other body to arrive; then the request is refused, so no client holds a
/// connection for ever.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(120);

/// Time that open requests get when the hub is told to stop; then they are cut off. A cut push is
/// repeated by its node.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Tills that an alert names; of more it says how many there are.
pub(crate) const TILLS_NAMED_MAX: usize = 50;

/// Copies that are held open at once; the one used longest ago is closed for another. Each holds
/// four file descriptors and a checksum index.
pub const COPIES_OPEN_MAX: usize = 64;

/// Free-standing databases of one hub; one more is refused. `database list` opens each of them.
pub const DATABASES_MAX: i64 = 10_000;

/// Time between two looks for history that is older than the operator wants.
pub const HISTORY_PRUNE_INTERVAL: Duration = Duration::from_secs(3_600);

/// Time between two looks at the whole of a database, for bytes that the disk has changed. One database a
/// sweep is read, the one that was not for longest; with more than there are sweeps in that time it
/// takes longer.
pub const VERIFY_INTERVAL: Duration = Duration::from_secs(24 * 3_600);

/// Journal entries that are consolidated in one transaction: some 40,000 rows of a busy shop, a
/// fraction of a second, so that no other writer waits long. More go into the next transaction.
pub const CONSOLIDATE_ENTRIES_MAX: i64 = 5_000;

/// Journal entries before a batch among which a customer is looked for whom no merged edit names: a tenth of a
/// second, so that a backlog of a year does not read the whole book for each batch. What waits for one who was
/// entered further back steps aside and follows when the edit is merged, in the same pass.
pub const ENTERED_BEFORE_ENTRIES_MAX: i64 = 100_000;

/// Urgent batches that are moved before one of the others has its turn: where tills sell without a pause there is
/// always one more, and their own edits would wait for ever.
pub const URGENT_BATCHES_MAX: usize = 16;

/// Catalog rows that are published in one transaction; same reason.
pub const PUBLISH_ROWS_MAX: usize = 2_000;

/// Rows kept in `alert`; the oldest that do not last and are delivered are removed.
pub const HISTORY_ROWS_MAX: i64 = 10_000;

/// Rows kept in `run`, some 100 bytes each; the oldest are removed. A fleet of 200 tills that sells fills it in a day.
pub const RUN_ROWS_MAX: i64 = 100_000;

/// Runs that wait in memory to be written; beyond it the oldest are dropped, and counted by metrics only. The writer is
/// behind by seconds then.
pub const RUNS_WAITING_MAX: usize = 10_000;

/// Time that runs wait to be written, so that a push costs no transaction of its own. A hub that is killed loses the
/// runs of this time, nothing else.
pub const RUN_WRITE_PAUSE: Duration = Duration::from_secs(1);

/// Most characters of what is said about a run or a delivery; more is cut off.
pub const RUN_DETAIL_CHARS_MAX: usize = 300;

/// Messages about alerts that wait to be delivered; beyond it the oldest are dropped, with a line in the log. The
/// alerts stay listed.
pub const OUTBOX_ROWS_MAX: i64 = 10_000;

/// Time between two looks for a message that is due.
pub const OUTBOX_PAUSE: Duration = Duration::from_millis(500);

/// Time for a webhook to answer; then the message is sent again later.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for an alert command to end; then it is killed, and started again later.
pub const ALERT_COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// First pause after a delivery that failed, in milliseconds; it doubles.
pub const DELIVERY_PAUSE_MS_MIN: i64 = 1_000;

/// Longest pause between two attempts to deliver a message, in milliseconds.
pub const DELIVERY_PAUSE_MS_MAX: i64 = 600_000;

/// Days whose proof is watched: those that were closed last.
pub const PROOF_DAYS_MAX: i64 = 31;

/// Days that are proved again in one look, so that reports wait for fractions of a second.
pub const PROOFS_A_LOOK_MAX: usize = 4;

/// Time after which a day that has not changed is proved again, for rows that somebody altered.
pub const PROOF_AGAIN: Duration = Duration::from_secs(24 * 3_600);

/// Time after which a day whose proof failed is proved again though nothing seems to have changed.
pub const PROOF_FAILED_AGAIN: Duration = Duration::from_secs(60);

/// Bytes of room on the disk beyond the limit at which `disk_low` ends, so that what comes and goes does not raise it
/// again and again.
pub const DISK_LOW_MARGIN: u64 = 64 * 1024 * 1024;

/// Milliseconds for which an answer about being ready stands, because each takes a durable write; who asks more often
/// gets the same one.
pub const READY_ANSWER_MS: i64 = 1_000;

/// Time for a look at the databases to answer when somebody asks whether the hub is ready; then it is not.
pub const READY_TIMEOUT: Duration = Duration::from_secs(3);

/// Time without a sign of a main loop after which the process counts as dead: far more than any transaction takes,
/// because whoever asks may restart it.
pub const LOOP_SILENCE_MAX: Duration = Duration::from_secs(600);

/// Nodes that metrics name one by one, those that are furthest behind; the others are in the sums. So a large chain
/// does not make a large answer.
pub const METRIC_NODES_MAX: usize = 100;

/// An alert that repeats within this time is not written again, in milliseconds: a till with a
/// wrong token asks every few seconds.
pub const ALERT_REPEAT_MS: i64 = 60_000;

/// Rows of one answer of the conflicts or the audit trail; the rest comes with the next page.
pub const PAGE_ROWS_MAX: i64 = 500;

/// Most characters of the name of who decides, which stands in the audit trail; more is refused.
pub const WHO_CHARS_MAX: usize = 100;

/// Fields that a rehearsal lists; beyond it they are counted only.
pub const REHEARSAL_ROWS_MAX: usize = 10_000;

/// How far back a rehearsal may go, in days; more is refused.
pub const REHEARSAL_DAYS_MAX: u32 = 3_660;

/// Catalog rows that an undoing writes in one transaction, of seconds; more follow in further ones, and sales of
/// tills are consolidated in between.
pub const UNDO_ROWS_MAX: i64 = 20_000;

/// Fields that an undoing lists; beyond it they are counted only.
pub const UNDO_FIELDS_MAX: usize = 10_000;

/// Imports that a list shows, the newest; older ones can still be undone by their id.
pub const IMPORTS_SHOWN_MAX: i64 = 1_000;

/// Alerts shown by `status`.
pub const STATUS_ALERTS_MAX: i64 = 20;

/// Contact of a node or of a database's client is written at most this often when nothing else changed, in milliseconds.
pub const SEEN_INTERVAL_MS: i64 = 10_000;

/// Write transactions on `hub.db` between two checkpoints of it.
pub const CHECKPOINT_TRANSACTIONS: u64 = 64;

/// How long a command waits for another command or a starting hub on the same folder.
pub const COMMAND_WAIT: Duration = Duration::from_secs(20);

/// Pause between two attempts to get at a folder that another command uses.
pub const COMMAND_RETRY: Duration = Duration::from_millis(40);

/// Deadline of one request of a command to the running hub.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);

/// How long a join code holds unless the operator says otherwise, in minutes.
pub const JOIN_CODE_MINUTES: i64 = 24 * 60;

/// Most characters of a shop's name, phone or address; more is refused.
pub const NAME_CHARS_MAX: usize = 200;

/// Most characters of the reason that a person gives for a decision; more is refused.
pub const REASON_CHARS_MAX: usize = 2_000;

/// Answers below this size are not compressed, in bytes.
pub const COMPRESS_BYTES_MIN: usize = 256;

/// First pause after a consolidation that failed; it doubles up to the time between two sweeps.
pub const RETRY_PAUSE_MIN: Duration = Duration::from_millis(500);

/// Measurements that are kept of a node's clock: those of a clock that is the same go by themselves, so this
/// is a clock that is set all the time. The oldest go; what is consolidated has been corrected by them.
pub const CLOCK_MEASUREMENTS_MAX: i64 = 1_000;

/// Entries between two contacts that are looked at to find where a clock was set: years of a busy till. Those
/// behind are corrected as the last of them.
pub const CLOCK_ENTRIES_MAX: i64 = 500_000;

/// Farthest that a clock is taken to be wrong, in milliseconds either way: some 9,000 years, which logical time can
/// hold. A node that says more is taken at this.
pub const CLOCK_OFFSET_MS_MAX: i64 = 1 << 48;

/// How far an edit may be dated ahead of the hub's clock, corrected, in milliseconds: a year. By less the edit
/// counts as made when it arrived; beyond it, which nothing measured explains, it goes to quarantine.
pub const EDIT_AHEAD_MS_MAX: i64 = 366 * 24 * 60 * 60 * 1000;

/// Longest round trip of a hello that is believed, in milliseconds: a request that takes longer is given up.
/// Beyond it this much is taken for it, so that no till hides a wrong clock behind it.
pub const ROUND_TRIP_MS_MAX: i64 = 60_000;

/// Tills that listen at once; a further one is told to ask instead. Each holds a connection and a slot
/// of some bytes, and one file descriptor of the process.
pub const LISTENERS_MAX: usize = 4_096;

/// Silence on a stream of events after which a comment is sent: short enough that routers do not forget
/// the connection, long enough to cost nothing.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// Points of a journal in one answer about a node's history: 64 find the last common entry of a
/// quarter of a million in three questions. A till asks again for what lies between.
pub const LINEAGE_POINTS_MAX: i64 = 64;

/// Nodes of one lineage. A till takes a new identity when its folder was restored or cloned, which is
/// rare; beyond this something is wrong with its disk, it is refused, and a person looks.
pub const IDENTITIES_MAX: i64 = 1_000;

/// Parts of a file that are read and compressed at a time, each a MiB; others wait for their turn. More
/// would not be faster, and fifty tills that bootstrap at once would take the hub's processors from sales.
pub const EXPORTS_AT_ONCE_MAX: usize = 4;

/// Pushes that are decoded and applied at a time; others wait for their turn, compressed. A push may take 70 MB
/// meanwhile, and more of them than a few processors keep busy would only take the memory.
pub const PUSHES_AT_ONCE_MAX: usize = 8;

/// The earliest time that a record may be dated, in milliseconds since the Unix epoch: the year 2000. A till
/// whose clock lost its battery says 1970 or 1980; earlier records go to quarantine.
pub const TIME_MS_MIN: i64 = 946_684_800_000;

/// Conflicts in one answer to a till, each some kilobytes; it asks again for the rest.
pub const SHOP_CONFLICTS_MAX: i64 = 200;

/// How long the hub's own authority holds, in days: longer than a till lives. Its certificate is pinned, and a new one
/// would ask for new join codes.
pub const CA_DAYS: i64 = 20 * 365;

/// How long a certificate of the hub's own authority holds, in days; a new one is made after a third of it, so that
/// tills whose clocks are weeks ahead still believe it.
pub const LEAF_DAYS: i64 = 90;

/// Time between two looks whether the hub's certificate is due, or its files have changed, in seconds, unless the
/// operator says otherwise.
pub const TLS_CHECK_SECONDS: u32 = 60;

/// Time for a connection to be secured; then it is closed.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that are being secured at a time; further ones wait to be accepted. Each takes some 40 KB.
pub const HANDSHAKES_AT_ONCE_MAX: usize = 256;

/// How long a person stays signed in, in milliseconds: a working day. Then the session is refused, and they sign
/// in again.
pub const SESSION_MS: i64 = 12 * 60 * 60 * 1000;

/// Sessions of one person at once; one more ends the oldest.
pub const SESSIONS_MAX: i64 = 20;

/// Bytes of a password, at least: what guessing at the pace of the lockout does not find.
pub const PASSWORD_BYTES_MIN: usize = 10;

/// Bytes of a password, at most; more is refused, so that hashing takes no time worth an attack.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// Wrong passwords for one name before it is locked; who mistypes stays below.
pub const SIGN_IN_FAILURES_MAX: i64 = 5;

/// First time that a name is locked, in milliseconds; it doubles with each further wrong password.
pub const LOCK_MS_MIN: i64 = 30_000;

/// Longest time that a name is locked, in milliseconds: an hour, so nobody is kept out for ever by a stranger.
pub const LOCK_MS_MAX: i64 = 60 * 60 * 1000;

/// Wrong passwords are forgotten when none came for this long, in milliseconds.
pub const SIGN_IN_FORGET_MS: i64 = 24 * 60 * 60 * 1000;

/// Names that are remembered for wrong passwords; beyond it the oldest that are nobody's are forgotten.
pub const SIGN_IN_NAMES_MAX: i64 = 10_000;

/// Sign-ins that wait for their turn; each takes 19 MiB and some 50 ms. A further one is told to come again.
pub const SIGN_INS_WAITING_MAX: usize = 32;

/// How long the certificate of a lane holds, in days; a till asks for the next one after a third of it. A lane that has no
/// internet of its own is known to the others that long, and what it sells reaches the hub through them.
pub const LANE_CERTIFICATE_DAYS: i64 = 90;

/// Most characters of the name of a person or machine; more is refused.
pub const ACCOUNT_CHARS_MAX: usize = 64;

/// How long a machine's token holds unless its maker says otherwise, in days.
pub const MACHINE_DAYS_DEFAULT: i64 = 90;

/// How long a machine's token may hold, in days; more is refused.
pub const MACHINE_DAYS_MAX: i64 = 3_660;
