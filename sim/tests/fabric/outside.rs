//! The way out of the VPC.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use holdfast_datapath::netlink::{Change, LinkRef, LinkSettings, Route, Veth, VethEnd};
use holdfast_sim::fabric::ECHO_PORT;
use ipnet::Ipv4Net;

use crate::site::{ONE, SECONDARY, Site, TWO, ask_internet, hold, one_way, reaches};

#[test]
fn only_the_first_address_of_the_first_eni_is_on_the_internet() {
    let site = Site::up();
    let (one, internet) = (&site.namespace("one"), site.fabric.internet());
    let echo = SocketAddr::from((site.fabric.internet_address(), ECHO_PORT));
    let mut tcp = one.run(|| TcpStream::connect_timeout(&echo, Duration::from_secs(5))).unwrap().unwrap();
    let mut line = String::new();
    tcp.read_to_string(&mut line).unwrap();
    assert_eq!(line, format!("{ONE} {}\n", tcp.local_addr().unwrap().port()));
    assert_eq!(ask_internet(one, ONE, echo), Some(ONE.into()));
    assert!(reaches((internet, site.fabric.internet_address()), (one, ONE)), "and reached from there");

    hold(one, SECONDARY);
    site.assign(&site.primary("one"), SECONDARY);
    site.settle();
    assert!(reaches((one, SECONDARY), (&site.namespace("two"), TWO)), "known in the VPC");
    assert_eq!(ask_internet(one, SECONDARY, echo), None, "unknown outside");
    assert!(!one_way((one, SECONDARY), (internet, site.fabric.internet_address())), "not even one way");
    assert!(!one_way((internet, site.fabric.internet_address()), (one, SECONDARY)));
}

/// As the kubelet asks its pods: out of a host end without an address of its own, so the kernel chooses the source.
#[test]
fn a_node_speaks_to_its_pods_with_its_own_address() {
    let site = Site::up();
    let one = &site.namespace("one");
    let mut socket = one.socket().unwrap();
    let end = |name: &str| VethEnd { name: name.to_owned(), mac: None, netns: None };
    let pair = Veth { near: end("host"), far: end("pod"), mtu: None, group: 0 };
    let up = |name: &str| Change::SetLink(LinkRef::Name(name.into()), LinkSettings::up());
    socket.apply_all(&[Change::CreateVeth(pair), up("host"), up("pod")]).unwrap();
    let host = socket.link(&LinkRef::Name("host".into())).unwrap().unwrap().index;
    let pod = Ipv4Net::from(SECONDARY);
    socket.apply(&Change::AddRoute(Route::on_link(254, pod.into(), host))).unwrap();
    let source = one.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.connect((SECONDARY, 9)).unwrap();
        socket.local_addr().unwrap().ip()
    });
    assert_eq!(source.unwrap(), IpAddr::V4(ONE), "not the metadata service's");
}
