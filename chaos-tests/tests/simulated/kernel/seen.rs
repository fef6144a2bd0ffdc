//! How the oracle sees the kernel.

use std::net::{IpAddr, Ipv4Addr};

use holdfast_chaos_tests::oracle::picture::{self, Address, Fate, Flow, Neighbour, Route, Rule, Way};
use holdfast_model::host::{LinkAlias, MAIN_TABLE, NatTable, PRIMARY_MARK, PodWiring, SourceNat};
use ipnet::IpNet;

use super::{Kernel, State};

/// The group of pods' links.
const PODS: u32 = 1;

impl Kernel {
    /// As it was when the node came up.
    pub(crate) fn before(&self) -> picture::Kernel {
        self.lock().before.clone()
    }

    /// As it is.
    pub(crate) fn seen(&self) -> picture::Kernel {
        self.lock().seen()
    }

    /// What is inside a sandbox.
    pub(crate) fn inside(&self, inode: u64) -> picture::Kernel {
        let state = self.lock();
        let wirings = state.sandboxes.get(&inode).into_iter().flat_map(|sandbox| sandbox.inside.values());
        // Without its other end a veth is gone. Its name tells which it is, since it may have been renamed.
        let ends = || state.links.values().filter(|link| link.netns == Some(inode));
        let further = |wiring: &PodWiring| ends().any(|link| link.name == wiring.host_veth);
        let is_there =
            |wiring: &&PodWiring| if wiring.number == 0 { ends().next().is_some() } else { further(wiring) };
        let mut seen = picture::Kernel::default();
        for wiring in wirings.filter(is_there) {
            let one = inside(wiring);
            seen.links.extend(one.links);
            seen.addresses.extend(one.addresses);
            seen.addresses_v6.extend(one.addresses_v6);
            seen.routes.extend(one.routes);
            seen.routes_v6.extend(one.routes_v6);
            seen.neighbours.extend(one.neighbours);
            seen.rules.extend(one.rules);
        }
        if !seen.links.is_empty() {
            seen.rules.extend(rules_of_every_namespace());
        }
        seen
    }

    /// Name of the link in the host's namespace whose other end is in this one, under this name.
    pub(crate) fn host_link_of(&self, inode: u64, ifname: &str) -> Option<String> {
        let state = self.lock();
        let is_it = |link: &&super::Link| {
            let of = link.alias.as_ref().and_then(LinkAlias::sandbox);
            link.netns == Some(inode) && of.is_none_or(|sandbox| sandbox.ifname == ifname)
        };
        state.links.values().find(is_it).map(|link| link.name.clone())
    }

    /// What the packet filter makes of a packet.
    pub(crate) fn fate(&self, flow: &Flow) -> Fate {
        let state = self.lock();
        let Some(table) = &state.nat else {
            return Fate { connection: flow.connection.unwrap_or(0), ..Fate::default() };
        };
        let link = state.links.values().find(|link| link.name == flow.link);
        let came = Came {
            from_pod: link.is_some_and(|link| link.netns.is_some()),
            by_primary: link.is_some_and(|link| link.mac == table.primary_mac),
            to_itself: state
                .links
                .values()
                .any(|link| link.addresses.iter().any(|net| net.addr() == flow.to)),
        };
        fate(table, came, flow)
    }
}

impl State {
    pub(super) fn seen(&self) -> picture::Kernel {
        let mut kernel = picture::Kernel { rules: rules_of_every_namespace(), ..picture::Kernel::default() };
        for (index, link) in &self.links {
            let index = *index;
            kernel.links.push(picture::Link {
                index,
                name: link.name.clone(),
                mac: Some(link.mac),
                mtu: link.mtu,
                up: link.up,
                veth: link.netns.is_some(),
                peer: link.netns.map(|_| INSIDE),
                group: if link.netns.is_some() { PODS } else { 0 },
            });
            for net in &link.addresses {
                kernel.addresses.push(Address { link: index, net: IpNet::V4(*net) });
                let local = Route::on_link(picture::LOCAL_TABLE, own(net.addr().into()), index);
                kernel.routes.push(Route { way: Way::Local, ..local });
            }
            let setting = format!("ipv4/conf/{}/rp_filter", link.name);
            kernel.sysctls.insert(setting, link.rp_filter.to_string());
        }
        kernel.sysctls.insert("ipv4/ip_forward".to_owned(), u8::from(self.forwards).to_string());
        kernel.sysctls.insert("ipv4/conf/default/rp_filter".to_owned(), super::STRICT.to_string());
        if let Some(primary) = self.primary
            && let Some((index, _)) =
                self.links.iter().find(|(_, link)| link.netns.is_none() && link.mac == primary.mac)
        {
            let gateway = Ipv4Addr::from_bits(primary.subnet.network().to_bits() + 1);
            kernel.routes.push(Route::on_link(MAIN_TABLE, IpNet::V4(primary.subnet), *index));
            kernel.routes.push(Route::default_via(MAIN_TABLE, gateway, *index));
        }
        kernel
            .sysctls
            .insert("ipv6/conf/all/forwarding".to_owned(), u8::from(self.forwards_ipv6).to_string());
        kernel.rules.extend(self.rules.iter().map(|ours| Rule {
            ipv6: [ours.from, ours.to].into_iter().flatten().any(|net| net.addr().is_ipv6()),
            priority: ours.priority,
            from: ours.from,
            to: ours.to,
            mark: ours.mark,
            iif: None,
            others: Vec::new(),
            table: ours.table,
        }));
        let routes = self.routes.iter().map(|ours| Route {
            table: ours.table,
            to: ours.to,
            via: ours.via,
            link: Some(ours.link_index),
            way: Way::Forward,
            metric: if ours.to.addr().is_ipv6() { IPV6_METRIC } else { 0 },
            // The daemon's port has no words for what follows.
            source: None,
            others: Vec::new(),
        });
        let (routes, routes_v6): (Vec<Route>, Vec<Route>) =
            routes.partition(|route| route.to.addr().is_ipv4());
        kernel.routes.extend(routes);
        kernel.routes_v6.extend(routes_v6);
        // A pod with an IPv6 address is known beforehand by its link.
        let wired = (self.sandboxes.iter())
            .flat_map(|(inode, sandbox)| sandbox.inside.values().map(move |wiring| (inode, wiring)));
        for (inode, wiring) in wired.filter(|(_, wiring)| wiring.address.is_ipv6()) {
            let link = self.links.iter().find(|(_, link)| link.netns == Some(*inode));
            kernel.neighbours.extend(link.map(|(index, _)| Neighbour {
                link: *index,
                address: wiring.address,
                mac: None,
            }));
        }
        kernel
    }
}

fn rules_of_every_namespace() -> Vec<Rule> {
    vec![
        Rule::new(0, picture::LOCAL_TABLE),
        Rule::new(32_766, MAIN_TABLE),
        Rule::new(32_767, picture::DEFAULT_TABLE),
    ]
}

/// What the kernel gives a route of IPv6 that was asked for without one.
const IPV6_METRIC: u32 = 1024;

/// The number of a pod's first link in its own namespace, after its loopback.
const INSIDE: u32 = 2;

/// One of its interfaces, and what belongs to it.
fn inside(wiring: &PodWiring) -> picture::Kernel {
    if wiring.address.is_ipv6() {
        return inside_of_ipv6(wiring);
    }
    let (address, number) = (wiring.gateway(), u32::from(wiring.number));
    let (index, table) = (INSIDE + number, if number == 0 { MAIN_TABLE } else { number });
    let gateway = own(address);
    let everywhere = Route::on_link(table, IpNet::V4(ipnet::Ipv4Net::default()), index);
    let default = Route { via: Some(address), ..everywhere };
    let rule = Rule { from: Some(own(wiring.address)), ..Rule::new(1, table) };
    picture::Kernel {
        links: vec![picture::Link {
            index,
            name: wiring.ifname.clone(),
            mac: None,
            mtu: wiring.mtu,
            up: true,
            veth: true,
            peer: None,
            group: 0,
        }],
        addresses: vec![Address { link: index, net: own(wiring.address) }],
        rules: (number > 0).then_some(rule).into_iter().collect(),
        routes: vec![Route::on_link(table, gateway, index), default],
        neighbours: vec![Neighbour { link: index, address, mac: Some(wiring.host_mac) }],
        ..picture::Kernel::default()
    }
}

fn inside_of_ipv6(wiring: &PodWiring) -> picture::Kernel {
    let of_ipv4 = PodWiring { address: Ipv4Addr::UNSPECIFIED.into(), ..wiring.clone() };
    let route = |to, via| Route { via, metric: IPV6_METRIC, ..Route::on_link(MAIN_TABLE, to, INSIDE) };
    let gateway = wiring.gateway();
    picture::Kernel {
        addresses: Vec::new(),
        addresses_v6: vec![Address { link: INSIDE, net: own(wiring.address) }],
        routes: Vec::new(),
        routes_v6: vec![
            route(own(gateway), None),
            route(IpNet::V6(ipnet::Ipv6Net::default()), Some(gateway)),
        ],
        neighbours: vec![Neighbour { link: INSIDE, address: gateway, mac: Some(wiring.host_mac) }],
        ..inside(&of_ipv4)
    }
}

fn own(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

/// Where a packet comes from.
#[derive(Clone, Copy, Debug)]
struct Came {
    from_pod: bool,
    by_primary: bool,
    to_itself: bool,
}

/// The chains of our table, in their order (see `holdfast_datapath`'s NAT): marks of connections, then source
/// translation, which sees a connection's first packet only.
fn fate(table: &NatTable, came: Came, flow: &Flow) -> Fate {
    let mut fate = Fate { connection: flow.connection.unwrap_or(0), ..Fate::default() };
    if came.from_pod {
        fate.mark |= fate.connection & PRIMARY_MARK;
    }
    if table.node_ports && came.by_primary && came.to_itself {
        fate.connection |= PRIMARY_MARK;
    }
    let Some(SourceNat { vpc_cidrs, node_ipv4 }) = &table.source_nat else { return fate };
    let leaves_the_vpc = !came.to_itself && !vpc_cidrs.iter().any(|block| block.contains(&flow.to));
    if flow.connection.is_none() && leaves_the_vpc {
        fate.source = Some(*node_ipv4);
        if came.from_pod {
            fate.mark |= PRIMARY_MARK;
            fate.connection |= PRIMARY_MARK;
        }
    }
    fate
}
