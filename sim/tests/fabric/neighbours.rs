//! Neighbours as the VPC keeps them: it answers with the link-layer address of the ENI that has the address, and carries
//! frames only to whom they are addressed (amazon-vpc-cni-k8s issue 3628).

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use holdfast_datapath::netlink::{Address, AddressFamily, Change, LinkRef, RouteFilter};

use crate::site::{
    ONE, SCENARIO, SECONDARY, SETTLED, Site, THREE, TWO, configure_second, exchange, forget, hold, one_way,
    reaches, remembered,
};

const MOVED_TO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);

#[test]
fn a_neighbour_is_known_by_its_enis_own_address() {
    let site = Site::up();
    let (one, three) = (&site.namespace("one"), &site.namespace("three"));
    assert!(exchange((one, ONE), (three, THREE)));
    assert_eq!(remembered(one, THREE), Some(site.mac(&site.primary("three"))));
    assert_eq!(remembered(three, ONE), Some(site.mac(&site.primary("one"))));
    assert!(exchange((one, ONE), (&site.namespace("two"), TWO)));
    assert_eq!(remembered(one, TWO), None, "another subnet is behind the gateway");
    let gateway = remembered(one, Ipv4Addr::new(10, 0, 0, 1));
    assert!(gateway.is_some());
    assert!(![&"one", &"two", &"three"].map(|name| Some(site.mac(&site.primary(name)))).contains(&gateway));
}

#[test]
fn what_is_sent_to_where_an_address_was_is_lost_until_it_is_forgotten() {
    let site = Site::of(&SCENARIO.replace("us-west-2b", "us-west-2a"));
    let (one, two, three) = (&site.namespace("one"), &site.namespace("two"), &site.namespace("three"));
    let eni = site.attach("two", MOVED_TO);
    site.pass(Duration::from_millis(300));
    configure_second(two, MOVED_TO);
    hold(two, SECONDARY);
    hold(three, SECONDARY);
    let old = site.primary("three");
    site.assign(&old, SECONDARY);
    site.settle();
    assert!(reaches((one, ONE), (three, SECONDARY)));
    assert_eq!(remembered(one, SECONDARY), Some(site.mac(&old)));

    // It moves at once, as far as EC2 is concerned.
    site.assign(&eni, SECONDARY);
    site.settle();
    assert!(!one_way((one, ONE), (two, SECONDARY)), "not carried to the new place");
    assert!(!one_way((one, ONE), (three, SECONDARY)), "nor to the old one");
    assert_eq!(remembered(one, SECONDARY), Some(site.mac(&old)), "and nothing says so");
    forget(one, SECONDARY);
    assert!(reaches((one, ONE), (two, SECONDARY)), "asked again, the VPC tells where it is now");
    assert_eq!(remembered(one, SECONDARY), Some(site.mac(&eni)));
}

/// Else whoever asks in between is wrong for as long as it talks to the address.
#[test]
fn an_address_is_answered_for_at_its_new_place_before_it_is_delivered_there() {
    let site = Site::of(&SCENARIO.replace("us-west-2b", "us-west-2a"));
    let (one, router) = (&site.namespace("one"), site.fabric.router());
    let place = || {
        let routes = router.socket().unwrap().routes(AddressFamily::Inet, RouteFilter::default()).unwrap();
        routes.into_iter().find(|route| route.to.addr() == IpAddr::V4(SECONDARY)).and_then(|route| route.link)
    };
    let enis = [site.primary("three"), site.attach("two", MOVED_TO)];
    site.pass(Duration::from_millis(300));
    site.assign(&enis[0], SECONDARY);
    site.settle();
    let sender = one.run(|| UdpSocket::bind((ONE, 0))).unwrap().unwrap();
    for round in 1..20 {
        let (before, eni, begun) = (place(), &enis[round % 2], Instant::now());
        site.assign(eni, SECONDARY);
        while place() == before {
            assert!(begun.elapsed() < SETTLED, "it does not move");
        }
        forget(one, SECONDARY);
        sender.send_to(b"where are you?", (SECONDARY, 9)).unwrap();
        while remembered(one, SECONDARY).is_none() {
            assert!(begun.elapsed() < SETTLED, "nobody answers");
        }
        assert_eq!(remembered(one, SECONDARY), Some(site.mac(eni)), "round {round}");
    }
    site.settle();
}

#[test]
fn whoever_goes_by_the_gateway_finds_an_address_wherever_it_is() {
    let site = Site::up();
    let (one, two, three) = (&site.namespace("one"), &site.namespace("two"), &site.namespace("three"));
    hold(one, SECONDARY);
    hold(three, SECONDARY);
    for (node, namespace) in [("three", three), ("one", one), ("three", three)] {
        site.assign(&site.primary(node), SECONDARY);
        site.settle();
        assert!(reaches((two, TWO), (namespace, SECONDARY)), "{node}");
    }
}

#[test]
fn a_neighbour_that_is_no_more_is_sent_to_in_vain() {
    let site = Site::up();
    let (one, three) = (&site.namespace("one"), &site.namespace("three"));
    let old = site.primary("three");
    hold(three, SECONDARY);
    site.assign(&old, SECONDARY);
    site.settle();
    assert!(reaches((one, ONE), (three, SECONDARY)));
    site.unassign(&old, SECONDARY);
    site.settle();
    hold(one, SECONDARY);
    assert!(!one_way((one, ONE), (three, SECONDARY)));
    forget(one, SECONDARY);
    let mut socket = one.socket().unwrap();
    let lo = socket.link(&LinkRef::Name("lo".into())).unwrap().unwrap().index;
    let held = Address::new(lo, IpAddr::V4(SECONDARY).into());
    socket.apply(&Change::DeleteAddress(held)).unwrap();
    assert!(!one_way((one, ONE), (three, SECONDARY)));
    assert_eq!(remembered(one, SECONDARY), None, "nobody answers for an address that nobody has");
}
