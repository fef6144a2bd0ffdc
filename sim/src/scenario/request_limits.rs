//! `request_limits`: how many calls EC2 takes.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize as _, Deserializer};

use crate::vpc::RequestLimits;

/// EC2's own limits by their name, or a table of buckets.
pub(super) fn read<'de, D: Deserializer<'de>>(input: D) -> Result<RequestLimits, D::Error> {
    struct NameOrTable;

    impl<'de> Visitor<'de> for NameOrTable {
        type Value = RequestLimits;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("\"published\", or a table of buckets by action")
        }

        fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<RequestLimits, E> {
            match name {
                "published" => Ok(RequestLimits::published()),
                other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RequestLimits, A::Error> {
            RequestLimits::deserialize(MapAccessDeserializer::new(map))
        }
    }

    input.deserialize_any(NameOrTable)
}
