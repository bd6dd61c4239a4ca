//! How a hub is watched: runs of sync, alerts, and what programs elsewhere are told of them.

use counterfoil_domain::{HubId, NodeId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a run of sync did.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// A till said where it stands.
    Hello,
    /// Frames of a book came up.
    Push,
    /// Frames of a book or of the catalog went down.
    Pull,
    /// Entries of a book were moved into the hub's tables.
    Consolidate,
}

impl RunKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hello, Self::Push, Self::Pull, Self::Consolidate];

    /// The name used in tables, commands and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Push => "push",
            Self::Pull => "pull",
            Self::Consolidate => "consolidate",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How a run of sync ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunResult {
    /// It did what was asked.
    Done,
    /// The hub said no, and why.
    Refused,
    /// It broke off: a disk, a database, or a caller that went away.
    Failed,
}

impl RunResult {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Done, Self::Refused, Self::Failed];

    /// The name used in tables, commands and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// The result of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|result| result.name() == name)
    }
}

/// A run of sync. Requests of one till that follow each other at once, are of one kind and end alike, are one run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunRow {
    /// Its number.
    pub id: i64,
    /// Whose; absent when the caller proved to be nobody.
    pub node_id: Option<NodeId>,
    /// `shop/lane` of the till.
    pub till: Option<String>,
    /// What it did.
    pub kind: RunKind,
    /// When it began, milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// How long its requests took together, in milliseconds.
    pub duration_ms: i64,
    /// Number of requests, or of batches that were consolidated.
    pub requests: i64,
    /// Frames that came up or went down, or entries that were consolidated.
    pub rows: i64,
    /// Bytes of the bodies on the wire; 0 for a consolidation.
    pub bytes: i64,
    /// How it ended.
    pub result: RunResult,
    /// What was said when it was not done.
    pub detail: String,
}

/// `GET /v1/admin/runs`: runs, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunPage {
    /// This page of them.
    pub runs: Vec<RunRow>,
    /// Ask on with `before` this number; absent at the end.
    pub next: Option<i64>,
}

/// Something a person should look at: a state that lasts until it is cleared, or an event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AlertRow {
    /// Its number.
    pub id: i64,
    /// When it was raised, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Stable name of what happened.
    pub kind: String,
    /// The node concerned.
    pub node_id: Option<NodeId>,
    /// What of the node or of the hub it is about, such as a business day; may be empty.
    pub subject: String,
    /// In words.
    pub detail: String,
    /// It is a state, which is cleared when it ends; otherwise it happened, and ends with somebody's having seen it.
    pub lasting: bool,
    /// When the state ended, milliseconds since the Unix epoch.
    pub cleared_ms: Option<i64>,
    /// When somebody said to have seen it, milliseconds since the Unix epoch.
    pub acknowledged_ms: Option<i64>,
    /// Who said so.
    pub acknowledged_by: Option<String>,
}

impl AlertRow {
    /// Whether it still asks for somebody.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self.lasting {
            true => self.cleared_ms.is_none(),
            false => self.acknowledged_ms.is_none(),
        }
    }
}

/// `POST /v1/admin/alerts/{alert}/acknowledge`, or `/alerts/acknowledge` for all: somebody has seen it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct AcknowledgeRequest {
    /// Who; the operator when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// How many alerts were acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Acknowledged {
    /// Those that nobody had acknowledged before.
    pub acknowledged: i64,
}

/// What has become of an alert.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertEvent {
    /// It is new.
    Raised,
    /// The state has ended.
    Cleared,
}

impl AlertEvent {
    /// The name used in tables and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Cleared => "cleared",
        }
    }

    /// The event of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Raised, Self::Cleared]
            .into_iter()
            .find(|event| event.name() == name)
    }
}

/// What a webhook gets as its body, and a command on its standard input. It may come more than once, each time
/// with the same id and the same content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AlertMessage {
    /// Id of the message: `<hub>-<alert>-<event>`.
    pub id: String,
    /// What has become of the alert.
    pub event: AlertEvent,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The hub.
    pub hub_id: HubId,
    /// Number of the alert.
    pub alert: i64,
    /// Stable name of what happened.
    pub kind: String,
    /// The node concerned.
    pub node_id: Option<NodeId>,
    /// `shop/lane` of the till.
    pub till: Option<String>,
    /// What of the node or of the hub it is about; may be empty.
    pub subject: String,
    /// In words.
    pub detail: String,
    /// When it was raised, milliseconds since the Unix epoch.
    pub raised_ms: i64,
}
