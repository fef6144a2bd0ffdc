//! What a node calls its interfaces.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use holdfast_datapath::netlink::LinkRef;

use crate::site::{ONE, SCENARIO, SETTLED, Site, TWO, exchange};

/// A site whose first node has these interfaces.
fn with(interfaces: &str) -> Site {
    Site::of(&SCENARIO.replacen("subnet = \"a\"", &format!("subnet = \"a\"\ninterfaces = {interfaces}"), 1))
}

fn links(site: &Site) -> Vec<String> {
    let links = site.namespace("one").socket().unwrap().links().unwrap();
    links.into_iter().filter(|link| !link.loopback).map(|link| link.name).collect()
}

fn attach_second(site: &Site) {
    site.attach("one", Ipv4Addr::new(10, 0, 0, 50));
    site.pass(Duration::from_millis(300));
}

#[test]
fn interfaces_are_called_as_the_image_calls_them() {
    for (interfaces, expected) in [
        ("{}", ["ens5", "ens6"]),
        ("{ names = \"eth\" }", ["eth0", "eth1"]),
        ("{ names = [\"enp0s5\", \"wan7\"] }", ["enp0s5", "wan7"]),
        ("{ names = [\"enp0s5\"] }", ["enp0s5", "ens6"]),
    ] {
        let site = with(interfaces);
        attach_second(&site);
        assert_eq!(links(&site), expected, "{interfaces}");
        assert!(exchange((&site.namespace("one"), ONE), (&site.namespace("two"), TWO)));
    }
}

#[test]
fn a_link_is_renamed_a_moment_after_it_appeared_and_stays_the_same_link() {
    let site = with("{ first_names = \"eth\", renamed_after_ms = 400 }");
    assert_eq!(links(&site), ["ens5"], "the primary one before it is configured");
    let begun = Instant::now();
    attach_second(&site);
    assert_eq!(links(&site), ["ens5", "eth1"]);
    let mut socket = site.namespace("one").socket().unwrap();
    let first = socket.link(&LinkRef::Name("eth1".into())).unwrap().unwrap();
    while links(&site) != ["ens5", "ens6"] {
        assert!(begun.elapsed() < SETTLED, "{:?}", links(&site));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(begun.elapsed() >= Duration::from_millis(400));
    let renamed = socket.link(&LinkRef::Name("ens6".into())).unwrap().unwrap();
    assert_eq!((renamed.index, renamed.mac), (first.index, first.mac));

    // One that goes before it is renamed is missed by nobody.
    site.reboot("one");
    assert_eq!(links(&site), ["ens5", "eth1"]);
    site.namespace("one")
        .socket()
        .unwrap()
        .apply(&holdfast_datapath::netlink::Change::DeleteLink(LinkRef::Name("eth1".into())))
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    site.settle();
    assert_eq!(links(&site), ["ens5"]);
}

#[test]
fn a_link_may_never_come_while_ec2_calls_it_attached() {
    let site = with("{ never = [1] }");
    attach_second(&site);
    assert_eq!(links(&site), ["ens5"]);
    let enis = site.shared.with(|vpc| vpc.authoritative().network_interfaces_of(site.node("one").instance()));
    assert_eq!(enis.len(), 2);
    site.settle();
}
