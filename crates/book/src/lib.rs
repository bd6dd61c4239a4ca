//! How a document stands in a book: the rows of its entry, written and read back.
//!
//! A till writes its own book, and a hub writes down what lanes bring of a book whose till does not come any more. Both
//! make the same rows, here.

mod layout;
mod read;
mod write;

pub use layout::{lay_tables, take_away};
pub use read::document;
pub use write::insert;

use counterfoil_migrate::SqlError;

/// The rows of an entry cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The engine refused.
    #[error("the database refused")]
    Sql(#[from] SqlError),
    /// What is kept as JSON is none, or of another shape.
    #[error("a document in the book cannot be read")]
    Json(#[from] serde_json::Error),
}
