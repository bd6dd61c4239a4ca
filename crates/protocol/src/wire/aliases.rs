//! Customers and products that turned out to be others, at the hub and at a node.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// `POST /v1/catalog/{table}/{id}/merge` at a till: the row is the same customer or product as another one, which
/// stands for it from now on. `POST .../unmerge`, without a body, takes that back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct MergeRequest {
    /// Id of the row that stays.
    pub into: String,
}

/// Who stands for a row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct MergeAnswer {
    /// `customers` or `products`.
    pub table: String,
    /// Id of the row.
    pub row: String,
    /// Id of the row that stands for it: itself when it was not merged.
    pub survivor: String,
}

impl fmt::Display for MergeAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            table,
            row,
            survivor,
        } = self;
        match survivor == row {
            true => write!(f, "{table} {row} stands for itself"),
            false => write!(f, "{table} {survivor} stands for {row}"),
        }
    }
}
