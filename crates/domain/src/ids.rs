//! Every id is a type of its own. Ids are UUIDs (version 7 where order helps): 16 bytes in a
//! database, the hyphenated text everywhere else.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;
use uuid::Uuid;

/// Text or bytes that are not an id of the named type.
#[derive(Debug, thiserror::Error)]
pub enum ParseIdError {
    /// The text is not a UUID.
    #[error("`{text}` is not a {what} id (a UUID such as 0198c0de-0000-7000-8000-000000000001)")]
    Text {
        /// The type of the id.
        what: &'static str,
        /// What was given.
        text: String,
        /// Why it is not a UUID.
        #[source]
        source: uuid::Error,
    },
    /// The stored value is not 16 bytes long.
    #[error("a stored {what} id has {length} bytes, not 16")]
    Length {
        /// The type of the id.
        what: &'static str,
        /// The number of bytes found.
        length: usize,
    },
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The 16 bytes as they are stored.
            pub fn to_bytes(self) -> Vec<u8> {
                self.0.as_bytes().to_vec()
            }

            /// Reads an id from a stored value.
            ///
            /// # Errors
            /// [`ParseIdError::Length`] unless there are 16 bytes.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, ParseIdError> {
                Uuid::from_slice(bytes)
                    .map(Self)
                    .map_err(|_| ParseIdError::Length { what: $what, length: bytes.len() })
            }

            /// The underlying UUID.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                Uuid::parse_str(text.trim()).map(Self).map_err(|source| ParseIdError::Text {
                    what: $what,
                    text: text.to_owned(),
                    source,
                })
            }
        }
    };
}

id!(
    /// A shop of the chain.
    ShopId,
    "shop"
);
id!(
    /// The daemon of one lane.
    NodeId,
    "node"
);
id!(
    /// A hub.
    HubId,
    "hub"
);
id!(
    /// A document or catalog edit, which is also the id of its journal entry.
    DocumentId,
    "document"
);
id!(
    /// One run of an import of another system's data, over all the entries that it made.
    ImportId,
    "import"
);
