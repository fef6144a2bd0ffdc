//! The router namespace: the VPC between the nodes.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_datapath::netlink::{
    Address, Change, LinkRef, LinkSettings, MacAddr, Macvlan, Neighbour, Route, RouteScope, RouteType, Rule,
    Socket, Veth, VethEnd,
};
use ipnet::{IpNet, Ipv4Net};

use super::internet::{self, Internet};
use super::residents::Residents;
use super::wiring::{Layout, Plug, Step, gateway};
use super::{FabricError, INTERNET_MTU, MTU, Namespace, Node, source_check, sysctl};
use crate::vpc::{EniId, InstanceId};

/// Where the metadata service answers, on port 80: where every AWS client looks for it.
pub const IMDS_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

const IMDS_PORT: u16 = 80;

const MAIN: u32 = 254;
/// What public addresses see beyond the VPC.
const TABLE_INTERNET: u32 = 100;
/// What all others see there: nothing.
const TABLE_NOWHERE: u32 = 101;
/// After the main table (32766), which ends the search for every address of the VPC.
const RULE_PUBLIC: u32 = 40_000;
const RULE_NOWHERE: u32 = 40_001;

/// Stands for "whoever is at the other end" on each of the router's links. Every link has one neighbour, so this one
/// address can be the next hop on all of them.
const OTHER_END: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 0, 1));

/// A new link takes the defaults over. `proxy_arp`: the router answers for every address that has a route out of
/// another link. `rp_filter` is off because [`source_check`] does its work.
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

/// The router, and the hands that change it.
pub(super) struct Router {
    namespace: Namespace,
    socket: Socket,
    nodes: BTreeMap<InstanceId, Node>,
    /// The router's end of each ENI's link.
    links: BTreeMap<EniId, Link>,
    residents: Residents,
    /// First names that are still borne.
    renames: Vec<Rename>,
}

/// A link of a node that will be called otherwise.
#[derive(Debug, Clone)]
struct Rename {
    due: Instant,
    namespace: Namespace,
    index: u32,
    name: String,
}

impl Rename {
    fn carry_out(&self) -> Result<(), FabricError> {
        let settings = LinkSettings { name: Some(self.name.clone()), ..LinkSettings::default() };
        match self.namespace.socket()?.apply(&Change::SetLink(LinkRef::Index(self.index), settings)) {
            // Gone meanwhile: none to rename.
            Err(error) if !error.is_absent() => Err(self.namespace.refused(error)),
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Clone)]
struct Link {
    instance: InstanceId,
    name: String,
    index: u32,
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
        sysctl::without_ipv6(&namespace)?;
        source_check::install(&namespace)?;
        let mut socket = namespace.socket()?;
        let loopback = namespace.index(&mut socket, "lo")?;
        let mut changes = Vec::new();
        // The kernel answers ARP for its own addresses on every link, so the gateways may sit on the loopback, and a node
        // that looks for metadata on its link itself finds it.
        let own = layout.subnets.values().map(|subnet| gateway(*subnet)).chain([IMDS_ADDRESS]);
        changes.extend(
            own.map(|address| Change::PutAddress(Address::new(loopback, Ipv4Net::from(address).into()))),
        );
        changes.extend(layout.cidrs.iter().map(|cidr| Change::AddRoute(blackhole(MAIN, *cidr))));
        changes.push(Change::AddRoute(blackhole(TABLE_NOWHERE, Ipv4Net::default())));
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
        let default = Route { onlink: true, ..Route::default_via(TABLE_INTERNET, OTHER_END, outside) };
        namespace.apply(
            &mut socket,
            &[
                Change::SetLink(LinkRef::Index(outside), LinkSettings::up()),
                Change::PutNeighbour(Neighbour::permanent(outside, OTHER_END, internet::HOST_MAC)),
                Change::AddRoute(default),
            ],
        )?;
        internet.connect(OTHER_END)?;
        // As for the links of ENIs, see `plug`.
        namespace.index(&mut socket, "inet")?;
        Ok(Self {
            namespace,
            socket,
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            residents: Residents::default(),
            renames: Vec::new(),
        })
    }

    /// Listens where metadata is asked for.
    pub(super) fn metadata(&self) -> Result<TcpListener, FabricError> {
        self.namespace.listen(IMDS_ADDRESS.into(), IMDS_PORT)
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
        self.nodes.insert(node.instance().clone(), node);
    }

    pub(super) fn remove_node(&mut self, instance: &InstanceId) {
        self.nodes.remove(instance);
    }

    pub(super) fn node(&self, instance: &InstanceId) -> Option<&Node> {
        self.nodes.get(instance)
    }

    /// When the next link is to be renamed.
    pub(super) fn next_rename(&self) -> Option<Instant> {
        self.renames.iter().map(|rename| rename.due).min()
    }

    /// Renames the links whose time has come.
    pub(super) fn rename_due(&mut self, now: Instant) -> Vec<FabricError> {
        let (due, later): (Vec<_>, Vec<_>) = self.renames.drain(..).partition(|rename| rename.due <= now);
        self.renames = later;
        due.iter().filter_map(|rename| rename.carry_out().err()).collect()
    }

    /// Carries steps out, in order. All are tried; the failures are returned.
    pub(super) fn take(&mut self, steps: &[Step]) -> Vec<FabricError> {
        let mut errors = Vec::new();
        let mut batch = Vec::new();
        for step in steps {
            match step {
                Step::Plug(plug) => {
                    self.flush(&mut batch, &mut errors);
                    errors.extend(self.plug(plug).err());
                }
                Step::Unplug(eni) => {
                    self.flush(&mut batch, &mut errors);
                    // The exception goes by name, and the same ENI may come back under it.
                    errors.extend(self.check_source(eni, true).err());
                    self.residents.move_out(eni);
                    if let Some(link) = self.links.remove(eni) {
                        batch.push((Change::DeleteLink(LinkRef::Name(link.name)), MayBeGone::Yes));
                    }
                }
                Step::Grant(eni, net) => match self.links.get(eni) {
                    // Put: where an address moves between ENIs, the new place may be told before the old.
                    Some(link) => {
                        batch.push((Change::PutRoute(delivery(*net, link.index)), MayBeGone::No));
                        self.residents.settle((*net).into(), eni, &link.instance);
                    }
                    None => errors.push(FabricError::Unfit(format!("no link for {eni}, which holds {net}"))),
                },
                Step::Revoke(eni, net) => {
                    if let Some(link) = self.links.get(eni) {
                        // Names its link: a grant to another ENI stays.
                        batch.push((Change::DeleteRoute(delivery(*net, link.index)), MayBeGone::Yes));
                        self.residents.leave((*net).into(), eni);
                    }
                }
                Step::CheckSource(eni, on) => {
                    self.flush(&mut batch, &mut errors);
                    errors.extend(self.check_source(eni, *on).err());
                }
                Step::Publish(address) => batch.push((Change::AddRule(public(*address)), MayBeGone::No)),
                Step::Unpublish(address) => {
                    batch.push((Change::DeleteRule(public(*address)), MayBeGone::Yes));
                }
            }
        }
        self.flush(&mut batch, &mut errors);
        errors
    }

    /// Removes every link, and so both ends of each.
    pub(super) fn down(&mut self) -> Vec<FabricError> {
        let steps: Vec<Step> = self.links.keys().cloned().map(Step::Unplug).collect();
        self.take(&steps)
    }

    fn flush(&mut self, batch: &mut Vec<(Change, MayBeGone)>, errors: &mut Vec<FabricError>) {
        let (changes, tolerances): (Vec<Change>, Vec<MayBeGone>) = batch.drain(..).unzip();
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

    fn plug(&mut self, plug: &Plug) -> Result<(), FabricError> {
        let node = self
            .nodes
            .get(&plug.instance)
            .cloned()
            .ok_or_else(|| FabricError::Unfit(format!("no namespace for {}", plug.instance)))?;
        let mac = MacAddr(plug.mac.0);
        let (name, lower) = (router_end('v', &plug.eni), router_end('p', &plug.eni));
        let veth = Veth {
            near: VethEnd { name: name.clone(), mac: None, netns: None },
            far: VethEnd { name: lower.clone(), mac: Some(mac), netns: None },
            mtu: Some(MTU),
            group: 0,
        };
        self.namespace.apply(&mut self.socket, &[Change::CreateVeth(veth)])?;
        let index = self.namespace.index(&mut self.socket, &name)?;
        let link = Link { instance: plug.instance.clone(), name: name.clone(), index, checked: true };
        self.links.insert(plug.eni.clone(), link);
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
            let after = if plug.lease.is_some() { Duration::ZERO } else { node.interfaces().renamed_after() };
            let index = namespace.index(&mut namespace.socket()?, &name)?;
            let due = Instant::now() + after;
            let rename = Rename { due, namespace: namespace.clone(), index, name: last.clone() };
            if after.is_zero() {
                rename.carry_out()?;
            } else {
                self.renames.push(rename);
            }
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
        source_check::set(&self.namespace, &link.name, on)?;
        link.checked = on;
        Ok(())
    }
}

/// Whether a removal succeeds when there is nothing to remove: routes go with a link that the node itself removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MayBeGone {
    Yes,
    No,
}

fn delivery(net: Ipv4Net, link: u32) -> Route {
    Route {
        to: net.into(),
        via: Some(OTHER_END),
        onlink: true,
        scope: RouteScope::Universe,
        ..Route::on_link(MAIN, net.into(), link)
    }
}

fn blackhole(table: u32, to: Ipv4Net) -> Route {
    let to = IpNet::V4(to);
    Route {
        link: None,
        kind: RouteType::BlackHole,
        scope: RouteScope::Universe,
        ..Route::on_link(table, to, 0)
    }
}

fn public(address: Ipv4Addr) -> Rule {
    Rule { from: Some(Ipv4Net::from(address).into()), ..Rule::new(RULE_PUBLIC, TABLE_INTERNET) }
}

/// Name of a link of the router for an ENI: a letter, and the last digits of the id, as many as the kernel takes.
fn router_end(letter: char, eni: &EniId) -> String {
    let id = eni.as_str();
    let digits = id.strip_prefix(EniId::PREFIX).unwrap_or(id);
    format!("{letter}{}", &digits[digits.len().saturating_sub(14)..])
}
