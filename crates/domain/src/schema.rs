//! How the types that travel as text describe themselves in the description of the APIs.

use crate::closure::Day;
use crate::journal::Chain;
use crate::merge::Stamp;
use crate::money::Currency;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// A type whose JSON is a string of a fixed form.
macro_rules! text {
    ($name:ty, $description:literal, $pattern:literal, $example:literal) => {
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let text = ObjectBuilder::new()
                    .schema_type(Type::String)
                    .description(Some($description))
                    .pattern(Some($pattern))
                    .examples([$example]);
                text.into()
            }
        }

        impl ToSchema for $name {}
    };
}

text!(
    Day,
    "A business day.",
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    "2011-03-04"
);
text!(
    Chain,
    "The hash over a journal's entry and all before it.",
    "^[0-9a-f]{64}$",
    "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
);
text!(
    Stamp,
    "Names one version of a field: logical time and writer.",
    "^[0-9a-f]{1,16}[.][0-9a-f]{8}$",
    "141f0a3b5800000.0a1b2c3d"
);
text!(
    Currency,
    "A currency by its ISO 4217 code.",
    "^[A-Z]{3}$",
    "GBP"
);
