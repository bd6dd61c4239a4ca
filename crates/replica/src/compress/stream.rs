//! zstd for messages that follow each other on one connection: a stream that is flushed behind each message, so that a
//! message refers to those before it and waits for none behind it (ADR 0025).
//!
//! A stream is one zstd frame that never ends. Each direction of a connection has one of its own.

use std::io;

use zstd::stream::raw::{
    CParameter, DParameter, Decoder, Encoder, InBuffer, Operation as _, OutBuffer,
};

use crate::limits::{STREAM_CHUNK_BYTES, STREAM_LEVEL, STREAM_WINDOW_LOG, STREAM_WINDOW_LOG_MAX};

/// How each stream begins: zstd's frames of today. Older kinds, and frames to be skipped, begin otherwise.
const BEGIN: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// Packs the messages of one direction.
pub struct Packer {
    encoder: Encoder<'static>,
    chunk: Vec<u8>,
}

impl Packer {
    /// A stream that has not begun.
    ///
    /// # Errors
    /// What zstd reports, such as no memory.
    pub fn new() -> io::Result<Self> {
        let mut encoder = Encoder::new(STREAM_LEVEL)?;
        encoder.set_parameter(CParameter::WindowLog(STREAM_WINDOW_LOG))?;
        let chunk = vec![0; STREAM_CHUNK_BYTES];
        Ok(Self { encoder, chunk })
    }

    /// The next part of the stream: all of the message, and no more. What is packed must be sent, or the other side
    /// understands nothing that follows.
    ///
    /// # Errors
    /// What zstd reports; the stream is over then.
    pub fn pack(&mut self, message: &[u8]) -> io::Result<Vec<u8>> {
        let mut packed = Vec::new();
        let mut rest = InBuffer::around(message);
        while rest.pos() < message.len() {
            let mut chunk = OutBuffer::around(self.chunk.as_mut_slice());
            self.encoder.run(&mut rest, &mut chunk)?;
            packed.extend_from_slice(chunk.as_slice());
        }
        loop {
            let mut chunk = OutBuffer::around(self.chunk.as_mut_slice());
            let left = self.encoder.flush(&mut chunk)?;
            packed.extend_from_slice(chunk.as_slice());
            if left == 0 {
                return Ok(packed);
            }
        }
    }
}

/// Why a part of a stream cannot be unpacked. The stream is over then.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Found before it takes memory.
    #[error("it is packed, and longer than the {0} bytes that it may have")]
    TooLong(usize),
    /// It is no zstd stream, or one that needs more memory than it may.
    #[error("it is no part of a zstd stream that can be read here")]
    Damaged(#[source] io::Error),
    /// It begins as something else, or ends.
    #[error("it is no part of one zstd stream that goes on")]
    NoStream,
}

/// Unpacks the messages of one direction.
pub struct Unpacker {
    decoder: Decoder<'static>,
    chunk: Vec<u8>,
    has_begun: bool,
}

impl Unpacker {
    /// For a stream that has not begun.
    ///
    /// # Errors
    /// What zstd reports, such as no memory.
    pub fn new() -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(STREAM_WINDOW_LOG_MAX))?;
        Ok(Self {
            decoder,
            chunk: vec![0; STREAM_CHUNK_BYTES],
            has_begun: false,
        })
    }

    /// The message in the next part of the stream, which has at most so many bytes. Of a part that was cut off comes less
    /// than the message.
    ///
    /// # Errors
    /// [`UnpackError`].
    pub fn unpack(&mut self, packed: &[u8], limit_bytes: usize) -> Result<Vec<u8>, UnpackError> {
        if !std::mem::replace(&mut self.has_begun, true) && !packed.starts_with(&BEGIN) {
            return Err(UnpackError::NoStream);
        }
        let mut message = Vec::new();
        let mut rest = InBuffer::around(packed);
        loop {
            let mut chunk = OutBuffer::around(self.chunk.as_mut_slice());
            let run = self.decoder.run(&mut rest, &mut chunk);
            let hint = run.map_err(UnpackError::Damaged)?;
            let came = chunk.as_slice();
            if came.len() > limit_bytes - message.len() {
                return Err(UnpackError::TooLong(limit_bytes));
            }
            message.extend_from_slice(came);
            if hint == 0 {
                return Err(UnpackError::NoStream);
            }
            // A full chunk may not be all.
            if rest.pos() == packed.len() && came.len() < STREAM_CHUNK_BYTES {
                return Ok(message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn messages() -> Vec<Vec<u8>> {
        let text =
            |it: usize| format!("{{\"seq\":{it},\"sku\":\"85123A\",\"lamp\":\"{it:064x}\"}}");
        let mut messages: Vec<Vec<u8>> = (0..300).map(|it| text(it).into_bytes()).collect();
        messages.push(Vec::new());
        messages.push(
            (0..400_000_u32)
                .flat_map(u32::to_le_bytes)
                .take(LIMIT)
                .collect(),
        );
        messages.push(b"last".to_vec());
        messages
    }

    #[test]
    fn each_message_comes_out_of_its_own_part_and_refers_to_those_before_it() {
        let (mut packer, mut unpacker) = (Packer::new().unwrap(), Unpacker::new().unwrap());
        let mut sizes = Vec::new();
        for message in messages() {
            let packed = packer.pack(&message).unwrap();
            assert_eq!(unpacker.unpack(&packed, LIMIT).unwrap(), message);
            sizes.push((message.len(), packed.len()));
        }
        let (plain, packed) = sizes[200];
        assert!(packed * 3 < plain, "{packed} of {plain} bytes");
    }

    #[test]
    fn what_is_longer_than_it_may_be_is_refused_before_it_takes_memory() {
        let long = vec![0; 64 << 20];
        let bomb = Packer::new().unwrap().pack(&long).unwrap();
        assert!(bomb.len() < 10_000, "{} bytes", bomb.len());
        let mut unpacker = Unpacker::new().unwrap();
        let refused = unpacker.unpack(&bomb, LIMIT);
        assert!(matches!(refused, Err(UnpackError::TooLong(LIMIT))));
        let exact = Packer::new().unwrap().pack(&long[..LIMIT]).unwrap();
        let mut unpacker = Unpacker::new().unwrap();
        assert_eq!(unpacker.unpack(&exact, LIMIT).unwrap().len(), LIMIT);
        let exact = Packer::new().unwrap().pack(&long[..LIMIT]).unwrap();
        assert!(Unpacker::new().unwrap().unpack(&exact, LIMIT - 1).is_err());
    }

    #[test]
    fn what_is_no_stream_is_refused_and_what_was_cut_off_gives_less() {
        let whole = Packer::new()
            .unwrap()
            .pack(b"a message that is long enough")
            .unwrap();
        for cut in 4..whole.len() {
            let cut = Unpacker::new()
                .unwrap()
                .unpack(&whole[..cut], LIMIT)
                .unwrap();
            assert!(cut.len() < 29, "{cut:?}");
        }
        let ended = zstd::bulk::compress(b"a whole frame", 1).unwrap();
        // 2 to the power of 27 bytes to refer back to.
        let wide = [&BEGIN[..], &[0x00, 0x88, 0x00, 0x00, 0x00]].concat();
        let skipped = [0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
        for garbage in [
            &b""[..],
            b"{}",
            &BEGIN[..3],
            &[0xFF; 40],
            &ended,
            &wide,
            &skipped,
        ] {
            let refused = Unpacker::new().unwrap().unpack(garbage, LIMIT);
            assert!(refused.is_err(), "{garbage:?}");
        }
        // A part of another place.
        let mut unpacker = Unpacker::new().unwrap();
        unpacker.unpack(&whole, LIMIT).unwrap();
        assert!(unpacker.unpack(&[0xFF; 40], LIMIT).is_err());
    }
}
