//! Nodes come, boot anew and go while the network runs.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use holdfast_datapath::netlink::{
    AddressFamily, Change, LinkRef, LinkSettings, MacAddr, Neighbour, Route, RouteFilter, Rule,
};
use holdfast_datapath::netns;
use holdfast_sim::fabric::{Interfaces, Namespace, NodeSpec, Sysctls};
use holdfast_sim::vpc::{InstanceId, InstanceSpec, SubnetId, Tags};

use crate::metadata::{ANY, who};
use crate::site::{ONE, SECONDARY, Site, TWO, exchange, hold, router_has};

const JOINED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);

/// An instance of this address, or of one of IPv6.
pub(crate) fn run(site: &Site, subnet: SubnetId, address: Option<Ipv4Addr>) -> InstanceId {
    let spec = InstanceSpec {
        instance_type: "m5.large".to_owned(),
        subnet,
        security_groups: Vec::new(),
        private_ip: address,
        ipv6_address_count: u32::from(address.is_none()),
        tags: Tags::new(),
    };
    site.shared.with(|vpc| vpc.run_instance(spec)).unwrap()
}

pub(crate) fn spec(name: &str, instance: InstanceId) -> NodeSpec {
    NodeSpec {
        name: name.to_owned(),
        instance,
        hop_limit: 2,
        interfaces: Interfaces::default(),
        sysctls: Sysctls::default(),
        losses: Vec::new(),
    }
}

#[test]
fn an_instance_becomes_a_node_whenever_it_is_added() {
    let mut site = Site::up();
    let subnet = site.subnet("10.0.0.0/20");
    let instance = run(&site, subnet, Some(JOINED));
    // Its events have passed by then.
    site.settle();
    assert!(!router_has(site.fabric.router().socket().unwrap(), "10.0.0.99/32"), "no node, no way to it");
    let node = site.fabric.add_node(&spec("four", instance)).unwrap();
    assert_eq!((node.name(), node.instance()), ("four", &instance));
    let four = &node.namespace();
    assert!(exchange((&site.namespace("two"), TWO), (four, JOINED)));
    assert_eq!(who(four, ANY).unwrap(), instance.as_str());
    assert!(
        site.fabric.add_node(&spec("four", run(&site, subnet, Some(SECONDARY)))).is_err(),
        "one name, one node"
    );
    assert!(site.fabric.add_node(&spec("five", instance)).is_err(), "one instance, one node");

    // And leaves, while its instance lives on.
    assert!(site.fabric.remove_node("four").unwrap().is_some());
    assert!(site.fabric.remove_node("four").unwrap().is_none());
    assert_eq!(links(four), ["lo"]);
    assert!(exchange((&site.namespace("one"), ONE), (&site.namespace("two"), TWO)), "the others stay");
    site.settle();
}

fn links(namespace: &Namespace) -> Vec<String> {
    let links = namespace.socket().unwrap().links().unwrap();
    links.into_iter().map(|link| link.name).collect()
}

/// All of a node's network that can be listed and that a boot leaves the same.
fn picture(namespace: &Namespace) -> String {
    let mut socket = namespace.socket().unwrap();
    let names: std::collections::BTreeMap<u32, String> =
        socket.links().unwrap().into_iter().map(|link| (link.index, link.name)).collect();
    let mut lines: Vec<String> = Vec::new();
    for link in socket.links().unwrap() {
        let mac = link.mac.filter(|_| !link.loopback);
        lines.push(format!("link {} {mac:?} {} {} {:?}", link.name, link.mtu, link.up, link.alias));
    }
    let on = |index: u32| names.get(&index).cloned().unwrap_or_default();
    for address in socket.addresses(AddressFamily::Inet).unwrap() {
        lines.push(format!("address {} on {}", address.net, on(address.link)));
    }
    for route in socket.routes(AddressFamily::Inet, RouteFilter::default()).unwrap() {
        let link = route.link.map(on);
        lines.push(format!("{} {:?} {:?} {link:?} table {}", route.to, route.via, route.metric, route.table));
    }
    for rule in socket.rules(AddressFamily::Inet).unwrap() {
        lines.push(rule.to_string());
    }
    let nft = namespace.run(|| Command::new("nft").args(["list", "ruleset"]).output()).unwrap().unwrap();
    lines.push(String::from_utf8(nft.stdout).unwrap());
    let setting = "/proc/sys/net/ipv4/conf/ens5/rp_filter";
    lines.push(namespace.run(|| std::fs::read_to_string(setting)).unwrap().unwrap());
    lines.join("\n")
}

#[test]
fn a_node_that_boots_anew_has_its_interfaces_and_nothing_of_before() {
    let site = Site::up();
    let node = site.node("one");
    let (path, old) = (node.path(), node.namespace());
    let fresh = picture(&old);
    site.attach("one", Ipv4Addr::new(10, 0, 0, 50));
    site.pass(Duration::from_millis(300));
    site.assign(&site.primary("one"), SECONDARY);
    site.settle();

    // What inhabitants leave.
    hold(&old, SECONDARY);
    let mut socket = old.socket().unwrap();
    let ens5 = socket.link(&LinkRef::Name("ens5".into())).unwrap().unwrap().index;
    let bridge = LinkRef::Name("br0".into());
    socket
        .apply_all(&[
            Change::CreateBridge("br0".to_owned()),
            Change::SetLink(bridge, LinkSettings::up()),
            Change::AddRoute(Route::on_link(7, "192.0.2.0/24".parse().unwrap(), ens5)),
            Change::AddRule(Rule::new(512, 7)),
            Change::PutNeighbour(Neighbour::permanent(ens5, TWO.into(), MacAddr([2, 0, 0, 0, 0, 9]))),
        ])
        .unwrap();
    let nft = || Command::new("nft").arg("add table ip left").status().unwrap();
    assert!(old.run(nft).unwrap().success());
    old.run(|| std::fs::write("/proc/sys/net/ipv4/conf/ens5/rp_filter", "0")).unwrap().unwrap();

    site.reboot("one");
    site.settle();
    let new = site.namespace("one");
    assert_ne!(netns::identity(&old).unwrap(), netns::identity(&new).unwrap());
    assert_eq!(node.path(), path, "found by the same path");
    let opened = netns::open(&path).unwrap();
    assert_eq!(netns::identity(&opened).unwrap(), netns::identity(&new).unwrap());
    assert_eq!(links(&new), ["lo", "ens5", "ens6"], "the second ENI is there again");
    let mut socket = new.socket().unwrap();
    socket.apply(&Change::DeleteLink(LinkRef::Name("ens6".into()))).unwrap();
    assert_eq!(picture(&new), fresh, "as after its first boot");
    assert!(exchange((&site.namespace("two"), TWO), (&new, ONE)));
    assert_eq!(who(&new, ANY).unwrap(), node.instance().as_str());
    assert_eq!(links(&old), ["lo", "br0"], "an inhabitant that stays has no network");

    // EC2's picture is the same: what was assigned is delivered again.
    hold(&new, SECONDARY);
    assert!(exchange((&site.namespace("two"), TWO), (&new, SECONDARY)));
}

#[test]
fn a_stopped_node_is_bare_and_has_its_interfaces_again_when_it_starts() {
    let site = Site::up();
    let node = site.node("one");
    site.attach("one", Ipv4Addr::new(10, 0, 0, 50));
    site.pass(Duration::from_millis(300));
    let old = node.namespace();
    old.socket().unwrap().apply(&Change::CreateBridge("br0".to_owned())).unwrap();
    site.shared.with(|vpc| vpc.stop_instance(node.instance())).unwrap();
    site.pass(Duration::from_secs(1));
    assert_eq!(links(&node.namespace()), ["lo"], "off");
    assert_eq!(links(&old), ["lo", "br0"]);
    // EC2 goes on meanwhile.
    site.assign(&site.primary("one"), SECONDARY);
    site.settle();
    site.shared.with(|vpc| vpc.start_instance(node.instance())).unwrap();
    site.pass(Duration::from_secs(1));
    assert_eq!(links(&node.namespace()), ["lo", "ens5", "ens6"]);
    hold(&node.namespace(), SECONDARY);
    for address in [ONE, SECONDARY] {
        assert!(exchange((&site.namespace("two"), TWO), (&node.namespace(), address)), "{address}");
    }
    assert_eq!(who(&node.namespace(), ANY).unwrap(), node.instance().as_str());
}

#[test]
fn a_terminated_node_is_bare_until_it_is_removed() {
    let mut site = Site::up();
    let instance = *site.node("one").instance();
    site.shared.with(|vpc| vpc.terminate_instance(&instance)).unwrap();
    site.pass(Duration::from_secs(1));
    assert_eq!(links(&site.namespace("one")), ["lo"]);
    assert!(site.fabric.remove_node("one").unwrap().is_some());
    site.settle();
}
