//! Reading the host's namespace whole.

use std::collections::HashMap;
use std::net::IpAddr;

use holdfast_model::host::{
    EniLink, HostObserved, LinkSeen, Look, MAIN_TABLE, NatSeen, NatWanted, PROTOCOL, Route as ModelRoute,
    Rule,
};
use holdfast_model::ids::MacAddr;
use holdfast_ports::host::HostFault;
use ipnet::{IpNet, Ipv4Net};

use super::actions::FORWARDING;
use super::pool::Worker;
use super::refused;
use super::translate::{link_seen, our_rule, route_seen};
use crate::nat::Nat;
use crate::netlink::{AddressFamily, NetlinkError, Route, RouteFilter, RouteScope, RouteType, Socket};
use crate::sysctl::Sysctl;

mod ipv6;

pub(crate) use ipv6::FORWARDING as IPV6_FORWARDING;

const V4: AddressFamily = AddressFamily::Inet;

/// Pods are wired and unwired meanwhile, so the reads are of different moments. Links come last: of what is set up its
/// link is the first piece to appear, of what is taken down the last to go. So what a read missed of a thing in the
/// making can be put there twice, which does no harm, and of one in the taking down there is less than was seen.
pub(crate) fn observe(worker: &mut Worker, wanted: &NatWanted, nat: &Nat) -> Result<HostObserved, HostFault> {
    // Two programs are waited for: both at once. A thread is in the namespace of who starts it.
    std::thread::scope(|scope| {
        let drops = scope.spawn(nat.forward_drops());
        let mut observed = read(&mut worker.socket, &worker.sysctl).map_err(refused)?;
        observed.nat = nat_seen(wanted, nat, &observed);
        observed.forwarding = worker.sysctl.read(FORWARDING).map(|value| value == "1");
        observed.forward_drops = drops.join().unwrap_or_default();
        Ok(observed)
    })
}

/// All but the NAT table and forwarding.
pub(crate) fn read(host: &mut Socket, sysctl: &Sysctl) -> Result<HostObserved, NetlinkError> {
    let routes = host.routes(V4, RouteFilter { protocol: Some(PROTOCOL), ..RouteFilter::default() })?;
    let mut connected: HashMap<u32, Vec<ModelRoute>> = HashMap::new();
    let main = RouteFilter { table: Some(MAIN_TABLE), ..RouteFilter::default() };
    let main = host.routes(V4, main)?;
    let way_out = main.iter().any(|route| route.to.prefix_len() == 0 && route.kind == RouteType::Unicast);
    for route in main.into_iter().filter(connects).filter_map(route_seen) {
        connected.entry(route.link_index).or_default().push(route);
    }
    let rules = rules(host, V4)?;
    let mut addresses: HashMap<u32, Vec<Ipv4Net>> = HashMap::new();
    for address in host.addresses(V4)? {
        if let IpNet::V4(net) = address.net {
            addresses.entry(address.link).or_default().push(net);
        }
    }
    let mut of_ipv6 = ipv6::read(host, sysctl)?;
    let with_its_own = |link: LinkSeen| LinkSeen {
        ipv6_addresses: of_ipv6.addresses.remove(&link.index).unwrap_or_default(),
        addresses: addresses.remove(&link.index).unwrap_or_default(),
        connected: connected.remove(&link.index).unwrap_or_default(),
        ..link
    };
    Ok(HostObserved {
        links: host.links()?.into_iter().map(link_seen).map(with_its_own).collect(),
        rules: rules.into_iter().chain(of_ipv6.rules).collect(),
        routes: routes.into_iter().filter_map(route_seen).chain(of_ipv6.routes).collect(),
        way_out: Some(way_out),
        ipv6: of_ipv6.seen,
        rp_filter: rp_filter_of_all(sysctl),
        ..HostObserved::default()
    })
}

/// Our rules of a family.
pub(crate) fn rules(host: &mut Socket, family: AddressFamily) -> Result<Vec<Rule>, NetlinkError> {
    Ok(host.rules(family)?.into_iter().filter_map(our_rule).collect())
}

/// Those of one pod's address, and perhaps others.
pub(crate) fn rules_about(host: &mut Socket, address: IpAddr) -> Result<Vec<Rule>, NetlinkError> {
    Ok(host.rules_about(address)?.into_iter().filter_map(our_rule).collect())
}

pub(crate) fn rp_filter_of_all(sysctl: &Sysctl) -> u8 {
    sysctl.read("ipv4/conf/all/rp_filter").and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Whether this is a route to the subnet of an address.
fn connects(route: &Route) -> bool {
    route.source.is_some() && route.scope == RouteScope::Link && route.to.prefix_len() != 32
}

/// The link of the ENI with this MAC.
pub(crate) fn eni_link(observed: &HostObserved, mac: MacAddr) -> Result<LinkSeen, HostFault> {
    match Look::over(observed).eni_link(mac) {
        EniLink::One(link) => Ok(link.clone()),
        EniLink::Missing => Err(HostFault::LinkMissing { mac: mac.to_string() }),
        EniLink::Several(links) => {
            let links: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
            Err(HostFault::LinkAmbiguous { mac: mac.to_string(), links: links.join(", ") })
        }
    }
}

/// That the table cannot be read is no reason to keep the rest from the caller.
fn nat_seen(wanted: &NatWanted, nat: &Nat, observed: &HostObserved) -> NatSeen {
    match wanted {
        NatWanted::Undecided => NatSeen::Unknown,
        NatWanted::Table(table) => match eni_link(observed, table.primary_mac) {
            Ok(primary) => nat.seen(table, &primary.name),
            Err(_not_to_be_told) => NatSeen::Unknown,
        },
        NatWanted::Absent => nat.seen_absent(),
    }
}
