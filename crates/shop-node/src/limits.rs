//! Limits of the local API, with units, reasons, and what happens there.

use std::time::Duration;

/// Most characters of the name of who decides; more is refused.
pub(crate) const WHO_CHARS_MAX: usize = 200;

/// How long a decision waits for one exchange with the hub. A hub that takes longer counts as away: the
/// decision is recorded and travels later.
pub(crate) const DECISION_SYNC_WITHIN: Duration = Duration::from_secs(5);

/// Exchanges with the hub after a decision, until it has merged it; then the answer says that it is on its way.
pub(crate) const DECISION_SYNCS_MAX: u32 = 5;

/// Pause between two of them: the hub consolidates by itself.
pub(crate) const DECISION_MERGED_PAUSE: Duration = Duration::from_millis(100);

/// Operations in one batch of a client; more are refused whole. They are one transaction, and sales wait while
/// it is written.
pub(crate) const OPERATIONS_MAX: usize = 500;

/// Changes in one page, when the client does not say and at most; it asks again for the rest.
pub(crate) const CHANGES_MAX: usize = 1_000;

/// How long before the end of its token the status says what to do, in milliseconds: two weeks, in which an
/// operator is found. A token that the node changes by itself never comes so close.
pub(crate) const TOKEN_NOTICE_MS: i64 = 14 * 24 * 60 * 60 * 1000;
