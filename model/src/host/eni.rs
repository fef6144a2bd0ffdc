//! What belongs to an ENI in the host's network namespace, and what of it is not there.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::{Ipv6Link, LinkSeen, Look, Route, Rule, priority};
use crate::eni::EniSlot;
use crate::ids::{EniId, MacAddr};

/// A secondary ENI's set-up (reference: vpc-cni 6.4); of the primary only the MTU is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniWiring {
    /// Which ENI, for messages.
    pub eni: EniId,
    /// By which its link is found.
    pub mac: MacAddr,
    /// Where it sits: decides the table.
    pub slot: EniSlot,
    /// Its own address.
    pub primary_ipv4: Ipv4Addr,
    /// Its subnet; the gateway is the first address after the base.
    pub subnet_cidr: Ipv4Net,
    /// MTU of its link.
    pub mtu: u32,
    /// Whether the node forwards IPv6 for pods behind it, whose way out it hears of on this link: of the primary, where pods have
    /// IPv6 addresses.
    pub routes_ipv6: bool,
}

/// One thing to do so that an ENI is as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EniChange {
    /// Set its link's MTU.
    SetMtu(u32),
    /// Set its link up.
    SetUp,
    /// Check the sources of packets that come in by it less strictly. What comes in by the primary ENI to a NodePort is
    /// for a pod whose rule says that its packets leave by another ENI; on that one, the main table may say so of the
    /// sender. A strict check would drop them.
    LoosenSourceCheck,
    /// Turn IPv6 on, on all links.
    TurnIpv6On,
    /// Hear router advertisements on its link although the node forwards.
    HearAdvertisements,
    /// Forward IPv6, which has all links stop hearing them that do not always.
    ForwardIpv6,
    /// Take an address off its link.
    RemoveAddress(Ipv4Net),
    /// Put its own address on its link, without a route to its subnet.
    AddAddress(Ipv4Net),
    /// Remove a route to its subnet from the main table, whoever made it.
    Disconnect(Route),
    /// Put a route, in the place of whatever other one.
    PutRoute(Route),
    /// Remove a route of ours.
    RemoveRoute(Route),
    /// Add a rule.
    AddRule(Rule),
    /// Remove a rule.
    RemoveRule(Rule),
}

impl EniWiring {
    /// The subnet's gateway.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet_cidr.network()).wrapping_add(1))
    }

    /// Its own address with its subnet's mask.
    pub fn address(&self) -> Ipv4Net {
        Ipv4Net::new(self.primary_ipv4, self.subnet_cidr.prefix_len()).unwrap_or(self.primary_ipv4.into())
    }

    /// From its own address by its table.
    pub fn rule(&self) -> Rule {
        Rule::from(priority::FROM_ENI, IpAddr::V4(self.primary_ipv4), self.slot.route_table())
    }

    /// Its table: the gateway on the link, and everything else through it.
    pub fn routes(&self, link_index: u32) -> [Route; 2] {
        let (table, gateway) = (self.slot.route_table(), IpAddr::V4(self.gateway()));
        [
            Route::on_link(table, IpNet::from(gateway), link_index),
            Route::default_via(table, gateway, link_index),
        ]
    }

    /// What is to be done so that the ENI, whose link this is, is as it should be; nothing when it is.
    pub fn changes(&self, link: &LinkSeen, look: &Look<'_>) -> Vec<EniChange> {
        let mut changes = Vec::new();
        if look.is_strict(link) {
            changes.push(EniChange::LoosenSourceCheck);
        }
        if link.mtu != self.mtu {
            changes.push(EniChange::SetMtu(self.mtu));
        }
        if self.routes_ipv6 {
            Self::change_ipv6(link, look, &mut changes);
        }
        // Of the primary no more is ours; the rest is the host's.
        if self.slot == EniSlot::PRIMARY {
            return changes;
        }
        if !link.up {
            changes.push(EniChange::SetUp);
        }
        self.change_addresses(link, &mut changes);
        self.change_routes(link, look, &mut changes);
        let (rule, table) = (self.rule(), self.slot.route_table());
        if !look.has_rule(&rule) {
            changes.push(EniChange::AddRule(rule.clone()));
        }
        let stale = |seen: &&Rule| {
            seen.priority == priority::FROM_ENI && (seen.from == rule.from) != (seen.table == table)
        };
        changes.extend(look.rules().filter(stale).cloned().map(EniChange::RemoveRule));
        changes
    }

    /// In the order in which the kernel keeps the way out that it has heard of.
    fn change_ipv6(link: &LinkSeen, look: &Look<'_>, changes: &mut Vec<EniChange>) {
        let seen = look.ipv6();
        if seen.off == Some(true) || link.ipv6.is_none_or(|ipv6| ipv6.off) {
            changes.push(EniChange::TurnIpv6On);
        }
        if link.ipv6.is_none_or(|ipv6| ipv6.accept_ra != Ipv6Link::ALWAYS_HEARS) {
            changes.push(EniChange::HearAdvertisements);
        }
        if seen.forwarding != Some(true) {
            changes.push(EniChange::ForwardIpv6);
        }
    }

    /// Its own address and no other of the VPC's: secondary addresses are pods', and a host that bears them answers in
    /// their place. What somebody has put there to talk to its neighbours (link-local) is theirs.
    fn change_addresses(&self, link: &LinkSeen, changes: &mut Vec<EniChange>) {
        let own = self.address();
        let foreign = link.addresses.iter().filter(|net| **net != own && !net.addr().is_link_local());
        changes.extend(foreign.copied().map(EniChange::RemoveAddress));
        if !link.addresses.contains(&own) {
            changes.push(EniChange::AddAddress(own));
        }
        // Added by others, the address brought a route to its subnet. In the main table it would take the traffic of
        // the primary ENI's pods out of this one.
        let connected =
            link.connected.iter().filter(|route| route.source == Some(IpAddr::V4(self.primary_ipv4)));
        changes.extend(connected.cloned().map(EniChange::Disconnect));
    }

    fn change_routes(&self, link: &LinkSeen, look: &Look<'_>, changes: &mut Vec<EniChange>) {
        let wanted = self.routes(link.index);
        let lacking = wanted.iter().filter(|route| !look.has_route(route));
        changes.extend(lacking.cloned().map(EniChange::PutRoute));
        // Of ours, what leads elsewhere: a link or subnet that this slot had before. What one that is put takes the place
        // of is gone by then.
        let table = self.slot.route_table();
        let stale = look.routes().filter(|seen| {
            seen.table == table && !wanted.iter().any(|wanted| wanted.takes_the_place_of(seen))
        });
        changes.extend(stale.cloned().map(EniChange::RemoveRoute));
    }
}

#[cfg(test)]
mod tests;
