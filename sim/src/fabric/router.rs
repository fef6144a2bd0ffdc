//! The router namespace: the VPC between the nodes.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use holdfast_datapath::netlink::{
    Address, Change, LinkRef, LinkSettings, MacAddr, Macvlan, Neighbour, Route, Rule, Socket, Veth, VethEnd,
};
use ipnet::{IpNet, Ipv4Net};

use super::answers::Answers;
use super::discovery::IPV6_GATEWAY;
use super::filter::{Filter, GATEWAY_MAC};
use super::internet::{self, Internet};
use super::loss::Loss;
use super::renames::{Rename, Renames};
use super::residents::{Home, Residents};
use super::routes::{
    MAIN, OTHER_END, OTHER_END_IPV6, RULE_NOWHERE, TABLE_INTERNET, TABLE_NOWHERE, blackhole, delivery,
    link_local, public,
};
use super::wiring::{Layout, Plug, Step, gateway};
use super::{FabricError, INTERNET_MTU, MTU, Namespace, Node, sysctl};
use crate::vpc::{EniId, InstanceId};

/// Where the metadata service answers, on port 80: where every AWS client looks for it.
pub const IMDS_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The same for IPv6, on instances that have it.
pub const IMDS_ADDRESS_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

const IMDS_PORT: u16 = 80;

/// A new link takes the defaults over. `proxy_arp`: the router answers for every address that has a route out of
/// another link. `rp_filter` is off because [`super::filter`] does its work.
const SETTINGS: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/proxy_arp", "0"),
    ("ipv4/conf/default/proxy_arp", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/arp_ignore", "0"),
    ("ipv4/conf/default/arp_ignore", "0"),
    ("ipv4/conf/all/arp_filter", "0"),
    ("ipv4/conf/default/arp_filter", "0"),
    ("ipv4/conf/all/log_martians", "0"),
    ("ipv4/conf/default/log_martians", "0"),
];

/// The same for IPv6: no link-local address but the gateway's, which needs no proof that nobody else has it.
const SETTINGS_IPV6: &[(&str, &str)] = &[
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/forwarding", "1"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/addr_gen_mode", "1"),
];

/// The router, and the hands that change it.
pub(super) struct Router {
    namespace: Namespace,
    socket: Socket,
    loopback: u32,
    nodes: BTreeMap<InstanceId, Node>,
    /// The router's end of each ENI's link.
    links: BTreeMap<EniId, Link>,
    residents: Residents,
    /// What nodes lose.
    losses: BTreeMap<InstanceId, Vec<Loss>>,
    filter: Filter,
    answers: Answers,
    ipv6: bool,
    /// First names that are still borne.
    renames: Renames,
}

#[derive(Debug, Clone)]
struct Link {
    name: String,
    index: u32,
    mac: MacAddr,
    instance: InstanceId,
    device: u32,
    card: u32,
    /// Whether the source check applies to it.
    checked: bool,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("namespace", &self.namespace)
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

impl Router {
    /// Makes the namespace, with the gateways and the way to the internet, and no ENI yet.
    pub(super) fn up(layout: &Layout, internet: &Internet) -> Result<Self, FabricError> {
        let namespace = Namespace::create("router")?;
        sysctl::write(&namespace, SETTINGS)?;
        let ipv6 = layout.has_ipv6();
        if ipv6 {
            sysctl::write(&namespace, SETTINGS_IPV6)?;
        } else {
            sysctl::without_ipv6(&namespace)?;
        }
        let filter = Filter::install(&namespace)?;
        let answers = Answers::new(&namespace)?;
        let mut socket = namespace.socket()?;
        let loopback = namespace.index(&mut socket, "lo")?;
        let mut changes = Vec::new();
        // The kernel answers ARP for its own addresses on every link, so the gateways may sit on the loopback, and a node
        // that looks for metadata on its link itself finds it.
        let gateways = layout.subnets.values().filter_map(|subnet| subnet.ipv4).map(gateway);
        let own = gateways.chain([IMDS_ADDRESS]).map(IpAddr::V4);
        let own = own.chain(ipv6.then_some(IpAddr::V6(IMDS_ADDRESS_IPV6)));
        changes.extend(own.map(|address| Change::PutAddress(Address::new(loopback, address.into()))));
        changes.extend(layout.cidrs.iter().map(|cidr| Change::AddRoute(blackhole(MAIN, *cidr))));
        changes.push(Change::AddRoute(blackhole(TABLE_NOWHERE, Ipv4Net::default().into())));
        changes.push(Change::AddRule(Rule::new(RULE_NOWHERE, TABLE_NOWHERE)));
        changes.push(Change::CreateVeth(Veth {
            near: VethEnd { name: "inet".to_owned(), mac: Some(internet::ROUTER_MAC), netns: None },
            far: VethEnd {
                name: internet::LINK.to_owned(),
                mac: Some(internet::HOST_MAC),
                netns: Some(internet.namespace().descriptor().clone()),
            },
            mtu: Some(INTERNET_MTU),
            group: 0,
        }));
        namespace.apply(&mut socket, &changes)?;
        let outside = namespace.index(&mut socket, "inet")?;
        namespace.apply(&mut socket, &[Change::SetLink(LinkRef::Index(outside), LinkSettings::up())])?;
        // All of IPv6 is public, so its way out is in the main table.
        let ways = [(TABLE_INTERNET, OTHER_END), (MAIN, OTHER_END_IPV6)];
        for (table, other_end) in ways.into_iter().filter(|(_, end)| ipv6 || end.is_ipv4()) {
            let default = Route { onlink: true, ..Route::default_via(table, other_end, outside) };
            namespace.apply(
                &mut socket,
                &[
                    Change::PutNeighbour(Neighbour::permanent(outside, other_end, internet::HOST_MAC)),
                    Change::AddRoute(default),
                ],
            )?;
        }
        if ipv6 {
            namespace.apply(&mut socket, &[Change::AddAddress(link_local(outside))])?;
            namespace.until_usable(IMDS_ADDRESS_IPV6, loopback)?;
        }
        internet.connect(OTHER_END, ipv6.then_some(IPV6_GATEWAY.into()))?;
        // As for the links of ENIs, see `plug`.
        namespace.index(&mut socket, "inet")?;
        Ok(Self {
            namespace,
            socket,
            loopback,
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            residents: Residents::default(),
            losses: BTreeMap::new(),
            filter,
            answers,
            ipv6,
            renames: Renames::default(),
        })
    }

    /// Listens where metadata is asked for.
    pub(super) fn metadata(&self) -> Result<Vec<TcpListener>, FabricError> {
        let ipv6 = self.ipv6.then_some(IpAddr::V6(IMDS_ADDRESS_IPV6));
        let at = [IMDS_ADDRESS.into()].into_iter().chain(ipv6);
        at.map(|address| self.namespace.listen(address, IMDS_PORT)).collect()
    }

    /// Whether there is any IPv6 in it.
    pub(super) fn has_ipv6(&self) -> bool {
        self.ipv6
    }

    /// Waits until all that was taken is in force. Gives what failed after its step was taken.
    pub(super) fn settle(&self) -> Vec<FabricError> {
        self.answers.settle()
    }

    /// Who has which address, kept up to date.
    pub(super) fn residents(&self) -> &Residents {
        &self.residents
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(super) fn add_node(&mut self, node: Node) {
        self.residents.limit(node.instance(), node.hop_limit());
        self.nodes.insert(*node.instance(), node);
    }

    pub(super) fn remove_node(&mut self, instance: &InstanceId) {
        self.losses.remove(instance);
        self.nodes.remove(instance);
    }

    pub(super) fn renames(&mut self) -> &mut Renames {
        &mut self.renames
    }

    pub(super) fn node(&self, instance: &InstanceId) -> Option<&Node> {
        self.nodes.get(instance)
    }

    /// From now on a node loses this, on the links that it has and on those to come, and nothing else.
    pub(super) fn lose(&mut self, instance: &InstanceId, losses: Vec<Loss>) -> Vec<FabricError> {
        self.losses.insert(*instance, losses);
        let links = self.links.values().filter(|link| link.instance == *instance);
        links.filter_map(|link| self.filter.lose(&link.name, &self.losses_of(link)).err()).collect()
    }

    /// How many packets a node has lost so, on the links that it has.
    pub(super) fn lost(&self, instance: &InstanceId) -> Result<u64, FabricError> {
        let links = self.links.values().filter(|link| link.instance == *instance);
        links.map(|link| self.filter.lost(&link.name)).sum()
    }

    fn losses_of(&self, link: &Link) -> Vec<Loss> {
        let losses = self.losses.get(&link.instance).into_iter().flatten();
        losses.filter(|loss| loss.concerns(link.device, link.card)).cloned().collect()
    }

    /// Carries steps out, in order. All are tried; the failures are returned.
    pub(super) fn take(&mut self, steps: &[Step]) -> Vec<FabricError> {
        let mut errors = Vec::new();
        let mut batch = Batch::default();
        for step in steps {
            match step {
                Step::Plug(plug) => {
                    self.flush(&mut batch, &mut errors);
                    errors.extend(self.plug(plug).err());
                }
                Step::Unplug(eni) => {
                    self.flush(&mut batch, &mut errors);
                    errors.extend(self.unplug(eni).err());
                }
                Step::Grant(eni, net) => match self.links.get(eni) {
                    // Put: where an address moves between ENIs, the new place may be told before the old.
                    Some(link) => {
                        batch.push(Change::PutRoute(delivery(*net, link.index)), MayBeGone::No);
                        self.residents.settle(*net, eni);
                        batch.moved.push(*net);
                    }
                    None => errors.push(FabricError::Unfit(format!("no link for {eni}, which holds {net}"))),
                },
                Step::Revoke(eni, net) => {
                    if let Some(link) = self.links.get(eni) {
                        // Names its link: a grant to another ENI stays.
                        batch.push(Change::DeleteRoute(delivery(*net, link.index)), MayBeGone::Yes);
                        self.residents.leave(*net, eni);
                        batch.moved.push(*net);
                    }
                }
                Step::CheckSource(eni, on) => {
                    self.flush(&mut batch, &mut errors);
                    errors.extend(self.check_source(eni, *on).err());
                }
                Step::Publish(address) => batch.push(Change::AddRule(public(*address)), MayBeGone::No),
                Step::Unpublish(address) => {
                    batch.push(Change::DeleteRule(public(*address)), MayBeGone::Yes);
                }
                Step::Gateway(address) => {
                    let own = Address::new(self.loopback, IpAddr::V4(*address).into());
                    batch.push(Change::PutAddress(own), MayBeGone::No);
                }
                Step::Own(cidr) => batch.push(Change::AddRoute(blackhole(MAIN, *cidr)), MayBeGone::No),
            }
        }
        self.flush(&mut batch, &mut errors);
        errors
    }

    /// Removes every link, and so both ends of each.
    pub(super) fn down(&mut self) -> Vec<FabricError> {
        let steps: Vec<Step> = self.links.keys().copied().map(Step::Unplug).collect();
        self.take(&steps)
    }

    fn flush(&mut self, batch: &mut Batch, errors: &mut Vec<FabricError>) {
        let Batch { changes, tolerances, moved } = std::mem::take(batch);
        let answers = moved.iter().filter_map(|net| match net {
            IpNet::V4(ipv4) => Some((*ipv4, self.residents.mac_of(net))),
            IpNet::V6(_) => None,
        });
        errors.extend(self.answers.change(answers.collect::<Vec<_>>()));
        match self.socket.apply_each(&changes) {
            Ok(results) => {
                errors.extend(results.into_iter().zip(tolerances).filter_map(|(result, may_be_gone)| {
                    let error =
                        result.filter(|error| !(may_be_gone == MayBeGone::Yes && error.is_absent()))?;
                    Some(self.namespace.refused(error))
                }));
            }
            Err(error) => errors.push(self.namespace.refused(error)),
        }
    }

    /// Removes an ENI's link, and so both ends of it, and its routes.
    fn unplug(&mut self, eni: &EniId) -> Result<(), FabricError> {
        let Some(link) = self.links.remove(eni) else { return Ok(()) };
        let lost = self.residents.move_out(eni).into_iter().filter_map(|net| match net {
            IpNet::V4(net) => Some((net, None)),
            IpNet::V6(_) => None,
        });
        // No address moves, so nothing is waited for.
        self.answers.change(lost);
        let filtered = self.filter.remove_link(&link.name, link.mac, link.checked);
        match self.socket.apply(&Change::DeleteLink(LinkRef::Name(link.name))) {
            Err(error) if !error.is_absent() => Err(self.namespace.refused(error)),
            _ => filtered,
        }
    }

    fn plug(&mut self, plug: &Plug) -> Result<(), FabricError> {
        let node = self
            .nodes
            .get(&plug.instance)
            .cloned()
            .ok_or_else(|| FabricError::Unfit(format!("no namespace for {}", plug.instance)))?;
        let mac = MacAddr(plug.mac.0);
        let (name, lower) = (router_end('v', &plug.eni), router_end('p', &plug.eni));
        let veth = Veth {
            near: VethEnd { name: name.clone(), mac: Some(GATEWAY_MAC), netns: None },
            far: VethEnd { name: lower.clone(), mac: Some(mac), netns: None },
            mtu: Some(MTU),
            group: 0,
        };
        self.namespace.apply(&mut self.socket, &[Change::CreateVeth(veth)])?;
        let index = self.namespace.index(&mut self.socket, &name)?;
        let link = Link {
            name: name.clone(),
            index,
            mac,
            instance: plug.instance,
            device: plug.device,
            card: plug.card,
            checked: true,
        };
        let losses = self.losses_of(&link);
        self.links.insert(plug.eni, link);
        let home = Home { instance: plug.instance, mac, link: index, ipv6: plug.ipv6 };
        self.residents.move_in(&plug.eni, home);
        self.filter.add_link(&name, mac, &losses)?;
        // By default the kernel waits up to 0.8 s, at random, before it answers ARP for another.
        sysctl::write(&self.namespace, &[(&format!("ipv4/neigh/{name}/proxy_delay"), "0")])?;
        let up = |link: &str, what: &str| {
            let alias = Some(format!("{} {what}", plug.eni));
            Change::SetLink(LinkRef::Name(link.to_owned()), LinkSettings { alias, ..LinkSettings::up() })
        };
        self.namespace.apply(
            &mut self.socket,
            &[
                up(&lower, "below its node's end"),
                up(&name, "router's end"),
                Change::PutNeighbour(Neighbour::permanent(index, OTHER_END, mac)),
            ],
        )?;
        if self.ipv6 {
            let other_end = Neighbour::permanent(index, OTHER_END_IPV6, mac);
            self.namespace.apply(
                &mut self.socket,
                &[Change::AddAddress(link_local(index)), Change::PutNeighbour(other_end)],
            )?;
            self.namespace.until_usable(IPV6_GATEWAY, index)?;
        }
        // The end that came up first learns of the other by a worker of the kernel, and drops what is sent until then;
        // asking for a link has the kernel catch up before it answers.
        let lower = self.namespace.index(&mut self.socket, &lower)?;
        if !node.interfaces().appears(plug.device, plug.card) {
            // The router's end stands: what is sent there goes nowhere.
            return Ok(());
        }
        let namespace = node.namespace();
        let (last, first) = node.interfaces().at(plug.device, plug.card);
        let name = first.clone().unwrap_or_else(|| last.clone());
        let macvlan =
            Macvlan { name: name.clone(), lower, mtu: MTU, netns: Some(Arc::clone(namespace.descriptor())) };
        self.namespace.apply(&mut self.socket, &[Change::CreateMacvlan(macvlan)])?;
        if first.is_some() {
            let index = namespace.index(&mut namespace.socket()?, &name)?;
            // The primary one at once, so that what follows finds it.
            let after = if plug.lease.is_some() { Duration::ZERO } else { node.interfaces().renamed_after() };
            self.renames.add(Rename { namespace: namespace.clone(), index, name: last.clone() }, after)?;
        }
        match &plug.lease {
            Some(lease) => super::node::configure(&namespace, &last, lease),
            None => Ok(()),
        }
    }

    fn check_source(&mut self, eni: &EniId, on: bool) -> Result<(), FabricError> {
        let Some(link) = self.links.get_mut(eni).filter(|link| link.checked != on) else {
            return Ok(());
        };
        self.filter.check_source(&link.name, on)?;
        link.checked = on;
        Ok(())
    }
}

/// Changes that go to the kernel together.
#[derive(Debug, Default)]
struct Batch {
    changes: Vec<Change>,
    tolerances: Vec<MayBeGone>,
    /// Addresses that another ENI has afterwards, or none.
    moved: Vec<IpNet>,
}

impl Batch {
    fn push(&mut self, change: Change, may_be_gone: MayBeGone) {
        self.changes.push(change);
        self.tolerances.push(may_be_gone);
    }
}

/// Whether a removal succeeds when there is nothing to remove: routes go with a link that the node itself removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MayBeGone {
    Yes,
    No,
}

/// Name of a link of the router for an ENI: a letter, and the last digits of the id, as many as the kernel takes.
fn router_end(letter: char, eni: &EniId) -> String {
    let id = eni.as_str();
    let digits = id.strip_prefix(EniId::PREFIX).unwrap_or(id);
    format!("{letter}{}", &digits[digits.len().saturating_sub(14)..])
}
