//! A till that leaves its receipt series without the hub.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A person says that the folder of a till was restored from a backup, or copied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FenceRequest {
    /// Who says so; stands in the log.
    pub by: String,
}

/// Since when, and why, receipts are numbered in a series that no copy made before has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Fenced {
    /// When the former series was left, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What gave the reason, in words.
    pub why: String,
    /// The series that was left.
    pub left: String,
    /// The series that began then.
    pub series: String,
}
