//! The node's three databases: `book.db`, `catalog.db` and `local.db`, and the only SQL on the shop
//! side.
//!
//! One [`ShopStore`] is the only writer of the book. Its calls block; the node gives it a thread.
//! Start with [`record`] for how a sale is written and [`overlay`] for what a till sees of the
//! catalog.

pub mod activation;
pub mod admission;
pub mod alias;
pub mod catalog;
pub mod changes;
pub mod closure;
pub mod conflicts;
pub mod delivery;
pub mod draft;
pub mod employees;
pub mod error;
pub mod escrow;
mod fence;
pub mod identity;
pub mod import;
mod journal;
mod lane_edits;
pub mod levels;
mod loss;
pub mod mesh;
pub mod open;
pub mod operations;
pub mod overlay;
pub mod parked;
pub mod record;
pub mod refunds;
pub mod stock;
mod swap;
pub mod tables;
pub mod trial;

pub use activation::{Binding, PendingActivation};
pub use admission::{EditOf, Pins, Presented, column_names, sets_pin};
pub use changes::ChangeFilter;
pub use closure::CloseDay;
pub use conflicts::{ConflictFilter, DecideConflict};
pub use error::{OpenStoreError, StoreError};
pub use identity::IdentityClaim;
pub use open::{Paths, ShopStore, node_of};
pub use trial::{FIRST_LANE, TrialLane, TrialShop};
