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
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

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
    /// The pool that every pod is served from where nothing else is asked for: IPv4 on the first card.
    pub const DEFAULT: Self = Self::first(Family::V4);

    /// The pool of a family on the first card.
    pub const fn first(family: Family) -> Self {
        Self { card: 0, family }
    }

    /// IPv4 on this card.
    pub const fn v4_on(card: u8) -> Self {
        Self { card, family: Family::V4 }
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

impl fmt::Display for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on card {}", self.family, self.card)
    }
}
