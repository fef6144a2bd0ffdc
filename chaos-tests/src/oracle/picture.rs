//! One node at one instant, as plain data: what EC2 has, what is in the kernel, and what the runtime was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use holdfast_model::ids::MacAddr;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::Value;

/// The kernel's table of its own addresses.
pub const LOCAL_TABLE: u32 = 255;

/// The kernel's main table.
pub const MAIN_TABLE: u32 = 254;

/// The table that the kernel looks at last.
pub const DEFAULT_TABLE: u32 = 253;

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Its name, for words.
    pub node: String,
    /// MTU of everything on the node.
    pub mtu: u32,
    /// Pods have IPv6 addresses: the node forwards IPv6, and translates nothing.
    pub ipv6: bool,
    /// Tags that each ENI must have which was made for the node.
    pub tags: BTreeMap<String, String>,
    /// What EC2 has, in truth.
    pub cloud: Cloud,
    /// The node's kernel before anything of ours ran.
    pub before: Kernel,
    /// The node's kernel.
    pub host: Kernel,
    /// Whom the runtime was told to have a network.
    pub pods: Vec<Pod>,
}

impl Picture {
    /// Whether there are pods whose packets leave the VPC as the node's: those with IPv4 addresses.
    pub(super) fn translates(&self) -> bool {
        !self.ipv6 || self.pods.iter().any(|pod| pod.address.is_some())
    }
}

/// EC2's side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cloud {
    /// The VPC's blocks.
    pub vpc: Vec<Ipv4Net>,
    /// What is attached to the node, the primary ENI among it.
    pub enis: Vec<Eni>,
    /// ENIs that are attached to nothing.
    pub loose: Vec<String>,
}

impl Cloud {
    /// What the node may use of what is attached to it.
    pub fn usable(&self) -> impl Iterator<Item = &Eni> {
        self.enis.iter().filter(|eni| !eni.is_kept_from_node())
    }
}

/// An ENI that is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eni {
    /// EC2's id.
    pub id: String,
    /// By which its link is known.
    pub mac: MacAddr,
    /// Network card.
    pub card: u32,
    /// Place on the card.
    pub device: u32,
    /// Block of its subnet.
    pub subnet: Ipv4Net,
    /// Its own address.
    pub primary: Ipv4Addr,
    /// Addresses that pods may have, each of its prefixes among them.
    pub secondary: BTreeSet<Ipv4Addr>,
    /// Prefixes of IPv6 that pods may have addresses of.
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// Its security groups.
    pub groups: BTreeSet<String>,
    /// EC2 deletes it when the instance ends.
    pub ends_with_node: bool,
    /// Free text.
    pub description: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// By which a user keeps an ENI from the node (specification 2.4).
const NO_MANAGE: &str = "node.k8s.amazonaws.com/no_manage";

/// How the description of an ENI begins that was made for a node.
const MADE: &str = "aws-K8S-";

impl Eni {
    /// Whether the node came with it.
    pub fn is_primary(&self) -> bool {
        self.card == 0 && self.device == 0
    }

    /// Whether a user keeps it from the node. Nobody can keep the primary one.
    pub fn is_kept_from_node(&self) -> bool {
        !self.is_primary() && self.tags.get(NO_MANAGE).is_some_and(|word| word == "true")
    }

    /// Whether it was made for a node, and is not what somebody else attached.
    pub fn was_made(&self) -> bool {
        self.description.starts_with(MADE)
    }

    /// The table that leads out of it.
    pub fn table(&self) -> u32 {
        match (self.card, self.device) {
            (0, 0) => MAIN_TABLE,
            (0, device) => device + 1,
            (card, device) => 10_000 + 100 * card + device,
        }
    }

    /// Who forwards for its subnet.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.subnet.network().to_bits() + 1)
    }
}

/// A sandbox whose ADD was answered, and not yet its DEL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Another sandbox of that name was there, or was on its way out, as it came: its host link has a name of its own.
    pub namesake: bool,
    /// The one address it was promised.
    pub address: Option<Ipv4Addr>,
    /// The same, where it is one of IPv6.
    pub address_v6: Option<Ipv6Addr>,
    /// Name of its link inside.
    pub ifname: String,
    /// Where the runtime said that its namespace is.
    pub netns: String,
    /// What the plugin printed, where there was a plugin.
    pub result: Option<Value>,
    /// Its kernel, where it has one.
    pub inside: Option<Kernel>,
    /// Name of its link in the host's namespace: the one whose other end is inside, whatever anybody says.
    pub host_link: Option<String>,
    /// What it was promised besides, on other network cards.
    pub further: Vec<Further>,
}

/// An interface of a pod besides its first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Further {
    /// The address.
    pub address: Ipv4Addr,
    /// Name of the link inside.
    pub ifname: String,
    /// Name of the link in the host's namespace whose other end that is.
    pub host_link: Option<String>,
}

/// One interface of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Face<'p> {
    /// Which: the first is 0.
    pub number: u8,
    /// Its address.
    pub address: Option<Ipv4Addr>,
    /// Name of the link inside.
    pub ifname: &'p str,
    /// Name of the link in the host's namespace.
    pub host_link: Option<&'p str>,
}

impl Pod {
    /// The first address that it was promised, of whichever family.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ips().next()
    }

    /// All that it was promised.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        let of_ipv4 = self.faces().filter_map(|face| face.address).map(IpAddr::V4);
        of_ipv4.chain(self.address_v6.map(IpAddr::V6))
    }

    /// Its first interface.
    pub fn first_face(&self) -> Face<'_> {
        Face { number: 0, address: self.address, ifname: &self.ifname, host_link: self.host_link.as_deref() }
    }

    /// Its interfaces, in order.
    pub fn faces(&self) -> impl Iterator<Item = Face<'_>> {
        let further = (1..=u8::MAX).zip(&self.further).map(|(number, face)| Face {
            number,
            address: Some(face.address),
            ifname: &face.ifname,
            host_link: face.host_link.as_deref(),
        });
        std::iter::once(self.first_face()).chain(further)
    }

    /// For words.
    pub fn named(&self) -> String {
        let address = self.ip().map_or_else(|| "no address".to_owned(), |address| address.to_string());
        format!("{}/{} ({address})", self.namespace, self.name)
    }
}

/// One network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Links.
    pub links: Vec<Link>,
    /// IPv4 addresses.
    pub addresses: Vec<Address>,
    /// Addresses of IPv6, but for link-local ones and the loopback's.
    pub addresses_v6: Vec<Address>,
    /// Policy rules of both families that lead to a table.
    pub rules: Vec<Rule>,
    /// Policy rules of both families that lead to none, in words: they destroy packets.
    pub dropping_rules: Vec<String>,
    /// IPv4 routes of all tables.
    pub routes: Vec<Route>,
    /// IPv6 routes, but for those that the kernel makes for each link: to link-local addresses, to groups, and all of
    /// the local table.
    pub routes_v6: Vec<Route>,
    /// Neighbour entries of both families that never expire.
    pub neighbours: Vec<Neighbour>,
    /// Packet filter tables: family and name, and their content line by line, without counts.
    pub tables: BTreeMap<String, Vec<String>>,
    /// Where these tables meet packets: family and name, and what their chains are hooked to.
    pub hooks: BTreeMap<String, BTreeSet<String>>,
    /// Settings below `/proc/sys/net`.
    pub sysctls: BTreeMap<String, String>,
    /// What the packet filter makes of the packets that were asked about (see [`super::flows`]).
    pub fates: BTreeMap<Flow, Result<Fate, String>>,
}

impl Kernel {
    /// The link of this name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The name of a link, for words.
    pub fn name_of(&self, index: u32) -> String {
        let link = self.links.iter().find(|link| link.index == index);
        link.map_or_else(|| format!("link {index}"), |link| link.name.clone())
    }

    /// Whether a route is the kernel's own, made with an address: to it, or to all in its network.
    pub fn makes_by_itself(&self, route: &Route) -> bool {
        let borne = || self.addresses.iter().any(|at| IpNet::from(at.net.addr()) == route.to);
        let to_all = |net: IpNet| {
            net.max_prefix_len() - net.prefix_len() > 1
                && [net.network(), net.broadcast()].map(IpNet::from).contains(&route.to)
        };
        let follows = match route.way {
            Way::Broadcast => self.addresses.iter().any(|at| to_all(at.net)),
            Way::Local => route.to.addr().is_loopback() || borne(),
            Way::Forward | Way::Drop | Way::Throw => false,
        };
        let source =
            route.source.is_none_or(|source| self.addresses.iter().any(|at| at.net.addr() == source));
        route.table == LOCAL_TABLE && follows && source && route.others.is_empty()
    }

    /// The same of IPv6, in the main table: an address brings a route to itself.
    pub fn makes_with_an_address(&self, route: &Route) -> bool {
        let brought = self.addresses_v6.iter().any(|at| (at.net, Some(at.link)) == (route.to, route.link));
        brought
            && (route.table, route.way, route.via) == (MAIN_TABLE, Way::Forward, None)
            && route.others.is_empty()
    }

    /// An ENI's link. A pod's may bear the same MAC by accident; it has its other end elsewhere and is a veth.
    pub fn link_of(&self, eni: &Eni) -> Option<&Link> {
        self.links.iter().find(|link| link.mac == Some(eni.mac) && !link.veth)
    }
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Link-layer address.
    pub mac: Option<MacAddr>,
    /// Bytes.
    pub mtu: u32,
    /// Administratively.
    pub up: bool,
    /// One end of a pair.
    pub veth: bool,
    /// The other end's number, in its own namespace.
    pub peer: Option<u32>,
    /// Group number.
    pub group: u32,
}

/// An address on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The link's number.
    pub link: u32,
    /// Address and prefix length.
    pub net: IpNet,
}

/// A policy rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Of IPv6.
    pub ipv6: bool,
    /// Lower is looked at earlier.
    pub priority: u32,
    /// From where.
    pub from: Option<IpNet>,
    /// To where.
    pub to: Option<IpNet>,
    /// With which mark and mask.
    pub mark: Option<(u32, u32)>,
    /// Having come in by which link.
    pub iif: Option<String>,
    /// What else it asks for, in words. No rule that must be there asks for anything else.
    pub others: Vec<String>,
    /// The table to use.
    pub table: u32,
}

impl Rule {
    /// An IPv4 rule without selectors.
    pub fn new(priority: u32, table: u32) -> Self {
        Self { ipv6: false, priority, from: None, to: None, mark: None, iif: None, others: Vec::new(), table }
    }

    /// Without what it does.
    pub fn selector(&self) -> String {
        let mut words = vec![format!("rule {}{}", if self.ipv6 { "(IPv6) " } else { "" }, self.priority)];
        words.extend(self.from.map(|net| format!("from {net}")));
        words.extend(self.to.map(|net| format!("to {net}")));
        words.extend(self.mark.map(|(mark, mask)| format!("fwmark {mark:#x}/{mask:#x}")));
        words.extend(self.iif.as_ref().map(|iif| format!("iif {iif}")));
        words.extend(self.others.iter().cloned());
        words.join(" ")
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lookup {}", self.selector(), self.table)
    }
}

/// What a route does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Sends it on.
    Forward,
    /// Gives it to the host itself.
    Local,
    /// To all on the link.
    Broadcast,
    /// Destroys it, with or without words.
    Drop,
    /// Goes back to the rules.
    Throw,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// In which table.
    pub table: u32,
    /// To where.
    pub to: IpNet,
    /// Through whom.
    pub via: Option<IpAddr>,
    /// Out of which link.
    pub link: Option<u32>,
    /// What it does.
    pub way: Way,
    /// Among equals the lowest wins.
    pub metric: u32,
    /// The source that packets of the host itself take. The kernel's own routes have the address that they came with.
    pub source: Option<IpAddr>,
    /// What else it says, in words: other next hops, sizes and times, encapsulation. No route that must be there says
    /// anything else.
    pub others: Vec<String>,
}

impl Route {
    /// To neighbours on a link.
    pub fn on_link(table: u32, to: IpNet, link: u32) -> Self {
        let (way, others) = (Way::Forward, Vec::new());
        Self { table, to, via: None, link: Some(link), way, metric: 0, source: None, others }
    }

    /// To everywhere.
    pub fn default_via(table: u32, via: Ipv4Addr, link: u32) -> Self {
        Self { via: Some(via.into()), ..Self::on_link(table, IpNet::V4(Ipv4Net::default()), link) }
    }

    /// For words, with the names of a kernel's links.
    pub fn named(&self, kernel: &Kernel) -> String {
        let way = match self.way {
            Way::Forward => "",
            Way::Local => "local ",
            Way::Broadcast => "broadcast ",
            Way::Drop => "blackhole ",
            Way::Throw => "throw ",
        };
        let via = self.via.map_or_else(String::new, |via| format!(" via {via}"));
        let link = self.link.map_or_else(String::new, |link| format!(" dev {}", kernel.name_of(link)));
        let source = self.source.map_or_else(String::new, |source| format!(" src {source}"));
        let others = self.others.iter().fold(String::new(), |words, other| words + " " + other);
        format!("{way}route to {}{via}{link}{source}{others} in table {}", self.to, self.table)
    }
}

/// A neighbour entry that never expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// The link's number.
    pub link: u32,
    /// For which address.
    pub address: IpAddr,
    /// Who answers.
    pub mac: Option<MacAddr>,
}

/// A packet that the packet filter is asked about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// In by which link.
    pub link: String,
    /// To where.
    pub to: Ipv4Addr,
    /// Out by which link.
    pub out: String,
    /// The connection's mark before; none: its first packet.
    pub connection: Option<u32>,
}

/// What the packet filter makes of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// The packet's mark as it is routed.
    pub mark: u32,
    /// The connection's mark afterwards.
    pub connection: u32,
    /// The source it leaves with, if that is another.
    pub source: Option<Ipv4Addr>,
    /// It is destroyed.
    pub dropped: bool,
}
