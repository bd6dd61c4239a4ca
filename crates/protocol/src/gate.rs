//! The schema gate (L4): who may sync what, decided from two pairs of numbers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Name of the header in which a node states its schemas with every request, see
/// [`Schemas::to_header`].
pub const SCHEMA_HEADER: &str = "x-counterfoil-schema";

/// Schema versions of the two databases that travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Schemas {
    /// Newest migration of `book.db`.
    pub book: i32,
    /// Newest migration of `catalog.db`.
    pub catalog: i32,
}

impl Schemas {
    /// The header's value: `book=1;catalog=1`.
    pub fn to_header(self) -> String {
        format!("book={};catalog={}", self.book, self.catalog)
    }

    /// Reads the header; `None` for anything else.
    pub fn from_header(value: &str) -> Option<Self> {
        let (book, catalog) = value.split_once(';')?;
        let book = book.strip_prefix("book=")?.parse().ok()?;
        let catalog = catalog.strip_prefix("catalog=")?.parse().ok()?;
        Some(Self { book, catalog })
    }
}

/// What a node may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Sales go up, the catalog comes down.
    Open,
    /// The node is older: its sales still go up, the catalog waits for the update (X5).
    UpdateRequired,
}

/// What the hub takes from tills that are older than it (L4, X5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GatePolicy {
    /// Nothing, until the till is updated.
    Strict,
    /// Its sales; the catalog waits.
    #[default]
    UplinkOpen,
}

impl GatePolicy {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Strict, Self::UplinkOpen];

    /// The stored and typed name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::UplinkOpen => "uplink_open",
        }
    }

    /// Reads a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// Whether the book of a node is taken.
    pub fn takes_book(self, gate: Gate) -> bool {
        self == Self::UplinkOpen || gate == Gate::Open
    }
}

/// Decides for a node. A node newer than the hub is not held back: the hub stores its book as
/// it is and consolidates what it knows.
pub fn gate(hub: Schemas, node: Schemas) -> Gate {
    if node.catalog < hub.catalog || node.book < hub.book {
        Gate::UpdateRequired
    } else {
        Gate::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_older_node_is_told_to_update() {
        let hub = Schemas {
            book: 2,
            catalog: 3,
        };
        let check = |book, catalog, expected| {
            assert_eq!(
                gate(hub, Schemas { book, catalog }),
                expected,
                "{book} {catalog}"
            );
        };
        check(2, 3, Gate::Open);
        check(3, 4, Gate::Open);
        check(1, 3, Gate::UpdateRequired);
        check(2, 2, Gate::UpdateRequired);
    }

    #[test]
    fn the_header_round_trips() {
        let schemas = Schemas {
            book: 2,
            catalog: 3,
        };
        assert_eq!(Schemas::from_header(&schemas.to_header()), Some(schemas));
        assert_eq!(Schemas::from_header("2,3"), None);
    }
}
