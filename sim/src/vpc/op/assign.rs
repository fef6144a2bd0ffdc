//! Assigning and unassigning addresses and prefixes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::wish::Wish;
use super::{Change, Due, Effect, invalid, missing, no_duplicates};
use crate::vpc::error::{ApiError, ErrorCode};
use crate::vpc::family::Family;
use crate::vpc::ids::EniId;
use crate::vpc::request::{
    AssignIpv6Addresses, AssignPrivateIpAddresses, UnassignIpv6Addresses, UnassignPrivateIpAddresses,
};
use crate::vpc::response::{AssignedV4, AssignedV6, UnassignedV6};
use crate::vpc::space::{Full, Holder, Holding};

/// EC2 documents this code for private addresses without a word on the family; IPv6 is assumed to share it.
fn limit_exceeded(family: Family) -> ApiError {
    let what = match family {
        Family::V4 => "private addresses",
        Family::V6 => "IPv6 addresses",
    };
    ApiError::new(ErrorCode::PrivateIpAddressLimitExceeded, format!("Number of {what} will exceed limit."))
}

impl Change<'_> {
    pub(super) fn assign_v4(&mut self, op: &AssignPrivateIpAddresses) -> Result<AssignedV4, ApiError> {
        let id = op.network_interface_id;
        let wish = Wish::read(
            Family::V4,
            op.secondary_private_ip_address_count,
            &op.private_ip_addresses,
            op.ipv4_prefix_count,
            &op.ipv4_prefixes,
        )?;
        let added = match &wish {
            Wish::These(these) if op.allow_reassignment => self.reassign(id, these)?,
            _ => self.assign(id, Family::V4, wish)?,
        };
        Ok(AssignedV4 { network_interface_id: id, addresses: added.ipv4(), prefixes: added.ipv4_prefixes() })
    }

    pub(super) fn assign_v6(&mut self, op: &AssignIpv6Addresses) -> Result<AssignedV6, ApiError> {
        let wish = Wish::read(
            Family::V6,
            op.ipv6_address_count,
            &op.ipv6_addresses,
            op.ipv6_prefix_count,
            &op.ipv6_prefixes,
        )?;
        let added = self.assign(op.network_interface_id, Family::V6, wish)?;
        Ok(AssignedV6 {
            network_interface_id: op.network_interface_id,
            addresses: added.ipv6(),
            prefixes: added.ipv6_prefixes(),
        })
    }

    fn assign(&mut self, id: EniId, family: Family, wish: Wish) -> Result<Holding, ApiError> {
        self.has_addresses(id)?;
        if wish.slots() == 0 {
            return Err(missing(match family {
                Family::V4 => "secondaryPrivateIpAddressCount",
                Family::V6 => "ipv6AddressCount",
            }));
        }
        let asked = wish.slots();
        let wish = match self.gives_at_most {
            Some(most) => wish.at_most(most),
            None => wish,
        };
        let fewer = wish.slots() < asked;
        let added = self.grant(id, family, wish)?;
        self.gave_fewer |= fewer;
        self.effects.push(Effect::Addresses(id));
        Ok(added)
    }

    /// Takes named addresses, from other ENIs of the subnet where needed. The network follows later.
    fn reassign(&mut self, id: EniId, these: &[IpAddr]) -> Result<Holding, ApiError> {
        self.has_addresses(id)?;
        let mut added = Holding::default();
        // The old places are told first, so that no address leads to two.
        let mut moved = Vec::new();
        let subnet = self.world.eni(&id)?.subnet;
        for address in these {
            match self.world.space_mut(subnet, Family::V4)?.holder(*address) {
                Some(Holder::Eni(from)) if from == id => continue,
                Some(Holder::Eni(from)) => {
                    if self.world.eni(&from)?.v4.addresses.first() == Some(address) {
                        return Err(invalid(format!(
                            "[{address}] is the primary private IP address of a network interface and cannot be \
                             reassigned"
                        )));
                    }
                    self.room(id, Family::V4, 1)?;
                    self.world.eni_mut(&from)?.v4.addresses.retain(|held| held != address);
                    self.world.space_mut(subnet, Family::V4)?.reassign(*address, id);
                    self.world.eni_mut(&id)?.v4.addresses.push(*address);
                    moved.push(from);
                }
                Some(Holder::Foreign) | None => {
                    self.grant(id, Family::V4, Wish::These(vec![*address]))?;
                }
            }
            added.addresses.push(*address);
        }
        moved.push(id);
        let takes = self.timing.reassign_takes;
        self.effects.extend(moved.into_iter().map(|eni| {
            if takes.is_zero() { Effect::Addresses(eni) } else { Effect::Later(takes, Due::Reassigned(eni)) }
        }));
        Ok(added)
    }

    fn has_addresses(&self, id: EniId) -> Result<(), ApiError> {
        if self.world.eni(&id)?.interface_type == "efa-only" {
            return Err(invalid(format!(
                "Network interface '{id}' is EFA-only and does not support IP addresses"
            )));
        }
        Ok(())
    }

    /// Whether an ENI has room for so many more, within its limit while it is bound to an instance.
    fn room(&self, id: EniId, family: Family, slots: usize) -> Result<(), ApiError> {
        let eni = self.world.eni(&id)?;
        let limit = self.world.limits_of(eni).map(|limits| limits.per_eni(family));
        match limit {
            Some(limit) if eni.holding(family).slots() + slots > limit as usize => {
                Err(limit_exceeded(family))
            }
            _ => Ok(()),
        }
    }

    /// Adds addresses or prefixes to an ENI, and gives what was added.
    pub(super) fn grant(&mut self, id: EniId, family: Family, wish: Wish) -> Result<Holding, ApiError> {
        // Nothing can be asked also of a subnet that lacks the family.
        if wish.slots() == 0 {
            return Ok(Holding::default());
        }
        self.room(id, family, wish.slots())?;
        if wish.is_of_prefixes() {
            self.prefixes_possible(id)?;
        }
        let subnet = self.world.eni(&id)?.subnet;
        let space = self.world.space_mut(subnet, family)?;
        let mut added = Holding::default();
        match wish {
            Wish::Nothing => {}
            Wish::Count(number) => {
                added.addresses = space
                    .take(id, number, self.choice)
                    .map_err(|Full| self.full_subnet.error(self.choice))?;
            }
            Wish::These(these) => {
                for address in &these {
                    // EC2's own words for an IPv4 address that another ENI has.
                    if family == Family::V4 && space.holder(*address).is_some() {
                        return Err(invalid(format!(
                            "[{address}] is already assigned, but move is not allowed"
                        )));
                    }
                    space.take_this(*address, Holder::Eni(id))?;
                }
                added.addresses = these;
            }
            Wish::PrefixCount(number) => added.prefixes = space.take_prefixes(id, number, self.choice)?,
            Wish::Prefixes(these) => {
                for prefix in &these {
                    space.take_this_prefix(id, *prefix)?;
                }
                added.prefixes = these;
            }
        }
        let held = self.world.eni_mut(&id)?.holding_mut(family);
        held.addresses.extend(&added.addresses);
        held.prefixes.extend(&added.prefixes);
        Ok(added)
    }

    fn prefixes_possible(&self, id: EniId) -> Result<(), ApiError> {
        match self.world.limits_of(self.world.eni(&id)?) {
            Some(limits) if !limits.supports_prefixes() => {
                Err(invalid(format!("Prefix delegation is not supported on instance type '{}'", limits.name)))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn unassign_v4(&mut self, op: &UnassignPrivateIpAddresses) -> Result<(), ApiError> {
        let addresses = op.private_ip_addresses.iter().map(|address| IpAddr::V4(*address)).collect();
        let prefixes = op.ipv4_prefixes.iter().map(|prefix| IpNet::V4(*prefix)).collect();
        self.unassign(op.network_interface_id, Family::V4, &Holding { addresses, prefixes })
    }

    pub(super) fn unassign_v6(&mut self, op: &UnassignIpv6Addresses) -> Result<UnassignedV6, ApiError> {
        let addresses = op.ipv6_addresses.iter().map(|address| IpAddr::V6(*address)).collect();
        let prefixes = op.ipv6_prefixes.iter().map(|prefix| IpNet::V6(*prefix)).collect();
        self.unassign(op.network_interface_id, Family::V6, &Holding { addresses, prefixes })?;
        Ok(UnassignedV6 {
            network_interface_id: op.network_interface_id,
            addresses: op.ipv6_addresses.clone(),
            prefixes: op.ipv6_prefixes.clone(),
        })
    }

    fn unassign(&mut self, id: EniId, family: Family, wanted: &Holding) -> Result<(), ApiError> {
        let eni = self.world.eni(&id)?;
        if wanted.slots() == 0 {
            return Err(missing(match family {
                Family::V4 => "privateIpAddresses",
                Family::V6 => "ipv6Addresses",
            }));
        }
        no_duplicates(&wanted.addresses)?;
        no_duplicates(&wanted.prefixes)?;
        let held = eni.holding(family);
        let primary = held
            .addresses
            .first()
            .filter(|address| family == Family::V4 && wanted.addresses.contains(address));
        if let Some(address) = primary {
            return Err(invalid(format!(
                "IP address {address} is the primary private IP address of interface {id} and cannot be unassigned"
            )));
        }
        if !wanted.addresses.iter().all(|address| held.addresses.contains(address)) {
            return Err(invalid(format!(
                "Some of the specified addresses are not assigned to interface {id}"
            )));
        }
        if !wanted.prefixes.iter().all(|prefix| held.prefixes.contains(prefix)) {
            return Err(invalid(format!(
                "Some of the specified prefixes are not assigned to interface {id}"
            )));
        }
        let subnet = eni.subnet;
        let held = self.world.eni_mut(&id)?.holding_mut(family);
        held.addresses.retain(|address| !wanted.addresses.contains(address));
        held.prefixes.retain(|prefix| !wanted.prefixes.contains(prefix));
        let space = self.world.space_mut(subnet, family)?;
        wanted.addresses.iter().for_each(|address| space.release(*address));
        wanted.prefixes.iter().for_each(|prefix| space.release_prefix(*prefix));
        self.effects.push(Effect::Addresses(id));
        Ok(())
    }
}
