//! What is known about the hub right now. It is kept in `local.db` after each run, so that a command can
//! tell without a daemon; lost with that file, and known again after one run.

use crate::limits::TOKEN_NOTICE_MS;
use crate::problem::chain;
use crate::sync::SyncError;
use counterfoil_protocol::wire::hub::HelloAnswer;
use counterfoil_protocol::wire::node::{Healed, LogRow, SyncReport};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Where the node stands with the hub.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing is sent.
    #[default]
    Trial,
    /// The last run completed.
    Online,
    /// The hub cannot be reached.
    Offline,
    /// A run is under way.
    Syncing,
    /// The hub answers and something is wrong all the same.
    Failed,
    /// The catalog waits for an update of this till.
    UpdateRequired,
    /// The hub does not take this till's token.
    AuthRefused,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Trial,
        Self::Online,
        Self::Offline,
        Self::Syncing,
        Self::Failed,
        Self::UpdateRequired,
        Self::AuthRefused,
    ];

    /// The name in the status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trial => "trial",
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Syncing => "syncing",
            Self::Failed => "failed",
            Self::UpdateRequired => "update_required",
            Self::AuthRefused => "auth_refused",
        }
    }
}

/// What is known about the hub right now.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SyncState {
    /// Where the node stands; [`Phase::Trial`] until the first run.
    pub phase: Phase,
    /// What it stood at before the run under way.
    settled_phase: Phase,
    /// Runs that failed in a row.
    pub retry_count: i64,
    /// What the last failed run said; gone after a complete one.
    pub last_error: Option<String>,
    /// What was healed the last time.
    pub last_healed: Option<Healed>,
    /// End of the last complete run, milliseconds since the Unix epoch.
    pub last_synced_ms: Option<i64>,
    /// This clock minus the hub's, milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// How long the last hello took, there and back, in milliseconds.
    pub round_trip_ms: i64,
    /// Entries of this node in the hub's quarantine.
    pub quarantined: i64,
    /// Why the hub does not consolidate this till's book, when it does not.
    pub halted: Option<String>,
    /// Why the hub keeps this till's book without counting it, when it does.
    pub waits: Option<String>,
    /// The hub takes nothing until this till is updated.
    pub is_shut_out: bool,
    /// When the hub's token ends by itself, milliseconds since the Unix epoch by the hub's clock.
    pub token_expires_ms: Option<i64>,
    /// Whether the hub can tell this node at once of news.
    #[serde(skip)]
    pub listening: bool,
    /// Bytes sent by this process.
    #[serde(skip)]
    pub bytes_up: u64,
    /// Bytes received by this process.
    #[serde(skip)]
    pub bytes_down: u64,
}

impl SyncState {
    pub(crate) fn begin(&mut self) {
        if self.phase != Phase::Syncing {
            self.settled_phase = self.phase;
        }
        self.phase = Phase::Syncing;
    }

    /// Whether the hub answers and something has been wrong as often as the limit says; sync goes on trying (T5).
    pub(crate) fn keeps_failing(&self, attempts_max: i64) -> bool {
        self.settled_phase == Phase::Failed && self.retry_count >= attempts_max
    }

    /// The hub has taken this till in: what it refused before does not count any more.
    pub(crate) fn forgive(&mut self) {
        self.retry_count = 0;
        self.last_error = None;
        if matches!(
            self.phase,
            Phase::AuthRefused | Phase::Failed | Phase::Trial
        ) {
            self.phase = Phase::Offline;
        }
    }

    /// Takes note of the hub's greeting. The hub looked at its clock about half way between the two moments
    /// (X1); a clock that was put back meanwhile makes a round trip of nothing.
    pub(crate) fn heard(&mut self, hello: &HelloAnswer, sent_ms: i64, now_ms: i64) {
        self.round_trip_ms = now_ms.saturating_sub(sent_ms).max(0);
        let half_way_ms = now_ms.saturating_sub(self.round_trip_ms >> 1);
        self.clock_offset_ms = Some(half_way_ms.saturating_sub(hello.now_ms));
        self.quarantined = hello.quarantined;
        self.halted.clone_from(&hello.halted);
        self.waits.clone_from(&hello.waits);
        self.is_shut_out = !hello.takes_book;
        self.token_expires_ms = hello.token.and_then(|token| token.expires_ms);
    }

    /// What a person should do about a token that ends soon. The node changes it by itself long before, unless it is
    /// handed in.
    pub(crate) fn token_notice(&self, now_ms: i64) -> Option<String> {
        let hub_ms = now_ms.saturating_sub(self.clock_offset_ms.unwrap_or(0));
        let left_ms = self.token_expires_ms?.saturating_sub(hub_ms);
        (left_ms < TOKEN_NOTICE_MS).then(|| {
            let days = left_ms.max(0).div_euclid(24 * 60 * 60 * 1000);
            format!(
                "the token with which this till syncs ends in {days} days: hand in another one and activate with a new \
                 join code; without it sync stops, selling goes on"
            )
        })
    }

    /// Takes note of how a run ended; returns a log line when that is news.
    pub(crate) fn end(
        &mut self,
        outcome: &Result<SyncReport, SyncError>,
        now_ms: i64,
        attempts_max: i64,
    ) -> Option<LogRow> {
        let before = self.settled_phase;
        let (level, event, detail) = match outcome {
            Ok(report) => {
                self.retry_count = 0;
                self.last_error = None;
                self.last_synced_ms = Some(now_ms);
                if let Some(what) = report.healed.clone() {
                    let at_ms = now_ms;
                    self.last_healed = Some(Healed { at_ms, what });
                }
                self.bytes_up += report.bytes_up;
                self.bytes_down += report.bytes_down;
                self.phase = match (&self.halted, report.update_required) {
                    (Some(_), _) => Phase::Failed,
                    (None, true) => Phase::UpdateRequired,
                    (None, false) => Phase::Online,
                };
                let event = match (before, self.phase) {
                    (_, Phase::Failed) => "diverged",
                    _ if report.healed.is_some() => "healed",
                    (_, Phase::UpdateRequired) => "update_required",
                    (Phase::Offline, _) => "reconnect",
                    _ => "sync",
                };
                let level = if report.healed.is_some() {
                    "warn"
                } else {
                    "info"
                };
                (level, event, json!(report))
            }
            Err(error) => {
                let text = chain(error);
                self.last_error = Some(text.clone());
                self.phase = error.phase();
                // No repetition helps against an old program: that is waiting, not failing.
                if self.phase != Phase::UpdateRequired {
                    self.retry_count += 1;
                }
                let given_up = self.retry_count >= attempts_max && self.phase != Phase::Offline;
                if given_up && self.phase == Phase::Failed {
                    tracing::error!(error = %text, "sync keeps failing");
                }
                let level = if self.phase == Phase::Offline {
                    "warn"
                } else {
                    "error"
                };
                let detail = json!({"error": text, "retry_count": self.retry_count});
                (level, self.phase.name(), detail)
            }
        };
        self.settled_phase = self.phase;
        let moved = outcome
            .as_ref()
            .is_ok_and(|report| report.frames_up + report.frames_down > 0);
        let news = moved || self.phase != before;
        let row = || LogRow {
            at_ms: now_ms,
            level: level.into(),
            event: event.into(),
            detail,
        };
        news.then(row)
    }
}

/// What a person should do, when there is something to do.
pub(crate) fn notice(phase: Phase, state: &SyncState) -> Option<String> {
    let quarantined = state.quarantined;
    if let Some(reason) = &state.halted {
        return Some(format!(
            "the hub has this till's sales but does not count them: {reason}; call the operator, \
             selling goes on"
        ));
    }
    if let Some(reason) = &state.waits {
        return Some(format!(
            "the hub has this till's sales and does not count them yet: {reason}; selling goes on"
        ));
    }
    let text = match phase {
        Phase::UpdateRequired if state.is_shut_out => {
            "schema version mismatch, update required: the hub takes nothing until a newer Counterfoil is \
             installed on this till; selling goes on, and everything is sent afterwards"
        }
        Phase::UpdateRequired => {
            "schema version mismatch, update required: sales still go to the hub, the catalog waits \
             until a newer Counterfoil is installed on this till"
        }
        Phase::AuthRefused => {
            "the hub does not know this till, or does not accept it any more: ask the operator for a \
             join code (`counterfoil-hub shop join NAME`) and activate with it; selling goes on"
        }
        Phase::Trial | Phase::Online | Phase::Offline | Phase::Syncing | Phase::Failed
            if quarantined > 0 =>
        {
            return Some(format!(
                "{quarantined} records of this till broke a rule and stand in the hub's quarantine: \
                 the operator sees why with `counterfoil-hub quarantine list`"
            ));
        }
        Phase::Trial | Phase::Online | Phase::Offline | Phase::Syncing | Phase::Failed => {
            return None;
        }
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_protocol::gate::{Gate, Schemas};

    #[test]
    fn the_offset_is_that_of_the_moment_half_way() {
        let schemas = Schemas {
            book: 1,
            catalog: 1,
        };
        let hello = HelloAnswer {
            lanes: None,
            gate: Gate::Open,
            schemas,
            now_ms: 10_000,
            consolidated_seq: 0,
            quarantined: 0,
            halted: None,
            takes_book: true,
            waits: None,
            catalog_revision: 0,
            known: Vec::new(),
            conflicts: None,
            token: None,
        };
        // Sent and heard by a till's clock; the offset, and what the next hello says of the line.
        for (sent, heard, offset, round_trip) in [
            (9_000, 11_000, 0, 2_000),
            (12_000, 16_000, 4_000, 4_000),
            (5_000, 5_000, -5_000, 0),
            (20_000, 9_000, -1_000, 0),
        ] {
            let mut state = SyncState::default();
            state.heard(&hello, sent, heard);
            assert_eq!(
                (state.clock_offset_ms, state.round_trip_ms),
                (Some(offset), round_trip)
            );
        }
    }
}
