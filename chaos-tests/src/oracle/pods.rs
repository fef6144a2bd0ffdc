//! A pod: what it was promised, the way to it and the way from it (specification 6.1, 6.2).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use sha1::{Digest, Sha1};

use super::picture::{
    DEFAULT_TABLE, Eni, Face, Kernel, LOCAL_TABLE, Link, MAIN_TABLE, Neighbour, Picture, Pod, Route, Rule,
    Way,
};
use super::walk::{self, Packet};
use super::{Findings, Law};

mod ipv6;

pub(crate) use ipv6::GATEWAY as POD_GATEWAY_IPV6;
pub(super) use ipv6::route as ipv6_route;
pub(super) use ipv6::rule as ipv6_rule;

/// Every pod's gateway, which exists nowhere.
pub(crate) const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// To a pod: main table.
pub(super) const TO_POD: u32 = 512;
/// From a pod of a secondary ENI: that ENI's table.
pub(super) const FROM_POD: u32 = 1536;

/// The eleven digits that host link and dummy share.
pub(super) fn digits(namespace: &str, name: &str) -> String {
    let sum = Sha1::digest(format!("{namespace}.{name}"));
    // A digit is half a byte.
    let digit = |at: usize| char::from_digit(u32::from(sum[at / 2] >> (4 - 4 * (at % 2)) & 15), 16);
    (0..11).filter_map(digit).collect()
}

/// The rules that a pod must have.
pub(super) fn rules(address: Ipv4Addr, eni: &Eni) -> Vec<Rule> {
    let own = Some(IpNet::from(IpAddr::V4(address)));
    let mut rules = vec![Rule { to: own, ..Rule::new(TO_POD, MAIN_TABLE) }];
    if !eni.is_primary() {
        rules.push(Rule { from: own, ..Rule::new(FROM_POD, eni.table()) });
    }
    rules
}

/// The ENI of the node's own that EC2 shows an address on.
pub(super) fn owner(picture: &Picture, address: Ipv4Addr) -> Option<&Eni> {
    picture.cloud.usable().find(|eni| eni.secondary.contains(&address))
}

/// The host's end of a pod's pair.
pub(super) fn host_end<'p>(picture: &'p Picture, face: Face<'_>) -> Option<&'p Link> {
    picture.host.link(face.host_link?)
}

pub(super) fn judge(picture: &Picture, found: &mut Findings) {
    let mut holders: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
    for pod in &picture.pods {
        for address in pod.ips() {
            holders.entry(address).or_default().push(pod.named());
        }
    }
    for (address, pods) in holders.iter().filter(|(_, pods)| pods.len() > 1) {
        found.add(Law::AddressOnce, format!("{address} was given to {}", pods.join(" and to ")));
    }
    for pod in &picture.pods {
        match pod.address_v6 {
            Some(address) => ipv6::one(picture, pod, address, found),
            None => one(picture, pod, found),
        }
    }
}

fn one(picture: &Picture, pod: &Pod, found: &mut Findings) {
    let mut ends = Vec::new();
    for face in pod.faces() {
        let end = self::face(picture, pod, face, found);
        ends.extend(end.map(|link| (face, link)));
    }
    if ends.len() == pod.faces().count()
        && let Some(inside) = &pod.inside
    {
        self::inside(picture, pod, inside, &ends, found);
    }
    // One of each network card.
    let cards: Vec<u32> =
        pod.faces().filter_map(|face| owner(picture, face.address?)).map(|eni| eni.card).collect();
    if cards.windows(2).any(|two| two[0] >= two[1]) {
        found.add(Law::Answer, format!("{} was given addresses of the network cards {cards:?}", pod.named()));
    }
}

/// One of its interfaces, on the host's side; gives its host end.
fn face<'p>(picture: &'p Picture, pod: &Pod, face: Face<'_>, found: &mut Findings) -> Option<&'p Link> {
    let who = if face.number == 0 { pod.named() } else { format!("{} by {}", pod.named(), face.ifname) };
    let Some(address) = face.address else {
        found.add(Law::Answer, format!("{who} was answered without an address"));
        return None;
    };
    let kept =
        picture.cloud.enis.iter().find(|eni| eni.is_kept_from_node() && eni.secondary.contains(&address));
    if let Some(kept) = kept {
        found.add(
            Law::KeptEni,
            format!("{who} was given an address of {}, which is kept from the node", kept.id),
        );
    }
    let Some(eni) = owner(picture, address) else {
        found.add(
            Law::ShownByEc2,
            format!("EC2 does not show {address}, which {who} was given, on an ENI of {}", picture.node),
        );
        return None;
    };
    if let Some(result) = &pod.result {
        answer(picture, pod, face, (address.into(), eni), result, found);
    }
    let Some(link) = host_end(picture, face) else {
        found.add(Law::HostLink, format!("{who} has no link in the host's namespace"));
        return None;
    };
    host_link(picture, pod, &who, face, link, found);
    to_pod(picture, &who, address, eni, link, found);
    from_pod(picture, &who, address, eni, link, found);
    Some(link)
}

/// The result is the incumbent's: for each interface host link, container link with the table's number for a MAC, and one
/// address, single, without gateway; at the end a dummy with the first one's device number for a sandbox; no routes or names.
fn answer(
    picture: &Picture,
    pod: &Pod,
    face: Face<'_>,
    (address, eni): (IpAddr, &Eni),
    result: &serde_json::Value,
    found: &mut Findings,
) {
    let at = |pointer: &str| result.pointer(pointer).cloned().unwrap_or(serde_json::Value::Null);
    let (faces, number) = (pod.faces().count(), usize::from(face.number));
    let (of_host, of_pod) = (2 * number, 2 * number + 1);
    let null = serde_json::Value::Null;
    let own = IpNet::from(address).to_string();
    let mut wanted: Vec<(String, &str, serde_json::Value)> = vec![
        (format!("/ips/{number}/address"), "address", own.into()),
        (format!("/ips/{number}/gateway"), "gateway", null.clone()),
        (format!("/ips/{number}/interface"), "address's interface", of_pod.into()),
        (format!("/interfaces/{of_host}/name"), "host link", face.host_link.unwrap_or_default().into()),
        (format!("/interfaces/{of_host}/mac"), "host link's MAC", null.clone()),
        (format!("/interfaces/{of_host}/sandbox"), "host link's sandbox", null),
        (format!("/interfaces/{of_pod}/name"), "interface", face.ifname.into()),
        (format!("/interfaces/{of_pod}/mac"), "MAC", eni.table().to_string().into()),
        (format!("/interfaces/{of_pod}/sandbox"), "sandbox", pod.netns.clone().into()),
    ];
    if number == 0 {
        let (dummy, device) = (digits(&pod.namespace, &pod.name), eni.device.to_string());
        let last = 2 * faces;
        wanted.push((format!("/interfaces/{last}/name"), "dummy", format!("dummy{dummy}").into()));
        wanted.push((format!("/interfaces/{last}/sandbox"), "dummy's device", device.into()));
    }
    for (pointer, what, wanted) in wanted {
        let told = at(&pointer);
        if told != wanted {
            let named = pod.named();
            found.add(Law::Answer, format!("ADD told {named} the {what} {told}; it is {wanted}"));
        }
    }
    for (list, most) in [("ips", faces), ("interfaces", 2 * faces + 1), ("routes", 0)] {
        let length = result[list].as_array().map_or(0, Vec::len);
        if number == 0 && length > most {
            let named = pod.named();
            found.add(Law::Answer, format!("ADD told {named} {length} {list} on {}", picture.node));
        }
    }
}

fn host_link(picture: &Picture, pod: &Pod, who: &str, face: Face<'_>, link: &Link, found: &mut Findings) {
    // While an older sandbox of the name bears it, the newer has a name of its own.
    let name = match face.number {
        0 => pod.name.clone(),
        number => format!("{}.{number}", pod.name),
    };
    let wanted = super::host_link_name(&pod.namespace, &name);
    let right = link.name == wanted || (pod.namesake && link.name.starts_with("eni"));
    if !right {
        found.add(Law::HostLink, format!("{who} has the host link {}; its name is {wanted}", link.name));
    }
    if !link.up {
        found.add(Law::HostLink, format!("{who}: its host link {} is down", link.name));
    }
    if link.mtu != picture.mtu {
        found.add(
            Law::Mtu,
            format!("{who}: MTU {} on its host link {}; it is {}", link.mtu, link.name, picture.mtu),
        );
    }
    for (setting, wanted) in [("accept_ra", "0"), ("accept_redirects", "1"), ("forwarding", "0")] {
        let is = picture.host.sysctls.get(&format!("ipv6/conf/{}/{setting}", link.name));
        if is.is_some_and(|is| is != wanted) {
            found.add(Law::LinkSettings, format!("{who}: {setting} of {} is {is:?}", link.name));
        }
    }
}

/// Whatever comes to its address reaches it.
fn to_pod(picture: &Picture, who: &str, address: Ipv4Addr, eni: &Eni, link: &Link, found: &mut Findings) {
    let host = &picture.host;
    let own = IpNet::from(IpAddr::V4(address));
    let wanted = Route::on_link(MAIN_TABLE, own, link.index);
    let routes: Vec<&Route> = host.routes.iter().filter(|route| route.to == own).collect();
    if routes != [&wanted] {
        let is: Vec<String> = routes.iter().map(|route| route.named(host)).collect();
        found.add(Law::RouteToPod, format!("{who} has no route of its own to {}: {is:?}", link.name));
    }
    let rules: Vec<&Rule> = host.rules.iter().filter(|rule| rule.to == Some(own)).collect();
    if rules != [&Rule { to: Some(own), ..Rule::new(TO_POD, MAIN_TABLE) }] {
        let is: Vec<String> = rules.iter().map(ToString::to_string).collect();
        found.add(Law::RuleToPod, format!("{who} has no rule {TO_POD} of its own: {is:?}"));
    }
    let in_by = host.link_of(eni).map(|link| link.name.as_str());
    let peer = picture.cloud.vpc.first().and_then(|block| block.hosts().next_back());
    for (what, iif, from) in [("the host", None, None), ("its ENI", in_by, peer)] {
        let taken = walk::route(host, &Packet { from, to: Some(address), iif, mark: 0 });
        if taken.is_none_or(|route| route.way != Way::Forward || route.link != Some(link.index)) {
            let taken = taken.map_or_else(|| "nowhere".to_owned(), |route| route.named(host));
            found.add(Law::WayToPod, format!("from {what} to {who}: by {taken}, not by {}", link.name));
        }
    }
}

/// Whatever it sends leaves by the ENI that owns its address; what is marked leaves by the primary one.
fn from_pod(picture: &Picture, who: &str, address: Ipv4Addr, eni: &Eni, link: &Link, found: &mut Findings) {
    let host = &picture.host;
    let own = IpNet::from(IpAddr::V4(address));
    let wanted: Vec<Rule> = rules(address, eni).into_iter().filter(|rule| rule.from.is_some()).collect();
    let is: Vec<&Rule> = host.rules.iter().filter(|rule| rule.from == Some(own)).collect();
    if is != wanted.iter().collect::<Vec<_>>() {
        let [is, wanted] = [is.into_iter().cloned().collect(), wanted]
            .map(|rules: Vec<Rule>| rules.iter().map(ToString::to_string).collect::<Vec<_>>());
        found.add(Law::RuleFromPod, format!("rules from {who} are {is:?}; they should be {wanted:?}"));
    }
    let primary = picture.cloud.enis.iter().find(|eni| eni.is_primary());
    let ways = super::inside_addresses(picture)
        .into_iter()
        .map(|to| ("to the VPC", to, 0, Some(eni)))
        .chain([("out of the VPC", super::OUTSIDE, super::PRIMARY_MARK, primary)]);
    for (what, to, mark, by) in ways {
        let Some(by) = by else { continue };
        let Some(by_link) = host.link_of(by) else { continue };
        let packet = Packet { from: Some(address), to: Some(to), iif: Some(&link.name), mark };
        let taken = walk::route(host, &packet);
        // On its own subnet the primary ENI speaks to neighbours itself.
        let gateway = Some(IpAddr::V4(by.gateway()));
        let right = taken.is_some_and(|route| {
            let via = route.via == gateway || (by.is_primary() && by.subnet.contains(&to));
            route.way == Way::Forward && route.link == Some(by_link.index) && via
        });
        if !right {
            let taken = taken.map_or_else(|| "nowhere".to_owned(), |route| route.named(host));
            found.add(
                Law::WayFromPod,
                format!("{what} ({to}) from {who}: by {taken}, not by {} of {}", by_link.name, by.id),
            );
        }
    }
}

/// The gateway of one of its interfaces.
fn gateway_of(face: Face<'_>) -> Ipv4Addr {
    Ipv4Addr::from_bits(POD_GATEWAY.to_bits() + u32::from(face.number))
}

/// The table inside by which what is sent from one of its addresses goes.
fn table_inside(face: Face<'_>) -> u32 {
    if face.number == 0 { MAIN_TABLE } else { face.number.into() }
}

/// The sandbox's own namespace.
fn inside(picture: &Picture, pod: &Pod, inside: &Kernel, ends: &[(Face<'_>, &Link)], found: &mut Findings) {
    let who = pod.named();
    let mut others: Vec<&str> =
        inside.links.iter().map(|link| link.name.as_str()).filter(|name| *name != "lo").collect();
    others.sort_unstable();
    let mut names: Vec<&str> = pod.faces().map(|face| face.ifname).collect();
    names.sort_unstable();
    if others != names {
        found.add(Law::Inside, format!("{who} has the links {others:?}; they should be {names:?}"));
        return;
    }
    let (mut addresses, mut routes, mut rules) = (Vec::new(), Vec::new(), Vec::new());
    let mut gateways = Vec::new();
    for (face, host_end) in ends {
        let (Some(link), Some(address)) = (inside.link(face.ifname), face.address) else { continue };
        if !link.up {
            found.add(Law::Inside, format!("{who}: its {} is down", link.name));
        }
        if link.mtu != picture.mtu {
            found.add(
                Law::Mtu,
                format!("{who}: MTU {} on its {}; it is {}", link.mtu, link.name, picture.mtu),
            );
        }
        let (gateway, table) = (gateway_of(*face), table_inside(*face));
        let own = IpNet::from(IpAddr::V4(address));
        addresses.push((link.index, own));
        routes.push(Route::on_link(table, IpNet::from(IpAddr::V4(gateway)), link.index));
        routes.push(Route::default_via(table, gateway, link.index));
        if face.number > 0 {
            rules.push(Rule { from: Some(own), ..Rule::new(1, table) });
        }
        gateways.push(Neighbour { link: link.index, address: gateway.into(), mac: host_end.mac });
    }
    let mut borne: Vec<(u32, IpNet)> = (inside.addresses.iter())
        .filter(|address| !address.net.addr().is_loopback())
        .map(|address| (address.link, address.net))
        .collect();
    borne.sort();
    addresses.sort();
    if borne != addresses {
        found.add(Law::Inside, format!("{who} bears {borne:?} itself; it should be {addresses:?}"));
    }
    let mut ways: Vec<Route> =
        inside.routes.iter().filter(|route| !inside.makes_by_itself(route)).cloned().collect();
    ways.sort();
    routes.sort();
    if ways != routes {
        let is: Vec<String> = ways.iter().map(|route| route.named(inside)).collect();
        found.add(Law::Inside, format!("{who} has the routes {is:?}, not those by {POD_GATEWAY}"));
    }
    for answers in &gateways {
        let is: Vec<&Neighbour> =
            inside.neighbours.iter().filter(|at| at.address == answers.address).collect();
        if is != [answers] {
            found.add(Law::Inside, format!("{who}: its gateway is {is:?}; it is {answers:?}"));
        }
    }
    let strange = |at: &&Neighbour| !gateways.iter().any(|gateway| gateway.address == at.address);
    if let Some(other) = inside.neighbours.iter().find(strange) {
        found.add(Law::Inside, format!("{who} has the permanent neighbour {} inside", other.address));
    }
    if let Some(address) = inside.addresses_v6.first() {
        found.add(Law::Inside, format!("{who} bears {} itself", address.net));
    }
    if let Some(route) = inside.routes_v6.first() {
        found.add(Law::Inside, format!("{who} has the {}", route.named(inside)));
    }
    let kernels = [(0, LOCAL_TABLE), (32_766, MAIN_TABLE), (32_767, DEFAULT_TABLE)];
    rules.extend(kernels.map(|(priority, table)| Rule::new(priority, table)));
    for rule in rules.iter().filter(|rule| !inside.rules.contains(rule)) {
        found.add(Law::Inside, format!("{who} has no {rule} inside"));
    }
    let strange = |rule: &&Rule| !rules.contains(&Rule { ipv6: false, ..(*rule).clone() });
    if let Some(rule) = inside.rules.iter().find(strange) {
        found.add(Law::Inside, format!("{who} has a {rule} inside"));
    }
    if let Some(rule) = inside.dropping_rules.first() {
        found.add(Law::Inside, format!("{who} has a {rule} inside"));
    }
    if let Some(table) = inside.tables.keys().next() {
        found.add(Law::Inside, format!("{who} has the packet filter table {table} inside"));
    }
    for face in pod.faces() {
        let own = format!("/conf/{}/", face.ifname);
        for (name, value) in inside.sysctls.iter().filter(|(name, _)| name.contains(&own)) {
            let default = inside.sysctls.get(&name.replace(&own, "/conf/default/"));
            if default.is_some_and(|default| default != value) {
                found.add(Law::Inside, format!("{who}: {name} is {value}, not the default"));
            }
        }
    }
}
