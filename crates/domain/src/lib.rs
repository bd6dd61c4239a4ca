//! The rules of the shop: ids, money, clock values, documents, the journal's chain and the catalog merge.
//!
//! Nothing here reads a clock, a disk or a random source; values come in and values go out.
//! Start with [`document`] for what a till records and [`merge`] for how two edits become one catalog.

pub mod alias;
pub mod amount;
pub mod clock;
pub mod closure;
pub mod digest;
pub mod document;
pub mod edit;
pub mod employee;
pub mod env;
pub mod escrow;
pub mod hex;
pub mod hlc;
pub mod ids;
pub mod item;
pub mod journal;
pub mod lineage;
pub mod merge;
pub mod mesh;
pub mod money;
pub mod parked;
pub mod password;
pub mod proof;
pub mod rule;
mod schema;
pub mod stock;

pub use amount::{Quantity, UnitPrice, line_amount};
pub use closure::Closure;
pub use document::{Document, Topic};
pub use edit::{CatalogEdit, Scalar};
pub use hlc::{Hlc, HlcClock};
pub use ids::{DocumentId, HubId, ImportId, NodeId, ShopId};
pub use journal::{Chain, Priority};
pub use money::{Currency, Money};
pub use rule::{Rule, RuleSet};
