//! The four kinds of database and the migrations embedded for each.

use std::fmt;
use std::str::FromStr;

use crate::schema::Schema;

/// Embeds one folder of `/migrations`; the macro names its module itself, so each gets a wrapper.
mod embedded {
    pub(crate) mod book {
        refinery::embed_migrations!("../../migrations/book");
    }
    pub(crate) mod catalog {
        refinery::embed_migrations!("../../migrations/catalog");
    }
    pub(crate) mod local {
        refinery::embed_migrations!("../../migrations/local");
    }
    pub(crate) mod hub {
        refinery::embed_migrations!("../../migrations/hub");
    }
}

/// Which of the four databases a file is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A till's own journal of sales; pushed to the hub.
    Book,
    /// Products and prices; written by the hub, pulled by every shop.
    Catalog,
    /// What concerns one node only; never leaves it.
    Local,
    /// The hub's consolidated database.
    Hub,
}

impl Kind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Book, Self::Catalog, Self::Local, Self::Hub];

    /// The name on the command line, in JSON and in the folder `/migrations`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Book => "book",
            Self::Catalog => "catalog",
            Self::Local => "local",
            Self::Hub => "hub",
        }
    }

    /// The migrations this program carries for the kind.
    ///
    /// # Panics
    ///
    /// If the embedded folder breaks a rule of [`Schema`]; a test of this crate checks each folder.
    #[must_use]
    pub fn schema(self) -> Schema {
        let runner = match self {
            Self::Book => embedded::book::migrations::runner(),
            Self::Catalog => embedded::catalog::migrations::runner(),
            Self::Local => embedded::local::migrations::runner(),
            Self::Hub => embedded::hub::migrations::runner(),
        };
        Schema::from_migrations(runner.get_migrations().clone())
            .expect("the embedded folders are checked by a test")
    }

    /// The newest schema version this program knows; 0 when it carries no migration.
    #[must_use]
    pub fn schema_version(self) -> i32 {
        self.schema().version()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A word that names no kind of database.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is no kind of database (expected book, catalog, local or hub)")]
pub struct ParseKindError {
    word: String,
}

impl FromStr for Kind {
    type Err = ParseKindError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == word);
        known.ok_or_else(|| ParseKindError {
            word: word.to_owned(),
        })
    }
}
