//! The two address families, where one rule serves both.

use std::fmt;
use std::net::IpAddr;

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Length of a delegated prefix.
    pub(super) fn block_len(self) -> u8 {
        match self {
            Self::V4 => 28,
            Self::V6 => 80,
        }
    }

    /// Addresses in a delegated prefix.
    pub(super) fn block_size(self) -> u64 {
        match self {
            Self::V4 => 1 << 4,
            Self::V6 => 1 << 48,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}
