//! Blocks: what EC2 gave. A block is a network on one ENI; a secondary address is a block of its own, a /32 or a
//! /128. What we do with the addresses in it is kept apart, as [uses](crate::uses).
//!
//! ```text
//!             EC2 shows it                 Unassign intent                    memory over
//!   (unknown) ────────────> Held ──────────────────────────────────> Leaving ──> Gone ────────────> (forgotten)
//!                            │ ^ <─────────── surely not carried out ──┘          ^
//!          EC2 shows it not, │ │ EC2 shows it                                     │
//!             and it is used v │                                                  │
//!                          Withdrawn ─────────────────── unused ──────────────────┘
//! ```

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4AddrRange};
use serde::{Deserialize, Serialize};

use crate::ids::{EniId, IntentId};
use crate::pool::Family;
use crate::time::BootTime;

/// Where a block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BlockState {
    /// EC2 has it on the ENI.
    Held,
    /// An authoritative answer no longer showed it there although a sandbox uses it: somebody took it away in EC2.
    /// Nothing in it is leased again; it leaves the ledger with its uses.
    Withdrawn,
    /// Named by an open intent to unassign it.
    Leaving(IntentId),
    /// Unassigned. Kept for a while because describes lag: a late view must not bring it back.
    Gone(BootTime),
}

/// In what EC2 gives addresses. Each takes one of an ENI's slots, of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Unit {
    /// One by one.
    Address,
    /// As delegated prefixes, which are /28s.
    Prefix,
    /// As delegated IPv6 prefixes, which are /80s.
    Ipv6Prefix,
}

impl Unit {
    /// Addresses for pods in one; of an IPv6 prefix as many as are counted: it has 2^48, and no node as many pods.
    pub const fn addresses(self) -> u32 {
        match self {
            Self::Address => 1,
            Self::Prefix => 16,
            Self::Ipv6Prefix => u32::MAX,
        }
    }

    /// Of which family it gives addresses to pods. Single ones are asked of IPv4 only.
    pub const fn family(self) -> Family {
        match self {
            Self::Address | Self::Prefix => Family::V4,
            Self::Ipv6Prefix => Family::V6,
        }
    }

    /// So many of it.
    pub const fn of(self, count: u32) -> Ask {
        Ask { unit: self, count }
    }

    /// How many it takes for so many addresses.
    pub const fn for_addresses(self, addresses: u32) -> u32 {
        addresses.div_ceil(self.addresses())
    }
}

/// So many of one unit, EC2's choice which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ask {
    /// In what.
    pub unit: Unit,
    /// How many.
    pub count: u32,
}

impl Ask {
    /// So many single addresses.
    pub const fn addresses(count: u32) -> Self {
        Self { unit: Unit::Address, count }
    }

    /// So many delegated prefixes.
    pub const fn prefixes(count: u32) -> Self {
        Self { unit: Unit::Prefix, count }
    }

    /// So many delegated IPv6 prefixes.
    pub const fn ipv6_prefixes(count: u32) -> Self {
        Self { unit: Unit::Ipv6Prefix, count }
    }

    /// How many addresses it brings.
    pub const fn brings(self) -> u32 {
        self.count.saturating_mul(self.unit.addresses())
    }
}

/// A network that EC2 gave us on an ENI, the ENI's own address excepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The network.
    pub net: IpNet,
    /// The ENI it is on.
    pub eni: EniId,
    /// Where it stands.
    pub state: BlockState,
    /// The instant of an authoritative answer that showed it on its ENI: the newest, as far as there was a change of the
    /// ENI in between. Zero stands for an earlier boot.
    pub shown: BootTime,
}

impl Block {
    /// A block that EC2 shows at this instant.
    pub fn held(net: IpNet, eni: EniId, shown: BootTime) -> Self {
        Self { net, eni, state: BlockState::Held, shown }
    }

    /// Whether it is one address and no more.
    pub fn is_host(&self) -> bool {
        self.net.prefix_len() == self.net.max_prefix_len()
    }

    /// Of which family its addresses are.
    pub fn family(&self) -> Family {
        Family::of(self.net.addr())
    }

    /// Whether its addresses can be gone through one by one. Those of an IPv6 prefix are too many: what is known of one is what
    /// its uses say, and what the use of its [first address](Self::whole) says of all others.
    pub fn is_listable(&self) -> bool {
        self.unit() != Unit::Ipv6Prefix
    }

    /// Of an IPv6 prefix its first address, which no pod gets: it is every router's (RFC 4291, 2.6.1). A use of it is of all
    /// addresses of the prefix that have none of their own: a rest of the whole, or a suspicion against it.
    pub fn whole(&self) -> Option<IpAddr> {
        (!self.is_listable()).then(|| self.net.network())
    }

    /// In what it was given.
    pub fn unit(&self) -> Unit {
        match self.family() {
            _ if self.is_host() => Unit::Address,
            Family::V4 => Unit::Prefix,
            Family::V6 => Unit::Ipv6Prefix,
        }
    }

    /// Whether EC2 has it on the ENI, as far as we know, so that it counts against the ENI's limit.
    pub fn occupies(&self) -> bool {
        !matches!(self.state, BlockState::Gone(_))
    }

    /// All its addresses, the first and the last among them: EC2 keeps none of a delegated prefix for itself. None of one
    /// that is not [listable](Self::is_listable).
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let (v4, v6) = match self.net {
            IpNet::V4(net) => (Some(Ipv4AddrRange::new(net.network(), net.broadcast())), None),
            IpNet::V6(net) => (None, self.is_host().then(|| IpAddr::V6(net.addr()))),
        };
        v4.into_iter().flatten().map(IpAddr::V4).chain(v6)
    }
}

/// The networks under which a block with this address may be kept: EC2 delegates /28 and /80 (AWS, "Assigning
/// prefixes to network interfaces"), and gives single addresses.
pub(crate) fn candidates(ip: IpAddr) -> [IpNet; 2] {
    let delegated = if ip.is_ipv4() { 28 } else { 80 };
    let host = IpNet::from(ip);
    [host, IpNet::new(ip, delegated).map_or(host, |net| net.trunc())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(net: &str) -> Block {
        Block::held(net.parse().unwrap(), EniId::new("eni-a"), BootTime(0))
    }

    #[test]
    fn a_delegated_prefix_has_all_its_addresses() {
        let all: Vec<IpAddr> = block("10.0.0.16/28").addresses().collect();
        assert_eq!(
            (all.len(), all[0].to_string(), all[15].to_string()),
            (16, "10.0.0.16".to_owned(), "10.0.0.31".to_owned())
        );
        assert_eq!(
            block("10.0.0.7/32").addresses().collect::<Vec<_>>(),
            ["10.0.0.7".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(block("2001:db8::7/128").addresses().count(), 1);
        assert!(block("10.0.0.7/32").is_host() && !block("10.0.0.16/28").is_host());
    }

    /// Whoever goes through a /80 does not come to its end.
    #[test]
    fn what_cannot_be_listed_is_not() {
        let prefix = block("2001:db8::/80");
        assert_eq!((prefix.is_listable(), prefix.addresses().count()), (false, 0));
        assert_eq!(prefix.whole(), Some("2001:db8::".parse().unwrap()));
        assert_eq!((prefix.unit(), prefix.unit().family()), (Unit::Ipv6Prefix, Family::V6));
        for net in ["10.0.0.16/28", "10.0.0.7/32", "2001:db8::7/128"] {
            assert_eq!((block(net).is_listable(), block(net).whole()), (true, None), "{net}");
        }
        assert_eq!((Ask::ipv6_prefixes(2).brings(), Unit::Ipv6Prefix.for_addresses(7)), (u32::MAX, 1));
    }

    #[test]
    fn addresses_are_counted_in_whole_units() {
        for (addresses, prefixes) in [(0, 0), (1, 1), (16, 1), (17, 2), (u32::MAX, u32::MAX / 16 + 1)] {
            assert_eq!(Unit::Prefix.for_addresses(addresses), prefixes);
            assert_eq!(Unit::Address.for_addresses(addresses), addresses);
        }
        assert_eq!((Ask::prefixes(3).brings(), Ask::addresses(3).brings()), (48, 3));
        assert_eq!(Ask::prefixes(u32::MAX).brings(), u32::MAX, "figures from outside are not bounded");
        assert_eq!(
            (block("10.0.0.7/32").unit(), block("10.0.0.16/28").unit()),
            (Unit::Address, Unit::Prefix)
        );
    }

    #[test]
    fn a_block_is_found_by_each_of_its_addresses() {
        for (ip, nets) in [
            ("10.0.0.23", ["10.0.0.23/32", "10.0.0.16/28"]),
            ("2001:db8::1", ["2001:db8::1/128", "2001:db8::/80"]),
        ] {
            assert_eq!(candidates(ip.parse().unwrap()).map(|net| net.to_string()), nets);
        }
    }
}
