//! Kernel state as data: what we want in the host's network namespace, and what was seen there.
//!
//! Desired state is one value computed from ledger and configuration; applying it is the difference of two
//! values. What is ours carries a mark: routes and rules our protocol number, links our alias. What carries none
//! is never touched.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::eni::EniSlot;
use crate::ids::{EniId, MacAddr};
use crate::sandbox::SandboxKey;

/// The protocol number on routes and rules that we made (`rtm_protocol`, `FRA_PROTOCOL`). Unassigned upstream
/// of us: `/etc/iproute2/rt_protos` gives 72 to nobody.
pub const PROTOCOL: u8 = 72;

/// The kernel's main routing table.
pub const MAIN_TABLE: u32 = 254;

/// The address that is every pod's gateway; it exists nowhere, a permanent neighbour entry answers for it.
pub const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// Rule priorities: upstream's (reference: vpc-cni 6.1).
pub mod priority {
    /// To a pod: main table.
    pub const TO_POD: u32 = 512;
    /// Marked as to leave by the primary ENI: main table.
    pub const MARKED: u32 = 1024;
    /// From a pod on a secondary ENI: that ENI's table.
    pub const FROM_POD: u32 = 1536;
    /// From a secondary ENI's own address: that ENI's table.
    pub const FROM_ENI: u32 = 32765;
}

/// The mark that sends a packet out of the primary ENI, and its mask. Upstream's default.
pub const PRIMARY_MARK: u32 = 0x80;

/// What a link of ours carries as its alias: it names the sandbox, so that a late removal of an older sandbox
/// never takes a newer one's link that bears the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkAlias(String);

impl LinkAlias {
    const PREFIX: &str = "holdfast:";

    /// The longest alias that the kernel keeps, in bytes (`IFALIASZ` less its end mark).
    const LONGEST: usize = 255;

    /// The alias for a sandbox's host link. A network name that does not fit is cut off: the container id and the
    /// interface alone tell sandboxes apart.
    pub fn of(sandbox: &SandboxKey) -> Self {
        let mut alias =
            format!("{}{}:{}:{}", Self::PREFIX, sandbox.container_id, sandbox.ifname, sandbox.network);
        let end = alias.floor_char_boundary(Self::LONGEST);
        alias.truncate(end);
        Self(alias)
    }

    /// The sandbox that the link belongs to, as far as the alias tells.
    pub fn sandbox(&self) -> Option<SandboxKey> {
        let mut parts = self.0.strip_prefix(Self::PREFIX)?.splitn(3, ':');
        Some(SandboxKey {
            container_id: parts.next()?.to_owned(),
            ifname: parts.next()?.to_owned(),
            network: parts.next()?.to_owned(),
        })
    }

    /// Reads an alias seen on a link; `None` when it is not ours.
    pub fn parse(text: &str) -> Option<Self> {
        text.starts_with(Self::PREFIX).then(|| Self(text.to_owned()))
    }

    /// The alias as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

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
    /// The pod's address, a host route.
    pub address: IpAddr,
    /// MTU of both ends.
    pub mtu: u32,
    /// The routing table of the ENI that owns the address; [`MAIN_TABLE`] for the primary ENI.
    pub table: u32,
}

/// What a wired pod looks like, read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodWired {
    /// Index of the host end.
    pub host_ifindex: u32,
    /// MAC inside the sandbox.
    pub pod_mac: MacAddr,
}

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
}

impl EniWiring {
    /// The subnet's gateway.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet_cidr.network()).wrapping_add(1))
    }
}

/// A policy rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// Lower is looked at earlier.
    pub priority: u32,
    /// From where.
    pub from: Option<IpNet>,
    /// To where.
    pub to: Option<IpNet>,
    /// With which mark and mask.
    pub mark: Option<(u32, u32)>,
    /// The table to use.
    pub table: u32,
}

/// A route of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// In which table.
    pub table: u32,
    /// To where.
    pub to: IpNet,
    /// Through whom; `None` for a link-scope route.
    pub via: Option<IpAddr>,
    /// Out of which link.
    pub link: LinkName,
}

/// How a route names its link: by what stays true when interface indexes change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LinkName {
    /// By interface name: host ends of pods.
    Name(String),
    /// By MAC: ENIs, whose names are the host's affair.
    Mac(MacAddr),
}

/// The source NAT and marks for traffic that leaves the VPC (reference: vpc-cni 6.5), as one table that is
/// replaced in one step. Marked connections of pods keep to the primary ENI in any case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatTable {
    /// Mark connections that come in by the primary ENI to an address of its: their answers leave by it too, whatever
    /// ENI the pod behind a NodePort is on.
    pub node_ports: bool,
    /// Translate and mark what pods send out of the VPC; `None`: others translate.
    pub source_nat: Option<SourceNat>,
    /// The primary ENI's MAC, to tell its link.
    pub primary_mac: MacAddr,
    /// What the names of pods' host links begin with that another network plugin made. Ours are told by their
    /// group, whatever their names.
    pub veth_prefix: String,
}

/// What pods send out of the VPC leaves as the node, by the primary ENI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceNat {
    /// Destinations that keep the pod's own source address. Not empty.
    pub vpc_cidrs: Vec<Ipv4Net>,
    /// The address that everything else leaves with.
    pub node_ipv4: Ipv4Addr,
}

/// All that we want in the host's network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDesired {
    /// ENIs to be set up, primary included.
    pub enis: Vec<EniWiring>,
    /// Live sandboxes.
    pub pods: Vec<PodWiring>,
    /// NAT.
    pub nat: NatWanted,
}

/// Which NAT table of ours there should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NatWanted {
    /// Whatever there is: until the node's identity is known nothing can be said.
    Undecided,
    /// None: others translate source addresses, and no NodePort is to be answered for.
    Absent,
    /// This one.
    Table(NatTable),
}

/// What a complete read of the host's network namespace showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostObserved {
    /// All links.
    pub links: Vec<LinkSeen>,
    /// Rules that carry our protocol number.
    pub rules: Vec<Rule>,
    /// Routes that carry our protocol number.
    pub routes: Vec<RouteSeen>,
    /// Whether our NAT table is as it should be.
    pub nat: NatSeen,
    /// Whether the node forwards IPv4 packets, without which no pod reaches anything; `None`: it could not be read.
    pub forwarding: Option<bool>,
}

/// A link, as read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSeen {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC, if it has one of six bytes.
    pub mac: Option<MacAddr>,
    /// Its MTU.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether the kernel drops what comes in by it from where its answer would leave by another
    /// (`net.ipv4.conf.*.rp_filter` 1): on the primary ENI, what comes to a NodePort whose pod is on another ENI. Not
    /// looked at on pods' links, where it is false.
    pub strict: bool,
    /// Our alias, if it carries one.
    pub alias: Option<LinkAlias>,
    /// IPv4 addresses on it.
    pub addresses: Vec<Ipv4Net>,
    /// Those of its addresses from which the main table leads to their subnet over it, as it does when an address is
    /// added in the ordinary way. On a secondary ENI that takes the traffic of the primary's pods.
    pub connected: Vec<Ipv4Addr>,
}

/// A route, as read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RouteSeen {
    /// In which table.
    pub table: u32,
    /// To where.
    pub to: IpNet,
    /// Through whom.
    pub via: Option<IpAddr>,
    /// Out of which link.
    pub link_index: u32,
}

/// What became of our NAT table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NatSeen {
    /// It was not looked at, or could not be.
    #[default]
    Unknown,
    /// It differs from what we last wrote, or is missing; or there is one although there should be none.
    Differs,
    /// It is as we last wrote it; or there is none and there should be none.
    AsWritten,
}

/// One change to the host's network namespace. Each may be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostAction {
    /// Turn IPv4 forwarding on.
    EnableForwarding,
    /// Make the ENI's link, addresses, routes and rule as they should be.
    EnsureEni(EniWiring),
    /// Put a pod's missing host-side rule or route back. Its link, if gone, cannot be put back from here.
    EnsureRule(Rule),
    /// Set a pod's link up that somebody set down: the kernel takes no route over one that is.
    RaiseLink(LinkAlias),
    /// Put a route back.
    EnsureRoute(Route),
    /// Remove a rule of ours.
    RemoveRule(Rule),
    /// Remove a route of ours.
    RemoveRoute(RouteSeen),
    /// Replace our NAT table.
    ReplaceNat(NatTable),
    /// Remove our NAT table.
    RemoveNat,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_recognised_and_fits_the_kernels_limit() {
        let sandbox =
            SandboxKey { container_id: "c".repeat(64), ifname: "i".repeat(15), network: "aws-cni".into() };
        let alias = LinkAlias::of(&sandbox);
        assert!(alias.as_str().len() < 256, "IFALIASZ");
        assert_eq!(LinkAlias::parse(alias.as_str()), Some(alias.clone()));
        assert_eq!(alias.sandbox(), Some(sandbox.clone()));
        let long = LinkAlias::of(&SandboxKey { network: "n".repeat(300), ..sandbox });
        assert_eq!(long.as_str().len(), 255);
        assert_eq!(LinkAlias::parse("uplink to rack 4"), None);
    }
}
