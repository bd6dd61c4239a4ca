//! How fast a peer may speak.

use crate::limits::PEER_FRAMES_PER_SECOND_MAX;
use std::time::Duration;
use tokio::time::Instant;

/// Lets a peer say no more in a second than it may.
pub(super) struct Rate {
    since: Instant,
    frames: usize,
}

impl Rate {
    pub(super) fn new() -> Self {
        let (since, frames) = (Instant::now(), 0);
        Self { since, frames }
    }

    pub(super) async fn keep(&mut self, frames: usize) {
        self.frames = self.frames.saturating_add(frames);
        let second = Duration::from_secs(1);
        if self.since.elapsed() >= second {
            *self = Self::new();
        } else if self.frames > PEER_FRAMES_PER_SECOND_MAX {
            tokio::time::sleep_until(self.since + second).await;
            *self = Self::new();
        }
    }
}
