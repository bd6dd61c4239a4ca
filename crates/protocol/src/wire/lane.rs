//! What lanes of one shop say to each other (P4): JSON text frames over a WebSocket, packed where both sides can.
//!
//! A message is one journal entry. Everything else carries a `type`; one that is not known here is passed over, so
//! that a newer lane may say more. Numbers that do not fit into 53 bits are texts, for lanes in any language.
//! `docs/lanes.md` describes the exchange for whoever writes one.

mod event;
mod inventory;

pub use event::{EventMessage, ReconciliationEvent};
pub use inventory::{InventoryAnswer, InventoryQuestion, InventoryRequest, QUESTIONS_MAX};

use super::certificate::SignedRevocations;
use super::escrow::RightsRequest;
use counterfoil_domain::hex::array_from_hex;
use counterfoil_domain::lineage::Point;
use counterfoil_domain::mesh::pairing::Nonce;
use counterfoil_domain::mesh::{Holding, LaneEntry};
use counterfoil_domain::{Chain, DocumentId, Hlc, NodeId, ShopId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The version of this exchange. A lane of another one is refused.
pub const LANE_PROTOCOL: u32 = 1;

/// Largest frame in bytes: a receipt of 10,000 lines fits several times. Nothing larger is sent, or read any further.
pub const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most journals that a lane may say it holds: a shop has had so many lanes only after centuries. More is malformed.
pub const ORIGINS_MAX: usize = 4_096;

/// How frames may be packed, as it stands in a hello: as binary frames that are one zstd stream (ADR 0025).
pub const ZSTD: &str = "zstd";

/// Most characters of a text that only people read; the rest is cut off.
const DETAIL_CHARS_MAX: usize = 300;

/// A text that is no frame of this exchange.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than any frame.
    #[error("a frame of {0} bytes; {FRAME_BYTES_MAX} is the most")]
    TooLong(usize),
    /// Not JSON, or not of the shape that its type has.
    #[error("not a frame of lanes")]
    Json(#[from] serde_json::Error),
    /// A field holds what it cannot hold.
    #[error("{field} of a frame is not valid")]
    Field {
        /// Which one.
        field: &'static str,
    },
    /// An entry that is not what its lane chained.
    #[error("entry {seq} of {origin} is not what its lane wrote: it does not fit its chain value")]
    Forged {
        /// Whose it is said to be.
        origin: NodeId,
        /// Its position.
        seq: i64,
    },
}

/// Why a lane is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// It belongs to another shop.
    OtherShop,
    /// It does not know the secret, or only one of the two has one.
    Unpaired,
    /// It speaks another version.
    Version,
    /// It is this lane itself.
    Myself,
    /// There is a connection between the two already.
    Duplicate,
    /// There are as many connections as may be.
    TooMany,
    /// What it says cannot be understood, or comes out of order.
    Malformed,
    /// Its certificate has ended, or is of another authority or lane; or it has none.
    Certificate,
    /// The hub has revoked it.
    Revoked,
    /// A reason that only a newer lane knows; its words say which.
    #[serde(other)]
    Unknown,
}

/// The first thing that each side says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`LANE_PROTOCOL`].
    pub protocol: u32,
    /// Who it is.
    pub node: NodeId,
    /// Its shop.
    pub shop: ShopId,
    /// Number of the lane in its shop.
    pub lane: i64,
    /// Schema version of its book.
    pub book_schema: i32,
    /// Drawn for this connection: 64 hexadecimal digits.
    pub nonce: String,
    /// Whether it has a secret, and proves it next.
    pub secret: bool,
    /// How frames that come to it may be packed: [`ZSTD`], or ways that only newer lanes know. Absent: not at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compress: Vec<String>,
}

impl Hello {
    /// What was drawn.
    ///
    /// # Errors
    /// [`FrameError::Field`].
    pub fn nonce(&self) -> Result<Nonce, FrameError> {
        let drawn = array_from_hex(&self.nonce);
        drawn.ok_or(FrameError::Field { field: "nonce" })
    }

    /// Whether it understands frames that are packed as [`ZSTD`].
    pub fn takes_zstd(&self) -> bool {
        self.compress.iter().any(|way| way == ZSTD)
    }
}

/// How much of a journal is held: behind `begin`, up to `end`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Held {
    /// Whose journal.
    pub origin: NodeId,
    /// The entry before the first that is held.
    pub begin: Point,
    /// The last that is held.
    pub end: Point,
}

impl Held {
    /// As it is said.
    pub const fn of(origin: NodeId, holding: Holding) -> Self {
        let Holding { begin, end } = holding;
        Self { origin, begin, end }
    }

    /// What is meant.
    ///
    /// # Errors
    /// [`FrameError::Field`] when it ends before it begins.
    pub fn holding(&self) -> Result<Holding, FrameError> {
        let (begin, end) = (self.begin, self.end);
        let empty = begin.seq != end.seq || begin == end;
        if (0..=end.seq).contains(&begin.seq) && empty {
            return Ok(Holding { begin, end });
        }
        Err(FrameError::Field { field: "end" })
    }
}

/// Everything that is no entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Control {
    /// Who is there.
    Hello(Hello),
    /// That the secret is known, when both sides said that they have one.
    Proof {
        /// See [`counterfoil_domain::mesh::pairing::PairingKey::proof`].
        proof: String,
    },
    /// All that is held; the last thing before entries may be asked for.
    Holds {
        /// One row a journal, at most [`ORIGINS_MAX`].
        holds: Vec<Held>,
    },
    /// Send everything of a journal behind a position, now and from now on.
    Want {
        /// Whose journal.
        origin: NodeId,
        /// What is held up to here.
        after: i64,
    },
    /// Send no more of it.
    Stop {
        /// Whose journal.
        origin: NodeId,
    },
    /// It cannot be had from here any further.
    Gone {
        /// Whose journal.
        origin: NodeId,
    },
    /// So much of a journal is held now.
    Have(Held),
    /// The message, and all before it of the same journal, are durable.
    Ack {
        /// Its id.
        #[serde(rename = "messageId")]
        message_id: DocumentId,
    },
    /// Where does what is counted differ?
    InventoryRequest(InventoryRequest),
    /// So it does.
    InventoryResponse(InventoryAnswer),
    /// Give rights to sell a product under escrow, if there are any.
    EscrowRequest(RightsRequest),
    /// Lanes that may not take part any more, as the shop's authority signed it.
    Revoked(SignedRevocations),
    /// The connection ends, and why.
    Refused {
        /// For programs.
        code: RefusalCode,
        /// For people.
        detail: String,
    },
}

impl Control {
    /// A refusal with words, as many as people read.
    pub fn refused(code: RefusalCode, detail: &str) -> Self {
        let detail = detail.chars().filter(|c| !c.is_control());
        let detail = detail.take(DETAIL_CHARS_MAX).collect();
        Self::Refused { code, detail }
    }
}

/// What came in a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// An entry that fits its chain value.
    Entry(LaneEntry),
    /// Anything else.
    Control(Control),
    /// Something happened at the lane that says so.
    Event(EventMessage),
    /// Something that only a newer lane understands.
    Unknown,
}

/// An entry on the wire.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LaneMessage)]
pub struct Message {
    /// Id of the document.
    id: DocumentId,
    /// Whose journal it is.
    from_terminal: NodeId,
    /// `transaction`, `inventory`, `customer`, `employee` or `catalog`.
    topic: String,
    /// The entry.
    payload: Payload,
    /// Milliseconds since the Unix epoch, as the logical time has them.
    timestamp: i64,
}

/// What an entry is, with its place in the chain.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = LanePayload)]
struct Payload {
    /// Position in the journal, from 1.
    seq: i64,
    /// The logical time as a text: it does not fit into 53 bits.
    hlc: String,
    /// Number of the document's topic.
    kind: i64,
    /// Chain value of the entry before it.
    before: Chain,
    /// Its own chain value.
    chain: Chain,
    /// The document in its canonical form.
    document: String,
}

impl Message {
    /// Puts an entry on the wire.
    pub fn of(entry: &LaneEntry) -> Self {
        Self {
            id: entry.id,
            from_terminal: entry.origin,
            topic: entry.subject().name().to_owned(),
            payload: Payload {
                seq: entry.seq,
                hlc: entry.hlc.raw().to_string(),
                kind: entry.kind,
                before: entry.before,
                chain: entry.chain,
                document: entry.document.clone(),
            },
            timestamp: entry.hlc.millis(),
        }
    }

    /// The entry, checked against its chain value.
    ///
    /// # Errors
    /// [`FrameError::Field`], [`FrameError::Forged`].
    pub fn read(self) -> Result<LaneEntry, FrameError> {
        let hlc = self.payload.hlc.parse::<i64>();
        let hlc = Hlc::from_raw(hlc.map_err(|_| FrameError::Field { field: "hlc" })?);
        if hlc.millis() != self.timestamp {
            return Err(FrameError::Field { field: "timestamp" });
        }
        let Payload {
            seq,
            kind,
            before,
            chain,
            document,
            ..
        } = self.payload;
        let entry = LaneEntry {
            origin: self.from_terminal,
            seq,
            id: self.id,
            hlc,
            kind,
            before,
            chain,
            document,
        };
        if !entry.is_whole() {
            let origin = entry.origin;
            return Err(FrameError::Forged { origin, seq });
        }
        Ok(entry)
    }
}

/// The topics of entries; frames with another one are for somebody else.
const SUBJECTS: [&str; 5] = [
    "transaction",
    "inventory",
    "customer",
    "employee",
    "catalog",
];

/// The topics of events.
const EVENTS: [&str; 2] = [
    "inventory.reconciliation.request",
    "inventory.reconciliation.complete",
];

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: Option<String>,
    topic: Option<String>,
}

/// The types of [`Control`].
const CONTROLS: [&str; 13] = [
    "hello",
    "proof",
    "holds",
    "want",
    "stop",
    "gone",
    "have",
    "ack",
    "inventory_request",
    "inventory_response",
    "escrow_request",
    "revoked",
    "refused",
];

/// The text of an entry.
///
/// # Errors
/// [`FrameError::TooLong`] when it fits into no frame.
pub fn write_entry(entry: &LaneEntry) -> Result<String, FrameError> {
    bounded(serde_json::to_string(&Message::of(entry))?)
}

/// The text of anything else.
///
/// # Errors
/// [`FrameError::TooLong`] when it fits into no frame.
pub fn write(control: &Control) -> Result<String, FrameError> {
    bounded(serde_json::to_string(control)?)
}

/// The text of an event.
///
/// # Errors
/// [`FrameError::Json`].
pub fn write_event(event: &EventMessage) -> Result<String, FrameError> {
    bounded(serde_json::to_string(event)?)
}

fn bounded(text: String) -> Result<String, FrameError> {
    match text.len() {
        0..=FRAME_BYTES_MAX => Ok(text),
        length => Err(FrameError::TooLong(length)),
    }
}

/// Reads a frame. An entry was checked against its chain value; whether it follows what is held is another question.
///
/// # Errors
/// [`FrameError`]; nobody who keeps to this exchange says such a thing.
pub fn read(text: &str) -> Result<Frame, FrameError> {
    if text.len() > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(text.len()));
    }
    let head: Kind = serde_json::from_str(text)?;
    match (head.kind.as_deref(), head.topic.as_deref()) {
        (Some(kind), _) if CONTROLS.contains(&kind) => read_control(text),
        (None, Some(topic)) if SUBJECTS.contains(&topic) => read_entry(text),
        (None, Some(topic)) if EVENTS.contains(&topic) => {
            // Nothing follows from it: one of another shape is a newer lane's.
            Ok(serde_json::from_str(text).map_or(Frame::Unknown, Frame::Event))
        }
        (None, None) => Err(FrameError::Field { field: "type" }),
        _ => Ok(Frame::Unknown),
    }
}

fn read_control(text: &str) -> Result<Frame, FrameError> {
    let control: Control = serde_json::from_str(text)?;
    match &control {
        Control::Refused { code, detail } => {
            return Ok(Frame::Control(Control::refused(*code, detail)));
        }
        Control::Holds { holds } => {
            if holds.len() > ORIGINS_MAX {
                return Err(FrameError::Field { field: "holds" });
            }
            held_by_origin(holds)?;
        }
        Control::Have(held) => {
            held.holding()?;
        }
        Control::Want { after, .. } if *after < 0 => {
            return Err(FrameError::Field { field: "after" });
        }
        Control::EscrowRequest(asked) if asked.quantity_milli <= 0 => {
            return Err(FrameError::Field {
                field: "quantity_milli",
            });
        }
        Control::Hello(hello) => {
            hello.nonce()?;
        }
        Control::InventoryRequest(InventoryRequest { questions, .. })
            if questions.len() > QUESTIONS_MAX =>
        {
            return Err(FrameError::Field { field: "questions" });
        }
        Control::InventoryResponse(InventoryAnswer { answers, .. })
            if answers.len() > QUESTIONS_MAX =>
        {
            return Err(FrameError::Field { field: "answers" });
        }
        _ => {}
    }
    Ok(Frame::Control(control))
}

/// What a peer holds, by origin.
///
/// # Errors
/// [`FrameError::Field`].
pub fn held_by_origin(holds: &[Held]) -> Result<BTreeMap<NodeId, Holding>, FrameError> {
    holds
        .iter()
        .map(|held| Ok((held.origin, held.holding()?)))
        .collect()
}

fn read_entry(text: &str) -> Result<Frame, FrameError> {
    let message: Message = serde_json::from_str(text)?;
    Ok(Frame::Entry(message.read()?))
}

#[cfg(test)]
mod tests;
