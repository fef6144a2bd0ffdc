//! A pod: what it was promised, the way to it and the way from it (specification 6.1, 6.2).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use sha1::{Digest, Sha1};

use super::picture::{
    DEFAULT_TABLE, Eni, Kernel, LOCAL_TABLE, Link, MAIN_TABLE, Neighbour, Picture, Pod, Route, Rule, Way,
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
pub(super) fn host_end<'p>(picture: &'p Picture, pod: &Pod) -> Option<&'p Link> {
    picture.host.link(pod.host_link.as_deref()?)
}

pub(super) fn judge(picture: &Picture, found: &mut Findings) {
    let mut holders: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
    for pod in &picture.pods {
        if let Some(address) = pod.ip() {
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
    let who = pod.named();
    let Some(address) = pod.address else {
        found.add(Law::Answer, format!("{who} was answered without an address"));
        return;
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
        return;
    };
    if let Some(result) = &pod.result {
        answer(picture, pod, address.into(), eni, result, found);
    }
    let Some(link) = host_end(picture, pod) else {
        found.add(Law::HostLink, format!("{who} has no link in the host's namespace"));
        return;
    };
    host_link(picture, pod, link, found);
    to_pod(picture, &who, address, eni, link, found);
    from_pod(picture, &who, address, eni, link, found);
    if let Some(inside) = &pod.inside {
        self::inside(picture, pod, address, inside, link, found);
    }
}

/// The result is the incumbent's: host link; container link with the table's number for a MAC; a dummy with the
/// device's number for a sandbox; one address, single, without gateway, routes or names.
fn answer(
    picture: &Picture,
    pod: &Pod,
    address: IpAddr,
    eni: &Eni,
    result: &serde_json::Value,
    found: &mut Findings,
) {
    let at = |pointer: &str| result.pointer(pointer).cloned().unwrap_or(serde_json::Value::Null);
    let host_link = pod.host_link.clone().unwrap_or_default();
    let wanted: [(&str, &str, serde_json::Value); 11] = [
        ("/ips/0/address", "address", IpNet::from(address).to_string().into()),
        ("/ips/0/gateway", "gateway", serde_json::Value::Null),
        ("/ips/0/interface", "address's interface", 1.into()),
        ("/interfaces/0/name", "host link", host_link.into()),
        ("/interfaces/0/mac", "host link's MAC", serde_json::Value::Null),
        ("/interfaces/0/sandbox", "host link's sandbox", serde_json::Value::Null),
        ("/interfaces/1/name", "interface", pod.ifname.clone().into()),
        ("/interfaces/1/mac", "MAC", eni.table().to_string().into()),
        ("/interfaces/1/sandbox", "sandbox", pod.netns.clone().into()),
        ("/interfaces/2/name", "dummy", format!("dummy{}", digits(&pod.namespace, &pod.name)).into()),
        ("/interfaces/2/sandbox", "dummy's device", eni.device.to_string().into()),
    ];
    for (pointer, what, wanted) in wanted {
        let told = at(pointer);
        if told != wanted {
            let named = pod.named();
            found.add(Law::Answer, format!("ADD told {named} the {what} {told}; it is {wanted}"));
        }
    }
    for (list, most) in [("ips", 1), ("interfaces", 3), ("routes", 0)] {
        let length = result[list].as_array().map_or(0, Vec::len);
        if length > most {
            let named = pod.named();
            found.add(Law::Answer, format!("ADD told {named} {length} {list} on {}", picture.node));
        }
    }
}

fn host_link(picture: &Picture, pod: &Pod, link: &Link, found: &mut Findings) {
    let who = pod.named();
    // While an older sandbox of the name bears it, the newer has a name of its own.
    let wanted = super::host_link_name(&pod.namespace, &pod.name);
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

/// The sandbox's own namespace.
fn inside(
    picture: &Picture,
    pod: &Pod,
    address: Ipv4Addr,
    inside: &Kernel,
    host_end: &Link,
    found: &mut Findings,
) {
    let who = pod.named();
    let others: Vec<&str> =
        inside.links.iter().map(|link| link.name.as_str()).filter(|name| *name != "lo").collect();
    let Some(link) = inside.link(&pod.ifname).filter(|_| others.len() == 1) else {
        found.add(Law::Inside, format!("{who} has the links {others:?}; one is {}", pod.ifname));
        return;
    };
    if !link.up {
        found.add(Law::Inside, format!("{who}: its {} is down", link.name));
    }
    if link.mtu != picture.mtu {
        found.add(Law::Mtu, format!("{who}: MTU {} on its {}; it is {}", link.mtu, link.name, picture.mtu));
    }
    let addresses: Vec<IpNet> =
        inside.addresses.iter().map(|address| address.net).filter(|net| !net.addr().is_loopback()).collect();
    if addresses != [IpNet::from(IpAddr::V4(address))] {
        found.add(Law::Inside, format!("{who} bears {addresses:?} itself"));
    }
    let gateway = IpNet::from(IpAddr::V4(POD_GATEWAY));
    let mut wanted = vec![
        Route::on_link(MAIN_TABLE, gateway, link.index),
        Route::default_via(MAIN_TABLE, POD_GATEWAY, link.index),
    ];
    let mut routes: Vec<Route> =
        inside.routes.iter().filter(|route| !inside.makes_by_itself(route)).cloned().collect();
    routes.sort();
    wanted.sort();
    if routes != wanted {
        let is: Vec<String> = routes.iter().map(|route| route.named(inside)).collect();
        found.add(Law::Inside, format!("{who} has the routes {is:?}, not those by {POD_GATEWAY}"));
    }
    let answers = Neighbour { link: link.index, address: POD_GATEWAY.into(), mac: host_end.mac };
    let (gateway, others): (Vec<&Neighbour>, Vec<&Neighbour>) =
        inside.neighbours.iter().partition(|at| at.address == answers.address);
    if gateway != [&answers] {
        let text = format!("{who}: its gateway is {gateway:?}; it is {answers:?} at {}", host_end.name);
        found.add(Law::Inside, text);
    }
    if let Some(other) = others.first() {
        found.add(Law::Inside, format!("{who} has the permanent neighbour {} inside", other.address));
    }
    if let Some(address) = inside.addresses_v6.first() {
        found.add(Law::Inside, format!("{who} bears {} itself", address.net));
    }
    if let Some(route) = inside.routes_v6.first() {
        found.add(Law::Inside, format!("{who} has the {}", route.named(inside)));
    }
    let kernels = [(0, LOCAL_TABLE), (32_766, MAIN_TABLE), (32_767, DEFAULT_TABLE)];
    let kernels = kernels.map(|(priority, table)| Rule::new(priority, table));
    for rule in kernels.iter().filter(|rule| !inside.rules.contains(rule)) {
        found.add(Law::Inside, format!("{who} has no {rule} inside"));
    }
    let strange = |rule: &&Rule| !kernels.contains(&Rule { ipv6: false, ..(*rule).clone() });
    if let Some(rule) = inside.rules.iter().find(strange) {
        found.add(Law::Inside, format!("{who} has a {rule} inside"));
    }
    if let Some(rule) = inside.dropping_rules.first() {
        found.add(Law::Inside, format!("{who} has a {rule} inside"));
    }
    if let Some(table) = inside.tables.keys().next() {
        found.add(Law::Inside, format!("{who} has the packet filter table {table} inside"));
    }
    for (name, value) in &inside.sysctls {
        let own = format!("/conf/{}/", link.name);
        let default = inside.sysctls.get(&name.replace(&own, "/conf/default/"));
        if name.contains(&own) && default.is_some_and(|default| default != value) {
            found.add(Law::Inside, format!("{who}: {name} is {value}, not the default"));
        }
    }
}
