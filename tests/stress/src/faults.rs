//! What the network does to a connection, drawn from a seed.

use counterfoil_testkit::SeededRandom;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A way in which a connection breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The port is closed for a while, as when a hub is down.
    Refuse,
    /// Both sides get a reset in the middle.
    Cut,
    /// Bytes stand still for a while and then go on.
    Delay,
    /// From some byte on only a trickle passes.
    Throttle,
    /// A piece of the stream arrives twice in a row.
    DuplicateBytes,
    /// Everything that was sent up is sent once more, later, on a connection of its own.
    DuplicateRequest,
    /// The stream ends early, politely.
    Truncate,
    /// Nothing passes any more, and nobody is told.
    HalfOpen,
}

/// Which way bytes flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    Up,
    Down,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Refuse,
        Self::Cut,
        Self::Delay,
        Self::Throttle,
        Self::DuplicateBytes,
        Self::DuplicateRequest,
        Self::Truncate,
        Self::HalfOpen,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Cut => "cut",
            Self::Delay => "delay",
            Self::Throttle => "throttle",
            Self::DuplicateBytes => "duplicate bytes",
            Self::DuplicateRequest => "duplicate request",
            Self::Truncate => "truncate",
            Self::HalfOpen => "half-open",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What happens to one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) fault: Fault,
    /// Whose bytes are counted; the fault strikes when `at` of them have passed.
    pub(crate) direction: Direction,
    pub(crate) at: usize,
    /// How long it lasts, for the faults that last.
    pub(crate) lasts: Duration,
}

/// Of three connections this many are left alone.
const WHOLE_OF_THREE: u64 = 1;
/// The fault strikes before this byte: inside a request's head, or up to some hundred frames in.
const AT_BITS_MAX: u64 = 18;
/// The first of each kind strikes before this byte, which every connection reaches.
const AT_FIRST_BITS_MAX: u64 = 8;

/// Deals plans to the connections of a network: every fault comes once before any comes again.
#[derive(Debug, Default)]
pub(crate) struct Deck {
    left: Vec<Fault>,
    /// How often it was shuffled.
    rounds: u64,
}

impl Deck {
    /// The next connection's plan; `None` leaves it alone.
    pub(crate) fn deal(&mut self, random: &SeededRandom) -> Option<Plan> {
        if random.below(3) < WHOLE_OF_THREE {
            return None;
        }
        if self.left.is_empty() {
            self.left = Fault::ALL.to_vec();
            self.rounds += 1;
        }
        let count = u64::try_from(self.left.len()).unwrap_or(u64::MAX);
        let place = usize::try_from(random.below(count)).unwrap_or_default();
        let fault = self.left.swap_remove(place);
        let bits = if self.rounds == 1 {
            AT_FIRST_BITS_MAX
        } else {
            AT_BITS_MAX
        };
        Some(Plan::of(fault, bits, random))
    }
}

impl Plan {
    /// A fault that strikes before the byte that has so many bits.
    fn of(fault: Fault, bits: u64, random: &SeededRandom) -> Self {
        let direction = if random.below(2) == 0 {
            Direction::Up
        } else {
            Direction::Down
        };
        // As likely in the first kilobyte as anywhere later.
        let size = 1_u64 << random.below(bits);
        let at = usize::try_from(random.below(size)).unwrap_or_default();
        let lasts = match (fault, random.below(20)) {
            // Longer than the client's patience, now and then.
            (Fault::HalfOpen, 0) => Duration::from_secs(25),
            (Fault::HalfOpen, _) => Duration::from_millis(100 + random.below(2_000)),
            _ => Duration::from_millis(random.below(400)),
        };
        Self {
            fault,
            direction,
            at,
            lasts,
        }
    }
}

/// How often each fault was reached: bytes met it, not only a plan.
#[derive(Debug, Default)]
pub struct FaultCounts([AtomicU64; Fault::ALL.len()]);

impl FaultCounts {
    pub(crate) fn add(&self, fault: Fault) {
        for (known, count) in Fault::ALL.iter().zip(&self.0) {
            if *known == fault {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// How often each was reached so far, in the order of [`Fault::ALL`].
    #[must_use]
    pub fn all(&self) -> Vec<(Fault, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        Fault::ALL.into_iter().zip(counts).collect()
    }
}
