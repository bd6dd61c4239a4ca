//! Hybrid logical clock: time for people, order for machines.
//!
//! A value is 48 bits of milliseconds and 16 bits of counter in one `i64`, so it sorts as a number.
//! It never goes back: a wrong wall clock can only be ahead, and the next event comes after it.
//! Nothing is persisted here; the owner restores the clock from the last value it stored.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

const COUNTER_BITS: u32 = 16;

/// One moment of the hybrid logical clock. Stored as an integer; the format must not change.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Default,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(transparent)]
pub struct Hlc(i64);

impl Hlc {
    /// Before every event.
    pub const ZERO: Self = Self(0);

    /// Reads a stored value.
    pub const fn from_raw(raw: i64) -> Self {
        Self(raw)
    }

    /// The value as it is stored.
    pub const fn raw(self) -> i64 {
        self.0
    }

    /// The milliseconds since the Unix epoch that the value carries.
    pub const fn millis(self) -> i64 {
        self.0 >> COUNTER_BITS
    }

    /// The value that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        // A full counter carries into the milliseconds, which keeps the order.
        Self(self.0.saturating_add(1))
    }

    /// The first value of a millisecond.
    pub const fn at_millis(millis: i64) -> Self {
        Self(millis << COUNTER_BITS)
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.millis(), self.0 & 0xFFFF)
    }
}

/// The clock of one node or hub: strictly increasing, and never behind anything it has seen.
#[derive(Clone, Debug, Default)]
pub struct HlcClock {
    last: Hlc,
}

impl HlcClock {
    /// Continues after the last value that was stored.
    pub const fn restored(last: Hlc) -> Self {
        Self { last }
    }

    /// The next value at the given wall time in milliseconds.
    pub fn tick(&mut self, now_ms: i64) -> Hlc {
        let wall = Hlc::at_millis(now_ms.clamp(0, i64::MAX >> COUNTER_BITS));
        self.last = wall.max(self.last.next());
        self.last
    }

    /// Takes note of a value from elsewhere; later ticks come after it.
    pub fn observe(&mut self, seen: Hlc) {
        self.last = self.last.max(seen);
    }

    /// The last value given or seen.
    pub const fn last(&self) -> Hlc {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_clock_that_goes_back_does_not_take_order_with_it() {
        let mut clock = HlcClock::default();
        let first = clock.tick(5_000);
        let second = clock.tick(1_000);
        assert!(second > first);
        assert_eq!(second.millis(), 5_000);
    }

    #[test]
    fn an_observed_value_is_never_repeated_or_preceded() {
        let mut clock = HlcClock::restored(Hlc::at_millis(10));
        clock.observe(Hlc::at_millis(99));
        assert!(clock.tick(50) > Hlc::at_millis(99));
    }

    proptest! {
        #[test]
        fn ticks_strictly_increase_whatever_the_wall_says(walls in prop::collection::vec(any::<i64>(), 1..200)) {
            let mut clock = HlcClock::default();
            let mut last = Hlc::ZERO;
            for wall in walls {
                // The far end of time saturates; everything a till can meet does not.
                let next = clock.tick(wall.rem_euclid(1 << 46));
                prop_assert!(next > last);
                last = next;
            }
        }
    }
}
