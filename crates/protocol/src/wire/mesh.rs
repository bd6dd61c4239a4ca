//! What a node tells of the other lanes of its shop (P8).

use super::stock::Reconciliation;
use counterfoil_domain::NodeId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The lanes of the shop as one of them sees them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct MeshStatus {
    /// Where this lane is reached; absent when it only dials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Why nobody reaches this lane: its port could not be opened. Absent when it could, or none is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_error: Option<String>,
    /// When the certificate ends by which other lanes know this one, milliseconds since the Unix epoch by the hub's clock;
    /// absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expires_ms: Option<i64>,
    /// Peers that are connected now.
    pub connections: usize,
    /// Everybody who ever had something of this lane's journal.
    pub peers: Vec<PeerRow>,
    /// Other lanes' journals, as far as they are held here.
    pub journals: Vec<JournalRow>,
    /// How this lane's stock compared with that of the others, the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciliation: Option<Reconciliation>,
    /// Why somebody was not let in, or did not let this lane in, the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_refusal: Option<String>,
}

/// How this lane knows where a peer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FoundBy {
    /// Its address stands in the configuration.
    Configured,
    /// It announced itself on the network.
    Discovered,
}

/// A peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PeerRow {
    /// Its node.
    pub node_id: NodeId,
    /// Number of the lane, while it is connected.
    pub lane: Option<i64>,
    /// Whether it is.
    pub connected: bool,
    /// Since when, milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// How this lane found it since it runs; absent: it has not, and the peer came by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_by: Option<FoundBy>,
    /// It has this lane's journal up to here, durably.
    pub acknowledged_seq: i64,
    /// Messages on their way to it.
    pub unacknowledged: usize,
    /// Bytes of all that was said to it on this connection, as they went out: packed, without TLS. Absent while it is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
    /// What they would have been without being packed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_plain_bytes: Option<u64>,
}

/// Another lane's journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct JournalRow {
    /// Whose.
    pub node_id: NodeId,
    /// Held up to here.
    pub held_seq: i64,
    /// The hub has it up to here, when this lane asked last; absent until it has asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_seq: Option<i64>,
}
