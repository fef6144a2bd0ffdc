//! The addresses of one block of a subnet, of either family: which are taken, by whom, and choosing free ones.
//!
//! An address is its offset from the block's start, so that IPv4 and IPv6 share everything here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::error::{ApiError, ErrorCode};
use super::family::Family;
use super::ids::EniId;
use super::rng::Stream;

/// EC2 keeps the first four addresses and the last one of every subnet.
const RESERVED_HEAD: u64 = 4;
const RESERVED: u64 = 5;

/// Who holds an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// An ENI of the box.
    Eni(EniId),
    /// Something that the box does not model: a load balancer, another account.
    Foreign,
}

/// What a CIDR reservation keeps its addresses for. Facts: EC2's "subnet CIDR reservations" page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReservationKind {
    /// Prefixes that EC2 chooses come from here first.
    Prefix,
    /// EC2 chooses nothing from here; callers name addresses of it.
    Explicit,
}

/// One thing that was taken or given back, to be undone.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Undo {
    Single(u64, Option<Holder>),
    Block(u64, Option<EniId>),
}

/// One block of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Space {
    net: IpNet,
    /// Single addresses taken.
    singles: BTreeMap<u64, Holder>,
    /// Delegated prefixes taken, by number.
    blocks: BTreeMap<u64, EniId>,
    reservations: Vec<(IpNet, ReservationKind)>,
    undo: Vec<Undo>,
}

fn invalid(message: String) -> ApiError {
    ApiError::new(ErrorCode::InvalidParameterValue, message)
}

/// EC2 has two answers for a subnet that has fewer free addresses than asked for; when which one comes is not
/// documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FullSubnet {
    /// Either, by the box's draw.
    #[default]
    Either,
    /// `InsufficientFreeAddressesInSubnet`, from EC2's list of error codes.
    Documented,
    /// `InvalidParameterValue`, which AWS support names as what Create, Attach and Assign answer (quoted in
    /// cilium#31016; seen in amazon-vpc-cni-k8s#3105).
    Support,
}

impl FullSubnet {
    pub(super) fn error(self, choice: &mut Stream) -> ApiError {
        let documented = match self {
            Self::Either => choice.below(2) == 0,
            Self::Documented => true,
            Self::Support => false,
        };
        if documented {
            ApiError::new(
                ErrorCode::InsufficientFreeAddressesInSubnet,
                "The specified subnet does not have enough free addresses to satisfy the request.",
            )
        } else {
            invalid("There aren't sufficient free Ipv4 addresses or prefixes".to_owned())
        }
    }
}

/// Fewer free addresses than asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl Space {
    pub(super) fn new(net: impl Into<IpNet>) -> Self {
        Self {
            net: net.into(),
            singles: BTreeMap::new(),
            blocks: BTreeMap::new(),
            reservations: Vec::new(),
            undo: Vec::new(),
        }
    }

    pub(super) fn family(&self) -> Family {
        Family::of(self.net.addr())
    }

    /// Addresses in all; the largest block that EC2 gives a subnet has 2^64, whose last is reserved anyway.
    fn size(&self) -> u64 {
        1_u64.checked_shl(u32::from(self.net.max_prefix_len() - self.net.prefix_len())).unwrap_or(u64::MAX)
    }

    /// Addresses in a delegated prefix.
    fn block_size(&self) -> u64 {
        self.family().block_size()
    }

    fn offset(&self, address: IpAddr) -> Option<u64> {
        if !self.net.contains(&address) {
            return None;
        }
        let offset = match (address, self.net.network()) {
            (IpAddr::V4(address), IpAddr::V4(base)) => u128::from(address.to_bits() - base.to_bits()),
            (IpAddr::V6(address), IpAddr::V6(base)) => address.to_bits() - base.to_bits(),
            _ => return None,
        };
        u64::try_from(offset).ok()
    }

    fn address(&self, offset: u64) -> IpAddr {
        match self.net.network() {
            IpAddr::V4(base) => IpAddr::V4((base.to_bits() + offset as u32).into()),
            IpAddr::V6(base) => IpAddr::V6((base.to_bits() + u128::from(offset)).into()),
        }
    }

    fn prefix(&self, number: u64) -> IpNet {
        let first = self.address(number * self.block_size());
        IpNet::new(first, self.family().block_len()).expect("a family's own prefix length is valid")
    }

    /// `AvailableIpAddressCount`, for IPv4.
    pub(super) fn free(&self) -> u64 {
        let taken = self.singles.len() as u64 + self.blocks.len() as u64 * self.block_size();
        self.size().saturating_sub(RESERVED + taken)
    }

    fn is_reserved(&self, offset: u64) -> bool {
        offset < RESERVED_HEAD || offset == self.last()
    }

    /// The offset of the block's last address.
    fn last(&self) -> u64 {
        match self.size() {
            u64::MAX => u64::MAX,
            size => size - 1,
        }
    }

    fn is_free(&self, offset: u64) -> bool {
        !self.is_reserved(offset)
            && !self.singles.contains_key(&offset)
            && !self.blocks.contains_key(&(offset / self.block_size()))
    }

    fn block_is_free(&self, number: u64) -> bool {
        let first = number * self.block_size();
        let last = first + (self.block_size() - 1);
        !self.is_reserved(first)
            && !self.is_reserved(last)
            && !self.blocks.contains_key(&number)
            && self.singles.range(first..=last).next().is_none()
    }

    /// Whether EC2 may choose this address by itself.
    fn may_choose(&self, offset: u64) -> bool {
        self.reservations.is_empty()
            || !self.reservations.iter().any(|(net, _)| net.contains(&self.address(offset)))
    }

    /// Who holds this very address as a single one.
    pub(super) fn holder(&self, address: IpAddr) -> Option<Holder> {
        self.singles.get(&self.offset(address)?).copied()
    }

    fn set_single(&mut self, offset: u64, holder: Option<Holder>) {
        let was = match holder {
            Some(holder) => self.singles.insert(offset, holder),
            None => self.singles.remove(&offset),
        };
        self.undo.push(Undo::Single(offset, was));
    }

    fn set_block(&mut self, number: u64, holder: Option<EniId>) {
        let was = match holder {
            Some(holder) => self.blocks.insert(number, holder),
            None => self.blocks.remove(&number),
        };
        self.undo.push(Undo::Block(number, was));
    }

    /// Takes `count` free addresses, scattered as EC2 does it; all or none.
    pub(super) fn take(&mut self, eni: EniId, count: u32, choice: &mut Stream) -> Result<Vec<IpAddr>, Full> {
        if self.free() < u64::from(count) {
            return Err(Full);
        }
        let mut taken = Vec::new();
        for _ in 0..count {
            let start = choice.below(self.size());
            let found = self.next_free(start).or_else(|| self.next_free(0));
            // Where there is none, all that is free is reserved for those who name it.
            let offset = found.ok_or(Full)?;
            self.set_single(offset, Some(Holder::Eni(eni)));
            taken.push(self.address(offset));
        }
        Ok(taken)
    }

    /// The first free address from `start` on that EC2 may choose. Skips whole prefixes and runs of taken addresses.
    fn next_free(&self, start: u64) -> Option<u64> {
        let mut offset = start.max(RESERVED_HEAD);
        let mut singles = self.singles.range(offset..).map(|(taken, _)| *taken).peekable();
        while offset < self.last() {
            let number = offset / self.block_size();
            if self.blocks.contains_key(&number) {
                offset = (number + 1).checked_mul(self.block_size())?;
                continue;
            }
            if singles.next_if_eq(&offset).is_none() && self.may_choose(offset) {
                return Some(offset);
            }
            offset += 1;
        }
        None
    }

    /// Takes one named address, for whomever.
    pub(super) fn take_this(&mut self, address: IpAddr, holder: Holder) -> Result<(), ApiError> {
        let Some(offset) = self.offset(address) else {
            return Err(invalid(format!(
                "Address {address} does not fall within the subnet's address range"
            )));
        };
        if self.is_reserved(offset) {
            return Err(invalid(format!("Address {address} is in subnet's reserved address range")));
        }
        if !self.is_free(offset) {
            return Err(ApiError::new(ErrorCode::IpAddressInUse, format!("Address {address} is in use.")));
        }
        self.set_single(offset, Some(holder));
        Ok(())
    }

    /// Takes `count` wholly free, aligned prefixes, out of prefix reservations first; all or none.
    pub(super) fn take_prefixes(
        &mut self,
        eni: EniId,
        count: u32,
        choice: &mut Stream,
    ) -> Result<Vec<IpNet>, ApiError> {
        let mut taken = Vec::new();
        for _ in 0..count {
            let reserved: Vec<IpNet> = self
                .reservations
                .iter()
                .filter(|(_, kind)| *kind == ReservationKind::Prefix)
                .map(|(net, _)| *net)
                .collect();
            let in_reservation = reserved.into_iter().find_map(|net| self.choose_block(net, true, choice));
            let Some(number) = in_reservation.or_else(|| self.choose_block(self.net, false, choice)) else {
                // EC2 says so also while single addresses, or even blocks, are free (amazon-vpc-cni-k8s#2749).
                return Err(ApiError::new(
                    ErrorCode::InsufficientCidrBlocks,
                    "The specified subnet does not have enough free cidr blocks to satisfy the request.",
                ));
            };
            self.set_block(number, Some(eni));
            taken.push(self.prefix(number));
        }
        Ok(taken)
    }

    /// A free block inside `net`, drawn from all of them where they are few, the next one after a draw otherwise.
    fn choose_block(&self, net: IpNet, reserved: bool, choice: &mut Stream) -> Option<u64> {
        /// More blocks than this are not listed: a /64 has 65,536 of them and never fills.
        const LISTED: u64 = 4096;
        let first = self.offset(net.network())?.div_ceil(self.block_size());
        let end = self.offset(net.broadcast())? / self.block_size() + 1;
        let usable = |number: &u64| {
            self.block_is_free(*number) && (reserved || self.may_choose(number * self.block_size()))
        };
        let count = end.checked_sub(first)?;
        if count > LISTED {
            let start = choice.below(count);
            return (0..count).map(|step| first + (start + step) % count).find(usable);
        }
        let free: Vec<u64> = (first..end).filter(usable).collect();
        if free.is_empty() {
            return None;
        }
        free.get(usize::try_from(choice.below(free.len() as u64)).ok()?).copied()
    }

    /// Takes one named prefix.
    pub(super) fn take_this_prefix(&mut self, eni: EniId, wanted: IpNet) -> Result<(), ApiError> {
        let family = self.family();
        if wanted.prefix_len() != family.block_len() || wanted.network() != wanted.addr() {
            return Err(invalid(format!(
                "The {family} prefix {wanted} is not a valid /{} prefix",
                family.block_len()
            )));
        }
        let Some(offset) = self.offset(wanted.network()).filter(|_| self.net.contains(&wanted)) else {
            return Err(invalid(format!(
                "The {family} prefix {wanted} is not within the subnet's address range"
            )));
        };
        let number = offset / self.block_size();
        if !self.block_is_free(number) {
            return Err(invalid(format!("The {family} prefix {wanted} is not available")));
        }
        self.set_block(number, Some(eni));
        Ok(())
    }

    /// Gives one address back.
    pub(super) fn release(&mut self, address: IpAddr) {
        if let Some(offset) = self.offset(address) {
            self.set_single(offset, None);
        }
    }

    /// Gives one prefix back.
    pub(super) fn release_prefix(&mut self, prefix: IpNet) {
        if let Some(offset) = self.offset(prefix.network()) {
            self.set_block(offset / self.block_size(), None);
        }
    }

    /// Hands one taken address to another ENI.
    pub(super) fn reassign(&mut self, address: IpAddr, eni: EniId) {
        if let Some(offset) = self.offset(address) {
            self.set_single(offset, Some(Holder::Eni(eni)));
        }
    }

    /// Lets something foreign hold free addresses, lowest first, until at most `leave` are free.
    pub(super) fn occupy_all_but(&mut self, leave: u64) {
        let mut from = 0;
        while self.free() > leave {
            // Reservations keep EC2 from choosing, not others from asking.
            let Some(offset) = (from..self.last()).find(|offset| self.is_free(*offset)) else { return };
            self.set_single(offset, Some(Holder::Foreign));
            from = offset + 1;
        }
    }

    /// Puts one foreign address into every wholly free block.
    pub(super) fn fragment(&mut self) {
        for number in 0..self.size() / self.block_size() {
            if self.block_is_free(number) {
                let middle = number * self.block_size() + self.block_size() / 2;
                self.set_single(middle, Some(Holder::Foreign));
            }
        }
    }

    /// Removes all foreign addresses.
    pub(super) fn vacate(&mut self) {
        let foreign = self.singles.iter().filter(|(_, holder)| **holder == Holder::Foreign);
        let foreign: Vec<u64> = foreign.map(|(offset, _)| *offset).collect();
        for offset in foreign {
            self.set_single(offset, None);
        }
    }

    /// Keeps a part of the block for one use.
    pub(super) fn reserve(&mut self, net: IpNet, kind: ReservationKind) -> Result<(), ApiError> {
        if !self.net.contains(&net) || net.addr() != net.network() {
            return Err(invalid(format!("The CIDR '{net}' is not within the subnet's address range")));
        }
        if self.reservations.iter().any(|(other, _)| other.contains(&net) || net.contains(other)) {
            return Err(invalid(format!("The CIDR '{net}' overlaps with another reservation")));
        }
        self.reservations.push((net, kind));
        Ok(())
    }

    /// The addresses that ENIs hold.
    pub(super) fn held(&self) -> impl Iterator<Item = (IpAddr, EniId)> + '_ {
        self.singles.iter().filter_map(|(offset, holder)| match holder {
            Holder::Eni(eni) => Some((self.address(*offset), *eni)),
            Holder::Foreign => None,
        })
    }

    /// The prefixes that ENIs hold.
    pub(super) fn held_prefixes(&self) -> impl Iterator<Item = (IpNet, EniId)> + '_ {
        self.blocks.iter().map(|(number, eni)| (self.prefix(*number), *eni))
    }

    /// The free count, address by address; `None` where that would take too long.
    pub(super) fn counted(&self) -> Option<u64> {
        const COUNTED_UP_TO: u64 = 1 << 12;
        (self.size() <= COUNTED_UP_TO)
            .then(|| (0..self.size()).filter(|offset| self.is_free(*offset)).count() as u64)
    }

    /// Whether a change is under way.
    pub(super) fn is_touched(&self) -> bool {
        !self.undo.is_empty()
    }

    /// Makes the change under way final.
    pub(super) fn commit(&mut self) {
        self.undo.clear();
    }

    /// Undoes the change under way.
    pub(super) fn rollback(&mut self) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Single(offset, Some(holder)) => drop(self.singles.insert(offset, holder)),
                Undo::Single(offset, None) => drop(self.singles.remove(&offset)),
                Undo::Block(number, Some(eni)) => drop(self.blocks.insert(number, eni)),
                Undo::Block(number, None) => drop(self.blocks.remove(&number)),
            }
        }
    }
}

/// The /28s and /80s that EC2 delegates, and the addresses beside them, of one ENI.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Holding {
    /// Addresses, the primary one first.
    pub(super) addresses: Vec<IpAddr>,
    /// Delegated prefixes.
    pub(super) prefixes: Vec<IpNet>,
}

impl Holding {
    /// Slots of the ENI that it takes.
    pub(super) fn slots(&self) -> usize {
        self.addresses.len() + self.prefixes.len()
    }

    pub(super) fn ipv4(&self) -> Vec<std::net::Ipv4Addr> {
        let v4 = |address: &IpAddr| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        };
        self.addresses.iter().filter_map(v4).collect()
    }

    pub(super) fn ipv6(&self) -> Vec<std::net::Ipv6Addr> {
        let v6 = |address: &IpAddr| match address {
            IpAddr::V6(address) => Some(*address),
            IpAddr::V4(_) => None,
        };
        self.addresses.iter().filter_map(v6).collect()
    }

    pub(super) fn ipv4_prefixes(&self) -> Vec<Ipv4Net> {
        let v4 = |prefix: &IpNet| match prefix {
            IpNet::V4(prefix) => Some(*prefix),
            IpNet::V6(_) => None,
        };
        self.prefixes.iter().filter_map(v4).collect()
    }

    pub(super) fn ipv6_prefixes(&self) -> Vec<Ipv6Net> {
        let v6 = |prefix: &IpNet| match prefix {
            IpNet::V6(prefix) => Some(*prefix),
            IpNet::V4(_) => None,
        };
        self.prefixes.iter().filter_map(v6).collect()
    }
}
