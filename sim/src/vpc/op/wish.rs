//! What a caller wants beyond the primary address, in validated terms, for both families.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{combination, count, no_duplicates};
use crate::vpc::error::ApiError;
use crate::vpc::family::Family;

/// Addresses or prefixes, chosen by EC2 or named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::vpc) enum Wish {
    #[default]
    Nothing,
    Count(u32),
    These(Vec<IpAddr>),
    PrefixCount(u32),
    Prefixes(Vec<IpNet>),
}

impl Wish {
    /// At most one of the four may be given.
    pub(super) fn read<A: Copy + Into<IpAddr>, N: Copy + Into<IpNet>>(
        family: Family,
        number: Option<i64>,
        these: &[A],
        prefix_number: Option<i64>,
        prefixes: &[N],
    ) -> Result<Self, ApiError> {
        let these: Vec<IpAddr> = these.iter().map(|address| (*address).into()).collect();
        let prefixes: Vec<IpNet> = prefixes.iter().map(|prefix| (*prefix).into()).collect();
        no_duplicates(&these)?;
        no_duplicates(&prefixes)?;
        let (of_number, of_prefixes) = match family {
            Family::V4 => ("secondaryPrivateIpAddressCount", "ipv4PrefixCount"),
            Family::V6 => ("ipv6AddressCount", "ipv6PrefixCount"),
        };
        Ok(match (number, these.is_empty(), prefix_number, prefixes.is_empty()) {
            (None, true, None, true) => Self::Nothing,
            (Some(n), true, None, true) => Self::Count(count(n, of_number)?),
            (None, false, None, true) => Self::These(these),
            (None, true, Some(n), true) => Self::PrefixCount(count(n, of_prefixes)?),
            (None, true, None, false) => Self::Prefixes(prefixes),
            _ => {
                return Err(combination(format!(
                    "You can specify only one of {family} addresses, a number of them, {family} prefixes, or a \
                     number of those"
                )));
            }
        })
    }

    /// Slots that it takes on the ENI.
    pub(super) fn slots(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Count(n) | Self::PrefixCount(n) => *n as usize,
            Self::These(these) => these.len(),
            Self::Prefixes(prefixes) => prefixes.len(),
        }
    }

    pub(super) fn is_of_prefixes(&self) -> bool {
        matches!(self, Self::PrefixCount(_) | Self::Prefixes(_))
    }

    /// The same with at most so many to choose: EC2 gives fewer than asked.
    pub(super) fn at_most(self, most: u32) -> Self {
        match self {
            Self::Count(n) => Self::Count(n.min(most)),
            Self::PrefixCount(n) => Self::PrefixCount(n.min(most)),
            named => named,
        }
    }
}
