//! What a lane brings to the hub of another lane's journal, when that one does not come itself (X7).

use super::lane::{FrameError, Held, Message};
use counterfoil_domain::lineage::Point;
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::{NodeId, ShopId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST`: how far the hub has journals that the caller holds; the node's token.
pub const RELAY_ENDS_PATH: &str = "/v1/relay/ends";
/// `POST`: entries of another lane's journal; the node's token.
pub const RELAY_PATH: &str = "/v1/relay";

/// Most entries in one request; more are refused whole. They are one transaction.
pub const RELAY_ENTRIES_MAX: usize = 512;

/// Asks how far the hub has other lanes' journals.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RelayEndsRequest {
    /// What the caller holds, one row a journal, at most [`super::lane::ORIGINS_MAX`].
    pub holds: Vec<Held>,
}

/// One row for each journal that was asked about and belongs to a lane of the caller's shop; of others nothing is said.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RelayEnds {
    /// By node.
    pub journals: Vec<RelayEnd>,
}

/// How far the hub has a journal, from its lane or by relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RelayEnd {
    /// Whose journal.
    pub origin: NodeId,
    /// The last entry that is durable at the hub.
    pub known: Point,
    /// Whether the hub has another entry where what the caller holds ends: two books went on under one name, and a
    /// person is told.
    pub diverged: bool,
}

/// Entries of one journal, each following the one before.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RelayRequest {
    /// As lanes send them to each other, at most [`RELAY_ENTRIES_MAX`], all of one `fromTerminal`.
    pub entries: Vec<Message>,
}

impl RelayRequest {
    /// Puts them on the wire.
    pub fn of(entries: &[LaneEntry]) -> Self {
        let entries = entries.iter().map(Message::of).collect();
        Self { entries }
    }

    /// Whose journal, and its entries, each checked against its chain value.
    ///
    /// # Errors
    /// [`FrameError`] when there is none, or too many, or of several journals, or one that is not what its lane wrote.
    pub fn read(self) -> Result<(NodeId, Vec<LaneEntry>), FrameError> {
        const MALFORMED: FrameError = FrameError::Field { field: "entries" };
        if self.entries.len() > RELAY_ENTRIES_MAX {
            return Err(MALFORMED);
        }
        let read: Result<Vec<_>, _> = self.entries.into_iter().map(Message::read).collect();
        let entries = read?;
        let origin = entries.first().ok_or(MALFORMED)?.origin;
        if entries.iter().any(|entry| entry.origin != origin) {
            return Err(MALFORMED);
        }
        Ok((origin, entries))
    }
}

/// Entries that reached the hub by another lane.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RelayedRow {
    /// Shop of both lanes.
    pub shop: ShopId,
    /// Whose entries they are.
    pub node: NodeId,
    /// Number of its lane.
    pub lane: i64,
    /// The first of them.
    pub from_seq: i64,
    /// The last of them.
    pub until_seq: i64,
    /// Who brought them.
    pub by: NodeId,
    /// Number of its lane.
    pub by_lane: i64,
    /// When the last of them came, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Whether their own lane has sent them since.
    pub sent_since: bool,
}
