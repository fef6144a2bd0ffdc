//! Reading the host's namespace whole.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use holdfast_model::host::{
    HostObserved, LinkAlias, LinkSeen, MAIN_TABLE, NatSeen, NatWanted, PROTOCOL, RouteSeen, Rule as ModelRule,
};
use holdfast_ports::host::HostFault;
use ipnet::{IpNet, Ipv4Net};

use super::actions::FORWARDING;
use super::eni::{by_mac, connects, drops_asymmetric};
use super::pool::Worker;
use super::{LINK_GROUP, refused};
use crate::nat::Nat;
use crate::netlink::{AddressFamily, Link, RouteFilter};

/// Pods are wired and unwired meanwhile, so the reads are of different moments. Links come last: of what is set up its
/// link is the first piece to appear, of what is taken down the last to go. So what a read missed of a thing in the
/// making can be put there twice, which does no harm, and of one in the taking down there is less than was seen.
pub(crate) fn observe(worker: &mut Worker, wanted: &NatWanted, nat: &Nat) -> Result<HostObserved, HostFault> {
    let (host, sysctl) = (&mut worker.socket, &worker.sysctl);
    let v4 = AddressFamily::Inet;
    let ours = RouteFilter { protocol: Some(PROTOCOL), ..RouteFilter::default() };
    let routes = host.routes(v4, ours).map_err(refused)?;
    let main = RouteFilter { table: Some(MAIN_TABLE), ..RouteFilter::default() };
    let mut connected: HashMap<u32, Vec<Ipv4Addr>> = HashMap::new();
    for (link, address) in host.routes(v4, main).map_err(refused)?.iter().filter_map(connects) {
        connected.entry(link).or_default().push(address);
    }
    let rules = host.rules(v4).map_err(refused)?;
    let mut addresses: HashMap<u32, Vec<Ipv4Net>> = HashMap::new();
    for address in host.addresses(v4).map_err(refused)? {
        if let IpNet::V4(net) = address.net {
            addresses.entry(address.link).or_default().push(net);
        }
    }
    let links = host.links().map_err(refused)?;
    let nat = nat_seen(wanted, nat, &links);
    Ok(HostObserved {
        links: links
            .into_iter()
            .map(|link| LinkSeen {
                index: link.index,
                strict: link.group != LINK_GROUP && !link.loopback && drops_asymmetric(sysctl, &link.name),
                name: link.name,
                mac: link.mac,
                mtu: link.mtu,
                up: link.up,
                alias: link.alias.as_deref().and_then(LinkAlias::parse),
                addresses: addresses.remove(&link.index).unwrap_or_default(),
                connected: connected.remove(&link.index).unwrap_or_default(),
            })
            .collect(),
        rules: rules
            .into_iter()
            .filter(|rule| rule.protocol == PROTOCOL)
            .map(|rule| ModelRule {
                priority: rule.priority,
                from: rule.from,
                to: rule.to,
                mark: rule.mark,
                table: rule.table,
            })
            .collect(),
        routes: routes
            .into_iter()
            .filter_map(|route| {
                let link_index = route.link?;
                Some(RouteSeen { table: route.table, to: route.to, via: route.via, link_index })
            })
            .collect(),
        nat,
        forwarding: sysctl.read(FORWARDING).map(|value| value == "1"),
    })
}

/// That the table cannot be read is no reason to keep the rest from the caller.
fn nat_seen(wanted: &NatWanted, nat: &Nat, links: &[Link]) -> NatSeen {
    match wanted {
        NatWanted::Undecided => NatSeen::Unknown,
        NatWanted::Table(table) => match by_mac(links, table.primary_mac) {
            Some(primary) => nat.seen(table, &primary.name),
            None => NatSeen::Unknown,
        },
        NatWanted::Absent => nat.seen_absent(),
    }
}
