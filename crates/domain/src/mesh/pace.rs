//! How much may be on its way to a peer so that what is urgent does not wait behind it (ADR 0025).
//!
//! What is sent and not acknowledged stands in a queue somewhere: in this machine, in a router, in the peer. Only the time
//! that an acknowledgement takes shows how long that queue is. While it takes hardly longer than it must, twice as much may be
//! on its way; when it takes longer than [`PACE_QUEUE`], less.

use std::time::Duration;

/// Least bytes that may be on their way: some forty sales. A line on which these take long is slow whatever is sent.
pub const PACE_BYTES_MIN: usize = 32 * 1024;

/// How much longer than it must an acknowledgement may take. So long, about, an urgent thing waits behind others.
pub const PACE_QUEUE: Duration = Duration::from_millis(100);

/// See the module. Times are since any one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    bytes: usize,
    bytes_max: usize,
    /// What an acknowledgement takes when nothing waits.
    least: Option<Duration>,
    /// When `bytes` changed; what was sent before says nothing about it.
    changed: Duration,
}

impl Pace {
    /// As little as may be, until acknowledgements come.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes: PACE_BYTES_MIN.min(bytes_max),
            bytes_max,
            least: None,
            changed: Duration::ZERO,
        }
    }

    /// How much may be on its way now.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Something was acknowledged that was sent then. So many bytes were on their way until now.
    pub fn acked(&mut self, sent: Duration, now: Duration, on_way: usize) {
        if sent < self.changed {
            return;
        }
        let took = now.saturating_sub(sent);
        let least = self.least.map_or(took, |least| least.min(took));
        self.least = Some(least);
        let may = least + PACE_QUEUE;
        if took <= may {
            // A line that was hardly used shows nothing, and twice as much makes twice the queue.
            let is_used = on_way >= self.bytes >> 1;
            let is_short = (took - least).saturating_mul(2) <= PACE_QUEUE;
            if is_used && is_short && self.bytes < self.bytes_max {
                self.bytes = self.bytes.saturating_mul(2).min(self.bytes_max);
                self.changed = now;
            }
            return;
        }
        if self.bytes <= PACE_BYTES_MIN {
            // The line itself has become slower: so little makes no queue.
            self.least = Some(took);
        }
        let fitting = u128::try_from(self.bytes).unwrap_or(u128::MAX) * may.as_micros();
        let fitting = fitting.div_euclid(took.as_micros().max(1));
        let least_bytes = PACE_BYTES_MIN.min(self.bytes_max);
        self.bytes = usize::try_from(fitting).map_or(self.bytes, |it| it.max(least_bytes));
        self.changed = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 4 << 20;

    /// Fills a line of so many bytes a second and that delay, for so long; what may be on its way then.
    fn filled(
        pace: &mut Pace,
        rate: u64,
        delay: Duration,
        from: Duration,
        rounds: u32,
    ) -> Duration {
        let mut now = from;
        for _ in 0..rounds {
            let bytes = pace.bytes();
            let sent = now;
            let micros = u64::try_from(bytes).expect("small") * 1_000_000;
            now += delay + Duration::from_micros(micros.div_euclid(rate));
            pace.acked(sent, now, bytes);
        }
        now
    }

    #[test]
    fn a_wide_line_is_filled_however_long_it_takes() {
        for delay in [1, 50, 4_000].map(Duration::from_millis) {
            let mut pace = Pace::new(MAX);
            assert_eq!(pace.bytes(), PACE_BYTES_MIN);
            filled(&mut pace, 200 << 20, delay, Duration::ZERO, 8);
            assert_eq!(pace.bytes(), MAX, "{delay:?}");
        }
    }

    #[test]
    fn on_a_narrow_line_no_more_waits_than_an_urgent_thing_may_wait_for() {
        for rate in [16_u64 << 10, 128 << 10, 1 << 20, 8 << 20] {
            let mut pace = Pace::new(MAX);
            let mut now = Duration::ZERO;
            for _ in 0..40 {
                now = filled(&mut pace, rate, Duration::from_millis(5), now, 1);
                let queue = 2 * PACE_QUEUE.as_millis() * u128::from(rate.div_euclid(1_000));
                let most = usize::try_from(queue).expect("small").max(PACE_BYTES_MIN);
                // What a queue may have, and once as much until the first one shows.
                assert!(pace.bytes() <= 2 * most, "{} at {rate}", pace.bytes());
            }
        }
    }

    #[test]
    fn a_line_that_becomes_slower_for_good_is_used_all_the_same() {
        let mut pace = Pace::new(MAX);
        let (fast, slow) = (Duration::from_millis(1), Duration::from_secs(3));
        let now = filled(&mut pace, 200 << 20, fast, Duration::ZERO, 8);
        filled(&mut pace, 200 << 20, slow, now, 20);
        assert_eq!(pace.bytes(), MAX);
    }

    #[test]
    fn what_was_sent_before_and_a_line_that_is_hardly_used_say_nothing() {
        let mut pace = Pace::new(MAX);
        let at = Duration::from_millis;
        pace.acked(at(0), at(1), 100);
        assert_eq!(pace.bytes(), PACE_BYTES_MIN, "a sale now and then");
        pace.acked(at(2), at(3), PACE_BYTES_MIN);
        assert_eq!(pace.bytes(), 2 * PACE_BYTES_MIN);
        pace.acked(at(2), at(900), 2 * PACE_BYTES_MIN);
        assert_eq!(pace.bytes(), 2 * PACE_BYTES_MIN, "sent before");
    }
}
