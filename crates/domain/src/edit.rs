//! A proposed change to one row of the catalog.

use crate::document::normalize_code;
use crate::merge::Stamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use utoipa::ToSchema;

/// A value of a catalog column. There are no floats in the catalog.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// Nothing.
    Null,
    /// A whole number; money is minor units or mills, as the column's name says.
    Integer(i64),
    /// Text.
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str(""),
            Self::Integer(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

/// The column that a deletion sets; a tombstone merges like any field.
pub const DELETED: &str = "deleted";

/// The column that says for which shop a row holds.
pub const OWNER: &str = "shop";

/// The columns of every catalog table that an edit cannot name; all others may be set, wherever a migration
/// has put them.
pub const BOOKKEEPING: [&str; 6] = [
    "id",
    "origin_shop_id",
    "last_modified_shop_id",
    "last_modified_at",
    "revision",
    "versions",
];

/// The id of a catalog row as it is stored: those of products are codes, other tables take ids as they are typed.
pub fn row_id(table: &str, id: &str) -> String {
    match table {
        "products" => normalize_code(id),
        _ => id.trim().to_owned(),
    }
}

/// Whether a column says what something costs.
pub fn is_price(column: &str) -> bool {
    column.starts_with("price")
}

/// Whether a value is a price below zero, which no column takes: nothing could be sold at it.
pub fn is_price_below_zero(column: &str, value: &Scalar) -> bool {
    is_price(column) && matches!(value, Scalar::Integer(price) if *price < 0)
}

/// A change to some columns of one catalog row. Who made it and when stands in the journal entry
/// that carries it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CatalogEdit {
    /// Name of the catalog table.
    pub table: String,
    /// Id of the row.
    pub row: String,
    /// The columns set, with their new values.
    pub columns: BTreeMap<String, Scalar>,
    /// For each column, the versions that the editor saw and replaces; empty or absent for a
    /// column that had no value. This is what tells a successor from a concurrent edit
    /// (ADR 0001).
    pub base: BTreeMap<String, Vec<Stamp>>,
    /// The catalog revision that the editor had; for people, not for the merge.
    pub base_revision: i64,
    /// The decision about a conflict that the edit carries out, if it is one. The merge does not look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<ConflictDecision>,
    /// The till's clock when it was made, milliseconds since the Unix epoch, which the hub corrects. Absent
    /// when the time comes from the data of another system: then the logical time stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<i64>,
}

/// A decision about a conflict that was made at a till. Stored in journals; the names must not change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConflictDecision {
    /// The version that had lost: with table, row and column it names the conflict on every hub.
    pub loser: Stamp,
    /// Whether the value that lost is put back, however the conflict was settled.
    pub put_back: bool,
    /// What was chosen.
    pub choice: Chosen,
    /// Who decided.
    pub by: String,
}

/// What a person chose between the values of a conflict.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Chosen {
    /// The value that is current stays.
    Winner,
    /// The value that lost.
    Loser,
    /// A third value.
    Value,
}

impl Chosen {
    /// The stored name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Winner => "winner",
            Self::Loser => "loser",
            Self::Value => "value",
        }
    }
}
