//! Branch ENIs.

use std::fmt;

use serde::{Serialize, Serializer};

/// How many branch ENIs an instance of a type can have behind its trunk.
///
/// EC2 has no call that tells it. Source: the limits that AWS's controller for security groups of pods goes by (reference:
/// security-groups-for-pods, appendix A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchEnis {
    /// Up to this many.
    UpTo(u16),
    /// The type takes no trunk.
    NoTrunk,
    /// Nobody has told; AWS's controller makes no trunk there.
    Unknown,
}

impl fmt::Display for BranchEnis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpTo(count) => write!(f, "{count}"),
            Self::NoTrunk => f.write_str("none"),
            Self::Unknown => f.write_str("not known"),
        }
    }
}

/// A number; `null` where nobody has told.
impl Serialize for BranchEnis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::UpTo(count) => serializer.serialize_some(count),
            Self::NoTrunk => serializer.serialize_some(&0_u16),
            Self::Unknown => serializer.serialize_none(),
        }
    }
}
