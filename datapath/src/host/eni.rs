//! Setting an ENI up: what is there is compared first, and only what differs is changed, so that taking over a
//! working node or starting anew disturbs no packet.

use std::net::{IpAddr, Ipv4Addr};

use holdfast_model::eni::EniSlot;
use holdfast_model::host::{EniWiring, MAIN_TABLE, PROTOCOL, priority};
use holdfast_model::ids::MacAddr;
use holdfast_ports::host::HostFault;
use ipnet::{IpNet, Ipv4Net};

use super::pool::Worker;
use super::refused;
use crate::netlink::{
    Address, AddressFamily, Change, Link, LinkRef, LinkSettings, NetlinkError, Route, RouteFilter,
    RouteScope, RouteType, Rule, Socket,
};
use crate::sysctl::Sysctl;

/// How often what was changed is looked at again. One pass may uncover the next: the kernel takes an interface's
/// further addresses away with the first one.
const PASSES: usize = 4;

/// What is there of an ENI.
#[derive(Clone, Debug)]
struct Seen {
    link: Link,
    addresses: Vec<Address>,
    /// Of the ENI's own table.
    table: Vec<Route>,
    /// Of the main table.
    main: Vec<Route>,
    rules: Vec<Rule>,
}

/// Makes an ENI's link, address, routes and rule as they should be, and reads them back.
pub(crate) fn set_up(worker: &mut Worker, wiring: &EniWiring) -> Result<(), HostFault> {
    let host = &mut worker.socket;
    let mut pending = Vec::new();
    for _ in 0..PASSES {
        let seen = observe(host, wiring)?;
        loosen_reverse_path(&worker.sysctl, &seen.link.name)?;
        pending = plan(wiring, &seen);
        if pending.is_empty() {
            return Ok(());
        }
        host.apply_all(&pending).or_else(tolerate).map_err(refused)?;
    }
    let pending: Vec<_> = pending.iter().map(ToString::to_string).collect();
    Err(HostFault::ReadBack(format!("{} ({}): still to do: {}", wiring.eni, wiring.mac, pending.join("; "))))
}

/// Something that is there already or gone already changed between look and act; the next look tells.
fn tolerate(error: NetlinkError) -> Result<(), NetlinkError> {
    if error.is_present() || error.is_absent() { Ok(()) } else { Err(error) }
}

fn observe(host: &mut Socket, wiring: &EniWiring) -> Result<Seen, HostFault> {
    let links = host.links().map_err(refused)?;
    let link = by_mac(&links, wiring.mac)
        .cloned()
        .ok_or_else(|| HostFault::LinkMissing { mac: wiring.mac.to_string() })?;
    if wiring.slot == EniSlot::PRIMARY {
        return Ok(Seen { link, addresses: vec![], table: vec![], main: vec![], rules: vec![] });
    }
    let v4 = AddressFamily::Inet;
    let in_table = |table| RouteFilter { table: Some(table), ..RouteFilter::default() };
    Ok(Seen {
        addresses: host.addresses_of(link.index, v4).map_err(refused)?,
        table: host.routes(v4, in_table(wiring.slot.route_table())).map_err(refused)?,
        main: host.routes(v4, in_table(MAIN_TABLE)).map_err(refused)?,
        rules: host.rules(v4).map_err(refused)?,
        link,
    })
}

/// The link of an ENI. Bridges and the like take the MAC of a member and are not meant; one whose lower link is in
/// another namespace is meant, since nothing else here can be the ENI (a node that is itself a namespace has such).
pub(crate) fn by_mac(links: &[Link], mac: MacAddr) -> Option<&Link> {
    let stacked = ["bridge", "vlan", "macvlan", "ipvlan", "bond", "team"];
    let is_stacked = |link: &Link| {
        !link.peer_elsewhere && link.kind.as_deref().is_some_and(|kind| stacked.contains(&kind))
    };
    links.iter().find(|link| link.mac == Some(mac) && !is_stacked(link))
}

/// What is left to do. Empty when all is as it should be.
fn plan(wiring: &EniWiring, seen: &Seen) -> Vec<Change> {
    let secondary = wiring.slot != EniSlot::PRIMARY;
    let link = LinkRef::Index(seen.link.index);
    let settings = LinkSettings {
        mtu: (seen.link.mtu != wiring.mtu).then_some(wiring.mtu),
        up: (secondary && !seen.link.up).then_some(true),
        ..LinkSettings::default()
    };
    let mut changes = Vec::new();
    if settings.mtu.is_some() || settings.up.is_some() {
        changes.push(Change::SetLink(link, settings));
    }
    if secondary {
        plan_address(wiring, seen, &mut changes);
        plan_routes(wiring, seen, &mut changes);
        let own = Some(IpNet::from(IpAddr::V4(wiring.primary_ipv4)));
        let table = wiring.slot.route_table();
        let rule = Rule { from: own, protocol: PROTOCOL, ..Rule::new(priority::FROM_ENI, table) };
        if !seen.rules.contains(&rule) {
            changes.push(Change::AddRule(rule.clone()));
        }
        let stale = |seen: &&Rule| {
            seen.protocol == PROTOCOL
                && seen.priority == priority::FROM_ENI
                && (seen.from == own) != (seen.table == table)
        };
        changes.extend(seen.rules.iter().filter(stale).cloned().map(Change::DeleteRule));
    }
    changes
}

/// The ENI's own address with its subnet's mask, and no other: secondary addresses are pods', and a host that bears
/// them answers in their place.
fn plan_address(wiring: &EniWiring, seen: &Seen, changes: &mut Vec<Change>) {
    let wanted = Ipv4Net::new(wiring.primary_ipv4, wiring.subnet_cidr.prefix_len()).map(IpNet::from);
    let Ok(wanted) = wanted else { return };
    let link = seen.link.index;
    let foreign = seen.addresses.iter().filter(|seen| seen.net != wanted);
    changes.extend(foreign.copied().map(Change::DeleteAddress));
    if !seen.addresses.iter().any(|seen| seen.net == wanted) {
        changes.push(Change::AddAddress(Address { no_prefix_route: true, ..Address::new(link, wanted) }));
    }
    // Added by others, the address brought a route to its subnet. In the main table it would take the traffic of
    // the primary ENI's pods out of this one.
    let connected = seen.main.iter().filter(|route| connects(route) == Some((link, wiring.primary_ipv4)));
    changes.extend(connected.cloned().map(Change::DeleteRoute));
}

/// The link and the address of it, if this is a route to that address's subnet.
pub(crate) fn connects(route: &Route) -> Option<(u32, Ipv4Addr)> {
    match (route.link, route.source) {
        (Some(link), Some(IpAddr::V4(source)))
            if route.scope == RouteScope::Link && route.to.prefix_len() != 32 =>
        {
            Some((link, source))
        }
        _ => None,
    }
}

fn plan_routes(wiring: &EniWiring, seen: &Seen, changes: &mut Vec<Change>) {
    let (table, link) = (wiring.slot.route_table(), seen.link.index);
    let gateway = IpAddr::V4(wiring.gateway());
    let wanted = [
        Route::on_link(table, IpNet::from(gateway), link).by(PROTOCOL),
        Route::default_via(table, gateway, link).by(PROTOCOL),
    ];
    for route in &wanted {
        let there = seen.table.iter().any(|seen| Route { onlink: false, ..seen.clone() } == *route);
        if !there {
            // In the place of one by somebody else, without a gap.
            changes.push(Change::PutRoute(route.clone()));
        }
    }
    // Of ours, what leads elsewhere: a link or subnet that this slot had before.
    let stale = seen.table.iter().filter(|seen| {
        seen.protocol == PROTOCOL
            && seen.kind == RouteType::Unicast
            && !wanted.iter().any(|wanted| wanted.to == seen.to)
    });
    changes.extend(stale.cloned().map(Change::DeleteRoute));
}

/// Whether the kernel checks that an answer would leave by the link that a packet came in by: the greater of the
/// link's own setting and that of all decides (0: no check, 1: this one, 2: that there is a way back at all).
pub(crate) fn drops_asymmetric(sysctl: &Sysctl, link: &str) -> bool {
    let of = |link: &str| {
        let value = sysctl.read(&format!("ipv4/conf/{link}/rp_filter"));
        value.and_then(|value| value.parse::<u8>().ok()).unwrap_or(0)
    };
    of(link).max(of("all")) == 1
}

/// What comes in by the primary ENI to a NodePort is for a pod whose rule says that its packets leave by another ENI; on
/// that one, the main table may say so of the sender. A strict check would drop them. Off stays off.
fn loosen_reverse_path(sysctl: &Sysctl, link: &str) -> Result<(), HostFault> {
    if drops_asymmetric(sysctl, link) {
        sysctl.set(&format!("ipv4/conf/{link}/rp_filter"), "2")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, kind: Option<&str>, peer_elsewhere: bool) -> Link {
        Link {
            index: 1,
            name: name.to_owned(),
            mac: Some(MacAddr([2, 0, 0, 0, 0, 1])),
            mtu: 9001,
            up: true,
            carrier: true,
            loopback: false,
            alias: None,
            group: 0,
            master: None,
            kind: kind.map(str::to_owned),
            peer_index: kind.map(|_| 7),
            peer_elsewhere,
            ipv6: None,
        }
    }

    #[test]
    fn what_is_stacked_on_an_eni_is_not_the_eni() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let found = |links: &[Link]| by_mac(links, mac).map(|link| link.name.clone());
        let (bridge, vlan) = (link("br0", Some("bridge"), false), link("ens5.7", Some("vlan"), false));
        assert_eq!(found(&[bridge.clone(), vlan, link("ens5", None, false)]).as_deref(), Some("ens5"));
        assert_eq!(found(&[bridge.clone(), link("ens5", Some("macvlan"), true)]).as_deref(), Some("ens5"));
        assert_eq!(found(&[bridge]), None);
    }
}
