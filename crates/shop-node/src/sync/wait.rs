//! How long to wait until the next run: a pure decision over the outcome of the last one.

use crate::config::Config;
use crate::sync::{Phase, SyncError};
use counterfoil_domain::env::Random;
use counterfoil_protocol::wire::node::SyncReport;
use std::time::Duration;

/// The pause before the next run.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    config: Config,
    failures: u32,
    unsettled: u32,
    pause: Duration,
}

impl Pace {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            failures: 0,
            unsettled: 0,
            pause: config.sync_interval(),
        }
    }

    pub(crate) fn pause(&self) -> Duration {
        self.pause
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// The shortest pause after a failure.
    pub(crate) fn first(&self) -> Duration {
        Duration::from_millis(self.config.backoff_first_ms)
    }

    /// How long less urgent writes wait for company.
    pub(crate) fn gather(&self) -> Duration {
        Duration::from_millis(self.config.batch_delay_ms)
    }

    pub(crate) fn after(
        &mut self,
        outcome: &Result<SyncReport, SyncError>,
        settled: bool,
        random: &dyn Random,
    ) {
        match outcome {
            Ok(report) if report.update_required => self.rest(),
            // What was pulled is reported at the next hello, so that the operator sees who has it.
            Ok(report) if settled && report.bytes_down == 0 => self.rest(),
            Ok(report) => {
                self.failures = 0;
                let moved = report.frames_up + report.frames_down > 0;
                self.unsettled = if moved {
                    1
                } else {
                    self.unsettled.saturating_add(1)
                };
                let first = self.config.settle_delay_ms;
                self.pause = doubled(first, self.config.settle_max_ms, self.unsettled);
            }
            // It knows what to do; only time, or a notice of the hub, can tell it more.
            Err(error) if error.phase() == Phase::UpdateRequired => self.rest(),
            Err(_) => self.failed(random),
        }
    }

    /// There is nothing to wait for but time.
    pub(crate) fn rest(&mut self) {
        (self.failures, self.unsettled) = (0, 0);
        self.pause = self.config.sync_interval();
    }

    /// A run failed.
    pub(crate) fn failed(&mut self, random: &dyn Random) {
        self.unsettled = 0;
        self.failures = self.failures.saturating_add(1);
        let first = self.config.backoff_first_ms;
        let longest = doubled(first, self.config.backoff_last_ms, self.failures);
        self.pause = jittered(longest, random);
    }
}

/// `first`, twice that, four times that, at most `last`; `times` counts from 1.
pub(crate) fn doubled(first: u64, last: u64, times: u32) -> Duration {
    let factor = 1_u64
        .checked_shl(times.saturating_sub(1))
        .unwrap_or(u64::MAX);
    Duration::from_millis(first.saturating_mul(factor).min(last))
}

/// Between half of the pause and all of it, so that a thousand tills do not come back at once.
pub(crate) fn jittered(longest: Duration, random: &dyn Random) -> Duration {
    const STEPS: u32 = u16::MAX as u32;
    let mut bytes = [0_u8; 2];
    random.fill(&mut bytes);
    let half = longest / 2;
    half + half * u32::from(u16::from_le_bytes(bytes)) / STEPS
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);

    impl Random for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    fn offline() -> Result<SyncReport, SyncError> {
        Err(SyncError::Offline {
            url: String::new(),
            reason: String::new(),
        })
    }

    #[test]
    fn a_failing_hub_is_asked_less_and_less_often_but_always_again() {
        let config = Config {
            backoff_first_ms: 100,
            backoff_last_ms: 1_000,
            ..Config::default()
        };
        let mut pace = Pace::new(&config);
        let mut pauses = Vec::new();
        for _ in 0..70 {
            pace.after(&offline(), false, &Fixed(255));
            pauses.push(pace.pause().as_millis());
        }
        assert_eq!(pauses[..5], [100, 200, 400, 800, 1_000]);
        assert_eq!(pauses[69], 1_000);
        pace.after(&offline(), false, &Fixed(0));
        assert_eq!(pace.pause().as_millis(), 500);
    }
}
