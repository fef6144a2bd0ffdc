//! Interfaces come and go with their ENIs.

use std::net::Ipv4Addr;
use std::time::Duration;

use holdfast_datapath::netlink::{AddressFamily, Change, LinkRef, Rule};
use holdfast_sim::fabric::{MTU, Namespace};
use holdfast_sim::vpc::request::{DetachNetworkInterface, ModifyNetworkInterfaceAttribute};
use ipnet::Ipv4Net;

use crate::site::{
    ONE, PATIENCE, SETTLED, Site, TWO, arrives_within, configure_second, exchange, hold, one_way, reaches,
    router_has,
};

#[test]
fn an_attached_eni_appears_down_and_bare_after_the_delay_and_leaves_when_detached() {
    let site = Site::up();
    let mut socket = site.namespace("one").socket().unwrap();
    let ens6 = LinkRef::Name("ens6".into());
    let eni = site.attach("one", Ipv4Addr::new(10, 0, 0, 50));
    site.pass(Duration::from_millis(299));
    assert_eq!(socket.link(&ens6).unwrap(), None, "a link takes its time");

    site.pass(Duration::from_millis(1));
    let link = socket.link(&ens6).unwrap().expect("it is there");
    assert_eq!(link.mac.unwrap().to_string(), site.mac(&eni));
    assert_eq!((link.mtu, link.up), (MTU, false));
    let addresses = socket.addresses(AddressFamily::Inet).unwrap();
    assert!(addresses.iter().all(|address| address.link != link.index), "{addresses:?}");

    let attachment = site
        .shared
        .with(|vpc| vpc.authoritative().network_interface(&eni).unwrap().attachment.unwrap().attachment_id);
    site.operator(DetachNetworkInterface { attachment_id: attachment, force: false });
    site.pass(Duration::from_secs(1));
    assert_eq!(socket.link(&ens6).unwrap(), None, "detached");
    let routes = site.fabric.router().socket().unwrap();
    assert!(!router_has(routes, "10.0.0.50/32"));
}

#[test]
fn each_eni_carries_its_own_addresses_and_no_others() {
    let site = Site::up();
    let (one, two) = (&site.namespace("one"), &site.namespace("two"));
    let second = Ipv4Addr::new(10, 0, 0, 50);
    let eni = site.attach("one", second);
    site.pass(Duration::from_millis(300));
    configure_second(one, second);
    assert!(exchange((two, TWO), (one, second)), "by the second ENI");

    // The same address out of the other ENI.
    let mut socket = one.socket().unwrap();
    let rule = Rule { from: Some(Ipv4Net::from(second).into()), ..Rule::new(1000, 2) };
    socket.apply(&Change::DeleteRule(rule.clone())).unwrap();
    assert!(!one_way((one, second), (two, TWO)), "dropped: it is not an address of the first ENI");
    assert!(reaches((two, TWO), (one, second)), "delivery does not depend on it");

    // A source that no ENI has passes only where the check is off.
    let foreign = Ipv4Addr::new(10, 0, 9, 9);
    hold(one, foreign);
    let out_of_second = Rule { from: Some(Ipv4Net::from(foreign).into()), ..rule };
    socket.apply(&Change::AddRule(out_of_second)).unwrap();
    assert!(!one_way((one, foreign), (two, TWO)));
    for (check, arrives) in [(false, true), (true, false)] {
        site.operator(ModifyNetworkInterfaceAttribute {
            network_interface_id: eni,
            source_dest_check: Some(check),
            ..ModifyNetworkInterfaceAttribute::default()
        });
        site.settle();
        let limit = if arrives { SETTLED } else { PATIENCE };
        assert_eq!(arrives_within(limit, (one, foreign), (two, TWO)), arrives, "check {check}");
    }
}

#[test]
fn a_terminated_instance_loses_its_links_and_nothing_outlives_the_fabric() {
    let site = Site::up();
    let (one, two) = (site.namespace("one"), site.namespace("two"));
    let links = |namespace: &Namespace| {
        let links = namespace.socket().unwrap().links().unwrap();
        links.into_iter().filter(|link| !link.loopback).map(|link| link.name).collect::<Vec<_>>()
    };
    assert_eq!(links(&one), ["ens5"]);
    let instance = *site.node("one").instance();
    site.shared.with(|vpc| vpc.terminate_instance(&instance)).unwrap();
    site.pass(Duration::from_secs(1));
    assert_eq!(links(&one), Vec::<String>::new());
    assert_eq!(links(&two), ["ens5"]);
    drop(site);
    assert_eq!(links(&two), Vec::<String>::new(), "a namespace that somebody still holds is left bare");
}

#[test]
fn a_node_that_removes_its_own_link_disturbs_nobody() {
    let site = Site::up();
    let eni = site.attach("one", Ipv4Addr::new(10, 0, 0, 50));
    site.pass(Duration::from_millis(300));
    let mut socket = site.namespace("one").socket().unwrap();
    socket.apply(&Change::DeleteLink(LinkRef::Name("ens6".into()))).unwrap();
    let attachment = site
        .shared
        .with(|vpc| vpc.authoritative().network_interface(&eni).unwrap().attachment.unwrap().attachment_id);
    site.operator(DetachNetworkInterface { attachment_id: attachment, force: false });
    site.pass(Duration::from_secs(1));
    assert!(exchange((&site.namespace("one"), ONE), (&site.namespace("two"), TWO)));
}
