//! What belongs to a pod in the host's network namespace and in its own, and what of it is not there.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    Ipv6Link, LinkAlias, LinkSeen, Look, MAIN_TABLE, PRIMARY_MARK, Route, Rule, pod_gateway, priority,
};
use crate::ids::MacAddr;
use crate::pool::Family;

/// A pod's wiring: the veth pair, the addresses, routes, neighbour and rules (reference: vpc-cni 6.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodWiring {
    /// Owner of the link.
    pub alias: LinkAlias,
    /// Host end's name.
    pub host_veth: String,
    /// Host end's MAC, set as the link is made.
    pub host_mac: MacAddr,
    /// Name inside the sandbox.
    pub ifname: String,
    /// Which of the sandbox's interfaces it is: 0 is the one by which it sends what is bound to none.
    pub number: u8,
    /// The pod's address, a host route.
    pub address: IpAddr,
    /// MTU of both ends.
    pub mtu: u32,
    /// The routing table of the ENI that owns the address; [`MAIN_TABLE`] for the primary ENI.
    pub table: u32,
    /// Where its packets should go, as far as that can be said: the kernel is asked for each.
    pub ways: Vec<Way>,
}

/// Where a pod's packets to one destination, that stands for many, should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The destination.
    pub to: IpAddr,
    /// Whether they are marked to leave by the primary ENI, as the node.
    pub marked: bool,
    /// Which place it stands for. Of several to one place what takes one and not all is somebody's will about that one: ranges
    /// that are nobody's are often sent nowhere, and a cache may bear a resolver's address.
    pub place: u8,
    /// The MAC of the ENI that its packets leave by.
    pub by: Option<MacAddr>,
}

/// The ways to each place.
pub fn places(ways: &[Way]) -> impl Iterator<Item = &[Way]> {
    ways.chunk_by(|one, other| one.place == other.place)
}

/// What a wired pod looks like, read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodWired {
    /// Index of the host end.
    pub host_ifindex: u32,
    /// MAC inside the sandbox.
    pub pod_mac: MacAddr,
}

/// What of the host's side of a pod's wiring is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodDifference {
    /// The link is not there, or another's bears its name.
    LinkMissing,
    /// The link is down.
    LinkDown,
    /// The link has this MAC.
    LinkMac(Option<MacAddr>),
    /// The link has this MTU.
    LinkMtu(u32),
    /// The pod can send from whatever address: the link has this `rp_filter`.
    SourceUnchecked(u8),
    /// IPv6 is turned off on the link.
    Ipv6Off,
    /// The pod can tell the node where its packets go: the link has this `accept_ra`.
    HearsAdvertisements(i32),
    /// This route is missing.
    RouteMissing(Route),
    /// This rule is missing.
    RuleMissing(Rule),
    /// This rule of ours, of an earlier owner of the address, leads elsewhere.
    RuleStray(Rule),
}

impl PodWiring {
    /// What `rp_filter` is on its host link: that it sends as itself only.
    pub const RP_FILTER: u8 = 1;

    /// To the pod by the main table; from a pod on a secondary ENI by that ENI's.
    pub fn rules(&self) -> Vec<Rule> {
        let mut rules = vec![Rule::to(priority::TO_POD, self.address, MAIN_TABLE)];
        if self.table != MAIN_TABLE {
            rules.push(Rule::from(priority::FROM_POD, self.address, self.table));
        }
        rules
    }

    /// Whether a rule of ours is about this pod's address.
    pub fn is_about(&self, rule: &Rule) -> bool {
        let own = Some(IpNet::from(self.address));
        (rule.priority == priority::TO_POD && rule.to == own)
            || (rule.priority == priority::FROM_POD && rule.from == own)
    }

    /// The way to it over its host link.
    pub fn route(&self, link_index: u32) -> Route {
        Route::on_link(MAIN_TABLE, IpNet::from(self.address), link_index)
    }

    /// Of which family its address is.
    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// Its gateway in the sandbox, to whom it sends everything: each interface has its own.
    pub fn gateway(&self) -> IpAddr {
        match pod_gateway(self.family()) {
            IpAddr::V4(first) => {
                let [a, b, c, last] = first.octets();
                Ipv4Addr::new(a, b, c, last.saturating_add(self.number)).into()
            }
            IpAddr::V6(first) => Ipv6Addr::from(u128::from(first).saturating_add(self.number.into())).into(),
        }
    }

    /// The table inside the sandbox that what is sent from its address goes by.
    pub fn sandbox_table(&self) -> u32 {
        if self.number == 0 { MAIN_TABLE } else { self.number.into() }
    }

    /// The routes inside the sandbox: to the gateway, and through it to everywhere.
    pub fn sandbox_routes(&self, link_index: u32) -> [Route; 2] {
        let (table, gateway) = (self.sandbox_table(), self.gateway());
        [
            Route::on_link(table, IpNet::from(gateway), link_index),
            Route::default_via(table, gateway, link_index),
        ]
    }

    /// The rule inside the sandbox by which its address has a table of its own. Of the first interface's it is the main one.
    pub fn sandbox_rule(&self) -> Option<Rule> {
        (self.number > 0).then(|| Rule::from(priority::IN_POD, self.address, self.sandbox_table()))
    }

    /// What of the host's side is not as it should be.
    pub fn differences(&self, look: &Look<'_>) -> Vec<PodDifference> {
        let mut differences = Vec::new();
        match look.pod_link(self) {
            None => differences.push(PodDifference::LinkMissing),
            Some(link) => {
                self.link_differences(link, &mut differences);
                let route = self.route(link.index);
                if !look.has_route(&route) {
                    differences.push(PodDifference::RouteMissing(route));
                }
            }
        }
        let missing = self.rules().into_iter().filter(|rule| !look.has_rule(rule));
        differences.extend(missing.map(PodDifference::RuleMissing));
        differences
    }

    /// Rules of ours about its address that it does not have.
    pub fn strays(&self, look: &Look<'_>) -> Vec<PodDifference> {
        let wanted = self.rules();
        let stray = look.rules().filter(|rule| self.is_about(rule) && !wanted.contains(rule));
        stray.cloned().map(PodDifference::RuleStray).collect()
    }

    fn link_differences(&self, link: &LinkSeen, differences: &mut Vec<PodDifference>) {
        if !link.up {
            differences.push(PodDifference::LinkDown);
        }
        if link.mac != Some(self.host_mac) {
            differences.push(PodDifference::LinkMac(link.mac));
        }
        if link.mtu != self.mtu {
            differences.push(PodDifference::LinkMtu(link.mtu));
        }
        if let Some(value) = link.rp_filter.filter(|value| *value != Self::RP_FILTER) {
            differences.push(PodDifference::SourceUnchecked(value));
        }
        if self.family() == Family::V6 {
            match link.ipv6 {
                Some(Ipv6Link { off: false, accept_ra: Ipv6Link::NEVER_HEARS }) => {}
                Some(Ipv6Link { off: false, accept_ra }) => {
                    differences.push(PodDifference::HearsAdvertisements(accept_ra));
                }
                Some(Ipv6Link { off: true, .. }) | None => differences.push(PodDifference::Ipv6Off),
            }
        }
    }

    /// A difference in words.
    pub fn words(&self, difference: &PodDifference) -> String {
        let name = &self.host_veth;
        match difference {
            PodDifference::LinkMissing => format!("host link {name} is missing"),
            PodDifference::LinkDown => format!("host link {name} is down"),
            PodDifference::LinkMac(_) => format!("host link {name} has another MAC than {}", self.host_mac),
            PodDifference::LinkMtu(mtu) => {
                format!("host link {name} has MTU {mtu} instead of {}", self.mtu)
            }
            PodDifference::SourceUnchecked(value) => {
                format!("host link {name} has rp_filter {value} instead of {}", Self::RP_FILTER)
            }
            PodDifference::Ipv6Off => format!("IPv6 is off on host link {name}"),
            PodDifference::HearsAdvertisements(value) => {
                format!("host link {name} has accept_ra {value} instead of {}", Ipv6Link::NEVER_HEARS)
            }
            PodDifference::RouteMissing(route) => format!("{route} is missing"),
            PodDifference::RuleMissing(rule) => format!("{rule} is missing"),
            PodDifference::RuleStray(rule) => format!("{rule} is in the way"),
        }
    }
}

impl Way {
    /// Which mark its packets bear.
    pub fn mark(self) -> Option<u32> {
        self.marked.then_some(PRIMARY_MARK)
    }

    /// By which table they go, from a pod whose ENI has this one.
    pub fn table(self, of_pod: u32) -> u32 {
        if self.marked { MAIN_TABLE } else { of_pod }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to)?;
        if self.marked { write!(f, " (marked {PRIMARY_MARK:#x})") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
