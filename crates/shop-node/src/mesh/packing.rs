//! Frames as they go over a line: as texts, or packed where both sides can (ADR 0025).

use super::greeting::{ConnectionError, understood};
use crate::limits::PEER_PACK_BYTES_MIN;
use counterfoil_protocol::wire::lane::{self, FRAME_BYTES_MAX, Frame, RefusalCode};
use counterfoil_replica::compress::stream::{Packer, Unpacker};
use prometheus_client::metrics::counter::Counter;
use std::io;
use tokio_tungstenite::tungstenite::Message;

/// What was said on connections.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Bytes of frames before they were packed.
    pub(crate) plain: Counter,
    /// Bytes of frames as they went out.
    pub(crate) sent: Counter,
}

impl Traffic {
    pub(super) fn count(&self, plain: usize, sent: usize) {
        let counted = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        self.plain.inc_by(counted(plain));
        self.sent.inc_by(counted(sent));
    }
}

/// Whether a frame may be packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Privacy {
    /// As others are.
    None,
    /// It holds a secret: beside what somebody else wrote, its length would say something about it.
    Secret,
}

/// What goes out on a connection.
pub(super) struct Outgoing {
    packs: bool,
    packer: Option<Packer>,
}

impl Outgoing {
    pub(super) const fn new(packs: bool) -> Self {
        let packer = None;
        Self { packs, packer }
    }

    /// A text as it is sent; it must be sent then.
    pub(super) fn message(&mut self, text: String, privacy: Privacy) -> io::Result<Message> {
        if !self.packs || privacy == Privacy::Secret || text.len() < PEER_PACK_BYTES_MIN {
            return Ok(Message::text(text));
        }
        let packer = match self.packer.take() {
            Some(packer) => packer,
            None => Packer::new()?,
        };
        let packed = self.packer.insert(packer).pack(text.as_bytes())?;
        Ok(Message::binary(packed))
    }
}

/// What comes in on a connection.
pub(super) struct Incoming {
    packs: bool,
    unpacker: Option<Unpacker>,
}

/// What a message says.
pub(super) struct Understood {
    /// `None` when it only shows that the other side is alive.
    pub(super) frame: Option<Frame>,
    /// Bytes of the frame, unpacked.
    pub(super) bytes: usize,
}

impl Incoming {
    pub(super) const fn new(packs: bool) -> Self {
        let unpacker = None;
        Self { packs, unpacker }
    }

    /// What a message says, unpacked when that was agreed on.
    pub(super) fn understand(&mut self, message: &Message) -> Result<Understood, ConnectionError> {
        let (Message::Binary(packed), true) = (message, self.packs) else {
            let (frame, bytes) = (understood(message)?, message.len());
            return Ok(Understood { frame, bytes });
        };
        let unpacker = match self.unpacker.take() {
            Some(unpacker) => unpacker,
            None => Unpacker::new().map_err(ConnectionError::Packing)?,
        };
        let unpacked = self
            .unpacker
            .insert(unpacker)
            .unpack(packed, FRAME_BYTES_MAX);
        let malformed = |why: &str| ConnectionError::refusing(RefusalCode::Malformed, why);
        let unpacked = unpacked.map_err(|error| malformed(&error.to_string()))?;
        let bytes = unpacked.len();
        let text = String::from_utf8(unpacked);
        let text = text.map_err(|_| malformed("what it packed is no text"))?;
        let frame = Some(lane::read(&text)?);
        Ok(Understood { frame, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOCK: &str = r#"{"type":"dance","steps":["left","left","left","left","left","left","left","left","left","left",
        "right","right","right","right","right","right","right","right","right","right","right","right","right","right",
        "left","left","left","left","left","left","left","left","left","left","left","left","left","left","left"]}"#;

    fn code(result: &Result<Understood, ConnectionError>) -> Option<RefusalCode> {
        match result {
            Err(ConnectionError::Refusing { code, .. }) => Some(*code),
            Err(ConnectionError::Frame(_)) => Some(RefusalCode::Malformed),
            Err(_) | Ok(_) => None,
        }
    }

    #[test]
    fn what_is_short_or_secret_or_not_agreed_on_goes_out_as_text() {
        let is_text = |packs: bool, text: &str, privacy: Privacy| {
            let message = Outgoing::new(packs).message(text.to_owned(), privacy);
            matches!(message, Ok(Message::Text(_)))
        };
        assert!(!is_text(true, STOCK, Privacy::None));
        assert!(is_text(false, STOCK, Privacy::None));
        assert!(is_text(true, STOCK, Privacy::Secret));
        assert!(is_text(true, r#"{"type":"ack"}"#, Privacy::None));
    }

    #[test]
    fn what_is_packed_is_understood_among_texts_and_counted_as_what_it_is() {
        let (mut outgoing, mut incoming) = (Outgoing::new(true), Incoming::new(true));
        for privacy in [Privacy::None, Privacy::Secret, Privacy::None] {
            let message = outgoing.message(STOCK.to_owned(), privacy).expect("packed");
            let heard = incoming.understand(&message).expect("understood");
            assert_eq!(
                (heard.frame, heard.bytes),
                (Some(Frame::Unknown), STOCK.len())
            );
        }
    }

    #[test]
    fn bytes_that_were_not_agreed_on_or_are_no_frame_are_malformed() {
        let malformed = Some(RefusalCode::Malformed);
        let packed = |text: &[u8]| {
            let packed = Packer::new().and_then(|mut packer| packer.pack(text));
            Message::binary(packed.expect("packed"))
        };
        let stock = packed(STOCK.as_bytes());
        assert_eq!(code(&Incoming::new(false).understand(&stock)), malformed);
        let cut = stock.into_data();
        let cut = Message::binary(cut.slice(..cut.len() - 3));
        let bomb = packed(&vec![b' '; FRAME_BYTES_MAX + 1]);
        assert!(bomb.len() < 10_000);
        let no_text = packed(&[0xFF; 300]);
        for (message, what) in [
            (cut, "cut off"),
            (bomb, "a bomb"),
            (no_text, "no text"),
            (Message::binary(vec![7; 300]), "garbage"),
        ] {
            let found = code(&Incoming::new(true).understand(&message));
            assert_eq!(found, malformed, "{what}");
        }
    }
}
