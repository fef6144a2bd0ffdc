//! The trace that a call belongs to, as its caller gives it: `traceparent` of W3C's Trace Context, level 1, which runtimes hand
//! down in the environment as `TRACEPARENT`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// The variable's name.
pub const VARIABLE: &str = "TRACEPARENT";

/// Bytes of one of version 00: version, trace, parent and flags, by their digits and the hyphens between them.
const LENGTH: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;

/// A trace and the step in it that made the call. One that is not well formed is none: a call does not fail for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TraceParent(Box<str>);

impl TraceParent {
    /// Of a later version what this one knows of it counts.
    pub fn parse(text: &str) -> Option<Self> {
        let known = text.get(..LENGTH)?;
        let fields: Vec<&str> = known.split('-').collect();
        let [version, trace, parent, flags] = fields[..] else { return None };
        let is_hex = |field: &str, digits: usize| {
            field.len() == digits && field.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_id = |field: &str, digits| is_hex(field, digits) && field.bytes().any(|digit| digit != b'0');
        let well_formed = is_hex(version, 2) && is_id(trace, 32) && is_id(parent, 16) && is_hex(flags, 2);
        let rest = &text[LENGTH..];
        let ends = if version == "00" { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
        (well_formed && version != "ff" && ends).then(|| Self(known.into()))
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// For a field that may lack, or hold what is none.
pub(crate) fn if_well_formed<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<TraceParent>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| TraceParent::parse(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's own example.
    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_well_formed_is_kept_and_nothing_else() {
        assert_eq!(TraceParent::parse(GOOD).unwrap().as_str(), GOOD);
        let later = GOOD.replacen("00", "cc", 1);
        assert_eq!(TraceParent::parse(&format!("{later}-what-comes-later")).unwrap().as_str(), later);
        for wrong in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD[..GOOD.len() - 1],
            &format!("{GOOD}-more"),
            &format!("{later}more"),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace('-', "_"),
            &GOOD.replace("4bf92f", "4bf92ä"),
        ] {
            assert_eq!(TraceParent::parse(wrong), None, "{wrong:?}");
        }
    }
}
