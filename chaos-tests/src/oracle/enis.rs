//! An ENI that is attached (specification 6.4): its link, address, table and rule.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::picture::{Eni, Kernel, Link, MAIN_TABLE, Picture, Route, Rule, Way};
use super::walk::{self, Packet};
use super::{Findings, Law};

/// From a secondary ENI's own address: that ENI's table.
pub(super) const FROM_ENI: u32 = 32_765;

/// The one rule of a secondary ENI.
pub(super) fn rule(eni: &Eni) -> Rule {
    let own = IpNet::from(IpAddr::V4(eni.primary));
    Rule { from: Some(own), ..Rule::new(FROM_ENI, eni.table()) }
}

/// The routes of a secondary ENI's table.
pub(super) fn routes(eni: &Eni, link: u32) -> Vec<Route> {
    let gateway = eni.gateway();
    vec![
        Route::on_link(eni.table(), IpNet::from(IpAddr::V4(gateway)), link),
        Route::default_via(eni.table(), gateway, link),
    ]
}

pub(super) fn judge(picture: &Picture, found: &mut Findings) {
    for eni in picture.cloud.enis.iter().filter(|eni| eni.is_kept_from_node()) {
        kept(picture, eni, found);
    }
    for eni in picture.cloud.usable() {
        tags(picture, eni, found);
        if let Some(link) = picture.host.link_of(eni) {
            one(picture, eni, link, found);
        } else {
            let text = format!("{} ({}) has no link on {}", eni.id, eni.mac, picture.node);
            found.add(Law::EniLink, text);
        }
    }
}

/// Nothing of an ENI that is kept from the node is touched.
fn kept(picture: &Picture, eni: &Eni, found: &mut Findings) {
    let Picture { host, before, .. } = picture;
    let Some(link) = host.link_of(eni) else { return };
    let who = format!("{} ({}), which is kept from {},", eni.id, link.name, picture.node);
    for at in host.addresses.iter().filter(|at| at.link == link.index && !before.addresses.contains(at)) {
        found.add(Law::KeptEni, format!("{who} was given {}", at.net));
    }
    for route in host.routes.iter().filter(|route| route.link == Some(link.index)) {
        if !before.routes.contains(route) {
            found.add(Law::KeptEni, format!("{who} was given a {}", route.named(host)));
        }
    }
    let own = Some(IpNet::from(IpAddr::V4(eni.primary)));
    for rule in host.rules.iter().filter(|rule| rule.from == own && !before.rules.contains(rule)) {
        found.add(Law::KeptEni, format!("{who} was given a {rule}"));
    }
}

/// What was made for the node says so, and whatever its configuration asks for.
fn tags(picture: &Picture, eni: &Eni, found: &mut Findings) {
    for (key, wanted) in picture.tags.iter().filter(|_| eni.was_made()) {
        let is = eni.tags.get(key);
        if is != Some(wanted) {
            found.add(Law::Tags, format!("{} has the tag {key}={is:?}; it is {wanted:?}", eni.id));
        }
    }
}

fn one(picture: &Picture, eni: &Eni, link: &Link, found: &mut Findings) {
    let host = &picture.host;
    let who = format!("{} ({})", eni.id, link.name);
    if !link.up {
        found.add(Law::EniLink, format!("{who} is down"));
    }
    if link.mtu != picture.mtu {
        found.add(Law::Mtu, format!("{who}: MTU {}; it is {}", link.mtu, picture.mtu));
    }
    if strict(host, &link.name) {
        found.add(Law::ReversePath, format!("{who} checks the way back strictly"));
    }
    if eni.is_primary() {
        return;
    }
    let addresses: Vec<IpNet> =
        host.addresses.iter().filter(|at| at.link == link.index).map(|at| at.net).collect();
    let wanted = Ipv4Net::new(eni.primary, eni.subnet.prefix_len()).map(IpNet::V4);
    if wanted.is_ok_and(|wanted| addresses != [wanted]) {
        found.add(Law::EniAddress, format!("{who} bears {addresses:?}, not {} alone", eni.primary));
    }
    let in_table: Vec<&Route> = host.routes.iter().filter(|route| route.table == eni.table()).collect();
    let wanted = routes(eni, link.index);
    if in_table.len() != wanted.len() || !wanted.iter().all(|route| in_table.contains(&route)) {
        let is: Vec<String> = in_table.iter().map(|route| route.named(host)).collect();
        found.add(Law::EniTable, format!("{who}: its table {} is {is:?}", eni.table()));
    }
    let in_main = |route: &&Route| route.table == MAIN_TABLE && route.link == Some(link.index);
    if let Some(route) = host.routes.iter().find(in_main) {
        found.add(Law::EniOutOfMain, format!("{who}: {}", route.named(host)));
    }
    let rules: Vec<&Rule> =
        host.rules.iter().filter(|rule| rule.from == Some(IpNet::from(IpAddr::V4(eni.primary)))).collect();
    if rules != [&rule(eni)] {
        let is: Vec<String> = rules.iter().map(ToString::to_string).collect();
        found.add(Law::EniRule, format!("{who}: rules from its own address are {is:?}"));
    }
    for to in super::inside_addresses(picture) {
        leaves_by(picture, eni, link, to, found);
    }
}

/// What the host sends from the ENI's own address leaves by the ENI.
fn leaves_by(picture: &Picture, eni: &Eni, link: &Link, to: Ipv4Addr, found: &mut Findings) {
    let packet = Packet { from: Some(eni.primary), to: Some(to), iif: None, mark: 0 };
    let taken = walk::route(&picture.host, &packet);
    let right = |route: &Route| route.way == Way::Forward && route.link == Some(link.index);
    if !taken.is_some_and(right) {
        let taken = taken.map_or_else(|| "nowhere".to_owned(), |route| route.named(&picture.host));
        found.add(Law::WayFromEni, format!("from {} to {to}: by {taken}, not by {}", eni.primary, link.name));
    }
}

/// The greater of the link's own setting and that of all decides.
fn strict(host: &Kernel, link: &str) -> bool {
    let of = |link: &str| host.sysctls.get(&format!("ipv4/conf/{link}/rp_filter")).map(String::as_str);
    let number = |value: Option<&str>| value.and_then(|value| value.parse::<u8>().ok()).unwrap_or(0);
    number(of(link)).max(number(of("all"))) == 1
}
