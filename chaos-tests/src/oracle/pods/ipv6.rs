//! A pod with an IPv6 address (specification 6.2, 6.9): behind the primary ENI, by the main table both ways.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use super::{TO_POD, answer, host_end, host_link};
use crate::oracle::picture::{Kernel, Link, MAIN_TABLE, Neighbour, Picture, Pod, Route, Rule, Way};
use crate::oracle::{Findings, Law};

/// Every such pod's gateway, which exists nowhere.
pub(crate) const GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// What the kernel gives a route of IPv6 that was asked for without one.
const METRIC: u32 = 1024;

fn own(address: Ipv6Addr) -> IpNet {
    IpNet::from(IpAddr::V6(address))
}

/// The one rule that it must have.
pub(in crate::oracle) fn rule(address: Ipv6Addr) -> Rule {
    Rule { ipv6: true, to: Some(own(address)), ..Rule::new(TO_POD, MAIN_TABLE) }
}

/// The way to it.
pub(in crate::oracle) fn route(address: Ipv6Addr, link: u32) -> Route {
    Route { metric: METRIC, ..Route::on_link(MAIN_TABLE, own(address), link) }
}

pub(super) fn one(picture: &Picture, pod: &Pod, address: Ipv6Addr, found: &mut Findings) {
    let who = pod.named();
    // It has no other.
    let face = pod.first_face();
    let has = |net: &Ipv6Net| net.contains(&address) && net.network() != address;
    let eni = picture.cloud.usable().find(|eni| eni.is_primary() && eni.ipv6_prefixes.iter().any(has));
    let Some(eni) = eni else {
        let text = format!("EC2 shows no prefix with {address}, which {who} was given, on the primary ENI");
        found.add(Law::ShownByEc2, text);
        return;
    };
    if let Some(result) = &pod.result {
        answer(picture, pod, face, (address.into(), eni), result, found);
    }
    let Some(link) = host_end(picture, face) else {
        found.add(Law::HostLink, format!("{who} has no link in the host's namespace"));
        return;
    };
    host_link(picture, pod, &who, face, link, found);
    let host = &picture.host;
    let routes: Vec<&Route> = host.routes_v6.iter().filter(|route| route.to == own(address)).collect();
    if routes != [&route(address, link.index)] {
        let is: Vec<String> = routes.iter().map(|route| route.named(host)).collect();
        found.add(Law::RouteToPod, format!("{who} has no route of its own to {}: {is:?}", link.name));
    }
    let about = |rule: &&Rule| [rule.to, rule.from].contains(&Some(own(address)));
    let rules: Vec<&Rule> = host.rules.iter().filter(about).collect();
    if rules != [&rule(address)] {
        let is: Vec<String> = rules.iter().map(ToString::to_string).collect();
        found.add(Law::RuleToPod, format!("{who} has no rule {TO_POD} alone: {is:?}"));
    }
    if host.addresses_v6.iter().any(|at| at.net.addr() == IpAddr::V6(address)) {
        found.add(Law::NotTheHosts, format!("{} bears the address of {who}", picture.node));
    }
    if let Some(kernel) = &pod.inside {
        inside(picture, pod, address, kernel, link, found);
    }
}

fn inside(
    picture: &Picture,
    pod: &Pod,
    address: Ipv6Addr,
    inside: &Kernel,
    host_end: &Link,
    found: &mut Findings,
) {
    let who = pod.named();
    let Some(link) = inside.link(&pod.ifname) else {
        found.add(Law::Inside, format!("{who} has no {}", pod.ifname));
        return;
    };
    if !link.up {
        found.add(Law::Inside, format!("{who}: its {} is down", link.name));
    }
    if link.mtu != picture.mtu {
        found.add(Law::Mtu, format!("{who}: MTU {} on its {}; it is {}", link.mtu, link.name, picture.mtu));
    }
    let of_both = inside.addresses.iter().chain(&inside.addresses_v6);
    let borne: Vec<IpNet> = of_both.map(|at| at.net).filter(|net| !net.addr().is_loopback()).collect();
    if borne != [own(address)] {
        found.add(Law::Inside, format!("{who} bears {borne:?} itself"));
    }
    let gateway = Some(IpAddr::V6(GATEWAY));
    let mut wanted = vec![(own(GATEWAY), None), (IpNet::V6(Ipv6Net::default()), gateway)];
    let routes = || inside.routes_v6.iter().filter(|route| !inside.makes_with_an_address(route));
    let made = |route: &&Route| route.way == Way::Forward && route.link == Some(link.index);
    let mut ways: Vec<_> = routes().filter(made).map(|route| (route.to, route.via)).collect();
    ways.sort();
    wanted.sort();
    if ways != wanted || routes().count() != wanted.len() {
        let is: Vec<String> = inside.routes_v6.iter().map(|route| route.named(inside)).collect();
        found.add(Law::Inside, format!("{who} has the routes {is:?}, not those by {GATEWAY}"));
    }
    if let Some(route) = inside.routes.iter().find(|route| !inside.makes_by_itself(route)) {
        found.add(Law::Inside, format!("{who} has the {}", route.named(inside)));
    }
    let answers = Neighbour { link: link.index, address: GATEWAY.into(), mac: host_end.mac };
    if inside.neighbours != [answers] {
        let text = format!("{who}: its neighbours are {:?}, not {answers:?}", inside.neighbours);
        found.add(Law::Inside, text);
    }
    if let Some(rule) = inside.dropping_rules.first() {
        found.add(Law::Inside, format!("{who} has a {rule} inside"));
    }
    if let Some(table) = inside.tables.keys().next() {
        found.add(Law::Inside, format!("{who} has the packet filter table {table} inside"));
    }
}
