//! Assigning and unassigning addresses and prefixes.

use super::create::{Ipv4Wish, Ipv6Wish};
use super::{Change, Effect, invalid, missing, no_duplicates};
use crate::vpc::error::{ApiError, ErrorCode};
use crate::vpc::ids::EniId;
use crate::vpc::request::{
    AssignIpv6Addresses, AssignPrivateIpAddresses, UnassignIpv6Addresses, UnassignPrivateIpAddresses,
};
use crate::vpc::response::{AssignedV4, AssignedV6, UnassignedV6};
use crate::vpc::subnet::Holder;

/// EC2 documents this code for private addresses without a word on the family; IPv6 is assumed to share it.
fn limit_exceeded(what: &str) -> ApiError {
    ApiError::new(ErrorCode::PrivateIpAddressLimitExceeded, format!("Number of {what} will exceed limit."))
}

impl Change<'_> {
    pub(super) fn assign_v4(&mut self, op: &AssignPrivateIpAddresses) -> Result<AssignedV4, ApiError> {
        let id = &op.network_interface_id;
        self.has_addresses(id)?;
        let wish = Ipv4Wish::read(
            op.secondary_private_ip_address_count,
            op.private_ip_addresses.clone(),
            op.ipv4_prefix_count,
            op.ipv4_prefixes.clone(),
        )?;
        if wish.slots() == 0 {
            return Err(missing("secondaryPrivateIpAddressCount"));
        }
        let before = self.world.eni(id)?.addresses();
        if op.allow_reassignment
            && let Ipv4Wish::These(these) = &wish
        {
            self.reassign(id, these)?;
        } else {
            self.grant_v4(id, wish)?;
        }
        self.effects.push(Effect::Addresses(id.clone()));
        let after = self.world.eni(id)?;
        Ok(AssignedV4 {
            network_interface_id: id.clone(),
            addresses: after.ipv4.iter().copied().filter(|ip| !before.ipv4.contains(ip)).collect(),
            prefixes: after
                .ipv4_prefixes
                .iter()
                .copied()
                .filter(|prefix| !before.ipv4_prefixes.contains(prefix))
                .collect(),
        })
    }

    /// Takes named addresses, from other ENIs of the subnet where needed.
    fn reassign(&mut self, id: &EniId, these: &[std::net::Ipv4Addr]) -> Result<(), ApiError> {
        for address in these {
            let subnet_id = self.world.eni(id)?.subnet.clone();
            let holder = self.world.subnet(&subnet_id)?.holder(*address).cloned();
            match holder {
                Some(Holder::Eni(from)) if from == *id => {}
                Some(Holder::Eni(from)) => {
                    let other = self.world.eni_mut(&from)?;
                    if other.ipv4.first() == Some(address) {
                        return Err(invalid(format!(
                            "[{address}] is the primary private IP address of a network interface and cannot be \
                             reassigned"
                        )));
                    }
                    other.ipv4.retain(|ip| ip != address);
                    self.effects.push(Effect::Addresses(from));
                    self.room_v4(id, 1)?;
                    self.world.subnet_mut(&subnet_id)?.reassign(*address, id);
                    self.world.eni_mut(id)?.ipv4.push(*address);
                }
                Some(Holder::Foreign) | None => self.grant_v4(id, Ipv4Wish::These(vec![*address]))?,
            }
        }
        Ok(())
    }

    fn has_addresses(&self, id: &EniId) -> Result<(), ApiError> {
        if self.world.eni(id)?.interface_type == "efa-only" {
            return Err(invalid(format!(
                "Network interface '{id}' is EFA-only and does not support IP addresses"
            )));
        }
        Ok(())
    }

    fn room_v4(&self, id: &EniId, slots: usize) -> Result<(), ApiError> {
        let eni = self.world.eni(id)?;
        let used = eni.ipv4.len() + eni.ipv4_prefixes.len();
        match self.world.limits_of(eni) {
            Some(limits) if used + slots > limits.ipv4_per_eni as usize => {
                Err(limit_exceeded("private addresses"))
            }
            _ => Ok(()),
        }
    }

    /// Adds secondary addresses or prefixes to an ENI, within its limit while it is bound to an instance.
    pub(super) fn grant_v4(&mut self, id: &EniId, wish: Ipv4Wish) -> Result<(), ApiError> {
        if wish.slots() == 0 {
            return Ok(());
        }
        self.room_v4(id, wish.slots())?;
        if matches!(wish, Ipv4Wish::PrefixCount(_) | Ipv4Wish::Prefixes(_)) {
            self.prefixes_possible(id)?;
        }
        let subnet_id = self.world.eni(id)?.subnet.clone();
        let subnet = self.world.subnet_mut(&subnet_id)?;
        let (mut addresses, mut prefixes) = (Vec::new(), Vec::new());
        match wish {
            Ipv4Wish::Nothing => {}
            Ipv4Wish::Count(number) => addresses = subnet.take(id, number, self.choice)?,
            Ipv4Wish::These(these) => {
                for address in &these {
                    match subnet.holder(*address) {
                        Some(_) => {
                            return Err(invalid(format!(
                                "[{address}] is already assigned, but move is not allowed"
                            )));
                        }
                        None => subnet.take_this(id, *address)?,
                    }
                }
                addresses = these;
            }
            Ipv4Wish::PrefixCount(number) => prefixes = subnet.take_prefixes(id, number, self.choice)?,
            Ipv4Wish::Prefixes(these) => {
                for prefix in &these {
                    subnet.take_this_prefix(id, *prefix)?;
                }
                prefixes = these;
            }
        }
        let eni = self.world.eni_mut(id)?;
        eni.ipv4.extend(addresses);
        eni.ipv4_prefixes.extend(prefixes);
        Ok(())
    }

    fn prefixes_possible(&self, id: &EniId) -> Result<(), ApiError> {
        match self.world.limits_of(self.world.eni(id)?) {
            Some(limits) if !limits.supports_prefixes() => {
                Err(invalid(format!("Prefix delegation is not supported on instance type '{}'", limits.name)))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn unassign_v4(&mut self, op: &UnassignPrivateIpAddresses) -> Result<(), ApiError> {
        let id = &op.network_interface_id;
        let eni = self.world.eni_mut(id)?;
        if op.private_ip_addresses.is_empty() && op.ipv4_prefixes.is_empty() {
            return Err(missing("privateIpAddresses"));
        }
        no_duplicates(&op.private_ip_addresses)?;
        no_duplicates(&op.ipv4_prefixes)?;
        for address in &op.private_ip_addresses {
            match eni.ipv4.iter().position(|ip| ip == address) {
                Some(0) => {
                    return Err(invalid(format!(
                        "IP address {address} is the primary private IP address of interface {id} and cannot be \
                         unassigned"
                    )));
                }
                Some(place) => {
                    eni.ipv4.remove(place);
                }
                None => {
                    return Err(invalid(format!(
                        "Some of the specified addresses are not assigned to interface {id}"
                    )));
                }
            }
        }
        for prefix in &op.ipv4_prefixes {
            let Some(place) = eni.ipv4_prefixes.iter().position(|held| held == prefix) else {
                return Err(invalid(format!(
                    "Some of the specified prefixes are not assigned to interface {id}"
                )));
            };
            eni.ipv4_prefixes.remove(place);
        }
        let subnet_id = eni.subnet.clone();
        let subnet = self.world.subnet_mut(&subnet_id)?;
        op.private_ip_addresses.iter().for_each(|address| subnet.release(*address));
        op.ipv4_prefixes.iter().for_each(|prefix| subnet.release_prefix(*prefix));
        self.effects.push(Effect::Addresses(id.clone()));
        Ok(())
    }

    pub(super) fn assign_v6(&mut self, op: &AssignIpv6Addresses) -> Result<AssignedV6, ApiError> {
        let id = &op.network_interface_id;
        self.has_addresses(id)?;
        let wish = Ipv6Wish::read(
            op.ipv6_address_count,
            op.ipv6_addresses.clone(),
            op.ipv6_prefix_count,
            op.ipv6_prefixes.clone(),
        )?;
        if wish.slots() == 0 {
            return Err(missing("ipv6AddressCount"));
        }
        let before = self.world.eni(id)?.addresses();
        self.grant_v6(id, wish)?;
        self.effects.push(Effect::Addresses(id.clone()));
        let after = self.world.eni(id)?;
        Ok(AssignedV6 {
            network_interface_id: id.clone(),
            addresses: after.ipv6.iter().copied().filter(|ip| !before.ipv6.contains(ip)).collect(),
            prefixes: after
                .ipv6_prefixes
                .iter()
                .copied()
                .filter(|prefix| !before.ipv6_prefixes.contains(prefix))
                .collect(),
        })
    }

    /// Adds IPv6 addresses or prefixes to an ENI, within its limit while it is bound to an instance.
    pub(super) fn grant_v6(&mut self, id: &EniId, wish: Ipv6Wish) -> Result<(), ApiError> {
        // Nothing can be asked of a subnet without IPv6 too.
        if wish.slots() == 0 {
            return Ok(());
        }
        let eni = self.world.eni(id)?;
        let used = eni.ipv6.len() + eni.ipv6_prefixes.len();
        if self.world.limits_of(eni).is_some_and(|l| used + wish.slots() > l.ipv6_per_eni as usize) {
            return Err(limit_exceeded("IPv6 addresses"));
        }
        if matches!(wish, Ipv6Wish::PrefixCount(_) | Ipv6Wish::Prefixes(_)) {
            self.prefixes_possible(id)?;
        }
        let subnet_id = self.world.eni(id)?.subnet.clone();
        let subnet = self.world.subnet_mut(&subnet_id)?;
        let (mut addresses, mut prefixes) = (Vec::new(), Vec::new());
        match wish {
            Ipv6Wish::Nothing => {}
            Ipv6Wish::Count(number) => addresses = subnet.take6(id, number, self.choice)?,
            Ipv6Wish::These(these) => {
                for address in &these {
                    subnet.take_this6(id, *address)?;
                }
                addresses = these;
            }
            Ipv6Wish::PrefixCount(number) => prefixes = subnet.take6_prefixes(id, number, self.choice)?,
            Ipv6Wish::Prefixes(these) => {
                for prefix in &these {
                    subnet.take_this6_prefix(id, *prefix)?;
                }
                prefixes = these;
            }
        }
        let eni = self.world.eni_mut(id)?;
        eni.ipv6.extend(addresses);
        eni.ipv6_prefixes.extend(prefixes);
        Ok(())
    }

    pub(super) fn unassign_v6(&mut self, op: &UnassignIpv6Addresses) -> Result<UnassignedV6, ApiError> {
        let id = &op.network_interface_id;
        let eni = self.world.eni_mut(id)?;
        if op.ipv6_addresses.is_empty() && op.ipv6_prefixes.is_empty() {
            return Err(missing("ipv6Addresses"));
        }
        no_duplicates(&op.ipv6_addresses)?;
        no_duplicates(&op.ipv6_prefixes)?;
        let all_there = op.ipv6_addresses.iter().all(|ip| eni.ipv6.contains(ip))
            && op.ipv6_prefixes.iter().all(|prefix| eni.ipv6_prefixes.contains(prefix));
        if !all_there {
            return Err(invalid(format!(
                "Some of the specified addresses are not assigned to interface {id}"
            )));
        }
        eni.ipv6.retain(|ip| !op.ipv6_addresses.contains(ip));
        eni.ipv6_prefixes.retain(|prefix| !op.ipv6_prefixes.contains(prefix));
        let subnet_id = eni.subnet.clone();
        let subnet = self.world.subnet_mut(&subnet_id)?;
        op.ipv6_addresses.iter().for_each(|address| subnet.release6(*address));
        op.ipv6_prefixes.iter().for_each(|prefix| subnet.release6_prefix(*prefix));
        self.effects.push(Effect::Addresses(id.clone()));
        Ok(UnassignedV6 {
            network_interface_id: id.clone(),
            addresses: op.ipv6_addresses.clone(),
            prefixes: op.ipv6_prefixes.clone(),
        })
    }
}
