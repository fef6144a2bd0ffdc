//! What EC2 shows decides which packets arrive.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use holdfast_datapath::netlink::Lookup;
use holdfast_sim::fabric::Namespace;
use holdfast_sim::vpc::request::AssignPrivateIpAddresses;

use crate::site::{
    ONE, PATIENCE, SECONDARY, SETTLED, Site, THREE, TWO, arrives_within, exchange, hold, one_way, router_has,
};

#[test]
fn primary_addresses_reach_each_other_inside_a_subnet_and_between_subnets() {
    let site = Site::up();
    let (one, two, three) = (&site.namespace("one"), &site.namespace("two"), &site.namespace("three"));
    assert!(exchange((one, ONE), (three, THREE)), "same subnet: ARP for the address itself");
    assert!(exchange((one, ONE), (two, TWO)), "another subnet: by the gateway");
    assert!(exchange((two, TWO), (three, THREE)));
}

#[test]
fn an_address_works_exactly_while_ec2_shows_it() {
    let site = Site::up();
    let (one, two) = (&site.namespace("one"), &site.namespace("two"));
    let eni = site.primary("one");
    hold(one, SECONDARY);
    assert!(!one_way((two, TWO), (one, SECONDARY)), "not delivered before");
    assert!(!one_way((one, SECONDARY), (two, TWO)), "and no source before");

    site.assign(&eni, SECONDARY);
    site.settle();
    assert!(exchange((two, TWO), (one, SECONDARY)));
    assert!(exchange((one, SECONDARY), (&site.namespace("three"), THREE)));

    site.unassign(&eni, SECONDARY);
    site.settle();
    assert!(!one_way((two, TWO), (one, SECONDARY)), "not delivered after");
    assert!(!one_way((one, SECONDARY), (two, TWO)), "and no source after");
    assert!(exchange((two, TWO), (one, ONE)), "its neighbour is untouched");
}

#[test]
fn a_reassigned_address_moves() {
    let site = Site::up();
    let (one, two, three) = (&site.namespace("one"), &site.namespace("two"), &site.namespace("three"));
    hold(one, SECONDARY);
    hold(three, SECONDARY);
    site.assign(&site.primary("one"), SECONDARY);
    site.assign(&site.primary("three"), SECONDARY);
    site.settle();
    assert!(exchange((two, TWO), (three, SECONDARY)));
    assert!(!one_way((one, SECONDARY), (two, TWO)));
    assert!(!one_way((two, TWO), (one, SECONDARY)));
}

#[test]
fn a_prefix_is_delivered_whole() {
    let site = Site::up();
    let (one, two) = (&site.namespace("one"), &site.namespace("two"));
    let eni = site.primary("one");
    site.operator(AssignPrivateIpAddresses {
        network_interface_id: eni,
        ipv4_prefixes: vec!["10.0.0.64/28".parse().unwrap()],
        ..AssignPrivateIpAddresses::default()
    });
    site.settle();
    for (last, inside) in [(64, true), (79, true), (80, false)] {
        let address = Ipv4Addr::new(10, 0, 0, last);
        hold(one, address);
        let limit = if inside { SETTLED } else { PATIENCE };
        assert_eq!(arrives_within(limit, (two, TWO), (one, address)), inside, "{address}");
        assert_eq!(arrives_within(limit, (one, address), (two, TWO)), inside, "{address} as source");
    }
}

#[test]
fn an_address_of_the_vpc_that_nobody_has_is_nowhere() {
    let site = Site::up();
    // Not even the internet is asked for it, although a public source would be let out.
    let nobody = Ipv4Addr::new(10, 0, 9, 9);
    hold(site.fabric.internet(), nobody);
    assert!(!one_way((&site.namespace("one"), ONE), (site.fabric.internet(), nobody)));
    let mut router = site.fabric.router().socket().unwrap();
    assert_eq!(router.route_to(nobody.into(), &Lookup::default()).unwrap(), None);
}

#[test]
fn large_packets_pass_inside_and_are_cut_on_the_way_out() {
    let site = Site::up();
    let one = &site.namespace("one");
    let large = [7; 8900];
    let arrives = |to: &Namespace, address: Ipv4Addr| {
        let receiver = to.run(|| UdpSocket::bind((address, 0))).unwrap().unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let sender = one.run(|| UdpSocket::bind((ONE, 0))).unwrap().unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 9000];
        // Connected: what the network says about an earlier packet is told at the next one.
        (0..2).map(|_| sender.send(&large).is_ok() && receiver.recv(&mut buffer).is_ok()).collect::<Vec<_>>()
    };
    assert_eq!(arrives(&site.namespace("two"), TWO), [true, true]);
    let outside = arrives(site.fabric.internet(), site.fabric.internet_address());
    assert!(!outside[0], "the first is too large, and the router says so: {outside:?}");
    assert_eq!(
        arrives(site.fabric.internet(), site.fabric.internet_address()),
        [true, true],
        "cut from then on"
    );
}

#[test]
fn a_change_reaches_the_router_within_milliseconds_and_unasked() {
    let site = Site::up();
    let eni = site.primary("one");
    let mut times: Vec<Duration> = (100..120)
        .map(|last| {
            let begun = Instant::now();
            site.assign(&eni, Ipv4Addr::new(10, 0, 0, 100));
            site.unassign(&eni, Ipv4Addr::new(10, 0, 0, 100));
            site.assign(&eni, Ipv4Addr::new(10, 0, 1, last));
            while !router_has(site.fabric.router().socket().unwrap(), &format!("10.0.1.{last}/32")) {
                assert!(begun.elapsed() < SETTLED, "10.0.1.{last} never came");
            }
            let took = begun.elapsed();
            site.unassign(&eni, Ipv4Addr::new(10, 0, 1, last));
            took
        })
        .collect();
    times.sort();
    println!("three changes to route: median {:?}, slowest {:?}", times[10], times[19]);
    assert!(times[10] < Duration::from_millis(50), "{times:?}");
}

#[test]
fn two_fabrics_with_equal_addresses_do_not_meet() {
    let (first, second) = (Site::up(), Site::up());
    assert!(exchange((&first.namespace("one"), ONE), (&first.namespace("two"), TWO)));
    assert!(exchange((&second.namespace("one"), ONE), (&second.namespace("two"), TWO)));
    assert!(!one_way((&first.namespace("one"), ONE), (&second.namespace("two"), TWO)));
}
