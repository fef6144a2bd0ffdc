//! The router's routes and rules, as data.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use holdfast_datapath::netlink::{Address, AddressScope, Route, RouteScope, RouteType, Rule};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::discovery::IPV6_GATEWAY;

/// The main table.
pub(super) const MAIN: u32 = 254;
/// What public addresses see beyond the VPC.
pub(super) const TABLE_INTERNET: u32 = 100;
/// What all others see there: nothing.
pub(super) const TABLE_NOWHERE: u32 = 101;
/// After the main table (32766), which ends the search for every address of the VPC.
const RULE_PUBLIC: u32 = 40_000;
pub(super) const RULE_NOWHERE: u32 = 40_001;

/// Stands for "whoever is at the other end" on each of the router's links. Every link has one neighbour, so this one
/// address can be the next hop on all of them.
pub(super) const OTHER_END: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 0, 1));
pub(super) const OTHER_END_IPV6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));

/// The way to an address of an ENI, out of its link.
pub(super) fn delivery(net: IpNet, link: u32) -> Route {
    Route {
        to: net,
        via: Some(if net.addr().is_ipv4() { OTHER_END } else { OTHER_END_IPV6 }),
        onlink: true,
        scope: RouteScope::Universe,
        ..Route::on_link(MAIN, net, link)
    }
}

/// The end of all that goes there.
pub(super) fn blackhole(table: u32, to: IpNet) -> Route {
    Route {
        link: None,
        kind: RouteType::BlackHole,
        scope: RouteScope::Universe,
        ..Route::on_link(table, to, 0)
    }
}

/// The gateway's address on a link. The prefix takes in all that is link-local, as nodes' own addresses are.
pub(super) fn link_local(link: u32) -> Address {
    let net = Ipv6Net::new(IPV6_GATEWAY, 10).expect("10 is a prefix length");
    Address { scope: AddressScope::Link, ..Address::new(link, net.into()) }
}

/// Lets an address see what is beyond the VPC.
pub(super) fn public(address: Ipv4Addr) -> Rule {
    Rule { from: Some(Ipv4Net::from(address).into()), ..Rule::new(RULE_PUBLIC, TABLE_INTERNET) }
}
