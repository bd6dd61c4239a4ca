//! The rolling checksum at any frame of one WAL, remembered at intervals.

use crate::{
    frame::{Chain, Salt},
    limits::CHAIN_STRIDE_FRAMES,
    wal::{Reading, WalError},
};

/// See the module. Belongs to one WAL and one value at the frame where its numbers begin.
#[derive(Debug)]
pub(crate) struct ChainIndex {
    salt: Option<Salt>,
    /// The frame that the first value is the checksum after.
    from: u64,
    /// `values[k]` is the checksum after `k * CHAIN_STRIDE_FRAMES` frames more.
    values: Vec<Chain>,
    /// The last value asked for: pushes and appends ask for one a little further on.
    last: (u64, Chain),
}

impl ChainIndex {
    pub(crate) fn new(salt: Option<Salt>, from: u64, seed: Chain) -> Self {
        Self {
            salt,
            from,
            values: vec![seed],
            last: (from, seed),
        }
    }

    /// Whether it belongs to this WAL and beginning.
    pub(crate) fn belongs_to(&self, salt: Option<Salt>, from: u64, seed: Chain) -> bool {
        // An empty WAL becomes the WAL of its first frames.
        (self.salt == salt || (self.salt.is_none() && self.last.0 == 0))
            && (self.from, self.values[0]) == (from, seed)
    }

    /// The checksum after `frame` frames, which are not fewer than those it begins with.
    pub(crate) fn at(&mut self, reading: &Reading<'_>, frame: u64) -> Result<Chain, WalError> {
        self.salt = reading.position().salt;
        let (mut at, mut chain) = self.nearest(frame);
        let mut body = Vec::new();
        while at < frame {
            let stride = (at - self.from).div_euclid(CHAIN_STRIDE_FRAMES) + 1;
            let stop = frame.min(self.from + stride * CHAIN_STRIDE_FRAMES);
            body.clear();
            reading.frames_into(at + 1, stop, &mut body)?;
            chain = chain.after_all(&body);
            at = stop;
            self.remember(at, chain);
        }
        Ok(chain)
    }

    fn nearest(&self, frame: u64) -> (u64, Chain) {
        let strides = frame
            .saturating_sub(self.from)
            .div_euclid(CHAIN_STRIDE_FRAMES);
        let slot = index(strides).min(self.values.len() - 1);
        let known = (
            self.from + u64::try_from(slot).unwrap_or(0) * CHAIN_STRIDE_FRAMES,
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
        let frames = at - self.from;
        if frames.is_multiple_of(CHAIN_STRIDE_FRAMES)
            && index(frames.div_euclid(CHAIN_STRIDE_FRAMES)) == self.values.len()
        {
            self.values.push(chain);
        }
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
