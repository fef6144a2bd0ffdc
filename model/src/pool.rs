//! Pools: addresses of one family on one network card, out of which pods are served.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Which pool. Each has a level, waiting ADDs and refusals of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PoolKey {
    /// The network card.
    pub card: u8,
    /// The family.
    pub family: Family,
}

impl PoolKey {
    /// The pool that every pod is served from: IPv4 on the first card.
    pub const DEFAULT: Self = Self { card: 0, family: Family::V4 };

    /// IPv4 on this card.
    pub fn v4_on(card: u8) -> Self {
        Self { card, family: Family::V4 }
    }
}

impl fmt::Display for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        write!(f, "{family} on card {}", self.card)
    }
}
