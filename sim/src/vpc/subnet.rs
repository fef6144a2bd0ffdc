//! One subnet: which of its addresses are taken, and choosing free ones.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::error::{ApiError, ErrorCode};
use super::ids::{EniId, SubnetId, VpcId};
use super::request::Tags;
use super::rng::Stream;

/// Length of a delegated IPv4 prefix.
pub(super) const IPV4_PREFIX_LEN: u8 = 28;
/// Addresses in it.
const IPV4_BLOCK: u32 = 16;
/// Length of a delegated IPv6 prefix.
pub(super) const IPV6_PREFIX_LEN: u8 = 80;
const IPV6_BLOCK: u128 = 1 << 48;
/// EC2 keeps the first four addresses and the last one of every subnet.
const RESERVED_HEAD: u32 = 4;
const RESERVED: u32 = 5;

/// Who holds an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holder {
    /// An ENI of the box.
    Eni(EniId),
    /// Something that the box does not model: a load balancer, another account.
    Foreign,
}

impl Holder {
    fn is(&self, eni: &EniId) -> bool {
        matches!(self, Self::Eni(id) if id == eni)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subnet {
    pub(super) id: SubnetId,
    pub(super) vpc: VpcId,
    pub(super) zone: String,
    pub(super) zone_id: String,
    pub(super) ipv4: Option<Ipv4Net>,
    pub(super) ipv6: Option<Ipv6Net>,
    pub(super) tags: Tags,
    /// Single addresses taken.
    pub(super) held: BTreeMap<Ipv4Addr, Holder>,
    /// /28 prefixes taken, by first address.
    pub(super) held_prefixes: BTreeMap<Ipv4Addr, EniId>,
    pub(super) held6: BTreeMap<Ipv6Addr, EniId>,
    /// /80 prefixes taken, by first address.
    pub(super) held6_prefixes: BTreeMap<Ipv6Addr, EniId>,
}

fn invalid(message: String) -> ApiError {
    ApiError::new(ErrorCode::InvalidParameterValue, message)
}

fn no_ipv4() -> ApiError {
    invalid("The subnet does not have an IPv4 CIDR block".to_owned())
}

fn no_ipv6() -> ApiError {
    invalid("The subnet does not have an IPv6 CIDR block associated with it".to_owned())
}

impl Subnet {
    /// `AvailableIpAddressCount`.
    pub(super) fn free(&self) -> u32 {
        let Some(net) = self.ipv4 else { return 0 };
        let size = 1_u32 << (32 - net.prefix_len());
        let taken = self.held.len() + self.held_prefixes.len() * IPV4_BLOCK as usize;
        size - RESERVED - u32::try_from(taken).expect("a subnet has at most 65,536 addresses")
    }

    fn is_reserved(net: Ipv4Net, address: Ipv4Addr) -> bool {
        u32::from(address) - u32::from(net.network()) < RESERVED_HEAD || address == net.broadcast()
    }

    fn block_of(address: Ipv4Addr) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(address) & !(IPV4_BLOCK - 1))
    }

    fn is_free(&self, net: Ipv4Net, address: Ipv4Addr) -> bool {
        !Self::is_reserved(net, address)
            && !self.held.contains_key(&address)
            && !self.held_prefixes.contains_key(&Self::block_of(address))
    }

    fn block_is_free(&self, net: Ipv4Net, first: Ipv4Addr) -> bool {
        let last = Ipv4Addr::from(u32::from(first) + (IPV4_BLOCK - 1));
        !Self::is_reserved(net, first)
            && !Self::is_reserved(net, last)
            && !self.held_prefixes.contains_key(&first)
            && self.held.range(first..=last).next().is_none()
    }

    /// Who holds this very address as a single one.
    pub(super) fn holder(&self, address: Ipv4Addr) -> Option<&Holder> {
        self.held.get(&address)
    }

    /// Takes `count` free addresses, scattered as EC2 does it; all or none.
    pub(super) fn take(
        &mut self,
        eni: &EniId,
        count: u32,
        rng: &mut Stream,
    ) -> Result<Vec<Ipv4Addr>, ApiError> {
        let net = self.ipv4.ok_or_else(no_ipv4)?;
        if self.free() < count {
            return Err(ApiError::new(
                ErrorCode::InsufficientFreeAddressesInSubnet,
                "The specified subnet does not have enough free addresses to satisfy the request.",
            ));
        }
        let size = 1_u64 << (32 - net.prefix_len());
        let base = u32::from(net.network());
        let mut taken = Vec::new();
        for _ in 0..count {
            let start = rng.below(size);
            let address = (0..size)
                .map(|step| Ipv4Addr::from(base + u32::try_from((start + step) % size).expect("below 2^16")))
                .find(|address| self.is_free(net, *address))
                .expect("the count of free addresses was checked");
            self.held.insert(address, Holder::Eni(eni.clone()));
            taken.push(address);
        }
        Ok(taken)
    }

    /// Takes one named address.
    pub(super) fn take_this(&mut self, eni: &EniId, address: Ipv4Addr) -> Result<(), ApiError> {
        self.hold(address, Holder::Eni(eni.clone()))
    }

    /// Takes one named address for whomever.
    pub(super) fn hold(&mut self, address: Ipv4Addr, holder: Holder) -> Result<(), ApiError> {
        let net = self.ipv4.ok_or_else(no_ipv4)?;
        if !net.contains(&address) {
            return Err(invalid(format!(
                "Address {address} does not fall within the subnet's address range"
            )));
        }
        if Self::is_reserved(net, address) {
            return Err(invalid(format!("Address {address} is in subnet's reserved address range")));
        }
        if !self.is_free(net, address) {
            return Err(ApiError::new(ErrorCode::IpAddressInUse, format!("Address {address} is in use.")));
        }
        self.held.insert(address, holder);
        Ok(())
    }

    /// Takes `count` wholly free, aligned /28 blocks; all or none.
    pub(super) fn take_prefixes(
        &mut self,
        eni: &EniId,
        count: u32,
        rng: &mut Stream,
    ) -> Result<Vec<Ipv4Net>, ApiError> {
        let net = self.ipv4.ok_or_else(no_ipv4)?;
        let base = u32::from(net.network());
        let size = 1_u32 << (32 - net.prefix_len());
        let mut free: Vec<Ipv4Addr> = (0..size / IPV4_BLOCK)
            .map(|block| Ipv4Addr::from(base + block * IPV4_BLOCK))
            .filter(|first| self.block_is_free(net, *first))
            .collect();
        if free.len() < count as usize {
            return Err(ApiError::new(
                ErrorCode::InsufficientCidrBlocks,
                "The specified subnet does not have enough free cidr blocks to satisfy the request.",
            ));
        }
        let mut taken = Vec::new();
        for _ in 0..count {
            let pick = usize::try_from(rng.below(free.len() as u64)).expect("an index of a vector");
            let first = free.swap_remove(pick);
            self.held_prefixes.insert(first, eni.clone());
            taken.push(prefix(first));
        }
        Ok(taken)
    }

    /// Takes one named /28.
    pub(super) fn take_this_prefix(&mut self, eni: &EniId, wanted: Ipv4Net) -> Result<(), ApiError> {
        let net = self.ipv4.ok_or_else(no_ipv4)?;
        if wanted.prefix_len() != IPV4_PREFIX_LEN || wanted.network() != wanted.addr() {
            return Err(invalid(format!("The IPv4 prefix {wanted} is not a valid /28 prefix")));
        }
        if !net.contains(&wanted) {
            return Err(invalid(format!(
                "The IPv4 prefix {wanted} is not within the subnet's address range"
            )));
        }
        if !self.block_is_free(net, wanted.network()) {
            return Err(invalid(format!("The IPv4 prefix {wanted} is not available")));
        }
        self.held_prefixes.insert(wanted.network(), eni.clone());
        Ok(())
    }

    /// Gives one address back.
    pub(super) fn release(&mut self, address: Ipv4Addr) {
        self.held.remove(&address);
    }

    /// Gives one prefix back.
    pub(super) fn release_prefix(&mut self, prefix: Ipv4Net) {
        self.held_prefixes.remove(&prefix.network());
    }

    /// Passes a single address on to another ENI.
    pub(super) fn reassign(&mut self, address: Ipv4Addr, to: &EniId) {
        self.held.insert(address, Holder::Eni(to.clone()));
    }

    /// Gives back everything that an ENI holds.
    pub(super) fn release_all(&mut self, eni: &EniId) {
        self.held.retain(|_, holder| !holder.is(eni));
        self.held_prefixes.retain(|_, holder| holder != eni);
        self.held6.retain(|_, holder| holder != eni);
        self.held6_prefixes.retain(|_, holder| holder != eni);
    }

    /// Fills the subnet with foreign addresses until only `leave` are free, from the first free one upwards.
    pub(super) fn occupy_all_but(&mut self, leave: u32) {
        let Some(net) = self.ipv4 else { return };
        for address in net.hosts() {
            if self.free() <= leave {
                return;
            }
            if self.is_free(net, address) {
                self.held.insert(address, Holder::Foreign);
            }
        }
    }

    /// Puts one foreign address into every wholly free /28.
    pub(super) fn fragment(&mut self) {
        let Some(net) = self.ipv4 else { return };
        let base = u32::from(net.network());
        for block in 0..(1_u32 << (32 - net.prefix_len())) / IPV4_BLOCK {
            let first = Ipv4Addr::from(base + block * IPV4_BLOCK);
            if self.block_is_free(net, first) {
                self.held.insert(Ipv4Addr::from(u32::from(first) + IPV4_BLOCK / 2), Holder::Foreign);
            }
        }
    }

    /// Removes all foreign addresses.
    pub(super) fn vacate(&mut self) {
        self.held.retain(|_, holder| *holder != Holder::Foreign);
    }
}

/// The /28 at `first`.
pub(super) fn prefix(first: Ipv4Addr) -> Ipv4Net {
    Ipv4Net::new(first, IPV4_PREFIX_LEN).expect("28 is a valid length")
}

/// The /80 at `first`.
pub(super) fn prefix6(first: Ipv6Addr) -> Ipv6Net {
    Ipv6Net::new(first, IPV6_PREFIX_LEN).expect("80 is a valid length")
}

// IPv6: a /64 never fills up in practice, so that free ones are simply drawn.
impl Subnet {
    fn block6_of(address: Ipv6Addr) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(address) & !(IPV6_BLOCK - 1))
    }

    fn is_reserved6(net: Ipv6Net, address: Ipv6Addr) -> bool {
        u128::from(address) - u128::from(net.network()) < u128::from(RESERVED_HEAD)
            || address == net.broadcast()
    }

    fn is_free6(&self, net: Ipv6Net, address: Ipv6Addr) -> bool {
        !Self::is_reserved6(net, address)
            && !self.held6.contains_key(&address)
            && !self.held6_prefixes.contains_key(&Self::block6_of(address))
    }

    fn block6_is_free(&self, net: Ipv6Net, first: Ipv6Addr) -> bool {
        let last = Ipv6Addr::from(u128::from(first) + (IPV6_BLOCK - 1));
        !Self::is_reserved6(net, first)
            && !Self::is_reserved6(net, last)
            && !self.held6_prefixes.contains_key(&first)
            && self.held6.range(first..=last).next().is_none()
    }

    /// Takes `count` free IPv6 addresses.
    pub(super) fn take6(
        &mut self,
        eni: &EniId,
        count: u32,
        rng: &mut Stream,
    ) -> Result<Vec<Ipv6Addr>, ApiError> {
        let net = self.ipv6.ok_or_else(no_ipv6)?;
        let base = u128::from(net.network());
        let mut taken = Vec::new();
        while taken.len() < count as usize {
            let address = Ipv6Addr::from(base | u128::from(rng.next()));
            if self.is_free6(net, address) {
                self.held6.insert(address, eni.clone());
                taken.push(address);
            }
        }
        Ok(taken)
    }

    /// Takes one named IPv6 address.
    pub(super) fn take_this6(&mut self, eni: &EniId, address: Ipv6Addr) -> Result<(), ApiError> {
        let net = self.ipv6.ok_or_else(no_ipv6)?;
        if !net.contains(&address) || Self::is_reserved6(net, address) {
            return Err(invalid(format!(
                "Address {address} does not fall within the subnet's address range"
            )));
        }
        if !self.is_free6(net, address) {
            return Err(ApiError::new(ErrorCode::IpAddressInUse, format!("Address {address} is in use.")));
        }
        self.held6.insert(address, eni.clone());
        Ok(())
    }

    /// Takes `count` free /80 blocks.
    pub(super) fn take6_prefixes(
        &mut self,
        eni: &EniId,
        count: u32,
        rng: &mut Stream,
    ) -> Result<Vec<Ipv6Net>, ApiError> {
        let net = self.ipv6.ok_or_else(no_ipv6)?;
        let base = u128::from(net.network());
        let blocks = 1_u64 << (IPV6_PREFIX_LEN - net.prefix_len());
        let mut taken = Vec::new();
        for _ in 0..count {
            let start = rng.below(blocks);
            let first = (0..blocks)
                .map(|step| Ipv6Addr::from(base + u128::from((start + step) % blocks) * IPV6_BLOCK))
                .find(|first| self.block6_is_free(net, *first));
            let Some(first) = first else {
                return Err(ApiError::new(
                    ErrorCode::InsufficientCidrBlocks,
                    "The specified subnet does not have enough free cidr blocks to satisfy the request.",
                ));
            };
            self.held6_prefixes.insert(first, eni.clone());
            taken.push(prefix6(first));
        }
        Ok(taken)
    }

    /// Takes one named /80.
    pub(super) fn take_this6_prefix(&mut self, eni: &EniId, wanted: Ipv6Net) -> Result<(), ApiError> {
        let net = self.ipv6.ok_or_else(no_ipv6)?;
        let aligned = wanted.prefix_len() == IPV6_PREFIX_LEN && wanted.network() == wanted.addr();
        if !aligned || !net.contains(&wanted) || !self.block6_is_free(net, wanted.network()) {
            return Err(invalid(format!("The IPv6 prefix {wanted} is not available")));
        }
        self.held6_prefixes.insert(wanted.network(), eni.clone());
        Ok(())
    }

    /// Gives one IPv6 address back.
    pub(super) fn release6(&mut self, address: Ipv6Addr) {
        self.held6.remove(&address);
    }

    /// Gives one /80 back.
    pub(super) fn release6_prefix(&mut self, prefix: Ipv6Net) {
        self.held6_prefixes.remove(&prefix.network());
    }
}
