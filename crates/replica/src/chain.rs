//! The rolling checksum at any frame of one WAL, remembered at intervals.

use crate::{
    frame::{Chain, Salt},
    limits::CHAIN_STRIDE_FRAMES,
    wal::{Reading, WalError},
};

/// See the module. Belongs to one WAL and one value before its first frame.
#[derive(Debug)]
pub(crate) struct ChainIndex {
    salt: Option<Salt>,
    /// `values[k]` is the checksum after `k * CHAIN_STRIDE_FRAMES` frames.
    values: Vec<Chain>,
    /// The last value asked for: pushes and appends ask for one a little further on.
    last: (u64, Chain),
}

impl ChainIndex {
    pub(crate) fn new(salt: Option<Salt>, seed: Chain) -> Self {
        Self {
            salt,
            values: vec![seed],
            last: (0, seed),
        }
    }

    /// Whether it belongs to this WAL and beginning.
    pub(crate) fn belongs_to(&self, salt: Option<Salt>, seed: Chain) -> bool {
        // An empty WAL becomes the WAL of its first frames.
        (self.salt == salt || (self.salt.is_none() && self.last.0 == 0)) && self.values[0] == seed
    }

    /// The checksum after `frame` frames; 0 gives the value before the first.
    pub(crate) fn at(&mut self, reading: &Reading<'_>, frame: u64) -> Result<Chain, WalError> {
        self.salt = reading.position().salt;
        let (mut at, mut chain) = self.nearest(frame);
        let mut body = Vec::new();
        while at < frame {
            let stop = frame.min((at.div_euclid(CHAIN_STRIDE_FRAMES) + 1) * CHAIN_STRIDE_FRAMES);
            body.clear();
            reading.frames_into(at + 1, stop, &mut body)?;
            chain = chain.after_all(&body);
            at = stop;
            self.remember(at, chain);
        }
        Ok(chain)
    }

    fn nearest(&self, frame: u64) -> (u64, Chain) {
        let slot = index(frame.div_euclid(CHAIN_STRIDE_FRAMES)).min(self.values.len() - 1);
        let known = (
            u64::try_from(slot).unwrap_or(0) * CHAIN_STRIDE_FRAMES,
            self.values[slot],
        );
        if (known.0..=frame).contains(&self.last.0) {
            self.last
        } else {
            known
        }
    }

    fn remember(&mut self, at: u64, chain: Chain) {
        self.last = (at, chain);
        if at.is_multiple_of(CHAIN_STRIDE_FRAMES)
            && index(at.div_euclid(CHAIN_STRIDE_FRAMES)) == self.values.len()
        {
            self.values.push(chain);
        }
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
