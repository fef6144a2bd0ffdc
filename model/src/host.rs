//! Kernel state as data: what we want in the host's network namespace, and what was seen there.
//!
//! Desired state is one value computed from ledger and configuration: [`PodWiring`] and [`EniWiring`] say what belongs to
//! a pod and to an ENI, and what of it is not there in what was seen ([`Look`]). Setting up, reading back, CHECK and the
//! watch for drift all stand on these. What is ours carries a mark: routes and rules our protocol number, links our
//! alias. What carries none is never touched.

mod eni;
mod ipv6;
mod pod;
mod seen;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::ids::MacAddr;
use crate::lease::Lease;
use crate::pool::Family;
use crate::sandbox::{SandboxKey, SandboxNames};

pub use eni::{EniChange, EniWiring};
pub use ipv6::{Ipv6Link, Ipv6Seen};
pub use pod::{PodDifference, PodWired, PodWiring, Way, places};
pub use seen::{EniLink, HostObserved, LinkSeen, Look, NatSeen, Route, Rule, SetOf};

/// The protocol number on routes and rules that we made (`rtm_protocol`, `FRA_PROTOCOL`). Unassigned upstream
/// of us: `/etc/iproute2/rt_protos` gives 72 to nobody.
pub const PROTOCOL: u8 = 72;

/// The kernel's main routing table.
pub const MAIN_TABLE: u32 = 254;

/// The address that is every pod's gateway; it exists nowhere, a permanent neighbour entry answers for it.
pub const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The same of a pod with an IPv6 address.
pub const POD_GATEWAY_IPV6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The gateway of pods with addresses of a family.
pub fn pod_gateway(family: Family) -> IpAddr {
    match family {
        Family::V4 => POD_GATEWAY.into(),
        Family::V6 => POD_GATEWAY_IPV6.into(),
    }
}

/// Rule priorities: upstream's (reference: vpc-cni 6.1).
pub mod priority {
    /// In a pod's own namespace: from the address of one of its further interfaces, by that one's table.
    pub const IN_POD: u32 = 1;
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

    /// The aliases of all of a lease's links.
    pub fn all_of(lease: &Lease) -> impl Iterator<Item = Self> + '_ {
        lease.faces.iter().map(|face| Self::of_face(&lease.sandbox, &face.ifname))
    }

    /// The alias of one of a sandbox's links, by the name of its other end.
    pub fn of_face(sandbox: &SandboxKey, ifname: &str) -> Self {
        Self::of(&SandboxKey::from(SandboxNames { ifname: ifname.to_owned(), ..(**sandbox).clone() }))
    }

    /// The sandbox that the link belongs to, as far as the alias tells: by the name of the interface that this link is of.
    pub fn sandbox(&self) -> Option<SandboxKey> {
        let mut parts = self.0.strip_prefix(Self::PREFIX)?.splitn(3, ':');
        Some(SandboxKey::from(SandboxNames {
            container_id: parts.next()?.to_owned(),
            ifname: parts.next()?.to_owned(),
            network: parts.next()?.to_owned(),
        }))
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

/// One change to the host's network namespace. Each may be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostAction {
    /// Turn IPv4 forwarding on.
    EnableForwarding,
    /// Make the ENI's link, addresses, routes and rule as they should be.
    EnsureEni(EniWiring),
    /// Put the host's side of a pod's wiring right: its link's settings, its route and its rules. A link that is gone
    /// cannot be put back from here.
    EnsurePod(PodWiring),
    /// Put a rule back that is nobody's in particular.
    EnsureRule(Rule),
    /// Remove a rule of ours.
    RemoveRule(Rule),
    /// Remove a route of ours.
    RemoveRoute(Route),
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
        let sandbox = SandboxKey::from(SandboxNames {
            container_id: "c".repeat(64),
            ifname: "i".repeat(15),
            network: "aws-cni".into(),
        });
        let alias = LinkAlias::of(&sandbox);
        assert!(alias.as_str().len() < 256, "IFALIASZ");
        assert_eq!(LinkAlias::parse(alias.as_str()), Some(alias.clone()));
        assert_eq!(alias.sandbox(), Some(sandbox.clone()));
        let long =
            LinkAlias::of(&SandboxKey::from(SandboxNames { network: "n".repeat(300), ..(*sandbox).clone() }));
        assert_eq!(long.as_str().len(), 255);
        assert_eq!(LinkAlias::parse("uplink to rack 4"), None);
    }
}
