//! What waits at a node, entry by entry.

use counterfoil_domain::{DocumentId, NodeId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An entry of the queue (E1): what the hub has not consolidated yet, and how far it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct QueueRow {
    /// Position in the journal.
    pub seq: i64,
    /// Id of the document.
    pub id: DocumentId,
    /// Who recorded it: the node, or what it was before it was restored or copied. An older till does not say it.
    #[serde(default)]
    pub terminal: Option<NodeId>,
    /// Kind of document.
    pub topic: String,
    /// critical, high, normal or low.
    pub priority: String,
    /// `local` in trial, `pending`, `syncing`, `failed`, or `received` at the hub.
    pub state: String,
    /// `pending`: on this lane alone; `peer_ack`: another lane of the shop has it; `cloud_ack`: the hub has it (P1).
    #[serde(default)]
    pub stage: String,
    /// When it was recorded, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When the first other lane had it, as far as this one has noted, which it does once a second; absent: none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_acked_ms: Option<i64>,
    /// When the hub had it; absent: it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_acked_ms: Option<i64>,
    /// Sync runs that failed since it waits.
    pub retry_count: i64,
    /// What the last one said.
    pub last_error: Option<String>,
}

/// How many entries that the hub has not consolidated are how far (P1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Stages {
    /// On this lane alone.
    pub pending: i64,
    /// Another lane of the shop has them, and the hub has not.
    pub peer_ack: i64,
    /// The hub has them, and has not consolidated them.
    pub cloud_ack: i64,
}
