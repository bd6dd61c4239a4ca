//! Frames on their way to the hub.

use bytes::Bytes;

use crate::{compress, delta, frame::Chain};

/// Frames ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) generation: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Rolling checksum before the first frame and after the last.
    pub(crate) before: Chain,
    pub(crate) chain: Chain,
    pub(crate) body: Body,
}

/// A body, perhaps compressed.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(super) bytes: Bytes,
    pub(super) encoding: Option<&'static str>,
}

impl Body {
    /// Compresses when the hub can take it and it is worth it.
    pub(crate) fn pack(bytes: Vec<u8>, zstd: bool) -> Self {
        if zstd
            && let Ok(packed) = compress::encode(&bytes)
            && packed.len() < bytes.len()
        {
            return Self {
                bytes: packed.into(),
                encoding: Some(compress::ENCODING),
            };
        }
        Self {
            bytes: bytes.into(),
            encoding: None,
        }
    }

    /// Delta frames.
    pub(crate) fn delta(bytes: Vec<u8>) -> Self {
        Self {
            bytes: bytes.into(),
            encoding: Some(delta::ENCODING),
        }
    }

    /// Bytes on the line.
    pub(crate) fn sent_bytes(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }
}
