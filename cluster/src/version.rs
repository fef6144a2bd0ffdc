//! Versions of objects, which are ordered by what their store counts.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A `resourceVersion`: a decimal number, of whatever length. Two of one kind's objects can be compared; the order means
/// nothing when the store was set back in between, which is what a lower one after a higher one says.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(String);

impl Version {
    /// As the server wrote it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As the server wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the server wrote none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        // No leading zeros are ever written.
        (self.0.len(), &self.0).cmp(&(other.0.len(), &other.0))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        let version = Version::new;
        assert!(version("9") < version("10"));
        assert!(version("99999999999999999999") < version("100000000000000000000"));
        assert!(version("") < version("0"));
        assert_eq!(version("7"), version("7"));
    }
}
