//! What waits at a node, entry by entry.

use counterfoil_domain::DocumentId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An entry of the queue (E1): what the hub has not consolidated yet, and how far it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct QueueRow {
    /// Position in the journal.
    pub seq: i64,
    /// Id of the document.
    pub id: DocumentId,
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
    /// Sync runs that failed since it waits.
    pub retry_count: i64,
    /// What the last one said.
    pub last_error: Option<String>,
}
