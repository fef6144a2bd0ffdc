//! What was seen in the host's network namespace, and how it is looked through.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::BuildHasherDefault;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::{Ipv6Link, Ipv6Seen, LinkAlias, MAIN_TABLE, PodWiring};
use crate::ids::MacAddr;

/// What a complete read of the host's network namespace showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostObserved {
    /// All links.
    pub links: Vec<LinkSeen>,
    /// Rules that carry our protocol number.
    pub rules: Vec<Rule>,
    /// Routes that carry our protocol number.
    pub routes: Vec<Route>,
    /// Whether our NAT table is as it should be.
    pub nat: NatSeen,
    /// Whether the node forwards IPv4 packets, without which no pod reaches anything; `None`: it could not be read.
    pub forwarding: Option<bool>,
    /// Whether the main table has a default route; `None`: it was not looked for.
    pub way_out: Option<bool>,
    /// Packet filters of others that drop what is forwarded, pods' packets among it, unless a rule of theirs accepts it;
    /// `None`: they could not be listed.
    pub forward_drops: Option<Vec<String>>,
    /// How strictly the sources of packets are checked on all links at least (`net.ipv4.conf.all.rp_filter`).
    pub rp_filter: u8,
    /// The same of IPv6, as far as there is any.
    pub ipv6: Ipv6Seen,
}

/// A link, as read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSeen {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC, if it has one of six bytes.
    pub mac: Option<MacAddr>,
    /// The MAC that its hardware came with, if it tells.
    pub permanent_mac: Option<MacAddr>,
    /// What it is: `veth`, `bridge`; `None` for hardware and loopback.
    pub kind: Option<String>,
    /// Whether what it is joined to or stacked on is in another namespace.
    pub joined_elsewhere: bool,
    /// Index of the bridge or the like that it is made part of, which then takes what comes in by it.
    pub part_of: Option<u32>,
    /// Whether it asks nobody for MACs (`arp off`).
    pub no_arp: bool,
    /// Its MTU.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// How strictly the sources of packets are checked that come in by it (`net.ipv4.conf.LINK.rp_filter`), if it could be
    /// read. What holds is the greater of this and what holds for all links: 0 nothing, 1 that an answer would leave by
    /// this link, 2 that there is a way back at all.
    pub rp_filter: Option<u8>,
    /// Our alias, if it carries one.
    pub alias: Option<LinkAlias>,
    /// What IPv6 does on it; `None`: nothing.
    pub ipv6: Option<Ipv6Link>,
    /// IPv6 addresses on it, but for those that are the link's own affair.
    pub ipv6_addresses: Vec<Ipv6Addr>,
    /// IPv4 addresses on it.
    pub addresses: Vec<Ipv4Net>,
    /// The main table's routes to a subnet over it that came with an address of its, as they do when it is added in the
    /// ordinary way. On a secondary ENI they take the traffic of the primary's pods.
    pub connected: Vec<Route>,
}

impl LinkSeen {
    /// Whether it may be an ENI's: hardware, or the end of a pair that is no pod's. What is stacked on another link of
    /// this host bears that one's MAC and is not meant; of what is stacked on a link elsewhere nothing else here can be
    /// the ENI (a node that is itself a namespace has such).
    fn may_be_enis(&self) -> bool {
        let of_a_kind = match self.kind.as_deref() {
            None | Some("veth") => true,
            Some(_stacked) => self.joined_elsewhere,
        };
        of_a_kind && self.alias.is_none()
    }

    /// The MAC that it is known by: a bond gives its members its own.
    fn identity(&self) -> Option<MacAddr> {
        self.permanent_mac.or(self.mac)
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

impl Rule {
    /// For packets to there.
    pub fn to(priority: u32, to: IpAddr, table: u32) -> Self {
        Self { priority, from: None, to: Some(IpNet::from(to)), mark: None, table }
    }

    /// For packets from there.
    pub fn from(priority: u32, from: IpAddr, table: u32) -> Self {
        Self { priority, from: Some(IpNet::from(from)), to: None, mark: None, table }
    }

    /// For packets that bear a mark.
    pub fn marked(priority: u32, mark: u32, table: u32) -> Self {
        Self { priority, from: None, to: None, mark: Some((mark, mark)), table }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}", self.priority)?;
        if let Some(from) = self.from {
            write!(f, " from {from}")?;
        }
        if let Some(to) = self.to {
            write!(f, " to {to}")?;
        }
        if let Some((mark, mask)) = self.mark {
            write!(f, " fwmark {mark:#x}/{mask:#x}")?;
        }
        write!(f, " lookup {}", self.table)
    }
}

/// A route. Ours have neither a source nor a metric nor an MTU: one that has was changed by somebody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// In which table.
    pub table: u32,
    /// To where.
    pub to: IpNet,
    /// Through whom; `None` for a link-scope route.
    pub via: Option<IpAddr>,
    /// Out of which link, by index.
    pub link_index: u32,
    /// The source address that the host's own packets take.
    pub source: Option<IpAddr>,
    /// Among equal destinations the lowest wins; none is 0.
    pub metric: Option<u32>,
    /// The MTU that packets over it are held to.
    pub mtu: Option<u32>,
}

impl Route {
    /// To neighbours on a link.
    pub fn on_link(table: u32, to: IpNet, link_index: u32) -> Self {
        Self { table, to, via: None, link_index, source: None, metric: None, mtu: None }
    }

    /// To everywhere, through a gateway.
    pub fn default_via(table: u32, gateway: IpAddr, link_index: u32) -> Self {
        let everywhere = match gateway {
            IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
        };
        Self { via: Some(gateway), ..Self::on_link(table, everywhere, link_index) }
    }

    /// Whether the kernel would take one for the other when it is told to put one.
    pub fn takes_the_place_of(&self, other: &Self) -> bool {
        (self.table, self.to, self.metric.unwrap_or(0)) == (other.table, other.to, other.metric.unwrap_or(0))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route to {}", self.to)?;
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        write!(f, " dev #{}", self.link_index)?;
        if let Some(source) = self.source {
            write!(f, " src {source}")?;
        }
        if let Some(metric) = self.metric {
            write!(f, " metric {metric}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        if self.table != MAIN_TABLE {
            write!(f, " table {}", self.table)?;
        }
        Ok(())
    }
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

/// Which link is an ENI's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EniLink<'o> {
    /// None (yet).
    Missing,
    /// This one.
    One(&'o LinkSeen),
    /// Several bear its MAC. Which one it is cannot be told, so none is touched.
    Several(Vec<&'o LinkSeen>),
}

impl<'o> EniLink<'o> {
    /// The link, if it is known.
    pub fn found(&self) -> Option<&'o LinkSeen> {
        match self {
            Self::One(link) => Some(link),
            Self::Missing | Self::Several(_) => None,
        }
    }
}

/// Of thousands, to ask whether one is among them. The same in each run, like all that decides.
pub type SetOf<T> = HashSet<T, BuildHasherDefault<DefaultHasher>>;

/// What was seen, found by what it is looked for by: a node has hundreds of pods, and each is looked for.
pub struct Look<'o> {
    enis: BTreeMap<MacAddr, Vec<&'o LinkSeen>>,
    pods: BTreeMap<&'o str, &'o LinkSeen>,
    observed: &'o HostObserved,
    rules: SetOf<&'o Rule>,
    routes: SetOf<&'o Route>,
}

impl<'o> Look<'o> {
    /// Over what was read.
    pub fn over(observed: &'o HostObserved) -> Self {
        let mut enis: BTreeMap<MacAddr, Vec<&LinkSeen>> = BTreeMap::new();
        for link in observed.links.iter().filter(|link| link.may_be_enis()) {
            if let Some(mac) = link.identity() {
                enis.entry(mac).or_default().push(link);
            }
        }
        let pods = observed.links.iter().filter(|link| link.alias.is_some());
        Self {
            enis,
            pods: pods.map(|link| (link.name.as_str(), link)).collect(),
            observed,
            rules: observed.rules.iter().collect(),
            routes: observed.routes.iter().collect(),
        }
    }

    /// The link of the ENI with this MAC. The one place where that is decided.
    pub fn eni_link(&self, mac: MacAddr) -> EniLink<'o> {
        match self.enis.get(&mac).map(Vec::as_slice) {
            None | Some([]) => EniLink::Missing,
            Some([link]) => EniLink::One(link),
            Some(several) => EniLink::Several(several.to_vec()),
        }
    }

    /// The host end of this pod's pair.
    pub fn pod_link(&self, pod: &PodWiring) -> Option<&'o LinkSeen> {
        self.pods.get(pod.host_veth.as_str()).copied().filter(|link| link.alias.as_ref() == Some(&pod.alias))
    }

    /// Whether this rule of ours is there.
    pub fn has_rule(&self, rule: &Rule) -> bool {
        self.rules.contains(rule)
    }

    /// Whether this route of ours is there.
    pub fn has_route(&self, route: &Route) -> bool {
        self.routes.contains(route)
    }

    /// Our rules, as they were listed.
    pub fn rules(&self) -> impl Iterator<Item = &'o Rule> + use<'o> {
        self.observed.rules.iter()
    }

    /// Our routes, as they were listed.
    pub fn routes(&self) -> impl Iterator<Item = &'o Route> + use<'o> {
        self.observed.routes.iter()
    }

    /// What IPv6 does in the whole namespace.
    pub fn ipv6(&self) -> Ipv6Seen {
        self.observed.ipv6
    }

    /// Whether the kernel drops what comes in by the link from where its answer would leave by another.
    pub fn is_strict(&self, link: &LinkSeen) -> bool {
        link.rp_filter.unwrap_or(0).max(self.observed.rp_filter) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn link(name: &str, kind: Option<&str>) -> LinkSeen {
        LinkSeen {
            name: name.to_owned(),
            mac: Some(MAC),
            kind: kind.map(str::to_owned),
            ..LinkSeen::default()
        }
    }

    fn found(links: &[LinkSeen]) -> Result<String, usize> {
        let observed = HostObserved { links: links.to_vec(), ..HostObserved::default() };
        match Look::over(&observed).eni_link(MAC) {
            EniLink::One(link) => Ok(link.name.clone()),
            EniLink::Missing => Err(0),
            EniLink::Several(links) => Err(links.len()),
        }
    }

    #[test]
    fn what_is_stacked_on_an_eni_is_not_the_eni_however_old_it_is() {
        let eni = link("ens5", None);
        for kind in ["bridge", "vlan", "macvlan", "ipvlan", "bond", "team", "tun", "vrf"] {
            let stacked = link("other", Some(kind));
            assert_eq!(found(&[stacked.clone(), eni.clone()]), Ok("ens5".to_owned()), "{kind}");
            assert_eq!(found(&[stacked]), Err(0), "{kind}");
        }
    }

    #[test]
    fn in_a_node_that_is_a_namespace_the_eni_is_joined_to_something_elsewhere() {
        let elsewhere = |kind| LinkSeen { joined_elsewhere: true, ..link("eth0", Some(kind)) };
        assert_eq!(found(&[link("br0", Some("bridge")), elsewhere("macvlan")]), Ok("eth0".to_owned()));
        assert_eq!(found(&[elsewhere("veth")]), Ok("eth0".to_owned()));
    }

    #[test]
    fn hardware_is_known_by_the_mac_that_it_came_with() {
        let bond = MacAddr([2, 9, 9, 9, 9, 9]);
        let member = LinkSeen { mac: Some(bond), permanent_mac: Some(MAC), ..link("ens6", None) };
        assert_eq!(found(&[member]), Ok("ens6".to_owned()));
        let renamed = LinkSeen { permanent_mac: Some(bond), ..link("ens7", None) };
        assert_eq!(found(&[renamed]), Err(0), "its MAC was set to another's");
    }

    #[test]
    fn of_two_that_may_be_it_none_is() {
        assert_eq!(found(&[link("ens5", None), link("copy", Some("veth"))]), Err(2));
        let sandbox = crate::sandbox::SandboxKey::from(crate::sandbox::SandboxNames {
            container_id: "c".into(),
            ifname: "eth0".into(),
            network: "n".into(),
        });
        let pods = LinkSeen { alias: Some(LinkAlias::of(&sandbox)), ..link("eni0", Some("veth")) };
        assert_eq!(
            found(&[pods, link("ens5", None)]),
            Ok("ens5".to_owned()),
            "a pod's may be equal by chance"
        );
    }
}
