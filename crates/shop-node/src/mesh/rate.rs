//! How fast a peer may speak.

use crate::limits::{PEER_BYTES_PER_SECOND_MAX, PEER_FRAMES_PER_SECOND_MAX};
use std::time::Duration;
use tokio::time::Instant;

/// Lets a peer say no more in a second than it may.
pub(super) struct Rate {
    since: Instant,
    frames: usize,
    bytes: usize,
}

impl Rate {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            frames: 0,
            bytes: 0,
        }
    }

    /// So much was heard, unpacked. Comes back when more may be.
    pub(super) async fn keep(&mut self, frames: usize, bytes: usize) {
        self.frames = self.frames.saturating_add(frames);
        self.bytes = self.bytes.saturating_add(bytes);
        let second = Duration::from_secs(1);
        let is_over =
            self.frames > PEER_FRAMES_PER_SECOND_MAX || self.bytes > PEER_BYTES_PER_SECOND_MAX;
        if self.since.elapsed() >= second {
            *self = Self::new();
        } else if is_over {
            tokio::time::sleep_until(self.since + second).await;
            *self = Self::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_too_much_in_a_second_is_heard_again_in_the_next_one() {
        let (frames, bytes) = (PEER_FRAMES_PER_SECOND_MAX, PEER_BYTES_PER_SECOND_MAX);
        for (frames, bytes) in [(frames, 0), (0, bytes)] {
            let began = Instant::now();
            let mut rate = Rate::new();
            rate.keep(frames, bytes).await;
            assert_eq!(began.elapsed(), Duration::ZERO, "so much it may say");
            rate.keep(1, 1).await;
            assert_eq!(began.elapsed(), Duration::from_secs(1));
            rate.keep(1, 1).await;
            assert_eq!(began.elapsed(), Duration::from_secs(1), "a new second");
        }
    }
}
