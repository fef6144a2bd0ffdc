//! What a node's image sets in its kernel.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use holdfast_datapath::netlink::{Address, Change, LinkRef, LinkSettings};
use holdfast_sim::fabric::Namespace;
use ipnet::Ipv4Net;

use crate::site::{SCENARIO, SECONDARY, Site, TWO, one_way, reaches};

fn rp_filter(namespace: &Namespace, link: &str) -> String {
    let path = format!("/proc/sys/net/ipv4/conf/{link}/rp_filter");
    namespace.run(|| std::fs::read_to_string(path)).unwrap().unwrap().trim().to_owned()
}

/// Brings a second interface up with its address and no route of its own: answers would go by the first.
fn configure_without_routes(namespace: &Namespace, address: Ipv4Addr) {
    let mut socket = namespace.socket().unwrap();
    let index = socket.link(&LinkRef::Name("ens6".into())).unwrap().unwrap().index;
    let own = Ipv4Net::from(address);
    let up = Change::SetLink(LinkRef::Index(index), LinkSettings::up());
    let add = Change::AddAddress(Address { no_prefix_route: true, ..Address::new(index, own.into()) });
    socket.apply_all(&[up, add]).unwrap();
}

#[test]
fn reverse_path_filtering_of_a_node_is_off_strict_or_loose_as_its_scenario_says() {
    for (value, another_way, no_way) in [(0, true, true), (1, false, false), (2, true, false)] {
        let name = "name = \"one\"";
        let site = Site::of(&SCENARIO.replace(name, &format!("{name}\nsysctls = {{ rp_filter = {value} }}")));
        site.attach("one", SECONDARY);
        site.pass(Duration::from_secs(1));
        let one = &site.namespace("one");
        for (link, expected) in [("ens5", value), ("ens6", value), ("default", value), ("all", 0)] {
            assert_eq!(rp_filter(one, link), expected.to_string(), "{link}");
        }
        assert_eq!(rp_filter(&site.namespace("two"), "ens5"), "2", "another node has its own");
        configure_without_routes(one, SECONDARY);
        let two = site.namespace("two");
        let arrives = |should: bool| {
            let packet = ((&two, TWO), (one, SECONDARY));
            if should { reaches(packet.0, packet.1) } else { one_way(packet.0, packet.1) }
        };
        assert_eq!(
            arrives(another_way),
            another_way,
            "rp_filter {value}: its source is reached by another link"
        );
        let cut = one.run(|| Command::new("ip").args(["route", "del", "default"]).status());
        assert!(cut.unwrap().unwrap().success());
        assert_eq!(arrives(no_way), no_way, "rp_filter {value}: its source is not reached at all");
        site.reboot("one");
        assert_eq!(rp_filter(&site.namespace("one"), "ens5"), value.to_string(), "booted anew");
    }
}
