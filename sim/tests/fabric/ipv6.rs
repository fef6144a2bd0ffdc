//! IPv6 on the fabric: as IPv4, and without it.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use holdfast_datapath::netlink::{
    Address, AddressFamily, Change, LinkRef, LinkSettings, Route, RouteFilter, Rule,
};
use holdfast_sim::fabric::{ECHO_PORT, IMDS_ADDRESS_IPV6, IPV6_GATEWAY, Namespace};
use holdfast_sim::vpc::EniId;
use holdfast_sim::vpc::request::{AssignIpv6Addresses, UnassignIpv6Addresses};
use ipnet::Ipv6Net;

use crate::site::{
    ONE, PATIENCE, SETTLED, Site, THREE, arrives_within, ask_internet, exchange, forget, hold, one_way,
    reaches, remembered,
};

pub(crate) const SCENARIO: &str = r#"
    timing = { link_appears = 300 }
    vpc = { cidrs = ["10.0.0.0/16"], ipv6 = "2600:1f13:a::/56" }
    [[subnet]]
    name = "a"
    zone = "us-west-2a"
    cidr = "10.0.0.0/20"
    ipv6 = "2600:1f13:a:0::/64"
    [[subnet]]
    name = "bare"
    zone = "us-west-2a"
    ipv6 = "2600:1f13:a:1::/64"
    [[node]]
    name = "one"
    type = "m5.large"
    subnet = "a"
    address = "10.0.0.10"
    ipv6_addresses = 1
    [[node]]
    name = "three"
    type = "m5.large"
    subnet = "a"
    address = "10.0.0.11"
    ipv6_addresses = 1
    [[node]]
    name = "bare"
    type = "m5.large"
    subnet = "bare"
    ipv6_addresses = 1
"#;

/// Of the first subnet, and of the bare one.
const PODS: Ipv6Addr = Ipv6Addr::new(0x2600, 0x1f13, 0xa, 0, 0, 0, 0, 0x77);
const FOREIGN: Ipv6Addr = Ipv6Addr::new(0x2600, 0x1f13, 0xa, 0, 0, 0, 9, 9);

/// The node's own address.
pub(crate) fn own(site: &Site, node: &str) -> Ipv6Addr {
    let instance = site.node(node).instance();
    site.shared.with(|vpc| vpc.imds_view(instance)).unwrap().ipv6.unwrap()
}

fn assign(site: &Site, eni: &EniId, addresses: &[Ipv6Addr], prefixes: &[Ipv6Net]) {
    site.operator(AssignIpv6Addresses {
        network_interface_id: *eni,
        ipv6_addresses: addresses.to_vec(),
        ipv6_prefixes: prefixes.to_vec(),
        ..AssignIpv6Addresses::default()
    });
    site.settle();
}

fn unassign(site: &Site, eni: &EniId, address: Ipv6Addr) {
    site.operator(UnassignIpv6Addresses {
        network_interface_id: *eni,
        ipv6_addresses: vec![address],
        ..UnassignIpv6Addresses::default()
    });
    site.settle();
}

#[test]
fn nodes_reach_each_other_inside_a_subnet_and_between_subnets() {
    let site = Site::of(SCENARIO);
    let (one, three, bare) = (&site.namespace("one"), &site.namespace("three"), &site.namespace("bare"));
    let [at_one, at_three, at_bare] = ["one", "three", "bare"].map(|name| own(&site, name));
    assert!(exchange((one, at_one), (three, at_three)), "same subnet: discovery of the address itself");
    assert_eq!(remembered(one, at_three), Some(site.mac(&site.primary("three"))));
    assert!(exchange((one, at_one), (bare, at_bare)), "another subnet, which has no IPv4: by the gateway");
    assert!(remembered(one, IPV6_GATEWAY).is_some());
    assert!(exchange((one, ONE), (three, THREE)), "IPv4 as ever");
    let addresses = bare.socket().unwrap().addresses(AddressFamily::Inet).unwrap();
    assert!(addresses.iter().all(|address| address.net.addr().is_loopback()), "{addresses:?}");
}

#[test]
fn an_ipv6_address_works_exactly_while_ec2_shows_it() {
    let site = Site::of(SCENARIO);
    let (one, three, bare) = (&site.namespace("one"), &site.namespace("three"), &site.namespace("bare"));
    let (at_three, at_bare) = (own(&site, "three"), own(&site, "bare"));
    let eni = site.primary("one");
    hold(one, PODS);
    assert!(!one_way((bare, at_bare), (one, PODS)), "not delivered before");
    assert!(!one_way((one, PODS), (bare, at_bare)), "and no source before");
    assign(&site, &eni, &[PODS], &[]);
    assert!(exchange((bare, at_bare), (one, PODS)));
    assert!(exchange((three, at_three), (one, PODS)));
    unassign(&site, &eni, PODS);
    assert!(!one_way((bare, at_bare), (one, PODS)), "not delivered after");
    assert!(!one_way((one, PODS), (bare, at_bare)), "and no source after");
    hold(one, FOREIGN);
    assert!(!one_way((one, FOREIGN), (three, at_three)));
}

#[test]
fn an_ipv6_prefix_is_delivered_whole_and_answered_for() {
    let site = Site::of(SCENARIO);
    let (one, three) = (&site.namespace("one"), &site.namespace("three"));
    let at_three = own(&site, "three");
    assign(&site, &site.primary("one"), &[], &["2600:1f13:a:0:5::/80".parse().unwrap()]);
    for (address, inside) in
        [("2600:1f13:a:0:5::1", true), ("2600:1f13:a:0:5:ffff:ffff:ffff", true), ("2600:1f13:a:0:6::", false)]
    {
        let address: Ipv6Addr = address.parse().unwrap();
        hold(one, address);
        let limit = if inside { SETTLED } else { PATIENCE };
        assert_eq!(arrives_within(limit, (three, at_three), (one, address)), inside, "{address}");
        assert_eq!(arrives_within(limit, (one, address), (three, at_three)), inside, "{address} as source");
    }
}

#[test]
fn an_ipv6_address_that_moved_is_sent_to_in_vain_until_it_is_forgotten() {
    let site = Site::of(SCENARIO);
    let (one, three) = (&site.namespace("one"), &site.namespace("three"));
    let at_one = own(&site, "one");
    hold(three, PODS);
    let old = site.primary("three");
    assign(&site, &old, &[PODS], &[]);
    assert!(reaches((one, at_one), (three, PODS)));
    assert_eq!(remembered(one, PODS), Some(site.mac(&old)));
    // To another ENI of the same node.
    let new = site.attach("three", Ipv4Addr::new(10, 0, 0, 50));
    site.pass(Duration::from_millis(300));
    bring_up(three, "ens6");
    unassign(&site, &old, PODS);
    assign(&site, &new, &[PODS], &[]);
    assert!(!one_way((one, at_one), (three, PODS)));
    forget(one, PODS);
    assert!(reaches((one, at_one), (three, PODS)));
    assert_eq!(remembered(one, PODS), Some(site.mac(&new)));
}

fn bring_up(namespace: &Namespace, link: &str) -> u32 {
    let mut socket = namespace.socket().unwrap();
    let link = LinkRef::Name(link.to_owned());
    socket.apply(&Change::SetLink(link.clone(), LinkSettings::up())).unwrap();
    socket.link(&link).unwrap().unwrap().index
}

#[test]
fn every_ipv6_address_is_on_the_internet() {
    let site = Site::of(SCENARIO);
    let (one, bare) = (&site.namespace("one"), &site.namespace("bare"));
    let echo = SocketAddr::new(site.fabric.internet_address_ipv6().unwrap().into(), ECHO_PORT);
    for (node, address) in [(one, own(&site, "one")), (bare, own(&site, "bare"))] {
        let mut tcp = node.run(|| TcpStream::connect_timeout(&echo, SETTLED)).unwrap().unwrap();
        let mut line = String::new();
        tcp.read_to_string(&mut line).unwrap();
        assert_eq!(line, format!("{address} {}\n", tcp.local_addr().unwrap().port()));
    }
    hold(one, PODS);
    assert_eq!(ask_internet(one, PODS, echo), None, "not before it is its own");
    assign(&site, &site.primary("one"), &[PODS], &[]);
    assert_eq!(ask_internet(one, PODS, echo), Some(IpAddr::V6(PODS)));
    let internet = site.fabric.internet();
    assert!(
        reaches((internet, site.fabric.internet_address_ipv6().unwrap()), (one, PODS)),
        "and reached from there"
    );
}

#[test]
fn a_node_without_ipv4_finds_metadata_and_ec2() {
    let site = Site::of(SCENARIO);
    let bare = site.node("bare");
    let who =
        bare.namespace().run(|| crate::metadata::who_am_i_at(IMDS_ADDRESS_IPV6.into(), SETTLED)).unwrap();
    assert_eq!(who.unwrap(), bare.instance().as_str());
    let environment = bare.environment();
    assert_eq!(environment["AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"], "IPv6");
    let ec2 = environment["AWS_ENDPOINT_URL_EC2"].strip_prefix("http://").unwrap();
    let ec2: SocketAddr = format!("{ec2}:80").parse().unwrap();
    bare.namespace().run(|| TcpStream::connect_timeout(&ec2, SETTLED)).unwrap().unwrap();
    // One that has both is told of IPv4, and finds the same metadata by IPv6.
    let one = site.node("one");
    assert!(!one.environment().contains_key("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"));
    let who =
        one.namespace().run(|| crate::metadata::who_am_i_at(IMDS_ADDRESS_IPV6.into(), SETTLED)).unwrap();
    assert_eq!(who.unwrap(), one.instance().as_str());
}

#[test]
fn a_second_eni_has_the_gateway_where_the_vpc_has_it_and_hears_advertisements() {
    let site = Site::of(SCENARIO);
    let (one, bare) = (&site.namespace("one"), &site.namespace("bare"));
    let at_bare = own(&site, "bare");
    let eni = site.attach("one", Ipv4Addr::new(10, 0, 0, 50));
    assign(&site, &eni, &[PODS], &[]);
    site.pass(Duration::from_millis(300));
    let ens6 = bring_up(one, "ens6");
    let mut socket = one.socket().unwrap();
    let gateway = IpAddr::V6(IPV6_GATEWAY);
    let begun = Instant::now();
    let advertised = |socket: &mut holdfast_datapath::netlink::Socket| {
        let routes =
            socket.routes(AddressFamily::Inet6, RouteFilter { table: Some(254), protocol: None }).unwrap();
        routes.iter().any(|route| (route.via, route.link) == (Some(gateway), Some(ens6)))
    };
    while !advertised(&mut socket) {
        assert!(begun.elapsed() < SETTLED, "a kernel that listens to advertisements has heard none");
        std::thread::sleep(Duration::from_millis(20));
    }
    // As a node daemon configures it, which relies on none of that.
    let own = Ipv6Net::from(PODS);
    socket
        .apply_all(&[
            Change::AddAddress(Address { no_prefix_route: true, ..Address::new(ens6, own.into()) }),
            Change::AddRoute(Route::on_link(2, gateway.into(), ens6)),
            Change::AddRoute(Route::default_via(2, gateway, ens6)),
            Change::AddRule(Rule { ipv6: true, from: Some(own.into()), ..Rule::new(1000, 2) }),
        ])
        .unwrap();
    let begun = Instant::now();
    // The kernel looks for duplicates of the address first.
    while one.run(|| std::net::UdpSocket::bind((PODS, 0)).is_err()).unwrap() {
        assert!(begun.elapsed() < SETTLED);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(exchange((bare, at_bare), (one, PODS)), "by the second ENI");
}
