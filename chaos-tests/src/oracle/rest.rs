//! Everything else: what was there before is there still, and what is new has an owner.
//!
//! | may differ | why |
//! |---|---|
//! | settings of links that came or went | they come and go with the link; those of a new ENI are the default |
//! | `rp_filter` of an ENI, from 1 | loosened for NodePorts (6.11); that it is not strict is judged elsewhere |
//! | `ip_forward`, to 1 | pods' packets are forwarded; that it is 1 is judged |
//! | MTU of the primary ENI | set by configuration; that it is so is judged elsewhere |
//! | our packet filter table | judged by what becomes of packets, and where it may meet them |
//! | neighbours that the kernel learnt, and its own table's entries for addresses on links | follow from traffic and addresses |

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::picture::{Kernel, LOCAL_TABLE, MAIN_TABLE, Neighbour, Picture, Pod, Route, Rule};
use super::{Findings, Law, enis, nat, pods};

/// Our packet filter table.
const OUR_TABLE: &str = "ip holdfast";

/// Where it meets packets (6.5): what is translated and marked passes these, and only there is its fate looked at.
const OUR_HOOKS: [&str; 2] = ["postrouting", "prerouting"];

/// What should be there, links aside.
struct Expected {
    rules: Vec<Rule>,
    routes: Vec<Route>,
    /// Names of links.
    links: BTreeSet<String>,
}

impl Expected {
    fn of(picture: &Picture) -> Self {
        let (before, host) = (&picture.before, &picture.host);
        let mut rules = before.rules.clone();
        let mut routes: Vec<Route> =
            before.routes.iter().filter(|route| route.table != LOCAL_TABLE).cloned().collect();
        let mut links: BTreeSet<String> = before.links.iter().map(|link| link.name.clone()).collect();
        if picture.translates() {
            rules.push(nat::rule());
        }
        for eni in &picture.cloud.enis {
            let Some(link) = host.link_of(eni) else { continue };
            links.insert(link.name.clone());
            if !eni.is_primary() && !eni.is_kept_from_node() {
                rules.push(enis::rule(eni));
                routes.extend(enis::routes(eni, link.index));
            }
        }
        rules.extend(picture.pods.iter().filter_map(|pod| pod.address_v6).map(pods::ipv6_rule));
        for face in picture.pods.iter().flat_map(Pod::faces) {
            let Some(link) = pods::host_end(picture, face) else { continue };
            links.insert(link.name.clone());
            let Some(address) = face.address else { continue };
            let own = IpNet::from(IpAddr::V4(address));
            routes.push(Route::on_link(MAIN_TABLE, own, link.index));
            if let Some(eni) = pods::owner(picture, address) {
                rules.extend(pods::rules(address, eni));
            }
        }
        Self { rules, routes, links }
    }
}

pub(super) fn judge(picture: &Picture, found: &mut Findings) {
    let Picture { node, before, host, .. } = picture;
    let expected = Expected::of(picture);

    let (gone, new) = difference(&expected.rules, &host.rules);
    // Those of pods and ENIs have laws of their own.
    for rule in gone.iter().filter(|rule| before.rules.contains(rule)) {
        found.add(Law::Lost, format!("{node}: {rule} was there before and is gone"));
    }
    let (gone, dropping) = difference(&before.dropping_rules, &host.dropping_rules);
    for rule in gone {
        found.add(Law::Lost, format!("{node}: {rule} was there before and is gone"));
    }
    for rule in dropping {
        found.add(Law::NobodysRule, format!("{node}: {rule} belongs to nobody"));
    }
    for rule in new {
        found.add(Law::NobodysRule, format!("{node}: {rule} belongs to nobody"));
    }

    let now: Vec<Route> = host.routes.iter().filter(|route| route.table != LOCAL_TABLE).cloned().collect();
    let (gone, new) = difference(&expected.routes, &now);
    for route in gone.iter().filter(|route| before.routes.contains(route)) {
        found.add(Law::Lost, format!("{node}: {} was there before and is gone", route.named(before)));
    }
    for route in new {
        found.add(Law::NobodysRoute, format!("{node}: {} belongs to nobody", route.named(host)));
    }

    for link in host.links.iter().filter(|link| !expected.links.contains(&link.name)) {
        found.add(Law::NobodysLink, format!("{node}: the link {} belongs to nobody", link.name));
    }
    for was in &before.links {
        match host.link(&was.name) {
            None => {
                found.add(Law::Lost, format!("{node}: the link {} was there before and is gone", was.name));
            }
            Some(is) if (is.mac, is.up, is.group) != (was.mac, was.up, was.group) => {
                found.add(Law::Changed, format!("{node}: the link {} was {was:?} and is {is:?}", was.name));
            }
            Some(_) => {}
        }
    }
    addresses(picture, found);
    let mut neighbours = before.neighbours.clone();
    neighbours.extend(picture.pods.iter().filter_map(|pod| neighbour(picture, pod)));
    let (gone, new) = difference(&neighbours, &host.neighbours);
    for neighbour in gone.iter().chain(&new) {
        found
            .add(Law::Changed, format!("{node}: the permanent neighbour {} came or went", neighbour.address));
    }
    ipv6(picture, found);
    tables(picture, found);
    sysctls(picture, &expected, found);
    for eni in &picture.cloud.loose {
        found.add(Law::LooseEni, format!("EC2 has {eni}, which belongs to nobody"));
    }
    let of_node = picture.cloud.enis.iter().find(|eni| eni.is_primary()).map(|eni| &eni.groups);
    for eni in picture.cloud.usable() {
        if !eni.ends_with_node {
            found.add(Law::OutlivesNode, format!("{} would outlive {node}", eni.id));
        }
        if of_node.is_some_and(|groups| *groups != eni.groups) {
            let (is, groups) = (&eni.groups, of_node.into_iter().flatten());
            let groups: Vec<&String> = groups.collect();
            found.add(Law::SecurityGroups, format!("{} has the groups {is:?}, not {groups:?}", eni.id));
        }
    }
}

/// What is in one list only; each as often as it is there more often.
fn difference<T: PartialEq + Clone>(wanted: &[T], is: &[T]) -> (Vec<T>, Vec<T>) {
    let mut new = is.to_vec();
    let mut gone = Vec::new();
    for one in wanted {
        match new.iter().position(|other| other == one) {
            Some(at) => drop(new.swap_remove(at)),
            None => gone.push(one.clone()),
        }
    }
    (gone, new)
}

fn addresses(picture: &Picture, found: &mut Findings) {
    let Picture { node, before, host, .. } = picture;
    let of_secondary: BTreeSet<u32> = picture
        .cloud
        .usable()
        .filter(|eni| !eni.is_primary())
        .filter_map(|eni| Some(host.link_of(eni)?.index))
        .collect();
    let (gone, new) = difference(&before.addresses, &host.addresses);
    for address in gone {
        found.add(Law::Lost, format!("{node}: {} on {} is gone", address.net, before.name_of(address.link)));
    }
    // A secondary ENI's have a law of their own.
    for address in new.iter().filter(|address| !of_secondary.contains(&address.link)) {
        let at = host.name_of(address.link);
        found.add(Law::NobodysAddress, format!("{node}: {} on {at} belongs to nobody", address.net));
    }
    for route in host.routes.iter().filter(|route| route.table == LOCAL_TABLE) {
        if !host.makes_by_itself(route) {
            found.add(Law::NobodysRoute, format!("{node}: {} belongs to nobody", route.named(host)));
        }
    }
}

/// A pod with an IPv6 address answers on its link from the first packet on.
fn neighbour(picture: &Picture, pod: &Pod) -> Option<Neighbour> {
    let link = pods::host_end(picture, pod.first_face())?.index;
    let mac = pod.inside.as_ref()?.link(&pod.ifname)?.mac;
    Some(Neighbour { link, address: pod.address_v6?.into(), mac })
}

/// But for the ways to pods all is as it was.
fn ipv6(picture: &Picture, found: &mut Findings) {
    let Picture { node, before, host, .. } = picture;
    let (gone, new) = difference(&before.addresses_v6, &host.addresses_v6);
    for address in gone {
        found.add(Law::Lost, format!("{node}: {} on {} is gone", address.net, before.name_of(address.link)));
    }
    for address in new {
        let at = host.name_of(address.link);
        found.add(Law::NobodysAddress, format!("{node}: {} on {at} belongs to nobody", address.net));
    }
    let mut wanted = before.routes_v6.clone();
    for pod in &picture.pods {
        let link = pods::host_end(picture, pod.first_face());
        wanted.extend(pod.address_v6.zip(link).map(|(address, link)| pods::ipv6_route(address, link.index)));
    }
    let (_, new) = difference(&wanted, &host.routes_v6);
    let (gone, _) = difference(&before.routes_v6, &host.routes_v6);
    for route in gone {
        found.add(Law::Lost, format!("{node}: {} was there before and is gone", route.named(before)));
    }
    for route in new {
        found.add(Law::NobodysRoute, format!("{node}: {} belongs to nobody", route.named(host)));
    }
}

fn tables(picture: &Picture, found: &mut Findings) {
    let Picture { node, before, host, .. } = picture;
    let ours = |name: &str| name == OUR_TABLE && picture.translates();
    for name in host.tables.keys().filter(|name| !ours(name) && !before.tables.contains_key(*name)) {
        found.add(Law::NobodysTable, format!("{node}: the packet filter table {name} belongs to nobody"));
    }
    let hooks = host.hooks.get(OUR_TABLE).into_iter().flatten();
    for hook in hooks.filter(|hook| !OUR_HOOKS.contains(&hook.as_str())) {
        let text = format!(
            "{node}: in the packet filter table {OUR_TABLE} what is hooked to {hook} belongs to nobody"
        );
        found.add(Law::NobodysTable, text);
    }
    for (name, was) in &before.tables {
        match host.tables.get(name) {
            None => found.add(Law::Lost, format!("{node}: the packet filter table {name} is gone")),
            Some(is) if is != was => {
                found.add(
                    Law::Changed,
                    format!("{node}: the packet filter table {name} was {was:?}, is {is:?}"),
                );
            }
            Some(_) => {}
        }
    }
}

fn sysctls(picture: &Picture, expected: &Expected, found: &mut Findings) {
    const FORWARD: &str = "ipv4/ip_forward";
    const FORWARD_IPV6: &str = "ipv6/conf/all/forwarding";
    let Picture { node, before, host, .. } = picture;
    if host.sysctls.get(FORWARD).is_some_and(|value| value != "1") {
        found.add(Law::Forwarding, format!("{node} does not forward"));
    }
    if picture.ipv6 && host.sysctls.get(FORWARD_IPV6).is_some_and(|value| value != "1") {
        found.add(Law::Forwarding, format!("{node} does not forward IPv6"));
    }
    let judged = |name: &str| name == FORWARD || (name == FORWARD_IPV6 && picture.ipv6);
    for (name, is) in host.sysctls.iter().filter(|(name, _)| !judged(name)) {
        let link = name.split('/').nth(2).filter(|_| name.contains("/conf/"));
        // Without a past the link is new, and starts with the default.
        let was = before.sysctls.get(name).or_else(|| {
            let link = link.filter(|link| !host.link(link).is_some_and(|link| link.veth))?;
            host.sysctls.get(&name.replace(&format!("/conf/{link}/"), "/conf/default/"))
        });
        let loosened = name.ends_with("/rp_filter") && was.is_some_and(|was| was == "1") && is == "2";
        if was.is_some_and(|was| was != is) && !loosened {
            let was = was.cloned().unwrap_or_default();
            found.add(Law::Changed, format!("{node}: the setting {name} was {was} and is {is}"));
        }
    }
    for name in before.sysctls.keys().filter(|name| !host.sysctls.contains_key(*name)) {
        let link = name.split('/').nth(2).filter(|_| name.contains("/conf/"));
        if link.is_none_or(|link| expected.links.contains(link) && host.link(link).is_some()) {
            found.add(Law::Unseen, format!("{node}: the setting {name} cannot be read any more"));
        }
    }
}

/// The addresses that anybody on the host bears: not for pods.
pub(super) fn host_bears(host: &Kernel, address: Ipv4Addr) -> bool {
    host.addresses.iter().any(|at| at.net.addr() == IpAddr::V4(address))
}
